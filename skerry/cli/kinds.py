"""What a word on the command line means: `pods`, `po`, `pod`, `deployments.apps`, from the server's discovery."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from difflib import get_close_matches

from skerry.cli.client import Server
from skerry.errors import NotFoundError
from skerry.objects.json import JsonObject, bool_at, maps_at, str_at, strs_at
from skerry.objects.scheme import Kind, split_api_version

_AGGREGATED = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json"


def discover(client: Server) -> list[Kind]:
    """Every kind served, in the server's order of preference."""
    return [kind for path in ("/api", "/apis") for kind in _kinds_below(client, path)]


def resolve(client: Server, word: str) -> Kind:
    """The kind that a word names. Raises `NotFoundError` with the nearest words."""
    return named(discover(client), word)


def named(kinds: Sequence[Kind], word: str) -> Kind:
    """The one of these kinds that a word names. Raises `NotFoundError` with the nearest words."""
    wanted = word.lower()
    for kind in kinds:
        if wanted in _names(kind):
            return kind
    near = get_close_matches(wanted, {name for kind in kinds for name in _names(kind)}, n=3)
    hint = f"; did you mean {' or '.join(near)}?" if near else ""
    raise NotFoundError(f"the server knows no kind {word!r}{hint}")


def means(kind: Kind, word: str) -> bool:
    """Whether a word names it."""
    return word.lower() in _names(kind)


def _names(kind: Kind) -> set[str]:
    names = {kind.plural, kind.singular or kind.kind.lower(), kind.kind.lower(), *kind.short_names}
    if kind.group:
        names |= {f"{word}.{kind.group}" for word in (kind.plural, kind.singular or kind.kind.lower())}
        names.add(f"{kind.plural}.{kind.version}.{kind.group}")
    return names


def _kinds_below(client: Server, path: str) -> Iterator[Kind]:
    answer = client.request("GET", path, accept=_AGGREGATED).obj
    if str_at(answer, "kind") != "APIGroupDiscoveryList":
        yield from _plain(client, path, answer)
        return
    for group in maps_at(answer, "items"):
        for version in maps_at(group, "versions"):
            for resource in maps_at(version, "resources"):
                yield Kind(
                    group=str_at(group, "metadata", "name"),
                    version=str_at(version, "version"),
                    kind=str_at(resource, "responseKind", "kind"),
                    plural=str_at(resource, "resource"),
                    singular=str_at(resource, "singularResource"),
                    namespaced=str_at(resource, "scope") == "Namespaced",
                    short_names=tuple(strs_at(resource, "shortNames")),
                    categories=tuple(strs_at(resource, "categories")),
                    verbs=tuple(strs_at(resource, "verbs")),
                    subresources=frozenset(str_at(s, "subresource") for s in maps_at(resource, "subresources")),
                )


def _plain(client: Server, path: str, answer: JsonObject) -> Iterator[Kind]:
    """Unaggregated discovery: one request a group and version (the local agent's API answers so)."""
    versions = strs_at(answer, "versions") or [
        str_at(version, "groupVersion")
        for group in maps_at(answer, "groups")
        for version in maps_at(group, "versions")
    ]
    for group_version in versions:
        group, version = split_api_version(group_version)
        listed = client.request("GET", f"{path}/{group_version}").obj
        for resource in maps_at(listed, "resources"):
            if "/" in str_at(resource, "name"):
                continue
            yield Kind(
                group=group,
                version=version,
                kind=str_at(resource, "kind"),
                plural=str_at(resource, "name"),
                singular=str_at(resource, "singularName"),
                namespaced=bool_at(resource, "namespaced"),
                short_names=tuple(strs_at(resource, "shortNames")),
                categories=tuple(strs_at(resource, "categories")),
                verbs=tuple(strs_at(resource, "verbs")),
            )
