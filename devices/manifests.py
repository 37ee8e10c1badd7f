"""Device and DeviceModel objects, as drivers and the keeper need them.

Pure. The model says what properties there are, their types and ranges; the instance says where they are found.
Visitors and protocol data of the model are defaults that the instance's values override (KubeEdge v1beta1). A
device that makes no sense is refused with a reason that names the field and the fix; the others are served.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Collection, Container, Iterable, Mapping
from typing import Final, TypeAlias

from devices.fields import bool_in, decimal_in, int_in, map_in, refuse_unknown, text_in
from devices.port import DeviceConfig, Fallback, PropertyConfig, TwinConfig
from devices.protocols import EXTERNAL, WITHOUT_SECRET, driver_of
from devices.pushes import PUSH, PushTarget, push_targets
from skerry.errors import InvalidError
from skerry.frozen import Frozen, field
from skerry.objects.desired import ON_RECONNECT, POLICIES, on_reconnect_of, policy_of
from skerry.objects.device_models import DEVICES, checked_value, is_writable, properties_in, served_properties
from skerry.objects.json import JsonObject, map_at, str_at
from skerry.objects.meta import Key, name_of, namespace_of, uid_of

PROTOCOL_DATA: Final = "spec.protocol.configData"

COLLECT_MS_DEFAULT: Final = 1000
"""As KubeEdge's mapper framework."""
COLLECT_MS_MIN: Final = 10
CYCLE_MS_MAX: Final = 24 * 3600 * 1000
"""A day."""

TYPES: Final = ("INT", "FLOAT", "DOUBLE", "STRING", "BOOLEAN", "BYTES")

STREAM: Final = "STREAM"
"""KubeEdge's type of pictures and films, which its mappers save as files: there is no value to tell."""

NOTED_MAX: Final = 5
"""Properties named in a note."""

NANOSECONDS_FROM: Final = 1_000_000_000
"""A cycle from here on is one of nanoseconds, as KubeEdge's samples for its older mappers have it: of milliseconds it
would be eleven days."""


class KnownDevice(Frozen):
    """A Device object on this gateway: its configuration, or why it has none."""

    uid: str
    body: JsonObject
    config: DeviceConfig | None
    reason: str
    """"" exactly when there is a configuration."""
    note: str = ""
    """What the manifest asks for beside, that is not done here."""
    pushes: Mapping[str, tuple[PushTarget, ...]] = field(default_factory=dict[str, "tuple[PushTarget, ...]"])
    """By property, where its readings go beside the twin. (A mapper pushes itself.)"""


SECRET_TYPE: Final = "skerry.dev/device"  # noqa: S105 - a type, no secret
"""Of Secrets that devices may use: whoever may write Devices could have any other sent to a server of theirs."""

Secrets: TypeAlias = "Callable[[str, str], JsonObject | None]"
"""The Secret in a namespace and of a name, where it is on this gateway."""


def no_secrets(namespace: str, name: str) -> JsonObject | None:
    """For whoever has none."""
    return None


def known_devices(
    devices: Iterable[JsonObject],
    models: Mapping[tuple[str, str], JsonObject],
    secrets: Secrets = no_secrets,
    drivers: Container[str] = (),
) -> dict[Key, KnownDevice]:
    """Every Device, read with its model; `models` by (namespace, name). `drivers`: names of those that others have
    added."""
    out: dict[Key, KnownDevice] = {}
    for device in devices:
        key = Key(DEVICES, namespace_of(device), name_of(device))
        try:
            config, reason = device_config(key, device, models, secrets, drivers), ""
        except InvalidError as error:
            config, reason = None, str(error)
        pushes: Mapping[str, tuple[PushTarget, ...]] = {}
        untold: tuple[str, ...] = ()
        if config is not None and config.protocol != EXTERNAL:
            model = models.get((key.namespace, str_at(device, "spec", "deviceModelRef", "name")))
            pushes, untold = push_targets(device, model)
        out[key] = KnownDevice(
            uid=uid_of(device), body=device, config=config, reason=reason, note=_noted(untold), pushes=pushes
        )
    return out


def _noted(untold: Collection[str]) -> str:
    """What of a manifest's `pushMethod`s is not done."""
    listed = [*untold]
    more = f"; and {len(listed) - NOTED_MAX} more" if len(listed) > NOTED_MAX else ""
    return "; ".join(listed[:NOTED_MAX]) + more


