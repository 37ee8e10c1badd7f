"""Where the shapes of built-in kinds come from: OpenAPI definitions, loaded once when first asked for.

The PyPI package `kubernetes-validate` carries Kubernetes' own definitions as data (Apache-2.0); its code is
never imported. Its additions (nullability, an enum on apiVersion and kind) are taken off again. KubeEdge's
devices and Skerry's own kinds are added in the same form. The document is read-only after loading; a crash leaves
nothing.
"""

from __future__ import annotations

import importlib.util
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Final, cast

import orjson

from cloudcore.registry.application_definitions import application_definitions
from cloudcore.registry.command_definitions import command_definitions
from cloudcore.registry.device_definitions import device_definitions
from cloudcore.registry.device_rule_definitions import device_rule_definitions
from cloudcore.registry.federation_definitions import federation_definitions
from cloudcore.registry.gslb_definitions import gslb_definitions
from cloudcore.registry.metrics_definitions import metrics_definitions
from cloudcore.registry.multicluster_dns_definitions import multicluster_dns_definitions
from cloudcore.registry.rule_definitions import rule_definitions
from cloudcore.registry.sink_definitions import sink_definitions
from skerry.objects.json import Json, JsonObject, map_at, maps_at, str_at
from skerry.objects.scheme import Kind

KUBERNETES_MINOR: Final = "1.36"
"""The Kubernetes whose API is spoken: of definitions, field numbers and what `/version` says."""
_DOCUMENT: Final = f"kubernetes-json-schema/v{KUBERNETES_MINOR}.0-local/_definitions.json"
REF: Final = "#/$defs/"
OBJECT_META: Final = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"
QUANTITY: Final = "io.k8s.apimachinery.pkg.api.resource.Quantity"
INT_OR_STRING: Final = "io.k8s.apimachinery.pkg.util.intstr.IntOrString"


class Definitions:
    """Definitions by name (`io.k8s.api.apps.v1.Deployment`), in plain OpenAPI."""

    def __init__(self, raw: dict[str, JsonObject]) -> None:
        self.raw = raw
        """As carried; `$ref`s are `#/$defs/NAME`. Read-only."""
        self._plain: dict[str, JsonObject] = {}

    def __contains__(self, name: str) -> bool:
        return name in self.raw

    def plain(self, name: str) -> JsonObject:
        """One definition without the carrier's additions; `$ref`s still `#/$defs/NAME`."""
        found = self._plain.get(name)
        if found is None:
            found = cast(JsonObject, _plain(self.raw[name]))
            for field in ("apiVersion", "kind"):
                # An enum here is the carrier's own; Kubernetes' definitions have none.
                map_at(found, "properties", field).pop("enum", None)
            self._plain[name] = found
        return found

    @cached_property
    def _by_kind(self) -> dict[tuple[str, str, str], str]:
        names: dict[tuple[str, str, str], str] = {}
        for name, definition in self.raw.items():
            meant = maps_at(definition, "x-kubernetes-group-version-kind")
            # Definitions shared by all groups (DeleteOptions, WatchEvent) name every group version.
            if len(meant) == 1:
                gvk = meant[0]
                names[str_at(gvk, "group"), str_at(gvk, "version"), str_at(gvk, "kind")] = name
        return names

    def name_of(self, kind: Kind) -> str | None:
        """The definition of a kind; None for a kind that has none (custom resources)."""
        return self._by_kind.get((kind.group, kind.version, kind.kind))

    def name_of_kind(self, group: str, version: str, kind: str) -> str | None:
        """The same for a kind that is no resource of its own (Scale, Eviction, DeleteOptions)."""
        return self._by_kind.get((group, version, kind)) or _SHARED.get(kind)


_SHARED: Final = {
    "DeleteOptions": "io.k8s.apimachinery.pkg.apis.meta.v1.DeleteOptions",
}


@lru_cache(maxsize=1)
def definitions() -> Definitions:
    """The built-in definitions: about 20 ms and 5 MB at the first call, shared afterwards."""
    spec = importlib.util.find_spec("kubernetes_validate")
    assert spec is not None, "kubernetes-validate is a dependency of the cloud"
    assert spec.submodule_search_locations, "kubernetes-validate is a package"
    document: Json = orjson.loads(Path(spec.submodule_search_locations[0], _DOCUMENT).read_bytes())
    raw = cast(dict[str, JsonObject], map_at(document, "$defs"))
    own = device_definitions() | rule_definitions() | command_definitions() | sink_definitions() | gslb_definitions()
    own |= federation_definitions() | multicluster_dns_definitions()
    return Definitions(raw | own | application_definitions() | device_rule_definitions() | metrics_definitions())


def _plain(schema: Json) -> Json:
    """Take off the added nullability, wherever a schema may stand."""
    if isinstance(schema, list):
        return [_plain(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    plain: JsonObject = {name: _plain(value) for name, value in schema.items()}
    types = plain.get("type")
    if isinstance(types, list):
        kept = [name for name in types if name != "null"]
        assert len(kept) == 1, "the carrier adds null to one type"
        plain["type"] = kept[0]
    return plain
