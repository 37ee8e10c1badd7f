"""An app as a suite sees it: its objects, the gateways and PLCs that they need, and what their owner expects.

Read from a file or directory of manifests. `expectations.yaml` beside them is not a manifest: it says what manifests
can't, and is checked field by field. Pure but for the reading.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, cast

import yaml

from devices.manifests import device_config
from devices.modbus.config import parse_device
from devices.modbus.endpoints import TcpEndpoint
from devices.mqtt import config as mqtt_config
from devices.payload import JsonPaths, Text
from devices.payload import Path as Place
from devices.port import DeviceConfig, PropertyConfig
from skerry.errors import InvalidError, NotFoundError, SkerryError
from skerry.frozen import Frozen, field, replace
from skerry.objects.json import Json, JsonObject, int_at, map_at, maps_at, str_at, str_map_at
from skerry.objects.meta import Key, annotations_of, name_of, namespace_of
from skerry.testkit.api import DEVICES, objects_of
from skerry.testkit.mqtt import GATEWAYS, NUMBER, TIME, document_of

EXPECTATIONS: Final = "expectations.yaml"
WITHIN: Final = "skerry.dev/expect-ready-within-s"
"""Annotation of a workload: its pods run and are ready so many seconds after they could."""
WORKLOADS: Final = ("Deployment", "ReplicaSet", "ReplicationController", "StatefulSet", "DaemonSet", "Pod")
_FIELDS: Final = ("gateways", "plcs", "topics", "desired", "readyWithinSeconds", "settleWithinSeconds", "skip")


class Workload(Frozen):
    """Something that pods come of."""

    kind: str
    namespace: str
    name: str
    replicas: int
    """Of a DaemonSet: on each gateway that it is for."""
    labels: Mapping[str, str]
    """By which its pods are found; of a Pod, empty."""
    selector: Mapping[str, str]
    """Labels that a gateway needs for it."""
    node: str
    """The gateway that it names; "" for none."""
    spec: JsonObject
    """Of its pods."""

    def count(self, gateways: Mapping[str, Mapping[str, str]]) -> int:
        """How many pods it has on gateways of these labels by name."""
        if self.kind != "DaemonSet":
            return self.replicas
        return sum(
            self.node in ("", name) and self.selector.items() <= labels.items() for name, labels in gateways.items()
        )


class MqttPart(Frozen):
    """An MQTT device as somebody has to play it."""

    broker_port: int
    tells: Mapping[str, Json]
    """By topic."""
    obeys: tuple[tuple[str, str, str, str], ...]
    """(command topic, topic, path, template), as `Broker.obey` has them."""
    online: tuple[str, str] | None
    """(topic, text) by which it says that it is there."""


class AppDevice(Frozen):
    """A Device, as far as a suite can use it."""

    namespace: str
    name: str
    node: str
    protocol: str
    plc_port: int
    """Where it is reached; 0 for a device without a PLC."""
    mqtt: MqttPart | None
    """What it tells and hears; None for a device that does not speak MQTT."""
    writable: Mapping[str, tuple[str, ...]]
    """Properties that can be wanted: two values each that differ."""


class Expectations(Frozen):
    """What the owner of an app says of it."""

    gateways: Mapping[str, Mapping[str, str]] = field(default_factory=dict[str, Mapping[str, str]])
    """Labels by name."""
    plcs: Mapping[int, Mapping[str, Mapping[int, int]]] = field(
        default_factory=dict[int, Mapping[str, Mapping[int, int]]]
    )
    """Memory by port and table."""
    topics: Mapping[str, Json] = field(default_factory=dict[str, Json])
    """What MQTT devices tell, by topic."""
    desired: Mapping[str, Mapping[str, tuple[str, ...]]] = field(
        default_factory=dict[str, Mapping[str, tuple[str, ...]]]
    )
    ready_s: float = 60.0
    settle_s: float = 180.0
    """After a fault is over until everything is as it should be: two heartbeats and a full backoff of a minute."""
    skip: tuple[str, ...] = ()


class App(Frozen):
    """See the module."""

    name: str
    objects: tuple[JsonObject, ...]
    workloads: tuple[Workload, ...]
    devices: tuple[AppDevice, ...]
    expects: Expectations

    @property
    def namespaces(self) -> Sequence[str]:
        """Those that it needs and does not bring."""
        own = {name_of(obj) for obj in self.objects if str_at(obj, "kind") == "Namespace"}
        return sorted({namespace_of(obj) for obj in self.objects} - own - {"", "default"})

    @property
    def gateways(self) -> Mapping[str, Mapping[str, str]]:
        """Labels by name: those that are expected, those that are named, and one for each selector left over."""
        found: dict[str, Mapping[str, str]] = dict(self.expects.gateways)
        for node in [*(device.node for device in self.devices), *(one.node for one in self.workloads)]:
            if node:
                found.setdefault(node, {})
        for workload in self.workloads:
            if workload.node:
                continue
            if not any(workload.selector.items() <= labels.items() for labels in found.values()):
                found[f"edge-{len(found) + 1}"] = workload.selector
        return found or {"edge-1": {}}

    @property
    def configs(self) -> Sequence[tuple[str, str]]:
        """(namespace, name) of its ConfigMaps that its pods use."""
        there = [
            (namespace_of(obj) or "default", name_of(obj))
            for obj in self.objects
            if str_at(obj, "kind") == "ConfigMap"
        ]
        used = {(one.namespace, name) for one in self.workloads for name in _configs_of(one.spec)}
        return [config for config in there if config in used]


def read_app(path: Path) -> App:
    """Raises `InvalidError`, `NotFoundError`, naming the file, the field and the fix."""
    if not path.exists():
        raise NotFoundError(f"{path}: there is no such file or directory")
    files = (
        [path]
        if path.is_file()
        else sorted(
            child
            for child in path.iterdir()
            if child.suffix in (".yaml", ".yml", ".json") and child.name != EXPECTATIONS
        )
    )
    objects = [obj for file in files for _, obj in objects_of(file)]
    if not objects:
        raise InvalidError(f"{path}: no manifests in it")
    expects = read_expectations((path if path.is_dir() else path.parent) / EXPECTATIONS)
    workloads = tuple(_workload(obj) for obj in objects if str_at(obj, "kind") in WORKLOADS)
    within = [float(text) for obj in objects if (text := annotations_of(obj).get(WITHIN, "")).isdecimal()]
    models = {
        (namespace_of(obj) or "default", name_of(obj)): obj for obj in objects if str_at(obj, "kind") == "DeviceModel"
    }
    return App(
        name=_title(path),
        objects=tuple(objects),
        workloads=workloads,
        devices=tuple(_device(obj, models, expects) for obj in objects if str_at(obj, "kind") == "Device"),
        expects=expects if not within else _with_ready(expects, min(within)),
    )


def _title(path: Path) -> str:
    """The name people know it by: `shop/manifests` is the shop's."""
    resolved = path.resolve()
    stem = resolved.stem if resolved.is_file() else resolved.name
    return resolved.parent.name if stem in ("manifests", "deploy", "k8s") else stem


