"""A running cloud as client-go meets it: HTTPS requests with a client certificate, watches, waits, kubectl."""

from __future__ import annotations

import base64
import http.client
import json
import ssl
import tempfile
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode

import yaml

from tests.system.cloud_process import CloudProcess
from tests.system.conformance.protobuf import MEDIA, encoded
from tests.system.levels import reached

Obj = dict[str, Any]

ACCEPT: Final = f"{MEDIA},application/json"
"""What Go's typed clients ask for; the answer's Content-Type says what they get."""
MERGE: Final = "application/merge-patch+json"
STRATEGIC: Final = "application/strategic-merge-patch+json"
JSON_PATCH: Final = "application/json-patch+json"
WAIT_S: Final = 20.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What came back."""

    code: int
    body: bytes
    headers: Mapping[str, str]
    warnings: tuple[str, ...]

    @property
    def obj(self) -> Obj:
        return json.loads(self.body)

    @property
    def message(self) -> str:
        return self.obj.get("message", "")

    @property
    def reason(self) -> str:
        return self.obj.get("reason", "")


@dataclass(slots=True)
class Watch:
    """An open watch. `next` gives the coming event, in order."""

    connection: http.client.HTTPSConnection
    response: http.client.HTTPResponse

    def next(self, wait_s: float = WAIT_S) -> tuple[str, Obj]:
        """The next event: type and object. Raises `AssertionError` when none comes in time."""
        sock = self.connection.sock
        if sock is not None:
            sock.settimeout(wait_s)
        try:
            line = self.response.readline()
        except TimeoutError:
            raise AssertionError(f"no event within {wait_s:g} s") from None
        assert line, "the server ended the watch"
        event = json.loads(line)
        return event["type"], event["object"]

    def until(self, kind: str, matches: Callable[[Obj], bool] = lambda _: True, wait_s: float = WAIT_S) -> Obj:
        """The object of the next event of that type that matches; others are passed over."""
        deadline = time.monotonic() + wait_s
        while (left := deadline - time.monotonic()) > 0:
            found, obj = self.next(left)
            if found == kind and matches(obj):
                return obj
        raise AssertionError(f"no {kind} event that matches within {wait_s:g} s")

    def quiet(self, wait_s: float = 1.0) -> None:
        """Nothing comes for a while. A watch is over after this: the read was cut in the middle."""
        try:
            event = self.next(wait_s)
        except AssertionError:
            return
        raise AssertionError(f"unexpected event: {event}")


@dataclass(slots=True)
class Cluster:
    """The API of one cloud, as its administrator."""

    cloud: CloudProcess
    _tls: ssl.SSLContext = field(init=False)
    _connection: http.client.HTTPSConnection | None = field(init=False, default=None)
    _count: int = field(init=False, default=0)

    def __post_init__(self) -> None:
        config = yaml.safe_load(self.cloud.kubeconfig.read_text())
        user, server = config["users"][0]["user"], config["clusters"][0]["cluster"]
        self._tls = ssl.create_default_context(cadata=base64.b64decode(server["certificate-authority-data"]).decode())
        with tempfile.TemporaryDirectory() as directory:
            pair = Path(directory) / "pair.pem"
            pair.write_bytes(
                base64.b64decode(user["client-certificate-data"]) + b"\n" + base64.b64decode(user["client-key-data"])
            )
            self._tls.load_cert_chain(pair)

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def twin(self) -> Cluster:
        """The same cloud through a connection of its own, for another thread."""
        return Cluster(self.cloud)

    def name(self, base: str) -> str:
        """A name that nothing else in this run has."""
        self._count += 1
        return f"{base}-{time.monotonic_ns() % 10**8:08d}-{self._count}"

    # Requests

    def call(
        self,
        method: str,
        path: str,
        body: Obj | list[Any] | str | bytes | None = None,
        *,
        media: str = "application/json",
        headers: Mapping[str, str] | None = None,
        **query: object,
    ) -> Answer:
        """One request, whatever its answer."""
        sent = {"User-Agent": "conformance/1", "Accept": ACCEPT, **(headers or {})}
        raw: bytes | None = None
        if isinstance(body, dict) and method in ("POST", "PUT"):
            # As client-go: what it knows the type of goes as protobuf.
            raw = encoded(path, body)
            sent["Content-Type"] = MEDIA
        if body is not None and raw is None:
            raw = (
                body
                if isinstance(body, bytes)
                else body.encode()
                if isinstance(body, str)
                else json.dumps(body).encode()
            )
            sent["Content-Type"] = media
        target = f"{path}?{urlencode(query)}" if query else path
        for again in (True, False):
            if self._connection is None:
                self._connection = self._dial()
            try:
                self._connection.request(method, target, body=raw, headers=sent)
                with self._connection.getresponse() as response:
                    found = Answer(
                        code=response.status,
                        body=response.read(),
                        headers=dict(response.getheaders()),
                        warnings=tuple(response.headers.get_all("Warning") or ()),
                    )
            except (http.client.HTTPException, ConnectionError, ssl.SSLEOFError):  # kept idle for too long
                self.close()
                if not again:
                    raise
                continue
            return found
        raise AssertionError("unreachable")

    def ok(self, method: str, path: str, body: Obj | list[Any] | str | bytes | None = None, **more: Any) -> Obj:
        """The object that a request which must succeed answers with."""
        answer = self.call(method, path, body, **more)
        assert 200 <= answer.code < 300, f"{method} {path}: {answer.code} {answer.body[:2000]!r}"
        return answer.obj

    def fails(self, code: int, method: str, path: str, body: Obj | str | bytes | None = None, **more: Any) -> Answer:
        """The answer to a request that must be refused with that code."""
        answer = self.call(method, path, body, **more)
        assert answer.code == code, f"{method} {path}: {answer.code} {answer.body[:2000]!r}"
        return answer

    def get(self, path: str, **query: object) -> Obj:
        return self.ok("GET", path, None, **query)

    def create(self, path: str, obj: Obj) -> Obj:
        return self.ok("POST", path, obj)

    def put(self, path: str, obj: Obj) -> Obj:
        return self.ok("PUT", path, obj)

    def patch(self, path: str, patch: Obj | list[Any], media: str = MERGE) -> Obj:
        return self.ok("PATCH", path, patch, media=media)

    def delete(self, path: str, options: Obj | None = None, **query: object) -> Obj:
        return self.ok("DELETE", path, options, **query)

    def update(self, path: str, change: Callable[[Obj], None], sub: str = "") -> Obj:
        """Read, change, write; again when somebody else wrote in between, as client-go's RetryOnConflict."""
        for _ in range(10):
            obj = self.get(path)
            change(obj)
            answer = self.call("PUT", path + sub, obj)
            if answer.code != 409:
                assert answer.code == 200, answer.body
                return answer.obj
        raise AssertionError(f"{path}: always a conflict")

    def absent(self, path: str) -> bool:
        return self.call("GET", path).code == 404

    def gone(self, path: str, wait_s: float = WAIT_S) -> None:
        eventually(lambda: self.absent(path), f"{path} is gone", wait_s)

    @contextmanager
    def watch(self, path: str, **query: object) -> Generator[Watch]:
        """A watch on a connection of its own; open when the block begins."""
        connection = self._dial()
        target = f"{path}?{urlencode({'watch': 'true', **query})}"
        connection.request("GET", target, headers={"Accept": ACCEPT})
        response = connection.getresponse()
        try:
            assert response.status == 200, response.read()
            yield Watch(connection, response)
        finally:
            response.close()
            connection.close()

    # What every test of the suite begins and ends with

    @contextmanager
    def namespace(self, base: str) -> Generator[str]:
        """A namespace with its ServiceAccount and root CA, as the framework's BeforeEach waits for them."""
        name = self.name(base)
        self.create("/api/v1/namespaces", {"metadata": {"name": name, "labels": {"e2e-run": "conformance"}}})
        inside = f"/api/v1/namespaces/{name}"
        eventually(lambda: not self.absent(f"{inside}/serviceaccounts/default"), "the default ServiceAccount")
        eventually(lambda: not self.absent(f"{inside}/configmaps/kube-root-ca.crt"), "the root CA's ConfigMap")
        try:
            yield name
        finally:
            self.call("DELETE", f"/api/v1/namespaces/{name}")

    def kubectl(self, *arguments: str, stdin: str = "", check: bool = True) -> str:
        return self.cloud.kubectl(*arguments, stdin=stdin, check=check)

    def _dial(self) -> http.client.HTTPSConnection:
        host, _, port = self.cloud.https.rpartition(":")
        return http.client.HTTPSConnection(host, int(port), context=self._tls, timeout=30)


def eventually(true: Callable[[], bool], what: str, wait_s: float = WAIT_S) -> None:
    """Wait for a level."""
    reached(true, lambda: what, within_s=wait_s)


def revision(obj: Obj) -> int:
    """Conformance tests compare resourceVersions as numbers since 1.35."""
    text = obj["metadata"]["resourceVersion"]
    assert text.isdecimal() and text != "0", text
    return int(text)


def names(found: Obj) -> list[str]:
    return [item["metadata"]["name"] for item in found["items"]]
