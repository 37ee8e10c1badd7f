"""Rows over HTTP: a webhook, InfluxDB, Prometheus and what speaks as they do.

Certificates are checked against the system's authorities or those of the Secret (`ca.crt`); redirects are not
followed, as they would lead rows and credentials elsewhere. Keeps nothing but a connection.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from base64 import b64decode, b64encode
from collections.abc import Callable, Mapping, Sequence
from typing import Final

import aiohttp

from cloudcore.sinks.forms import Formed, influx_lines, json_rows, remote_write, signature
from cloudcore.sinks.port import RefusedRowsError, Secret, SlowError
from cloudcore.sinks.rows import Row
from skerry.errors import UnavailableError
from skerry.objects.json import JsonObject, map_at, str_at

TIMEOUT_S: Final = 30.0
CONNECT_S: Final = 10.0
SAID_MAX: Final = 300
"""Characters of an answer that are shown."""
SECRET_KEYS: Final = ("token", "username", "password", "signingKey", "ca.crt")
_AT_FAULT: Final = frozenset({400, 413, 422})
"""Answers that say that the rows are at fault. Others (401, 404, 429, 5xx) say that something else is."""

Form = Callable[[Sequence[Row]], Formed]


class HttpReceiver:
    """See the module."""

    def __init__(
        self,
        url: str,
        form: Form,
        *,
        headers: Mapping[str, str],
        secret: Secret,
        epoch: str,
        signed_with: bytes = b"",
    ) -> None:
        self._url = url
        self._form = form
        self._headers = dict(headers)
        self._epoch = epoch
        self._signed_with = signed_with
        self._tls = authorities_of(secret) if url.startswith("https://") else None
        self._session: aiohttp.ClientSession | None = None

    async def send(self, rows: Sequence[Row]) -> int:
        formed = self._form(rows)
        if not formed.taken:
            return len(rows)
        headers = self._headers | {"Idempotency-Key": f"{self._epoch}.{rows[0].number}-{rows[-1].number}"}
        if self._signed_with:
            headers["Skerry-Signature"] = signature(self._signed_with, round(time.time()), formed.body)
        if self._session is None:
            self._session = aiohttp.ClientSession(
                timeout=aiohttp.ClientTimeout(total=TIMEOUT_S, sock_connect=CONNECT_S)
            )
        try:
            async with self._session.post(
                self._url, data=formed.body, headers=headers, ssl=self._tls or True, allow_redirects=False
            ) as response:
                said = (await response.content.read(4 * SAID_MAX)).decode(errors="replace")[:SAID_MAX].strip()
                status = response.status
        except aiohttp.ConnectionTimeoutError as error:
            raise UnavailableError(f"nobody there in {CONNECT_S:.0f} s") from error
        except TimeoutError as error:
            raise SlowError(f"no answer in {TIMEOUT_S:.0f} s") from error
        except (aiohttp.ClientError, OSError) as error:
            raise UnavailableError(f"{type(error).__name__}: {error}"[:SAID_MAX]) from error
        if status in _AT_FAULT:
            raise RefusedRowsError(f"HTTP {status}: {said}")
        if not 200 <= status < 300:
            raise UnavailableError(f"HTTP {status}: {said}")
        return len(rows) - formed.taken

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
            await asyncio.sleep(0)
        self._session = None


def authorities_of(secret: Secret) -> ssl.SSLContext:
    """Those of the Secret's `ca.crt`, or the system's. Raises `UnavailableError`."""
    try:
        return ssl.create_default_context(cadata=secret.get("ca.crt") or None)
    except (ssl.SSLError, ValueError) as error:
        raise UnavailableError("the Secret's ca.crt is no certificate in PEM") from error


def webhook(spec: JsonObject, secret: Secret, *, sink: str, epoch: str) -> HttpReceiver:
    """`spec.webhook`. The Secret's `signingKey` signs, its `token` is sent as a bearer's."""
    headers = {"Content-Type": "application/json", **_credentials(secret)}
    return HttpReceiver(
        str_at(spec, "url"),
        lambda rows: json_rows(rows, sink=sink, epoch=epoch),
        headers=headers,
        secret=secret,
        epoch=epoch,
        signed_with=secret.get("signingKey", "").encode(),
    )


def influx(spec: JsonObject, secret: Secret, *, epoch: str) -> HttpReceiver:
    """`spec.influx`. The Secret's `token` is InfluxDB 2's, `username` and `password` are those of 1.x."""
    headers = {"Content-Type": "text/plain; charset=utf-8"}
    if secret.get("token"):
        headers["Authorization"] = f"Token {secret['token']}"
    else:
        headers |= _credentials(secret)
    measurement = str_at(spec, "measurement") or "readings"
    return HttpReceiver(
        str_at(spec, "url"),
        lambda rows: influx_lines(rows, measurement=measurement),
        headers=headers,
        secret=secret,
        epoch=epoch,
    )


def prometheus(spec: JsonObject, secret: Secret, *, epoch: str) -> HttpReceiver:
    """`spec.prometheus`: remote write 1.0."""
    headers = {
        "Content-Type": "application/x-protobuf",
        "Content-Encoding": "snappy",
        "X-Prometheus-Remote-Write-Version": "0.1.0",
        **_credentials(secret),
    }
    metric = str_at(spec, "metric") or "skerry_reading"
    return HttpReceiver(
        str_at(spec, "url"),
        lambda rows: remote_write(rows, metric=metric),
        headers=headers,
        secret=secret,
        epoch=epoch,
    )


def _credentials(secret: Secret) -> dict[str, str]:
    if secret.get("token"):
        return {"Authorization": f"Bearer {secret['token']}"}
    if secret.get("username"):
        pair = f"{secret['username']}:{secret.get('password', '')}".encode()
        return {"Authorization": f"Basic {b64encode(pair).decode()}"}
    return {}


def secret_of(obj: JsonObject | None) -> dict[str, str]:
    """What a Secret says to a sink, without line ends behind it, as files have them. Raises `UnavailableError` for
    what is no text; what else is in the Secret is not looked at."""
    found: dict[str, str] = {}
    data = map_at(obj or {}, "data")
    for name, value in ((name, data[name]) for name in SECRET_KEYS if name in data):
        try:
            found[name] = b64decode(str(value), validate=True).decode().rstrip("\r\n")
        except ValueError as error:
            raise UnavailableError(f"the Secret's {name} is no text") from error
    return found
