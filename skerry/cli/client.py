"""A small HTTP client for the two servers that the CLI talks to: the cloud's API over TLS, and the local
agent's over its unix socket. Both answer in Kubernetes' forms, so the commands don't care which it is.

The standard library's client is enough for one request at a time, starts in milliseconds, and streams.
"""

from __future__ import annotations

import http.client
import json
import socket
import ssl
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Protocol, cast
from urllib.parse import quote, urlencode

from skerry.cli.kubeconfig import Cluster
from skerry.errors import (
    AlreadyExistsError,
    BadRequestError,
    Cause,
    ConflictError,
    ForbiddenError,
    GoneError,
    InvalidError,
    NotFoundError,
    SkerryError,
    TooLargeError,
    TooManyRequestsError,
    UnauthenticatedError,
    UnavailableError,
)
from skerry.frozen import Frozen
from skerry.objects.json import Json, JsonObject, int_at, maps_at, str_at
from skerry.objects.scheme import Kind

CONNECT_S_MAX: Final = 10.0
TABLE: Final = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"


class _UnixConnection(http.client.HTTPConnection):
    """HTTP over a unix socket."""

    def __init__(self, path: Path, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


class Answer(Frozen):
    """What came back."""

    status: int
    body: Json
    warnings: tuple[str, ...]

    @property
    def obj(self) -> JsonObject:
        """The body, which must be an object."""
        if not isinstance(self.body, dict):
            raise UnavailableError("the server's answer is not a JSON object")
        return self.body


class Server(Protocol):
    """Whoever answers requests as a Kubernetes API does."""

    @property
    def namespace(self) -> str:
        """Where objects are whose namespace nobody says."""
        ...

    def request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: JsonObject | None = None,
        content_type: str = "application/json",
        accept: str = "application/json",
    ) -> Answer:
        """One request, one decoded answer. Raises the error that the server's Status names."""
        ...


class Client:
    """One server, however it is reached. A `Server`."""

    def __init__(self, *, cluster: Cluster | None = None, socket_path: Path | None = None) -> None:
        assert (cluster is None) != (socket_path is None)
        self._cluster = cluster
        self._socket_path = socket_path

    @property
    def local(self) -> bool:
        """Talking to the agent of this gateway, which may be offline."""
        return self._socket_path is not None

    @property
    def place(self) -> str:
        """For messages: who did not answer."""
        if self._cluster is None:
            return f"the local agent at {self._socket_path}"
        return f"the cloud at {self._cluster.host}:{self._cluster.port}"

    @property
    def namespace(self) -> str:
        return self._cluster.namespace if self._cluster else "default"

    @property
    def socket_path(self) -> Path | None:
        """Of the local agent; None for a cloud."""
        return self._socket_path

    @property
    def cluster(self) -> Cluster | None:
        return self._cluster

    def request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: JsonObject | None = None,
        content_type: str = "application/json",
        accept: str = "application/json",
    ) -> Answer:
        """One request, one decoded answer. Raises the error that the server's Status names."""
        with self._exchange(method, path, query, body, content_type, accept, timeout_s=60.0) as response:
            return _answer(response)

    def lines(
        self,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        accept: str = "application/json",
        silence_s_max: float | None = None,
    ) -> Iterator[bytes]:
        """The lines of a streaming answer (watch, logs) until the server ends it, or says nothing for too long."""
        with self._exchange("GET", path, query, None, "", accept, timeout_s=silence_s_max) as response:
            if response.status >= 400:
                _answer(response)
            while line := response.readline():
                yield line

    def chunks(self, path: str, *, query: Mapping[str, str] | None = None) -> Iterator[bytes]:
        """The bytes of a streaming answer as they come."""
        with self._exchange("GET", path, query, None, "", "*/*", timeout_s=None) as response:
            if response.status >= 400:
                _answer(response)
            while chunk := response.read1(65536):
                yield chunk

    @contextmanager
    def _exchange(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None,
        body: JsonObject | None,
        content_type: str,
        accept: str,
        *,
        timeout_s: float | None,
    ) -> Generator[http.client.HTTPResponse]:
        connection = self.connection()
        headers = {"Accept": accept, "User-Agent": "skerry"}
        data = None
        if body is not None:
            data = json.dumps(body).encode()
            headers["Content-Type"] = content_type
        if self._cluster and self._cluster.token:
            headers["Authorization"] = f"Bearer {self._cluster.token}"
        prefix = self._cluster.path if self._cluster else ""
        target = prefix + path + ("?" + urlencode(query) if query else "")
        try:
            connection.connect()
            if connection.sock is not None:
                connection.sock.settimeout(timeout_s)
            connection.request(method, target, body=data, headers=headers)
            with connection.getresponse() as response:  # one that ends its connection has the socket to itself
                yield response
        except ssl.SSLCertVerificationError as error:
            raise UnauthenticatedError(
                f"{self.place} shows a certificate that this kubeconfig's CA did not sign: {error.verify_message}"
            ) from error
        except (OSError, http.client.HTTPException) as error:
            raise UnavailableError(f"{self.place} does not answer: {error}") from error
        finally:
            connection.close()

    def connection(self) -> http.client.HTTPConnection:
        if self._socket_path is not None:
            return _UnixConnection(self._socket_path, CONNECT_S_MAX)
        assert self._cluster is not None
        host, port = self._cluster.host, self._cluster.port
        if self._cluster.tls is None:
            return http.client.HTTPConnection(host, port, timeout=CONNECT_S_MAX)
        return http.client.HTTPSConnection(host, port, timeout=CONNECT_S_MAX, context=self._cluster.tls)


