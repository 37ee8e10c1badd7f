"""Which kinds there are, as clients ask for it: plain lists and the aggregated form. Pure functions of the scheme.

Sources: metav1 APIGroupList/APIResourceList, apidiscovery.k8s.io v2 (and v2beta1, the same body, which is all that
kubectl 1.26 to 1.29 understand). The documents are made once for each set of kinds; nothing else is kept.
"""

from __future__ import annotations

import gzip
import hashlib
import platform
import re
from collections.abc import Sequence
from typing import Final

from skerry.frozen import Frozen
from skerry.objects.json import Json, JsonObject, encode_object
from skerry.objects.scheme import Kind, Scheme

_READ_WRITE: Final = ("get", "patch", "update")


class Document(Frozen):
    """A prepared answer that changes seldom."""

    body: bytes
    gzipped: bytes
    media_type: str
    etag: str
    """With its quotes."""


class Sub(Frozen):
    """How a subresource shows in discovery; "" means the kind's own."""

    verbs: tuple[str, ...]
    group: str = ""
    version: str = ""
    kind: str = ""


SUBRESOURCES: Final[dict[str, Sub]] = {
    "status": Sub(verbs=_READ_WRITE),
    "scale": Sub(verbs=_READ_WRITE, group="autoscaling", version="v1", kind="Scale"),
    "approval": Sub(verbs=_READ_WRITE),
    "finalize": Sub(verbs=("update",)),
    "binding": Sub(verbs=("create",), version="v1", kind="Binding"),
    "eviction": Sub(verbs=("create",), group="policy", version="v1", kind="Eviction"),
    "log": Sub(verbs=("get",)),
    "exec": Sub(verbs=("create", "get"), kind="PodExecOptions"),
    "attach": Sub(verbs=("create", "get"), kind="PodAttachOptions"),
    "portforward": Sub(verbs=("create", "get"), kind="PodPortForwardOptions"),
    "proxy": Sub(verbs=("create", "delete", "get", "patch", "update"), kind="{kind}ProxyOptions"),
    "ephemeralcontainers": Sub(verbs=_READ_WRITE),
    "resize": Sub(verbs=_READ_WRITE),
    "desiredlog": Sub(verbs=("get",), group="skerry.dev", version="v1", kind="DesiredLog"),
    "history": Sub(verbs=("get",), group="skerry.dev", version="v1", kind="DeviceHistory"),
    "explain": Sub(verbs=("get",), group="skerry.dev", version="v1", kind="DeviceExplanation"),
    "line": Sub(verbs=("get",), group="skerry.dev", version="v1", kind="DeviceLine"),
    "checkup": Sub(verbs=("get",), group="skerry.dev", version="v1", kind="DeviceCheckup"),
    "read": Sub(verbs=("create",), group="skerry.dev", version="v1", kind="DeviceReading"),
    "discovery": Sub(verbs=("get",), group="skerry.dev", version="v1", kind="NodeDiscovery"),
    "traffic": Sub(verbs=("get",), group="skerry.dev", version="v1", kind="NodeTraffic"),
    "token": Sub(verbs=("create",), group="authentication.k8s.io", version="v1", kind="TokenRequest"),
}


class Discovery:
    """Documents for the kinds served now."""

    def __init__(self, scheme: Scheme) -> None:
        self._scheme = scheme
        self._made_for: tuple[Kind, ...] = ()
        self._documents: dict[tuple[str, str], Document | None] = {}

    def document(self, path: str, aggregated: str) -> Document | None:
        """`/api`, `/apis`, `/api/v1`, `/apis/G`, `/apis/G/V`; None where there is no such group or version.

        `aggregated` is the version of the aggregated form ("" for the plain one), for `/api` and `/apis` alone.
        """
        kinds = tuple(self._scheme)
        if kinds != self._made_for:
            self._made_for = kinds
            self._documents = {}
        aggregated = aggregated if path in ("/api", "/apis") else ""
        if (path, aggregated) not in self._documents:
            if len(self._documents) > 1000:  # paths that do not exist are remembered too
                self._documents.clear()
            self._documents[path, aggregated] = self._make(path, aggregated, kinds)
        return self._documents[path, aggregated]

    def _make(self, path: str, aggregated: str, kinds: Sequence[Kind]) -> Document | None:
        if aggregated:
            return _document(aggregate(kinds, core=path == "/api", version=aggregated), _aggregated_type(aggregated))
        obj = plain(kinds, path)
        return None if obj is None else _document(obj, "application/json")


def _aggregated_type(version: str) -> str:
    """The parameters tell clients how to parse: without them they read it as the plain form."""
    return f"application/json;g=apidiscovery.k8s.io;v={version};as=APIGroupDiscoveryList"


def _document(obj: JsonObject, media_type: str) -> Document:
    body = encode_object(obj) + b"\n"
    etag = f'"{hashlib.sha512(body).hexdigest().upper()}"'
    return Document(body=body, gzipped=gzip.compress(body, 6, mtime=0), media_type=media_type, etag=etag)


