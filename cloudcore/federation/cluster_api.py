"""The API of a member that is dialled: any Kubernetes, by a token or by a kubeconfig in a Secret.

Of a kubeconfig only what is written in it counts: no file of this machine is read for it, and no program run.
Keeps, for as long as it lives, what kinds the member serves and one pool of connections.
"""

from __future__ import annotations

import base64
import json
import ssl
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final
from urllib.parse import quote

import aiohttp

from skerry.errors import (
    AlreadyExistsError,
    BadRequestError,
    CallerError,
    ConflictError,
    ForbiddenError,
    InvalidError,
    NotFoundError,
    UnansweredError,
    UnauthenticatedError,
    UnavailableError,
)
from skerry.frozen import Frozen
from skerry.objects.endpoint_slices import SERVICE_LABEL, has_ready
from skerry.objects.federation import Deletion, Target
from skerry.objects.json import Json, JsonObject, bool_at, encode_object, map_at, maps_at, str_at, str_map_at, strs_at
from skerry.objects.meta import labels_of
from skerry.objects.yaml_reader import read_yaml

TIMEOUT_S: Final = 10.0
ANSWER_BYTES_MAX: Final = 16 * 1024 * 1024
_NO_CHECK_TIME: Final = 0x200000
"""X509_V_FLAG_NO_CHECK_TIME of OpenSSL, which Python's `ssl` does not name."""
_ERRORS: Final[dict[int, type[CallerError]]] = {
    400: BadRequestError,
    401: UnauthenticatedError,
    403: ForbiddenError,
    404: NotFoundError,
    422: InvalidError,
}


_REGION: Final = ("topology.kubernetes.io/region", "failure-domain.beta.kubernetes.io/region")
_ZONE: Final = ("topology.kubernetes.io/zone", "failure-domain.beta.kubernetes.io/zone")
_NAMES_ALONE: Final = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json"
"""Metadata is all that is looked at of what is listed."""
_PAGES_MAX: Final = 40


class Place(Frozen):
    """Where a member is, as labels of its nodes say."""

    region: str
    zones: tuple[str, ...]


class Access(Frozen):
    """How a member's API is reached."""

    url: str
    ca_pem: str
    token: str = ""
    certificate_pem: str = ""
    key_pem: str = ""
    proxy: str = ""
    unchecked: tuple[str, ...] = ()
    """Of `disabledTLSValidations`."""


def access_of(member: JsonObject, secret: JsonObject) -> Access:
    """Of a KubeFedCluster and the Secret that it names. Raises `InvalidError` that says what is wrong."""
    spec = map_at(member, "spec")
    data = {name: _decoded(text) for name, text in str_map_at(secret, "data").items()}
    endpoint = str_at(spec, "apiEndpoint")
    access = Access(
        url=endpoint if "://" in endpoint else f"https://{endpoint}",
        ca_pem=_decoded(str_at(spec, "caBundle")) or data.get("ca.crt", ""),
        token=data.get("token", "").strip(),
        proxy=str_at(spec, "proxyURL"),
        unchecked=tuple(strs_at(spec, "disabledTLSValidations")),
    )
    if "kubeconfig" in data:
        return _of_kubeconfig(access, data["kubeconfig"])
    if not access.token:
        raise InvalidError("the Secret has neither a token nor a kubeconfig")
    return access


def _of_kubeconfig(access: Access, text: str) -> Access:
    try:
        config, _ = read_yaml(text)
    except BadRequestError as error:
        raise InvalidError(f"the kubeconfig can't be read: {error}") from error
    context = _named(config, "contexts", "context", str_at(config, "current-context"))
    cluster = _named(config, "clusters", "cluster", str_at(context, "cluster"))
    user = _named(config, "users", "user", str_at(context, "user"))
    for field in ("exec", "auth-provider", "tokenFile", "client-certificate", "client-key"):
        if field in user:
            raise InvalidError(f"the kubeconfig's user has {field}: only what is in it counts (token, ...-data)")
    return Access(
        url=access.url,
        ca_pem=access.ca_pem or _decoded(str_at(cluster, "certificate-authority-data")),
        token=str_at(user, "token"),
        certificate_pem=_decoded(str_at(user, "client-certificate-data")),
        key_pem=_decoded(str_at(user, "client-key-data")),
        proxy=access.proxy,
        unchecked=access.unchecked,
    )