def _with_ready(expects: Expectations, ready_s: float) -> Expectations:
    return replace(expects, ready_s=ready_s)


def _workload(obj: JsonObject) -> Workload:
    kind = str_at(obj, "kind")
    spec = map_at(obj, "spec") if kind == "Pod" else map_at(obj, "spec", "template", "spec")
    return Workload(
        kind=kind,
        namespace=namespace_of(obj) or "default",
        name=name_of(obj),
        replicas=1 if kind == "Pod" else int_at(obj, "spec", "replicas", default=1),
        labels=_labels(kind, obj),
        selector=str_map_at(spec, "nodeSelector"),
        node=str_at(spec, "nodeName"),
        spec=spec,
    )


def _labels(kind: str, obj: JsonObject) -> Mapping[str, str]:
    if kind == "Pod":
        return {}
    plain = kind == "ReplicationController"
    return str_map_at(obj, "spec", "selector") if plain else str_map_at(obj, "spec", "selector", "matchLabels")


def _configs_of(spec: JsonObject) -> list[str]:
    names = [str_at(volume, "configMap", "name") for volume in maps_at(spec, "volumes")]
    names += [
        str_at(source, "configMap", "name")
        for volume in maps_at(spec, "volumes")
        for source in maps_at(volume, "projected", "sources")
    ]
    for container in maps_at(spec, "containers"):
        names += [str_at(one, "configMapRef", "name") for one in maps_at(container, "envFrom")]
        names += [str_at(one, "valueFrom", "configMapKeyRef", "name") for one in maps_at(container, "env")]
    return [name for name in names if name]


