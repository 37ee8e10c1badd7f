"""Device rules against the devices that they name, as far as those are there: types, ranges, what is read-only.

An admission step. A device or its model may come after its rules, as manifests are applied in the order of their
files' names: nothing is said of one that is missing, and the gateway tells in the rule's status what it waits for. A
device that is on another gateway, or on none, is told of there as well: devices move. Keeps no data.
"""

from __future__ import annotations

from cloudcore.registry.admission import Reader, Request
from cloudcore.registry.refusals import invalid
from skerry.errors import InvalidError
from skerry.objects.device_models import DEVICES, MODELS, properties_in
from skerry.objects.device_rule_reports import DEVICE_RULES
from skerry.objects.device_rules import read_rule
from skerry.objects.json import JsonObject, map_at, str_at
from skerry.objects.meta import Key


def fitting_device_rules(request: Request, reader: Reader) -> JsonObject:
    """The step."""
    if request.kind.resource != DEVICE_RULES or request.subresource or request.operation == "DELETE":
        return request.obj
    if request.old is not None and map_at(request.old, "spec") == map_at(request.obj, "spec"):
        return request.obj  # its devices may have changed meanwhile; labels can still be written
    namespace = request.key.namespace

    def type_of(device: str, prop: str) -> JsonObject | str | None:
        held = reader.read(Key(DEVICES, namespace, device))
        if held is None:
            return None
        name = str_at(reader.obj(held), "spec", "deviceModelRef", "name")
        model = reader.read(Key(MODELS, namespace, name))
        if model is None:
            return None
        return properties_in(reader.obj(model)).get(prop) or f"model {name} of device {device} has no such property"

    try:
        read_rule(request.obj, type_of)
    except InvalidError as error:
        raise invalid(request.kind, request.key.name, error.causes) from error
    return request.obj