def _named(config: Json, section: str, field: str, name: str) -> JsonObject:
    for entry in maps_at(config, section):
        if str_at(entry, "name") == name:
            return map_at(entry, field)
    raise InvalidError(f"the kubeconfig has no {field} {name!r}")


def _decoded(text: str) -> str:
    try:
        return base64.b64decode(text).decode()
    except ValueError:
        return ""


class ClusterApi:
    """One member's API. Use in a block."""

    def __init__(self, access: Access) -> None:
        self._access = access
        self._session: aiohttp.ClientSession | None = None
        self._kinds: dict[str, dict[str, tuple[str, bool]]] = {}
        """By apiVersion and kind: plural name, and whether it is namespaced."""

    async def __aenter__(self) -> ClusterApi:
        headers = {"Accept": "application/json"}
        if self._access.token:
            headers["Authorization"] = f"Bearer {self._access.token}"
        self._session = aiohttp.ClientSession(
            headers=headers,
            timeout=aiohttp.ClientTimeout(total=TIMEOUT_S),
            connector=aiohttp.TCPConnector(ssl=_context(self._access), limit=8),
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._session is not None, "it was entered"
        await self._session.close()

    async def version(self) -> str:
        """Raises `UnavailableError` where nobody answers, `CallerError` where we are refused."""
        return str_at(await self._ask("GET", "/version"), "gitVersion")

    async def path_of(self, target: Target, *, any_version: bool = False) -> str:
        """Raises `NotFoundError` for a kind that is not served there. `any_version`: if its own is not, another is
        as good."""
        try:
            base, plural, namespaced = await self._served(target.api_version, target.kind)
        except NotFoundError:
            if not any_version:
                raise
            base, plural, namespaced = await self._served_otherwise(target)
        place = f"/namespaces/{quote(target.namespace, safe='')}" if namespaced else ""
        return f"{base}{place}/{plural}"

    async def _served(self, api_version: str, kind: str) -> tuple[str, str, bool]:
        """Where its version is, its plural name, and whether it is in namespaces."""
        group, _, version = api_version.rpartition("/")
        base = f"/apis/{group}/{version}" if group else f"/api/{version}"
        kinds = self._kinds.get(api_version)
        if kinds is None or kind not in kinds:
            try:
                listed = maps_at(await self._ask("GET", base), "resources")
            except NotFoundError:  # nothing of the group
                listed = []
            kinds = {
                str_at(each, "kind"): (str_at(each, "name"), bool_at(each, "namespaced"))
                for each in listed
                if "/" not in str_at(each, "name")
            }
            self._kinds[api_version] = kinds
        if kind not in kinds:
            raise NotFoundError(f"{api_version} {kind} is not served there")
        return (base, *kinds[kind])

    async def _served_otherwise(self, target: Target) -> tuple[str, str, bool]:
        """Under another version of its group."""
        group = target.api_version.rpartition("/")[0]
        found = await self._ask("GET", f"/apis/{group}") if group else {}
        for each in maps_at(found, "versions"):
            try:
                return await self._served(str_at(each, "groupVersion"), target.kind)
            except NotFoundError:
                continue
        raise NotFoundError(f"{target.kind} of {group or 'core'} is not served there")

    async def read(self, path: str, name: str) -> JsonObject | None:
        try:
            return await self._ask("GET", f"{path}/{quote(name, safe='')}")
        except NotFoundError:
            return None

    async def labelled(self, api_version: str, kind: str, selector: str) -> list[JsonObject]:
        """Metadata of all objects of a kind that a selector matches, as far as the pages go."""
        base, plural, _ = await self._served(api_version, kind)
        found: list[JsonObject] = []
        async for page in self._pages(f"{base}/{plural}?labelSelector={quote(selector, safe='')}&limit=500"):
            found += maps_at(page, "items")
        return found

    async def unlabel(self, target: Target, obj: JsonObject, label: str) -> None:
        """`obj`: as it was seen; raises `ConflictError` where it is another one, or changed, by now."""
        metadata = map_at(obj, "metadata")
        seen: JsonObject = {field: str_at(metadata, field) for field in ("uid", "resourceVersion")}
        body: JsonObject = {"metadata": {**seen, "labels": {label: None}}}
        path = f"{await self.path_of(target)}/{quote(target.name, safe='')}"
        await self._ask("PATCH", path, body, content_type="application/merge-patch+json")

    async def _pages(self, path: str) -> AsyncIterator[JsonObject]:
        more = ""
        for _ in range(_PAGES_MAX):
            page = await self._ask("GET", path + more, accept=_NAMES_ALONE)
            yield page
            token = str_at(page, "metadata", "continue")
            if not token:
                return
            more = f"&continue={quote(token, safe='')}"

    async def backed(self, namespace: str, service: str) -> bool | None:
        """Whether a Service has a ready endpoint there; None where that can't be known."""
        selector = quote(f"{SERVICE_LABEL}={service}", safe="")
        path = f"/apis/discovery.k8s.io/v1/namespaces/{quote(namespace, safe='')}/endpointslices"
        try:
            found = await self._ask("GET", f"{path}?labelSelector={selector}")
        except (NotFoundError, ForbiddenError):
            return None
        return any(has_ready(each) for each in maps_at(found, "items"))

    async def place(self) -> Place | None:
        """Where its nodes are; None where that can't be known."""
        regions, zones = set[str](), set[str]()
        try:
            async for page in self._pages("/api/v1/nodes?limit=500"):
                for node in maps_at(page, "items"):
                    labels = labels_of(node)
                    regions.update(labels[name] for name in _REGION if name in labels)
                    zones.update(labels[name] for name in _ZONE if name in labels)
        except (NotFoundError, ForbiddenError):
            return None
        return Place(region=min(regions, default=""), zones=tuple(sorted(zones)))

    async def create(self, path: str, obj: JsonObject, *, dry_run: bool = False) -> JsonObject:
        return await self._ask("POST", f"{path}?dryRun=All" if dry_run else path, obj)

    async def replace(self, path: str, name: str, obj: JsonObject) -> JsonObject:
        return await self._ask("PUT", f"{path}/{quote(name, safe='')}", obj)

    async def delete(self, path: str, name: str, uid: str, how: Deletion) -> None:
        options: JsonObject = {
            "apiVersion": "v1",
            "kind": "DeleteOptions",
            "preconditions": {"uid": uid},
            "propagationPolicy": how.propagation,
        }
        if how.grace_s is not None:
            options["gracePeriodSeconds"] = how.grace_s
        await self._ask("DELETE", f"{path}/{quote(name, safe='')}", options)

    async def _ask(
        self,
        method: str,
        path: str,
        body: JsonObject | None = None,
        *,
        accept: str = "",
        content_type: str = "application/json",
    ) -> JsonObject:
        assert self._session is not None, "it was entered"
        try:
            async with self._session.request(
                method,
                self._access.url.rstrip("/") + path,
                data=None if body is None else encode_object(body),
                headers={
                    **({} if body is None else {"Content-Type": content_type}),
                    **({"Accept": accept} if accept else {}),
                },
                proxy=self._access.proxy or None,
                allow_redirects=False,
            ) as response:
                data, status = bytearray(), response.status
                async for piece in response.content.iter_any():
                    data += piece
                    if len(data) > ANSWER_BYTES_MAX:
                        raise UnavailableError(f"an answer of more than {ANSWER_BYTES_MAX} bytes")
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise UnansweredError(f"{type(error).__name__}: {error}"[:300]) from error
        try:
            answer: Json = json.loads(data)
        except (ValueError, RecursionError):
            answer = None
        if status >= 300:
            _refuse(status, answer)
        if not isinstance(answer, dict):
            raise UnavailableError(f"HTTP {status}, and no object of a Kubernetes API")
        return answer


def _refuse(status: int, answer: Json) -> None:
    message = str_at(answer, "message")[:1000] or f"HTTP {status}"
    if status == 409:
        raise AlreadyExistsError(message) if str_at(answer, "reason") == "AlreadyExists" else ConflictError(message)
    raise _ERRORS.get(status, UnavailableError)(message)


def _context(access: Access) -> ssl.SSLContext:
    context = ssl.create_default_context(cadata=access.ca_pem or None)
    if "*" in access.unchecked:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if "SubjectName" in access.unchecked:
        context.check_hostname = False
    if "ValidityPeriod" in access.unchecked:
        context.verify_flags |= ssl.VerifyFlags(_NO_CHECK_TIME)
    if access.certificate_pem:
        with tempfile.TemporaryDirectory(prefix="skerry-member-") as place:
            chain = Path(place) / "client.pem"
            chain.touch(mode=0o600)
            chain.write_text(access.certificate_pem + access.key_pem)
            context.load_cert_chain(chain)
    return context