def path_of(kind: Kind, namespace: str = "", name: str = "", subresource: str = "") -> str:
    """The URL path of a collection, an object or a subresource."""
    parts = ["apis", kind.group, kind.version] if kind.group else ["api", kind.version]
    if kind.namespaced and namespace:
        parts += ["namespaces", namespace]
    parts.append(kind.plural)
    if name:
        parts.append(name)
    if subresource:
        parts.append(subresource)
    return "/" + "/".join(quote(part, safe="") for part in parts)


def _answer(response: http.client.HTTPResponse) -> Answer:
    data = response.read()
    warnings = tuple(_warning(text) for text in response.headers.get_all("Warning") or ())
    try:
        body = cast(Json, json.loads(data)) if data else None
    except ValueError:
        body = data.decode(errors="replace")
    if response.status >= 400:
        raise error_of(response.status, body)
    return Answer(status=response.status, body=body, warnings=warnings)


def _warning(header: str) -> str:
    """The text of `299 - "text"` (RFC 9111 appendix B, as Kubernetes uses it)."""
    _, quote_mark, rest = header.partition('"')
    return rest.removesuffix('"').replace('\\"', '"').replace("\\\\", "\\") if quote_mark else header


def error_of(status: int, body: Json) -> SkerryError:
    """The error that a Kubernetes Status (or a bare HTTP status) stands for."""
    message = str_at(body, "message") or (body if isinstance(body, str) and body else f"HTTP status {status}")
    causes = [
        Cause(field=str_at(c, "field"), reason=str_at(c, "reason"), message=str_at(c, "message"))
        for c in maps_at(body, "details", "causes")
    ]
    match status:
        case 401:
            return UnauthenticatedError(message)
        case 403:
            return ForbiddenError(message, causes)
        case 404:
            return NotFoundError(message)
        case 409:
            if str_at(body, "reason") == "AlreadyExists":
                return AlreadyExistsError(message)
            return ConflictError(message)
        case 410:
            return GoneError(message, compacted=0)
        case 413:
            return TooLargeError(message)
        case 422:
            return InvalidError(message, causes)
        case 429:
            return TooManyRequestsError(
                message, retry_after_s=int_at(body, "details", "retryAfterSeconds", default=1)
            )
        case _ if status >= 500:
            return UnavailableError(message)
        case _:
            return BadRequestError(message)
