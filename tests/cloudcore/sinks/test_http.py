"""What a Sink posts, and what it makes of the answer."""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import aiohttp
import pytest

from cloudcore.pki.certificates import certificate_pem, new_authority
from cloudcore.sinks.forms import signature
from cloudcore.sinks.http import HttpReceiver, influx, prometheus, secret_of, webhook
from cloudcore.sinks.port import RefusedRowsError, SlowError
from skerry.errors import UnavailableError
from skerry.objects.json import JsonObject
from tests.cloudcore.sinks.test_forms import HOLE, ROW

URL: JsonObject = {"url": "http://127.0.0.1:1/in"}


@dataclass
class Service:
    """Answers what it is told to."""

    status: int = 204
    text: bytes = b""
    fails_with: Exception | None = None
    calls: list[tuple[str, bytes, dict[str, str]]] = field(default_factory=list[tuple[str, bytes, dict[str, str]]])
    kept: list[Any] = field(default_factory=list[Any])

    @asynccontextmanager
    async def post(
        self, url: str, *, data: bytes, headers: dict[str, str], **options: Any
    ) -> AsyncGenerator[Service]:
        if self.fails_with is not None:
            raise self.fails_with
        self.calls.append((url, data, headers))
        self.kept.append(options)
        yield self

    @property
    def content(self) -> Service:
        return self

    async def read(self, count: int) -> bytes:
        return self.text[:count]


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> Service:
    made = Service()
    monkeypatch.setattr(aiohttp.ClientSession, "post", made.post)
    return made


async def sent(receiver: HttpReceiver) -> int:
    try:
        return await receiver.send([ROW, HOLE])
    finally:
        await receiver.close()


async def test_a_call_is_signed_and_says_which_rows_it_has(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cloudcore.sinks.http.time.time", lambda: 1_790_000_000.4)
    assert await sent(webhook(URL, {"signingKey": "k3y", "token": "t0ken"}, sink="d/s", epoch="e1")) == 0
    ((url, body, headers),) = service.calls
    assert url == URL["url"] and json.loads(body)["items"][0]["epoch"] == "e1"
    assert headers == {
        "Content-Type": "application/json",
        "Authorization": "Bearer t0ken",
        "Idempotency-Key": "e1.7-8",
        "Skerry-Signature": signature(b"k3y", 1_790_000_000, body),
    }
    assert service.kept[0]["allow_redirects"] is False
    await sent(webhook(URL, {}, sink="d/s", epoch="e1"))
    assert "Skerry-Signature" not in service.calls[1][2] and "Authorization" not in service.calls[1][2]


async def test_influxdb_and_prometheus_are_told_in_their_own_words(service: Service) -> None:
    assert await sent(influx({**URL, "measurement": "m"}, {"token": "t"}, epoch="e")) == 0
    assert await sent(influx(URL, {"username": "u", "password": "p"}, epoch="e")) == 0
    assert await sent(prometheus(URL, {"token": "t"}, epoch="e")) == 1, "a hole is no sample"
    two, one, samples = service.calls
    assert two[1].startswith(b"m,namespace=plant") and two[2]["Authorization"] == "Token t"
    assert one[1].startswith(b"readings,namespace=plant")
    assert b64decode(one[2]["Authorization"].removeprefix("Basic ")) == b"u:p"
    assert samples[2]["Content-Encoding"] == "snappy" and samples[2]["Authorization"] == "Bearer t"
    assert samples[2]["X-Prometheus-Remote-Write-Version"] == "0.1.0"
    assert b"skerry_reading" in samples[1]


async def test_rows_without_a_form_are_no_call(service: Service) -> None:
    assert await prometheus(URL, {}, epoch="e").send([HOLE, HOLE]) == 2
    assert not service.calls


@pytest.mark.parametrize("status", [200, 204, 299])
async def test_every_answer_of_the_two_hundreds_takes_the_rows(service: Service, status: int) -> None:
    service.status = status
    assert await sent(webhook(URL, {}, sink="d/s", epoch="e")) == 0


@pytest.mark.parametrize("status", [400, 413, 422])
async def test_answers_that_are_about_the_rows_refuse_them(service: Service, status: int) -> None:
    service.status, service.text = status, b"no such column\n"
    with pytest.raises(RefusedRowsError, match=f"^HTTP {status}: no such column$"):
        await sent(webhook(URL, {}, sink="d/s", epoch="e"))


@pytest.mark.parametrize("status", [199, 300, 301, 302, 401, 403, 404, 408, 409, 429, 500, 503])
async def test_other_answers_let_them_wait(service: Service, status: int) -> None:
    service.status, service.text = status, b"x" * 2000
    with pytest.raises(UnavailableError, match=f"^HTTP {status}: x{{300}}$") as caught:
        await sent(webhook(URL, {}, sink="d/s", epoch="e"))
    assert not isinstance(caught.value, SlowError)


@pytest.mark.parametrize(
    ("error", "slow"),
    [
        (TimeoutError(), True),
        (aiohttp.ConnectionTimeoutError(), False),
        (aiohttp.ClientConnectionError("refused"), False),
        (ConnectionResetError(), False),
    ],
)
async def test_silence_of_who_is_there_may_be_too_much_at_once(
    service: Service, error: Exception, slow: bool
) -> None:
    service.fails_with = error
    with pytest.raises(UnavailableError) as caught:
        await sent(webhook(URL, {}, sink="d/s", epoch="e"))
    assert isinstance(caught.value, SlowError) == slow


async def test_over_tls_the_secrets_authorities_are_the_only_ones(service: Service) -> None:
    own = certificate_pem(new_authority(name="own", now=datetime.now(UTC)).certificate)
    await sent(webhook({"url": "https://there"}, {"ca.crt": own}, sink="d/s", epoch="e"))
    await sent(webhook(URL, {"ca.crt": "not looked at"}, sink="d/s", epoch="e"))
    secure, plain = (options["ssl"] for options in service.kept)
    assert len(secure.get_ca_certs()) == 1 and plain is True


async def test_a_certificate_that_is_none_is_told_before_anybody_is_called() -> None:
    with pytest.raises(UnavailableError, match=r"ca\.crt is no certificate"):
        webhook({"url": "https://there"}, {"ca.crt": "none"}, sink="d/s", epoch="e")


def test_a_secret_is_read_as_text() -> None:
    data = {"password": b64encode(b" a bc \r\n").decode(), "store.p12": b64encode(b"\xff").decode()}
    assert secret_of({"data": {**data}}) == {"password": " a bc "} and secret_of(None) == {}
    for bad in ("not base64", b64encode(b"\xff").decode()):
        with pytest.raises(UnavailableError, match="the Secret's token is no text"):
            secret_of({"data": {"token": bad}})