def plain(kinds: Sequence[Kind], path: str) -> JsonObject | None:
    """The unaggregated documents."""
    match path.split("/")[1:]:
        case ["api"]:
            address: JsonObject = {"clientCIDR": "0.0.0.0/0", "serverAddress": ""}
            return {"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": [address]}
        case ["apis"]:
            groups: list[Json] = [_group(kinds, group) for group in _groups(kinds) if group]
            return {"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}
        case ["api", version]:
            return _resource_list(kinds, "", version)
        case ["apis", group] if group in _groups(kinds):
            return {"kind": "APIGroup", "apiVersion": "v1", **_group(kinds, group)}
        case ["apis", group, version] if group:
            return _resource_list(kinds, group, version)
        case _:
            return None


def _groups(kinds: Sequence[Kind]) -> list[str]:
    return list(dict.fromkeys(kind.group for kind in kinds))


_VERSION: Final = re.compile(r"v(\d+)(?:(alpha|beta)(\d+))?\Z")


def version_rank(version: str) -> tuple[int, int, int]:
    """Preference among versions: v2, v1, v1beta2, v1beta1, v1alpha1, and others last. Smaller is better."""
    found = _VERSION.match(version)
    if found is None:
        return (3, 0, 0)
    stage = {None: 0, "beta": 1, "alpha": 2}[found.group(2)]
    return (stage, -int(found.group(1)), -int(found.group(3) or 0))


def _versions(kinds: Sequence[Kind], group: str) -> list[str]:
    found = dict.fromkeys(kind.version for kind in kinds if kind.group == group)
    return sorted(found, key=lambda version: (*version_rank(version), version))


def _group(kinds: Sequence[Kind], group: str) -> JsonObject:
    versions: list[Json] = [
        {"groupVersion": f"{group}/{version}", "version": version} for version in _versions(kinds, group)
    ]
    return {"name": group, "versions": versions, "preferredVersion": versions[0]}


def _resource_list(kinds: Sequence[Kind], group: str, version: str) -> JsonObject | None:
    rows: list[Json] = []
    for kind in sorted(_in_version(kinds, group, version), key=lambda kind: kind.plural):
        rows.append(_resource(kind))
        rows += [_subresource(kind, name) for name in _subresources(kind)]
    if not rows:
        return None
    api_version = f"{group}/{version}" if group else version
    return {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": api_version, "resources": rows}


def _in_version(kinds: Sequence[Kind], group: str, version: str) -> list[Kind]:
    return [kind for kind in kinds if kind.group == group and kind.version == version]


def _subresources(kind: Kind) -> list[str]:
    return sorted(name for name in kind.subresources if name in SUBRESOURCES)


def _resource(kind: Kind) -> JsonObject:
    row: JsonObject = {
        "name": kind.plural,
        "singularName": kind.singular or kind.kind.lower(),
        "namespaced": kind.namespaced,
        "kind": kind.kind,
        "verbs": list(kind.verbs),
    }
    if kind.short_names:
        row["shortNames"] = list(kind.short_names)
    if kind.categories:
        row["categories"] = list(kind.categories)
    return row


def _subresource(kind: Kind, name: str) -> JsonObject:
    sub = SUBRESOURCES[name]
    row: JsonObject = {"name": f"{kind.plural}/{name}", "singularName": "", "namespaced": kind.namespaced}
    if sub.group:
        row["group"] = sub.group
        row["version"] = sub.version
    return {**row, "kind": sub.kind.format(kind=kind.kind) or kind.kind, "verbs": list(sub.verbs)}


def aggregate(kinds: Sequence[Kind], *, core: bool, version: str) -> JsonObject:
    """apidiscovery.k8s.io APIGroupDiscoveryList of the core group or of all others."""
    items: list[Json] = []
    for group in _groups(kinds):
        if (group == "") is not core:
            continue
        versions: list[Json] = []
        for each in _versions(kinds, group):
            rows: list[Json] = [
                _discovered(kind) for kind in sorted(_in_version(kinds, group, each), key=lambda kind: kind.plural)
            ]
            versions.append({"version": each, "resources": rows, "freshness": "Current"})
        metadata: JsonObject = {"name": group} if group else {}
        items.append({"metadata": metadata, "versions": versions})
    return {
        "kind": "APIGroupDiscoveryList",
        "apiVersion": f"apidiscovery.k8s.io/{version}",
        "metadata": {},
        "items": items,
    }


def _discovered(kind: Kind) -> JsonObject:
    row: JsonObject = {
        "resource": kind.plural,
        "responseKind": {"group": kind.group, "version": kind.version, "kind": kind.kind},
        "scope": "Namespaced" if kind.namespaced else "Cluster",
        "singularResource": kind.singular or kind.kind.lower(),
        "verbs": list(kind.verbs),
    }
    if kind.short_names:
        row["shortNames"] = list(kind.short_names)
    if kind.categories:
        row["categories"] = list(kind.categories)
    below: list[Json] = []
    for name in _subresources(kind):
        sub = SUBRESOURCES[name]
        response: JsonObject = {
            "group": sub.group if sub.kind else kind.group,
            "version": sub.version or kind.version,
            "kind": sub.kind.format(kind=kind.kind) or kind.kind,
        }
        below.append({"subresource": name, "responseKind": response, "verbs": list(sub.verbs)})
    if below:
        row["subresources"] = below
    return row


def version_info(minor: int, git_version: str) -> JsonObject:
    """version.Info of `/version`, for Kubernetes 1.`minor`."""
    return {
        "major": "1",
        "minor": str(minor),
        "emulationMajor": "1",
        "emulationMinor": str(minor),
        "minCompatibilityMajor": "1",
        "minCompatibilityMinor": str(minor - 1),
        "gitVersion": git_version,
        "gitCommit": "",
        "gitTreeState": "clean",
        "buildDate": "",
        "goVersion": "",
        "compiler": platform.python_implementation().lower(),
        "platform": f"{platform.system().lower()}/{platform.machine()}",
    }