def device_config(
    key: Key,
    device: JsonObject,
    models: Mapping[tuple[str, str], JsonObject],
    secrets: Secrets = no_secrets,
    drivers: Container[str] = (),
) -> DeviceConfig:
    """Raises `InvalidError` that names the field and the fix."""
    named = str_at(device, "spec", "protocol", "protocolName")
    if not named:
        raise InvalidError("spec.protocol.protocolName: required: modbus, mqtt, or what your mapper calls it")
    protocol = driver_of(named, drivers)
    model_name = str_at(device, "spec", "deviceModelRef", "name")
    if not model_name:
        raise InvalidError("spec.deviceModelRef.name: required")
    model = models.get((key.namespace, model_name))
    if model is None:
        raise InvalidError(f"spec.deviceModelRef.name: there is no DeviceModel {model_name!r} in {key.namespace}")
    data: JsonObject = {
        **map_at(model, "spec", "protocolConfigData"),
        **map_at(device, "spec", "protocol", "configData"),
    }
    secret: Mapping[str, bytes] = {}
    if protocol not in WITHOUT_SECRET | {EXTERNAL} and "secretRef" in data:
        secret = _secret(map_in(data, "secretRef", where=PROTOCOL_DATA), key.namespace, secrets)
        data = {name: value for name, value in data.items() if name != "secretRef"}
    return DeviceConfig(
        device=key,
        protocol=protocol,
        protocol_config=data,
        properties=tuple(_properties(device, model, model_name, protocol)),
        named=named,
        secret=secret,
    )


def _secret(ref: JsonObject, namespace: str, secrets: Secrets) -> Mapping[str, bytes]:
    where = f"{PROTOCOL_DATA}.secretRef"
    refuse_unknown(ref, ("name",), where)
    name = text_in(ref, "name", where=where)
    found = secrets(namespace, name)
    if found is None:
        raise InvalidError(f"{where}.name: there is no Secret {name!r} in {namespace}")
    if str_at(found, "type") != SECRET_TYPE:
        raise InvalidError(
            f"{where}.name: Secret {name!r} is not of type {SECRET_TYPE}: make one with "
            f"kubectl create secret generic NAME --type={SECRET_TYPE} ..."
        )
    try:
        return {
            each: base64.b64decode(text, validate=True)
            for each, text in map_at(found, "data").items()
            if isinstance(text, str)
        }
    except binascii.Error as error:
        raise InvalidError(f"{where}.name: Secret {name!r} has data that is not base64") from error


def _properties(device: JsonObject, model: JsonObject, model_name: str, protocol: str) -> Iterable[PropertyConfig]:
    modelled, placed = properties_in(model), properties_in(device)
    for name in placed:
        if name not in modelled:
            raise InvalidError(f"spec.properties[{name}]: not in DeviceModel {model_name!r}; add it there")
    for name, of_model in served_properties(device, model).items():
        if protocol == EXTERNAL and str_at(of_model, "type").upper() == STREAM:
            continue  # its mapper's own business, as in KubeEdge
        yield _property(name, of_model, placed.get(name, {}), protocol)


def _property(name: str, model: JsonObject, instance: JsonObject, protocol: str) -> PropertyConfig:
    where = f"spec.properties[{name}]"
    type = str_at(model, "type").upper()
    if type == STREAM:
        raise InvalidError(f"DeviceModel {where}.type: {STREAM} is served by mappers only: take another type here")
    if type not in TYPES:
        raise InvalidError(f"DeviceModel {where}.type: {type!r} is not one of {', '.join(TYPES)}")
    visitor: JsonObject = {**map_at(model, "visitors", "configData"), **map_at(instance, "visitors", "configData")}
    silence_ms = _cycle_ms(instance, "reportCycle", where)
    twin = twin_config(
        map_in(visitor, "twin", where=where), where, silence_ms or 60_000, every_reading=protocol == "mqtt"
    )
    ours = ("twin",) if protocol == EXTERNAL else ("twin", PUSH)
    made = PropertyConfig(
        name=name,
        type=type,
        writable=is_writable(model),
        unit=str_at(model, "unit"),
        minimum=_bound(model, "minimum", where),
        maximum=_bound(model, "maximum", where),
        collect_ms=max(COLLECT_MS_MIN, _cycle_ms(instance, "collectCycle", where) or COLLECT_MS_DEFAULT),
        visitor={name: value for name, value in visitor.items() if name not in ours},
        twin=twin,
        report_to_cloud=bool_in(instance, "reportToCloud", where=where, default=True),
    )
    if twin.fallback is not None:
        _check_fallback(made, twin.fallback, where)
    return made


