"""What importers make: a device and its model being put together, and notes of what could not be carried over.

Pure. Nothing is guessed: what a source does not say is left out, and what it says and Skerry can't do is a note that
names it. What comes out is judged as any manifest is before it is printed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from skerry.errors import BadRequestError, InvalidError
from skerry.objects.json import Json, JsonObject

PROPERTIES_MAX: Final = 4096
"""Of a draft: as many as a unit has places is more than any device has."""
API: Final = "devices.kubeedge.io/v1beta1"
PREFIXES: Final[Mapping[str, str]] = {"coil": "co", "discrete": "di", "holding": "hr", "input": "ir"}


def yaml_documents(text: str, *, tags: bool = False) -> list[Json]:
    """The documents of a YAML text (see `read_documents`). Raises `InvalidError`."""
    from skerry.objects.yaml_reader import read_documents  # a heavy import for those who import YAML

    try:
        return read_documents(text, tags=tags)
    except BadRequestError as error:
        raise InvalidError(f"it is not YAML: {error}") from error


def yaml_maps(text: str) -> list[JsonObject]:
    """Those of them that are maps. Raises `InvalidError`."""
    return [doc for doc in yaml_documents(text) if isinstance(doc, dict)]


def whole(value: Json) -> int | None:
    """A number that may be written as a text, as some tools do (`0x8000`); None where it is none that a register, a
    count or a port can have."""
    if isinstance(value, str) and len(value) <= 20:
        try:
            value = int(value, 0)
        except ValueError:
            return None
    return value if isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**64 else None


def name_of_text(text: str) -> str:
    """A name as Kubernetes has them (RFC 1123), made of any text."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:63].strip("-") or "device"


def property_name(text: str) -> str:
    """A property's name: what is no letter or digit becomes `_`."""
    return re.sub(r"[^A-Za-z0-9_-]+", "_", text.strip()).strip("_") or "value"


@dataclass(slots=True, kw_only=True)
class Draft:
    """One device with a model of its own."""

    name: str
    endpoint: JsonObject = field(default_factory=dict[str, Json])
    """`spec.protocol.configData`; empty where the source describes a type only."""
    description: str = ""
    properties: list[JsonObject] = field(default_factory=list[JsonObject])
    cycles_ms: dict[str, int] = field(default_factory=dict[str, int])
    """`collectCycle` by property, where the source says it."""
    notes: list[str] = field(default_factory=list[str])

    def add(
        self,
        name: str,
        type: str,
        data: JsonObject,
        *,
        writable: bool = False,
        unit: str = "",
        minimum: Json = None,
        maximum: Json = None,
        description: str = "",
        cycle_ms: int = 0,
    ) -> None:
        """One property; a second of the same name gets a number."""
        if len(self.properties) == PROPERTIES_MAX:
            raise InvalidError(f"{self.name}: it has more than {PROPERTIES_MAX} properties")
        taken = {str(prop["name"]) for prop in self.properties}
        given = property_name(name)
        numbered = (f"{given}_{number}" for number in range(2, PROPERTIES_MAX + 2))
        unique = given if given not in taken else next(each for each in numbered if each not in taken)
        if unique != name:
            self.notes.append(f"{name!r} is called {unique!r}")
        made: JsonObject = {"name": unique, "type": type, "accessMode": "ReadWrite" if writable else "ReadOnly"}
        made |= {"description": description} if description else {}
        made |= {"unit": unit} if unit else {}
        made |= {"minimum": str(minimum)} if minimum is not None else {}
        made |= {"maximum": str(maximum)} if maximum is not None else {}
        made["visitors"] = {"protocolName": "modbus", "configData": data}
        self.properties.append(made)
        if cycle_ms:
            self.cycles_ms[unique] = cycle_ms

    def objects(self, *, model: str, node: str, namespace: str) -> list[JsonObject]:
        """The DeviceModel, and the Device where the source says how it is reached."""
        of_model: JsonObject = {
            "apiVersion": API,
            "kind": "DeviceModel",
            "metadata": {"name": model, "namespace": namespace},
            "spec": {"protocol": "modbus", "properties": [*self.properties]},
        }
        if not self.endpoint:
            return [of_model]
        entries: list[Json] = []
        for prop in self.properties:
            name = str(prop["name"])
            cycle = self.cycles_ms.get(name)
            entries.append({"name": name, **({"collectCycle": cycle} if cycle else {})})
        spec: JsonObject = {
            "deviceModelRef": {"name": model},
            "protocol": {"protocolName": "modbus", "configData": self.endpoint},
            "properties": entries,
        }
        spec |= {"nodeName": node} if node else {}
        device: JsonObject = {
            "apiVersion": API,
            "kind": "Device",
            "metadata": {"name": name_of_text(self.name), "namespace": namespace},
            "spec": spec,
        }
        return [of_model, device]


def scaled(data: JsonObject, *, scale: Json = None, offset: Json = None) -> bool:
    """Put scale and offset where they do something; whether they do."""
    if scale not in (None, "", 1, 1.0, "1", "1.0"):
        data["scale"] = scale
    if offset not in (None, "", 0, 0.0, "0", "0.0"):
        data["valueOffset"] = offset
    return "scale" in data or "valueOffset" in data


def type_of(raw: str, *, is_scaled: bool) -> str:
    """The property's type for what its registers hold."""
    if raw == "string":
        return "STRING"
    if raw in ("float16", "float32"):
        return "FLOAT"
    return "DOUBLE" if is_scaled or raw == "float64" else "INT"
