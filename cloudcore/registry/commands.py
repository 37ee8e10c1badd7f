"""Commands as they are given: whom they are for, and what the server knew at that moment.

An admission step that finds the node from the device or pod that is meant, and writes down (`spec.issued`) which life
of the target, of the gateway's store and of the cloud's store the command is about: that is how a gateway that has
lost its memory, or a cloud that was restored, knows that it can't know (docs/decisions/0160). Keeps no data.
"""

from __future__ import annotations

from typing import Final

from cloudcore.registry.admission import Reader, Request
from cloudcore.registry.devices import DEVICES, model_of
from cloudcore.registry.refusals import invalid
from cloudcore.registry.validation.commands import validate_action
from skerry.errors import Cause, InvalidError
from skerry.frozen import Frozen
from skerry.objects.commands import COMMANDS, INCARNATION, DeviceMethod, DeviceRefresh, PodRestart, action_of
from skerry.objects.device_models import is_writable, served_properties, wanted_value
from skerry.objects.json import JsonObject, map_at, maps_at, str_at, strs_at
from skerry.objects.meta import Key, annotations_of, being_deleted, uid_of
from skerry.objects.times import micro_time_text
from skerry.validation.faults import invalid as wrong
from skerry.validation.faults import not_found

_NODES: Final = "nodes"


class _WrongError(Exception):
    def __init__(self, cause: Cause) -> None:
        super().__init__(cause.message)
        self.cause = cause


class IssuedCommands(Frozen, kw_only=False):
    """The step. `epoch` is that of the store."""

    epoch: str

    def __call__(self, request: Request, reader: Reader) -> JsonObject:
        if request.kind.resource != COMMANDS or request.operation != "CREATE" or request.subresource:
            return request.obj
        spec = map_at(request.obj, "spec")
        if list(validate_action(map_at(spec, "action"))):
            return request.obj  # refused by validation, in full
        try:
            return {**request.obj, "spec": self._issued(request, spec, reader)}
        except _WrongError as error:
            raise invalid(request.kind, request.key.name, [error.cause]) from error

    def _issued(self, request: Request, spec: JsonObject, reader: Reader) -> JsonObject:
        place, uid = _target(request.key.namespace, spec, reader)
        said = str_at(spec, "nodeName")
        if place and said not in ("", place):
            raise _WrongError(wrong("spec.nodeName", said, f"what the command is about is on node {place}"))
        node = place or said
        issued: JsonObject = {
            "time": micro_time_text(request.now_ms),
            "by": request.actor.name,
            "epoch": self.epoch,
            "incarnation": _incarnation(node, reader) if node else "",
        }
        if uid:
            issued["targetUID"] = uid
        return {**spec, "nodeName": node, "issued": issued}


def _target(namespace: str, spec: JsonObject, reader: Reader) -> tuple[str, str]:
    """(the node it is on, its uid) of what the action is about; "" where an action names no object."""
    match action_of(map_at(spec, "action")):
        case DeviceMethod() as call:
            here = "spec.action.deviceMethod"
            device = _found(f"{here}.device", Key(DEVICES, namespace, call.device), reader)
            _check_method(here, device, call, model_of(device, namespace, reader))
            return _placed(f"{here}.device", call.device, device), uid_of(device)
        case DeviceRefresh(device=name) as asked:
            field = "spec.action.deviceRefresh.device"
            device = _found(field, Key(DEVICES, namespace, name), reader)
            _check_properties(asked, device, model_of(device, namespace, reader))
            return _placed(field, name, device), uid_of(device)
        case PodRestart() as restart:
            field = "spec.action.podRestart.pod"
            pod = _found(field, Key("pods", namespace, restart.pod), reader)
            if being_deleted(pod):
                raise _WrongError(wrong(field, restart.pod, "the pod is being deleted"))
            names = [str_at(each, "name") for each in maps_at(pod, "spec", "containers")]
            if restart.container and restart.container not in names:
                text = f"the pod has {', '.join(names)}"
                raise _WrongError(wrong("spec.action.podRestart.container", restart.container, text))
            return _placed(field, restart.pod, pod), uid_of(pod)
        case _:
            return "", ""


def _found(field: str, key: Key, reader: Reader) -> JsonObject:
    stored = reader.read(key)
    if stored is None:
        raise _WrongError(not_found(field, key.name))
    return reader.obj(stored)


def _placed(field: str, name: str, obj: JsonObject) -> str:
    node = str_at(obj, "spec", "nodeName")
    if not node:
        raise _WrongError(wrong(field, name, "is on no node yet (its spec.nodeName is empty)"))
    return node


def _check_method(here: str, device: JsonObject, call: DeviceMethod, model: JsonObject | None) -> None:
    methods = maps_at(device, "spec", "methods")
    method = next((each for each in methods if str_at(each, "name") == call.method), None)
    if method is None:
        known = ", ".join(str_at(each, "name") for each in methods) or "none"
        raise _WrongError(wrong(f"{here}.method", call.method, f"the device's methods are: {known}"))
    names = strs_at(method, "propertyNames")
    served = None if model is None else served_properties(device, model)
    for name in names:
        if served is not None and name not in served:
            text = f"the method names {name}; the device's properties are: {', '.join(served) or 'none'}"
            raise _WrongError(wrong(f"{here}.method", call.method, text))
    for name, value in call.parameters:
        field = f"{here}.parameters[{name}]"
        if name not in names:
            taken = [each for each in names if served is None or is_writable(served[each])]
            raise _WrongError(wrong(field, value, f"the method's parameters are: {', '.join(taken) or 'none'}"))
        if served is not None:
            try:
                wanted_value(served[name], value)
            except InvalidError as error:
                raise _WrongError(wrong(field, value, str(error))) from error


def _check_properties(asked: DeviceRefresh, device: JsonObject, model: JsonObject | None) -> None:
    served = None if model is None else served_properties(device, model)
    for index, name in enumerate(asked.properties):
        if served is not None and name not in served:
            text = f"the device's properties are: {', '.join(served) or 'none'}"
            raise _WrongError(wrong(f"spec.action.deviceRefresh.properties[{index}]", name, text))


def _incarnation(node: str, reader: Reader) -> str:
    stored = reader.read(Key(_NODES, "", node))
    if stored is None:
        raise _WrongError(not_found("spec.nodeName", node))
    known = annotations_of(reader.obj(stored)).get(INCARNATION, "")
    if not known:
        text = "its gateway was never heard by this cloud; a command is given to a gateway that is known"
        raise _WrongError(wrong("spec.nodeName", node, text))
    return known