def _check_fallback(config: PropertyConfig, fallback: Fallback, where: str) -> None:
    refusal = "" if config.writable else f"{config.name} is read-only"
    try:
        checked_value(config.type, fallback.value, refusal=refusal, minimum=config.minimum, maximum=config.maximum)
    except InvalidError as error:
        raise InvalidError(f"{where}.visitors.configData.twin.fallback.value: {error}") from error


def _cycle_ms(instance: JsonObject, name: str, where: str) -> int:
    """0: none was given."""
    given = int_in(instance, name, where=where, low=0, high=CYCLE_MS_MAX * 1_000_000, default=0)
    if CYCLE_MS_MAX < given < NANOSECONDS_FROM:
        raise InvalidError(f"{where}.{name}: must be milliseconds up to {CYCLE_MS_MAX} (a day), not {given}")
    return given if given < NANOSECONDS_FROM else given // 1_000_000


def _bound(model: JsonObject, name: str, where: str) -> float | None:
    """KubeEdge has the range of a property as text; "" is none."""
    if str_at(model, name, default="-") == "" or name not in model:
        return None
    return float(decimal_in(model, name, where=f"DeviceModel {where}", default="0"))


TWIN_FIELDS: Final[Collection[str]] = (
    "policy",
    "onReconnect",
    "fallback",
    "writeIntervalMs",
    "tolerance",
    "deadband",
    "maxSilenceMs",
    "everyReading",
)


def twin_config(data: JsonObject, where: str, silence_ms_max: int, *, every_reading: bool) -> TwinConfig:
    """`visitors.configData.twin`. Raises `InvalidError` that names the field and the fix."""
    where = f"{where}.visitors.configData.twin"
    refuse_unknown(data, TWIN_FIELDS, where)
    named = text_in(data, "policy", where=where, default="newest")
    policy = policy_of(named)
    if policy is None:
        raise InvalidError(f"{where}.policy: {named!r} is not one of {', '.join(POLICIES)}")
    late = text_in(data, "onReconnect", where=where, default="apply")
    on_reconnect = on_reconnect_of(late)
    if on_reconnect is None:
        raise InvalidError(f"{where}.onReconnect: {late!r} is not one of {', '.join(ON_RECONNECT)}")
    tolerance = decimal_in(data, "tolerance", where=where, default="0")
    deadband = decimal_in(data, "deadband", where=where, default="0")
    if tolerance < 0 or deadband < 0:
        raise InvalidError(f"{where}: tolerance and deadband can't be negative")
    return TwinConfig(
        policy=policy,
        on_reconnect=on_reconnect,
        fallback=_fallback(data, where),
        write_interval_ms=int_in(data, "writeIntervalMs", where=where, low=0, high=CYCLE_MS_MAX, default=0),
        tolerance=float(tolerance),
        deadband=float(deadband),
        silence_ms_max=int_in(
            data, "maxSilenceMs", where=where, low=1000, high=CYCLE_MS_MAX, default=max(1000, silence_ms_max)
        ),
        every_reading=bool_in(data, "everyReading", where=where, default=every_reading),
    )


def _fallback(data: JsonObject, where: str) -> Fallback | None:
    if "fallback" not in data:
        return None
    given = map_in(data, "fallback", where=where)
    where = f"{where}.fallback"
    refuse_unknown(given, ("value", "afterSeconds"), where)
    if "value" not in given or "afterSeconds" not in given:
        raise InvalidError(f"{where}: needs value and afterSeconds")
    after_s = int_in(given, "afterSeconds", where=where, low=1, high=CYCLE_MS_MAX // 1000 * 7, default=0)
    return Fallback(value=text_in(given, "value", where=where, default=""), after_s=float(after_s))
