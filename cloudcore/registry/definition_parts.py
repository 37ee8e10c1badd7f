"""The pieces of which OpenAPI definitions of our own kinds are made, in the form of Kubernetes' own definitions.

Keeps no data; nothing to lose in a crash.
"""

from __future__ import annotations

from typing import Final

from skerry.frozen import Frozen
from skerry.objects.json import Json, JsonObject, map_at

_META: Final = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"
_CONDITION: Final = "io.k8s.apimachinery.pkg.apis.meta.v1.Condition"


class GroupParts(Frozen):
    """What the definitions of one group version share."""

    prefix: str
    """Of the names of its definitions: `io.kubeedge.devices.v1beta1.`."""
    group: str
    version: str

    def kind(self, kind: str, description: str, /, **fields: JsonObject) -> JsonObject:
        definition = obj(
            description,
            apiVersion=string("Group and version of this representation of the object."),
            kind=string("Kind of the object."),
            metadata={"$ref": f"#/$defs/{_META}", "description": "Standard object's metadata."},
        )
        map_at(definition, "properties").update(fields)
        meant: JsonObject = {"group": self.group, "version": self.version, "kind": kind}
        definition["x-kubernetes-group-version-kind"] = [meant]
        return definition

    def list_kind(self, kind: str) -> JsonObject:
        items: JsonObject = {
            "type": "array",
            "items": {"$ref": f"#/$defs/{self.prefix}{kind}"},
            "description": "The objects.",
        }
        definition = obj(
            f"A list of {kind} objects.",
            required=("items",),
            apiVersion=string("Group and version of this representation of the list."),
            kind=string("Kind of the list."),
            metadata={
                "$ref": "#/$defs/io.k8s.apimachinery.pkg.apis.meta.v1.ListMeta",
                "description": "Standard list metadata.",
            },
            items=items,
        )
        meant: JsonObject = {"group": self.group, "version": self.version, "kind": f"{kind}List"}
        definition["x-kubernetes-group-version-kind"] = [meant]
        return definition

    def ref(self, name: str, description: str) -> JsonObject:
        return {"$ref": f"#/$defs/{self.prefix}{name}", "description": description}

    def list_of(self, name: str, description: str) -> JsonObject:
        return {
            "type": "array",
            "items": {"$ref": f"#/$defs/{self.prefix}{name}"},
            "description": description,
            "x-kubernetes-list-type": "atomic",
        }


def conditions(description: str) -> JsonObject:
    """Of a status, one of each type."""
    return {
        "type": "array",
        "items": {"$ref": f"#/$defs/{_CONDITION}"},
        "description": description,
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["type"],
    }


def obj(description: str, /, *, required: tuple[str, ...] = (), **fields: JsonObject) -> JsonObject:
    definition: JsonObject = {"type": "object", "description": description, "properties": {**fields}}
    if required:
        definition["required"] = list(required)
    return definition


def string(description: str, *allowed: str) -> JsonObject:
    schema: JsonObject = {"type": "string", "description": description}
    if allowed:
        values: list[Json] = [*allowed]
        schema["enum"] = values
    return schema


def strings(description: str) -> JsonObject:
    return {"type": "object", "additionalProperties": {"type": "string"}, "description": description}


def strings_list(description: str) -> JsonObject:
    return {"type": "array", "items": {"type": "string"}, "description": description}


def int64(description: str) -> JsonObject:
    return {"type": "integer", "format": "int64", "description": description}


def int32(description: str) -> JsonObject:
    return {"type": "integer", "format": "int32", "description": description}


def boolean(description: str) -> JsonObject:
    return {"type": "boolean", "description": description}


def free(description: str) -> JsonObject:
    return {"type": "object", "description": description, "x-kubernetes-preserve-unknown-fields": True}
