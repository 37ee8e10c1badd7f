"""What a URL asks for: the resource, the verb, and the options that come with them. Pure; keeps nothing.

Kubernetes' own reading of paths (apiserver `pkg/endpoints/request/requestinfo.go`): `/api/v1/...` is the core
group, `/apis/GROUP/VERSION/...` every other, and `namespaces/NAME` before a resource says where.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final
from urllib.parse import unquote

from skerry.errors import NotFoundError
from skerry.frozen import Frozen, field
from skerry.objects.select import parse_fields

_NAMESPACE_SUBRESOURCES: Final = frozenset({"status", "finalize"})
_PATH_LENGTH_MAX: Final = 4096


class Target(Frozen):
    """A resource path, taken apart. Names are unescaped."""

    group: str
    version: str
    plural: str
    namespace: str = ""
    name: str = ""
    subresource: str = ""
    rest: str = ""
    """What is behind a proxy subresource, as it stands in the request line."""


class Query(Frozen):
    """The query, as far as it steers a request; several values of one name keep the first."""

    values: Mapping[str, str]
    fields: tuple[str, ...] = ()
    """Every `fieldSelector`: kr8s sends the same one twice."""
    several: Mapping[str, tuple[str, ...]] = field(default_factory=dict[str, tuple[str, ...]])
    """All values of names that come more than once."""

    def text(self, name: str) -> str:
        return self.values.get(name, "")

    def every(self, name: str) -> tuple[str, ...]:
        """All values, in order."""
        one = self.values.get(name)
        return self.several.get(name, () if one is None else (one,))

    def flag(self, name: str, default: str = "0") -> bool:
        """True as Go's ParseBool reads it, and for a bare `?watch`. `default`: what a missing one reads as."""
        value = self.values.get(name, default or "0")
        return value.lower() not in ("0", "f", "false")


def parse_query(raw: str) -> Query:
    """The query, with + as a space and the first of several values; bounded by aiohttp's limit on a line."""
    values: dict[str, str] = {}
    fields: list[str] = []
    several: dict[str, list[str]] = {}
    for part in raw.split("&") if raw else ():
        name, _, value = part.partition("=")
        name, value = unquote(name.replace("+", " ")), unquote(value.replace("+", " "))
        if name == "fieldSelector" and value:
            fields.append(value)
        if name in values:
            several.setdefault(name, [values[name]]).append(value)
        values.setdefault(name, value)
    return Query(values=values, fields=tuple(fields), several={name: tuple(given) for name, given in several.items()})


def clean_path(path: str) -> str:
    """Without a trailing slash; "" is the root. Raises `NotFoundError` for what can't be a path of ours."""
    if len(path) > _PATH_LENGTH_MAX:
        raise NotFoundError("the path is too long")
    return path.rstrip("/")


def is_api(path: str) -> bool:
    """Inside /api or /apis, where errors are Status objects and not plain text."""
    return path in ("/api", "/apis") or path.startswith(("/api/", "/apis/"))


def target_of(path: str) -> Target | None:
    """The resource a path names; None for discovery documents and everything that is no resource."""
    steps = path.split("/")[1:]
    if any(step == "" for step in steps):
        return None
    match steps:
        case ["api", version, *rest] if rest:
            return _resource("", version, [unquote(step) for step in rest])
        case ["apis", group, version, *rest] if rest:
            return _resource(unquote(group), unquote(version), [unquote(step) for step in rest])
        case _:
            return None


_PROXIED: Final = re.compile(r"/api/v1/(?:namespaces/([^/]+)/(pods|services)|(nodes))/([^/]+)/proxy(/.*)?", re.DOTALL)


def proxied_of(path: str) -> Target | None:
    """The proxy subresource that a path names, as it stands in the request line; None for every other one.

    What is behind it is somebody else's: empty segments, escapes and slashes at the end stay as they are.
    """
    found = _PROXIED.fullmatch(path)
    if found is None or len(path) > _PATH_LENGTH_MAX:
        return None
    namespace, inside, over, name, rest = found.groups()
    return Target(
        group="",
        version="v1",
        plural=inside or over,
        namespace=unquote(namespace or ""),
        name=unquote(name),
        subresource="proxy",
        rest=rest or "",
    )


def _resource(group: str, version: str, steps: list[str]) -> Target | None:
    match steps:
        case ["namespaces"]:
            return Target(group=group, version=version, plural="namespaces")
        case ["namespaces", name]:
            return Target(group=group, version=version, plural="namespaces", name=name)
        case ["namespaces", name, sub] if sub in _NAMESPACE_SUBRESOURCES:
            return Target(group=group, version=version, plural="namespaces", name=name, subresource=sub)
        case ["namespaces", namespace, plural, *rest]:
            found = _object(plural, rest)
            return found and Target(
                group=group,
                version=version,
                plural=plural,
                namespace=namespace,
                name=found.name,
                subresource=found.subresource,
            )
        case [plural, *rest]:
            found = _object(plural, rest)
            return found and Target(
                group=group, version=version, plural=plural, name=found.name, subresource=found.subresource
            )
        case _:
            return None


def _object(plural: str, rest: list[str]) -> Target | None:
    match rest:
        case []:
            return Target(group="", version="", plural=plural)
        case [name]:
            return Target(group="", version="", plural=plural, name=name)
        case [name, subresource]:
            return Target(group="", version="", plural=plural, name=name, subresource=subresource)
        case _:
            return None


_VERBS: Final[Mapping[str, str]] = {"POST": "create", "PUT": "update", "PATCH": "patch"}


def verb_of(method: str, target: Target, query: Query) -> str:
    """The verb, as authorization and discovery name it; "" for a method that no resource knows."""
    match method:
        case "OPTIONS" if target.subresource == "proxy":
            return "options"
        case "GET" | "HEAD":
            if target.name and not (query.flag("watch") and not target.subresource):
                return "get"
            return "watch" if query.flag("watch") else "list"
        case "DELETE":
            return "delete" if target.name else "deletecollection"
        case _:
            return _VERBS.get(method, "")


def asked_name(target: Target, verb: str, query: Query) -> str:
    """The name that permission is asked for: a list or watch of one name (`metadata.name=x`) asks for that one."""
    if target.name or verb not in ("list", "watch", "deletecollection"):
        return target.name
    selector = query.text("fieldSelector")
    if "metadata.name" not in selector:
        return ""
    paths = [part.split("=")[0].rstrip("!") for part in selector.split(",")]
    return parse_fields(selector, paths).exactly("metadata.name") or ""
