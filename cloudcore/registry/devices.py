"""Values that are wanted of devices, checked when they are written: against the DeviceModel, where it is there.

An admission step. What a value may be is decided by the gateway, which has the model, too; said here at once, it
does not stand in the Device until a gateway that is away has come back. Only what its writer wants now is looked at:
a value that no longer fits a changed model holds up nothing else, nor does one that a gateway tells of, where it was
checked when it was written. Models may come after devices: without one, nobody can tell. Keeps no data.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from cloudcore.registry.admission import Reader, Request
from cloudcore.registry.refusals import invalid
from skerry.errors import Cause, InvalidError
from skerry.objects.device_desired import desired_of
from skerry.objects.device_models import MODELS, properties_in, wanted_value
from skerry.objects.json import JsonObject, maps_at, str_at
from skerry.objects.meta import Key
from skerry.validation.faults import invalid as wrong

DEVICES: Final = "devices.devices.kubeedge.io"


def wanted_values(request: Request, reader: Reader) -> JsonObject:
    """The step. Comes after the one that numbers desired values."""
    if request.kind.resource != DEVICES or request.subresource or request.operation == "DELETE":
        return request.obj
    if causes := list(_wrong(request, reader)):
        raise invalid(request.kind, request.key.name, causes)
    return request.obj


def model_of(device: JsonObject, namespace: str, reader: Reader) -> JsonObject | None:
    """The DeviceModel of a Device; None: it is not there (yet)."""
    stored = reader.read(Key(MODELS, namespace, str_at(device, "spec", "deviceModelRef", "name")))
    return None if stored is None else reader.obj(stored)


def _wrong(request: Request, reader: Reader) -> Iterator[Cause]:
    model: JsonObject | None = None
    for index, entry in enumerate(maps_at(request.obj, "spec", "properties")):
        name = str_at(entry, "name")
        desired = desired_of(request.obj, name)
        # KubeEdge's manifests say "" where nothing is wanted.
        if desired is None or not desired.value:
            continue
        if desired.origin != request.actor.name:
            continue  # merged from what a gateway holds: refused here, the two sides would differ for good
        before = None if request.old is None else desired_of(request.old, name)
        if before is not None and (before.value, before.ver) == (desired.value, desired.ver):
            continue
        model = model or model_of(request.obj, request.key.namespace, reader)
        if model is None:
            return
        known = properties_in(model)
        here = f"spec.properties[{index}]"
        if name not in known:
            text = f"DeviceModel {str_at(model, 'metadata', 'name')} has {', '.join(known) or 'no properties'}"
            yield wrong(f"{here}.name", name, text)
            continue
        try:
            wanted_value(known[name], desired.value)
        except InvalidError as error:
            yield wrong(f"{here}.desired.value", desired.value, str(error))
