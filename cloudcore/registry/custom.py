"""Custom kinds: what a CustomResourceDefinition says, made usable, and the table of those served now.

Keeps, in memory, one `CustomKind` for each served version of each established definition; they are put in and
taken out by the definitions' controller and are made again from the store after a crash.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from skerry.frozen import Frozen
from skerry.objects.json import JsonObject, bool_at, int_at, map_at, maps_at, str_at, strs_at
from skerry.objects.meta import name_of
from skerry.objects.scheme import Kind, Scheme

RESOURCE: Final = "customresourcedefinitions.apiextensions.k8s.io"
CLEANUP_FINALIZER: Final = "customresourcecleanup.apiextensions.k8s.io"


class Column(Frozen):
    """An additional printer column."""

    name: str
    type: str
    json_path: str
    format: str
    description: str
    priority: int


class Scale(Frozen):
    """Where the scale subresource finds its numbers; paths as steps, `selector` () for none."""

    replicas: tuple[str, ...]
    status_replicas: tuple[str, ...]
    selector: tuple[str, ...]


class CustomKind(Frozen):
    """One served version of a definition."""

    kind: Kind
    schema: JsonObject
    """Its structural schema; {"x-kubernetes-preserve-unknown-fields": true, ...} where anything goes."""
    columns: tuple[Column, ...]
    scale: Scale | None
    deprecation: str
    """The warning that its users get; "" for none."""


def kinds_of(crd: JsonObject) -> tuple[CustomKind, ...]:
    """The served versions of a definition, the most preferred first (`version_rank`)."""
    versions = [version for version in maps_at(crd, "spec", "versions") if bool_at(version, "served")]
    versions.sort(key=lambda version: version_rank(str_at(version, "name")))
    return tuple(_custom_kind(crd, version) for version in versions)


def storage_version(crd: JsonObject) -> str:
    """The version in which objects are kept."""
    return next((str_at(v, "name") for v in maps_at(crd, "spec", "versions") if bool_at(v, "storage")), "")


def version_rank(version: str) -> tuple[int, int, int, str]:
    """Order of Kubernetes versions: v2, v1, v2beta1, v1beta2, v1alpha1, then others by name."""
    major, stage, minor = _split_version(version)
    if not major:
        return (3, 0, 0, version)
    return ({"": 0, "beta": 1, "alpha": 2}[stage], -major, -minor, version)


def _split_version(version: str) -> tuple[int, str, int]:
    """(2, "beta", 1) of v2beta1; (0, "", 0) of what is no Kubernetes version."""
    rest = version.removeprefix("v")
    for stage in ("beta", "alpha", ""):
        major, found, minor = rest.partition(stage) if stage else (rest, "", "")
        good = version.startswith("v") and major.isdecimal() and (minor.isdecimal() if found else stage == "")
        if good and not major.startswith("0"):
            return int(major), found, int(minor or 0)
    return 0, "", 0


def _custom_kind(crd: JsonObject, version: JsonObject) -> CustomKind:
    spec = map_at(crd, "spec")
    # Accepted names, not wanted ones: another definition may have them.
    names = map_at(crd, "status", "acceptedNames")
    if not str_at(names, "plural"):
        names = map_at(spec, "names")
    subresources = map_at(version, "subresources")
    name, stored = str_at(version, "name"), storage_version(crd)
    scale = subresources.get("scale")
    kind = Kind(
        group=str_at(spec, "group"),
        version=name,
        kind=str_at(names, "kind"),
        plural=str_at(names, "plural"),
        singular=str_at(names, "singular"),
        namespaced=str_at(spec, "scope") == "Namespaced",
        short_names=tuple(strs_at(names, "shortNames")),
        categories=tuple(strs_at(names, "categories")),
        subresources=frozenset(name for name in ("status", "scale") if name in subresources),
        unconditional_update=False,
        strategic_patch=False,
        selectable=tuple(str_at(f, "jsonPath").removeprefix(".") for f in maps_at(version, "selectableFields")),
        custom=True,
        stored_version="" if stored == name else stored,
    )
    return CustomKind(
        kind=kind,
        schema=map_at(version, "schema", "openAPIV3Schema"),
        columns=tuple(_column(column) for column in maps_at(version, "additionalPrinterColumns")),
        scale=_scale(scale) if isinstance(scale, dict) else None,
        deprecation=_deprecation(kind, version),
    )


def _column(column: JsonObject) -> Column:
    return Column(
        name=str_at(column, "name"),
        type=str_at(column, "type"),
        json_path=str_at(column, "jsonPath"),
        format=str_at(column, "format"),
        description=str_at(column, "description"),
        priority=int_at(column, "priority"),
    )


def _scale(scale: JsonObject) -> Scale:
    return Scale(
        replicas=_steps(str_at(scale, "specReplicasPath")),
        status_replicas=_steps(str_at(scale, "statusReplicasPath")),
        selector=_steps(str_at(scale, "labelSelectorPath")),
    )


def _steps(path: str) -> tuple[str, ...]:
    return tuple(step for step in path.split(".") if step)


def _deprecation(kind: Kind, version: JsonObject) -> str:
    if not bool_at(version, "deprecated"):
        return ""
    return str_at(version, "deprecationWarning") or f"{kind.api_version} {kind.kind} is deprecated"


class CustomKinds:
    """The custom kinds served now, kept in step with a scheme."""

    def __init__(self, scheme: Scheme) -> None:
        self._scheme = scheme
        self._by_definition: dict[str, tuple[CustomKind, ...]] = {}
        self._by_kind: dict[tuple[str, str, str], CustomKind] = {}
        self.generation = 0
        """Rises with every change: whoever publishes the kinds looks here."""

    def serve(self, crd: JsonObject) -> bool:
        """Serve a definition as it is now; True when that changed anything."""
        name, kinds = name_of(crd), kinds_of(crd)
        if self._by_definition.get(name) == kinds:
            return False
        self._withdraw(name)
        self._by_definition[name] = kinds
        for custom in kinds:
            self._by_kind[custom.kind.group, custom.kind.version, custom.kind.kind] = custom
            self._scheme.add(custom.kind)
        self.generation += 1
        return True

    def withdraw(self, name: str) -> bool:
        """Serve a definition no more; True when it was."""
        if name not in self._by_definition:
            return False
        self._withdraw(name)
        self.generation += 1
        return True

    def _withdraw(self, name: str) -> None:
        for custom in self._by_definition.pop(name, ()):
            self._by_kind.pop((custom.kind.group, custom.kind.version, custom.kind.kind), None)
            self._scheme.remove(custom.kind)

    def of(self, kind: Kind) -> CustomKind | None:
        return self._by_kind.get((kind.group, kind.version, kind.kind))

    def definitions(self) -> tuple[str, ...]:
        """Names of the definitions served now."""
        return tuple(self._by_definition)

    def __iter__(self) -> Iterator[CustomKind]:
        return iter(tuple(self._by_kind.values()))