def _device(obj: JsonObject, models: Mapping[tuple[str, str], JsonObject], expects: Expectations) -> AppDevice:
    key = Key(DEVICES, namespace_of(obj) or "default", name_of(obj))
    protocol, port, mqtt = str_at(obj, "spec", "protocol", "protocolName").lower(), 0, None
    try:
        config = device_config(key, obj, models)
        protocol = config.protocol
        if protocol == "modbus":
            endpoint = parse_device(config).endpoint
            if isinstance(endpoint, TcpEndpoint) and endpoint.framing == "tcp" and not endpoint.tls:
                port = endpoint.port
            else:
                protocol = "modbus on a line of its own"  # which nobody plays
        elif protocol == "mqtt":
            mqtt = _mqtt_part(config, expects.topics)
    except SkerryError:
        pass  # the fleet says what is wrong with it, as it would to its owner
    model = models.get((key.namespace, str_at(obj, "spec", "deviceModelRef", "name")), {})
    named = {str_at(prop, "name") for prop in maps_at(obj, "spec", "properties")}
    writable = {
        name: values
        for prop in maps_at(model, "spec", "properties")
        if (name := str_at(prop, "name")) in named and str_at(prop, "accessMode") == "ReadWrite"
        if (values := expects.desired.get(key.name, {}).get(name) or _two_values(prop))
    }
    return AppDevice(
        namespace=key.namespace,
        name=key.name,
        node=str_at(obj, "spec", "nodeName"),
        protocol=protocol,
        plc_port=port,
        mqtt=mqtt,
        writable=writable,
    )


def _mqtt_part(config: DeviceConfig, topics: Mapping[str, Json]) -> MqttPart:
    """Of every topic of its properties something that they can read: a value, a time and a number at their places."""
    device = mqtt_config.parse_device(config, GATEWAYS)
    places: dict[str, dict[Place, Json]] = {}
    obeys: list[tuple[str, str, str, str]] = []
    for prop in device.properties.values():
        if not prop.topic:
            continue
        told = places.setdefault(prop.topic, {})
        match prop.layout.source:
            case Text():
                told[()] = _told_value(prop)
            case JsonPaths(value=value, timestamp=timestamp, sequence=sequence):
                told[value or ()] = _told_value(prop)
                told |= {timestamp: TIME} if timestamp is not None else {}
                told |= {sequence: NUMBER} if sequence is not None else {}
            case _ if prop.topic not in topics:
                raise InvalidError(f"topics[{prop.topic}]: required, as its payload is neither plain text nor JSON")
            case _:
                pass
        if prop.command is not None and prop.command.template is not None:
            path = str_at(prop.config.visitor, "path", default="$")
            obeys.append((prop.command.topic, prop.topic, path, prop.command.template.template))
    return MqttPart(
        broker_port=device.broker.port,
        tells={topic: topics.get(topic, document_of(told)) for topic, told in places.items()},
        obeys=tuple(obeys),
        online=next(((said.topic, said.online) for said in device.availability if said.path is None), None),
    )


def _told_value(prop: mqtt_config.MqttProperty) -> Json:
    """A value as the device tells it."""
    value = _some_value(prop.config)
    if isinstance(value, bool | str) and prop.layout.values:
        return next(iter(prop.layout.values))
    return value


def _some_value(prop: PropertyConfig) -> Json:
    match prop.type:
        case "BOOLEAN":
            return True
        case "INT" | "FLOAT" | "DOUBLE":
            least = prop.minimum if prop.minimum is not None else 1
            return round(least if prop.maximum is None else (least + prop.maximum) / 2)
        case _:
            return "told"


