"""Which form an answer takes: the Accept header against what can be made. Pure; keeps nothing.

RFC 9110 §12.5.1 with Kubernetes' parameters: `as=Table;v=v1;g=meta.k8s.io` asks for a transformation, `v=` and
`as=` of discovery likewise. The first acceptable clause wins among equals in weight. Protobuf is never made;
every client that prefers it also takes JSON.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Final, Literal

from skerry.forms.status import NotAcceptableError
from skerry.frozen import Frozen

Transform = Literal["", "Table", "PartialObjectMetadata", "PartialObjectMetadataList"]
Encoding = Literal["json", "yaml"]

MEDIA_TYPES: Final[Mapping[Encoding, str]] = {"json": "application/json", "yaml": "application/yaml"}
_META: Final = "meta.k8s.io"
_TRANSFORMS: Final[Mapping[str, Transform]] = {
    "Table": "Table",
    "PartialObjectMetadata": "PartialObjectMetadata",
    "PartialObjectMetadataList": "PartialObjectMetadataList",
}
_ENCODINGS: Final[Mapping[str, Encoding]] = {
    "application/json": "json",
    "application/yaml": "yaml",
    "application/*": "json",
    "*/*": "json",
}
_CLAUSES_MAX: Final = 32


class Clause(Frozen, kw_only=False):
    """One alternative of an Accept header."""

    media: str
    parameters: tuple[tuple[str, str], ...]
    weight: float

    def parameter(self, name: str) -> str:
        return next((value for key, value in self.parameters if key == name), "")


class Form(Frozen):
    """How to write an answer."""

    encoding: Encoding = "json"
    transform: Transform = ""
    version: str = ""
    """Of the transformation's group meta.k8s.io: v1 or v1beta1."""
    pretty: bool = False


@lru_cache(maxsize=512)
def parse_accept(header: str) -> tuple[Clause, ...]:
    """The clauses, heaviest first, in their order among equals; an empty header accepts everything."""
    clauses: list[Clause] = []
    for text in (header or "*/*").split(",")[:_CLAUSES_MAX]:
        media, *rest = (part.strip() for part in text.split(";"))
        pairs = [
            (key.strip().lower(), value.strip().strip('"')) for key, _, value in (p.partition("=") for p in rest)
        ]
        weight = next((_weight(value) for key, value in pairs if key == "q"), 1.0)
        if media and weight > 0:
            clauses.append(Clause(media.lower(), tuple(pair for pair in pairs if pair[0] != "q"), weight))
    return tuple(sorted(clauses, key=lambda clause: -clause.weight))


def _weight(text: str) -> float:
    try:
        return min(1.0, max(0.0, float(text)))
    except ValueError:
        return 1.0


@lru_cache(maxsize=512)
def form_for(header: str, *, tables: bool, pretty: bool = False) -> Form:
    """The form of an object, a list or a watch. `tables` False: this answer has no tabular or partial form.

    Raises `NotAcceptableError`.
    """
    for clause in parse_accept(header):
        encoding = _ENCODINGS.get(clause.media)
        if encoding is None:
            continue
        asked = clause.parameter("as")
        if not asked:
            return Form(encoding=encoding, pretty=pretty)
        version = clause.parameter("v")
        transform = _TRANSFORMS.get(asked)
        if tables and transform and clause.parameter("g") == _META and version in ("v1", "v1beta1"):
            return Form(encoding=encoding, transform=transform, version=version, pretty=pretty)
    raise NotAcceptableError(
        "only the following media types are accepted: application/json, application/yaml, "
        "application/vnd.kubernetes.protobuf"
    )


def discovery_version(header: str) -> str:
    """The version of aggregated discovery to answer with: v2, v2beta1, or "" for the plain documents.

    kubectl 1.26 to 1.29 understand v2beta1 alone; a client that asks for neither gets what every client reads.
    """
    for clause in parse_accept(header):
        if clause.media not in ("application/json", "*/*", "application/*"):
            continue
        if clause.parameter("as") != "APIGroupDiscoveryList":
            return ""
        if clause.parameter("g") == "apidiscovery.k8s.io" and clause.parameter("v") in ("v2", "v2beta1"):
            return clause.parameter("v")
    return ""


def wants_openapi_protobuf(header: str) -> bool:
    """Does the client of /openapi/v2 ask for the gnostic document before JSON?"""
    for clause in parse_accept(header):
        if clause.media.startswith("application/com.github.proto-openapi.spec.v2"):
            return True
        if clause.media in _ENCODINGS:
            return False
    return False


def takes_gzip(header: str) -> bool:
    """Accept-Encoding with gzip among it."""
    return any(clause.media in ("gzip", "*") for clause in parse_accept(header)) if header else False
