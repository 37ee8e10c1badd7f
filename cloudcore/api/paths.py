"""Everything the API answers that is no resource: discovery, OpenAPI, version, health, metrics.

Keeps the discovery documents, which are made from the scheme and lost with the process.
"""

from __future__ import annotations

from functools import lru_cache
from importlib import metadata
from typing import Final

from cloudcore.api.call import Whole
from cloudcore.api.metrics import Metrics, exposition
from cloudcore.api.ports import Parts
from cloudcore.api.routing import is_api
from skerry.authz.attributes import Actor, Attributes
from skerry.errors import NotFoundError
from skerry.forms.discovery import Discovery, Document, version_info
from skerry.forms.negotiation import discovery_version, wants_openapi_protobuf
from skerry.forms.status import UNKNOWN_RESOURCE, MethodNotAllowedError
from skerry.frozen import Frozen
from skerry.objects.account_tokens import ISSUER, ISSUER_PATH, KEYS_PATH
from skerry.objects.json import JsonObject, encode_object

KUBERNETES_MINOR: Final = 36
"""The API spoken is Kubernetes 1.36's."""
_HEALTH: Final = ("/healthz", "/livez", "/readyz")
_PLAIN: Final = "text/plain; charset=utf-8"
_KNOWN: Final = (
    ISSUER_PATH,
    "/api",
    "/apis",
    "/healthz",
    "/livez",
    "/metrics",
    "/openapi/v2",
    "/openapi/v3",
    KEYS_PATH,
    "/readyz",
    "/version",
)
_PUBLIC: Final = (("Cache-Control", "public, max-age=3600"),)
"""Keys are no secret, and change by rotations alone."""
_NOT_FOUND: Final = Whole(body=b"404 page not found\n", media_type=_PLAIN, code=404)


class Asked(Frozen):
    """A GET of a path that is no resource."""

    path: str
    """Without a trailing slash."""
    actor: Actor
    accept: str
    if_none_match: str
    verbose: bool
    host: str = ""
    """As the client calls this server, with its port."""


class Paths:
    """Answers for non-resource paths."""

    def __init__(self, parts: Parts, metrics: Metrics) -> None:
        self._parts = parts
        self._metrics = metrics
        self._discovery = Discovery(parts.scheme)

    def answer(self, method: str, asked: Asked) -> Whole:
        """Raises `ForbiddenError`, `NotFoundError`, `MethodNotAllowedError`."""
        verb = "get" if method in ("GET", "HEAD") else method.lower()
        self._parts.gate.require(Attributes(actor=asked.actor, verb=verb, path=asked.path or "/"))
        if verb != "get":
            if not is_api(asked.path):
                return _NOT_FOUND
            raise MethodNotAllowedError("the server does not allow this method on the requested resource")
        self._parts.refresh()
        if is_api(asked.path):
            return self._discovered(asked)
        return self._other(asked)

    def _other(self, asked: Asked) -> Whole:
        path = asked.path
        match path:
            case "/version":
                return Whole(body=encode_object(version()) + b"\n")
            case "/metrics":
                return Whole(body=self._exposed(), media_type="text/plain; version=0.0.4; charset=utf-8")
            case _ if path == ISSUER_PATH:
                return self._issuer(asked)
            case _ if path == KEYS_PATH:
                body = encode_object(self._parts.keys.key_set)
                return Whole(body=body, media_type="application/jwk-set+json", headers=_PUBLIC)
            case "/openapi/v2":
                protobuf = wants_openapi_protobuf(asked.accept)
                return _document(self._parts.openapi.v2(protobuf=protobuf), asked)
            case "/openapi/v3":
                return _document(self._parts.openapi.index(), asked)
            case "":
                return Whole(body=encode_object({"paths": [*_KNOWN]}) + b"\n")
            case _ if path.startswith("/openapi/v3/"):
                found = self._parts.openapi.group_version(path.removeprefix("/openapi/v3/"))
                return _NOT_FOUND if found is None else _document(found, asked)
            case _ if path in _HEALTH:
                return self._health(asked)
            case _:
                return _NOT_FOUND

    def _issuer(self, asked: Asked) -> Whole:
        """Who issues ServiceAccount tokens, for relying parties (OpenID Connect Discovery 1.0). The keys are where
        this was asked for: under the issuer's name they are found by pods alone."""
        document: JsonObject = {
            "issuer": ISSUER,
            "jwks_uri": (f"https://{asked.host}" if asked.host else ISSUER) + KEYS_PATH,
            "response_types_supported": ["id_token"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": [*self._parts.keys.algorithms],
        }
        return Whole(body=encode_object(document), headers=_PUBLIC)

    def _discovered(self, asked: Asked) -> Whole:
        found = self._discovery.document(asked.path, discovery_version(asked.accept))
        if found is None:
            raise NotFoundError(UNKNOWN_RESOURCE)
        return _document(found, asked)

    def _health(self, asked: Asked) -> Whole:
        waiting = dict(self._parts.ready()) if asked.path == "/readyz" else {}
        code = 500 if waiting else 200
        if not waiting and not asked.verbose:
            return Whole(body=b"ok", media_type=_PLAIN)
        lines = ["[+]ping ok", *(f"[-]{name} failed: {why}" for name, why in sorted(waiting.items()))]
        if asked.path == "/readyz" and not waiting:
            lines.append("[+]store ok")
        lines.append(f"{asked.path[1:]} check {'failed' if waiting else 'passed'}")
        return Whole(body=("\n".join(lines) + "\n").encode(), media_type=_PLAIN, code=code)

    def _exposed(self) -> bytes:
        cache = self._parts.cache
        gauges = [
            ("skerry_store_revision", "Newest revision that this process has seen.", float(cache.revision)),
            (
                "skerry_leader",
                "1 where this process runs controllers and scheduler, 0 where another one does.",
                float(self._parts.leading()),
            ),
        ]
        lines = exposition(self._metrics, gauges)
        objects = ["# HELP skerry_objects Objects stored.", "# TYPE skerry_objects gauge"]
        objects += [f'skerry_objects{{resource="{name}"}} {cache.count(name)}' for name in cache.resources()]
        refused = [
            "# HELP skerry_reports_refused_total What gateways told and was refused, by the reason.",
            "# TYPE skerry_reports_refused_total counter",
        ]
        refused += [
            f'skerry_reports_refused_total{{reason="{why}"}} {count}'
            for why, count in sorted(self._parts.refusals().items())
        ]
        return lines + ("\n".join([*objects, *refused]) + "\n").encode()


def _document(document: Document, asked: Asked) -> Whole:
    headers = (("ETag", document.etag), ("Vary", "Accept"))
    if document.etag in [tag.strip().removeprefix("W/") for tag in asked.if_none_match.split(",")]:
        return Whole(body=b"", media_type=document.media_type, code=304, headers=headers)
    return Whole(body=document.body, media_type=document.media_type, headers=headers, gzipped=document.gzipped)


def version() -> JsonObject:
    """version.Info. The part after the hyphen says whose server it is; clients compare the numbers alone."""
    return version_info(KUBERNETES_MINOR, f"v1.{KUBERNETES_MINOR}.0+skerry.{_release()}")


@lru_cache(maxsize=1)
def _release() -> str:
    """Skerry's own version; a source tree that was never installed has none."""
    try:
        return metadata.version("skerry")
    except metadata.PackageNotFoundError:
        return "0.0.0"