def _two_values(prop: JsonObject) -> tuple[str, ...]:
    """Two whole numbers within the property's range; () where a suite can't know what makes sense."""
    match str_at(prop, "type").upper():
        case "BOOLEAN":
            return ("true", "false")
        case "INT" | "FLOAT" | "DOUBLE":
            low = float(str_at(prop, "minimum") or 1)
            high = float(str_at(prop, "maximum") or max(low + 2, 3))
            first, second = round(low + (high - low) / 3), round(low + (high - low) * 2 / 3)
            return (str(first), str(second)) if low <= first < second <= high else ()
        case _:
            return ()


# --- what the owner expects ---


def read_expectations(path: Path) -> Expectations:
    """Raises `InvalidError` naming the field and the fix."""
    if not path.exists():
        return Expectations()
    try:
        told = cast(Json, yaml.safe_load(path.read_text(encoding="utf-8")))
    except (OSError, yaml.YAMLError) as error:
        raise InvalidError(f"{path}: can't be read: {error}") from error
    if told is None:
        return Expectations()
    if not isinstance(told, dict):
        raise InvalidError(f"{path}: is a map with {', '.join(_FIELDS)}")
    for name in told:
        if name not in _FIELDS:
            raise InvalidError(f"{path}: {name}: no such field; there are {', '.join(_FIELDS)}")
    return Expectations(
        gateways={name: _labels_of(path, told, name) for name in _names(path, told, "gateways")},
        plcs={int(port): _memory(path, told, port) for port in _names(path, told, "plcs")},
        topics=map_at(told, "topics") if _names(path, told, "topics") else {},
        desired={
            device: {prop: _values(path, told, device, prop) for prop in map_at(told, "desired", device)}
            for device in _names(path, told, "desired")
        },
        ready_s=_seconds(path, told, "readyWithinSeconds", Expectations().ready_s),
        settle_s=_seconds(path, told, "settleWithinSeconds", Expectations().settle_s),
        skip=tuple(_texts(path, told, "skip")),
    )


def _names(path: Path, told: JsonObject, name: str) -> list[str]:
    value = told.get(name, {})
    if not isinstance(value, dict):
        raise InvalidError(f"{path}: {name}: is a map")
    texts = [str(one) for one in value]
    if name == "plcs" and not all(text.isdecimal() for text in texts):
        raise InvalidError(f"{path}: plcs: is a map by TCP port")
    return texts


def _labels_of(path: Path, told: JsonObject, gateway: str) -> Mapping[str, str]:
    unknown = sorted({*map_at(told, "gateways", gateway)} - {"labels"})
    if unknown:
        raise InvalidError(f"{path}: gateways.{gateway}.{unknown[0]}: no such field; there is labels, a map")
    return str_map_at(told, "gateways", gateway, "labels")


def _memory(path: Path, told: JsonObject, port: str) -> Mapping[str, Mapping[int, int]]:
    plcs = told["plcs"]
    assert isinstance(plcs, dict)
    memory = plcs.get(port) or plcs.get(cast(str, int(port)))
    tables: dict[str, Mapping[int, int]] = {}
    for table, places in (memory if isinstance(memory, dict) else {}).items():
        if table not in ("holding", "input", "coils", "discrete") or not isinstance(places, dict):
            raise InvalidError(f"{path}: plcs[{port}]: has holding, input, coils and discrete, each a map")
        if not all(str(at).isdecimal() and isinstance(value, int) for at, value in places.items()):
            raise InvalidError(f"{path}: plcs[{port}].{table}: is a map of addresses to whole numbers")
        tables[table] = {int(at): int(cast(int, value)) for at, value in places.items()}
    return tables


def _values(path: Path, told: JsonObject, device: str, prop: str) -> tuple[str, ...]:
    value = map_at(told, "desired", device).get(prop)
    if not isinstance(value, list) or len(value) != 2:
        raise InvalidError(f"{path}: desired.{device}.{prop}: is a list of two values that the device takes")
    return tuple(str(one).lower() if isinstance(one, bool) else str(one) for one in value)


def _seconds(path: Path, told: JsonObject, name: str, default: float) -> float:
    value = told.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int | float) or value <= 0:
        raise InvalidError(f"{path}: {name}: is a number of seconds above 0")
    return float(value)


def _texts(path: Path, told: JsonObject, name: str) -> list[str]:
    value = told.get(name, [])
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
        raise InvalidError(f"{path}: {name}: is a list of names of faults")
    return [str(one) for one in value]
