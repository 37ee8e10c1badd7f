"""The HTTP driver: what is asked of a device, and what is made of its answers.

Cycles, turns and silence are `devices.polling`'s. Properties that ask the same share one request. A device that says
for how long it wants to be left alone (Retry-After) is. Keeps in memory what was answered last.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final, Protocol, TypeAlias

from devices.credentials import refuse_files_elsewhere
from devices.http.config import (
    Command,
    HttpDevice,
    HttpProperty,
    Question,
    join,
    origin_of,
    parse_device,
    target_of,
)
from devices.http.explain import Heard, heard_steps, place_of, raw_of, reason_of, rehearsal
from devices.payload import Binary, read_payload, written_bytes, written_text
from devices.polling import LeftAloneError, PollingDriver, Sample
from devices.port import DeviceConfig, Rehearsal, Step, WriteResult
from devices.templates import as_json, fill
from skerry.errors import InvalidError, UnavailableError
from skerry.frozen import Frozen
from skerry.objects.json import JsonObject
from skerry.objects.twins import Value
from skerry.ports import Clock, Ids

KEPT_BYTES_MAX: Final = 64 * 1024
"""Of a page that is kept because it has an ETag; a larger one is asked for anew each time."""
RETRY_AFTER_S_MAX: Final = 3600.0

_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_LATER: Final = frozenset({401, 403, 404, 407, 408, 409, 423, 425, 429})
"""Refusals of a request, not of a value: they may pass."""
_OK: Final = range(200, 300)
_NOT_MODIFIED: Final = 304


class Asked(Frozen, hidden=("headers",)):
    """A request as a client gets it, with the credentials."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes = b""


class Answered(Protocol):
    """What a client makes of the answer."""

    @property
    def status(self) -> int: ...
    @property
    def headers(self) -> Mapping[str, str]: ...
    @property
    def body(self) -> bytes: ...


class Client(Protocol):
    """Exchanges with one device; raises `UnavailableError`."""

    async def exchange(self, asked: Asked, *, once: bool = False) -> Answered: ...
    async def close(self) -> None: ...


Connect: TypeAlias = "Callable[[HttpDevice], Client]"


def http_driver(
    *, clock: Clock, ids: Ids, connect: Connect | None = None, credentials: Path | None = None
) -> PollingDriver:
    """A `Driver`. `connect` makes what speaks to a device; None: over the network. `credentials`: where the files for
    TLS are that devices name; None: anywhere."""
    making = connect or _over_the_network

    def opening(config: DeviceConfig) -> HttpPolled:
        device = parse_device(config)
        refuse_files_elsewhere(config.protocol_config, credentials, "spec.protocol.configData")
        return HttpPolled(device, making(device), clock)

    return PollingDriver(opening, clock=clock, ids=ids)


class HttpPolled:
    """A `PolledDevice`."""

    def __init__(self, device: HttpDevice, client: Client, clock: Clock) -> None:
        self._device = device
        self._client = client
        self._clock = clock
        self._heard: dict[Question, Heard] = {}
        """The newest answer to each request that had one."""
        self._alone_until_s = 0.0
        self._alone_reason = ""

    # --- reading ------------------------------------------------------------------------------------------

    async def read(self, names: Sequence[str]) -> Mapping[str, Sample]:
        """See `PolledDevice`. Where one request has no answer, the others of this cycle are not made: they would wait
        as long."""
        answers: dict[Question, str] = {}
        away = ""
        for name in names:
            question = self._device.properties[name].question
            assert question is not None, "what is only written is not read"
            if question in answers:
                continue
            try:
                answers[question] = away or await self._ask(question)
            except UnavailableError as error:
                if not answers:
                    raise
                answers[question] = away = str(error)
        samples = ((name, self._sample(self._device.properties[name], answers)) for name in names)
        return {name: sample for name, sample in samples if sample is not None}

    def _sample(self, prop: HttpProperty, answers: Mapping[Question, str]) -> Sample | None:
        """What its answer says of a property; None when it says nothing of it."""
        assert prop.question is not None, "it was asked for"
        if answers[prop.question]:
            return Sample(value=None, reason=answers[prop.question])
        try:
            said = read_payload(self._heard[prop.question].payload, prop.config.type, prop.layout)
        except InvalidError as error:
            return Sample(value=None, reason=str(error))
        return said and Sample(value=said.value, source_ms=said.source_ms, source_seq=said.source_seq)

    async def _ask(self, question: Question) -> str:
        """Ask, and remember the answer. Returns "" or why there is none that counts, though there is one."""
        held = self._heard.get(question)
        headers = dict(question.headers) | dict(self._device.credentials)
        if held is not None and held.tag:
            headers["If-None-Match"] = held.tag
        if question.body:
            headers = {"Content-Type": "application/json", **headers}
        asked = Asked(method=question.method, target=question.target, headers=headers, body=question.body.encode())
        try:
            answer = await self._follow(asked)
        except InvalidError as error:
            return str(error)
        if answer.status == _NOT_MODIFIED and held is not None and held.tag:
            self._heard[question] = held.again()
            return ""
        if answer.status not in _OK:
            return reason_of(answer.status, answer.body)
        tag = answer.headers.get("etag", "") if len(answer.body) <= KEPT_BYTES_MAX else ""
        self._heard[question] = Heard(status=answer.status, payload=answer.body, tag=tag)
        return ""

    async def _follow(self, asked: Asked) -> Answered:
        """Ask, and again where the device says that it is elsewhere, as long as that is the same device. Raises
        `InvalidError` where it is not, besides what `_exchange` raises."""
        for left in range(self._device.redirects, -1, -1):
            answer = await self._exchange(asked)
            if answer.status not in _REDIRECTS or asked.method != "GET":
                return answer
            here, there = f"{self._device.origin}{asked.target}", answer.headers.get("location", "")
            parts = join(here, there, "the answer's Location")
            if origin_of(parts) != self._device.origin:
                raise InvalidError(f"it sends to {origin_of(parts)}: let the device's url begin with that")
            if left:
                asked = Asked(method="GET", target=target_of(parts), headers=asked.headers)
        raise InvalidError(f"it sends elsewhere, to {asked.target} and on (redirects: {self._device.redirects})")

    async def _exchange(self, asked: Asked, *, once: bool = False) -> Answered:
        """Raises `UnavailableError` where there is no answer."""
        alone_s = self._alone_until_s - self._clock.monotonic_s()
        if alone_s > 0:
            raise LeftAloneError(f"{self._alone_reason}; it is asked again in {alone_s:.0f} s")
        answer = await self._client.exchange(asked, once=once)
        wait_s = answer.headers.get("retry-after", "") if answer.status in (429, 503) else ""
        if wait_s.isdecimal():
            self._alone_until_s = self._clock.monotonic_s() + min(float(wait_s[:9]), RETRY_AFTER_S_MAX)
            self._alone_reason = f"it answers {answer.status} and wants to be left alone"
        return answer

    def readable(self, name: str) -> bool:
        """See `PolledDevice`."""
        return self._device.properties[name].question is not None

    # --- writing ------------------------------------------------------------------------------------------

    async def write(self, name: str, value: Value, *, once: bool) -> WriteResult:
        """See `PolledDevice`."""
        prop = self._device.properties[name]
        command = prop.command
        assert command is not None, "what has none is refused"
        headers = {"Content-Type": command.type, **dict(command.headers), **self._device.credentials}
        body = body_of(prop, command, value, self._words(name))
        asked = Asked(method=command.method, target=command.target, headers=headers, body=body)
        answer = await self._exchange(asked, once=once)
        if answer.status not in _OK:
            final = 400 <= answer.status < 500 and answer.status not in _LATER
            state = "refused" if final else "failed"
            return WriteResult(state=state, reason=reason_of(answer.status, answer.body), read_back=None)
        if prop.question is not None and self._device.verify_delay_s:
            await asyncio.sleep(self._device.verify_delay_s)
        reason = "" if prop.question is not None else "the device took it; it has no url to be read back from"
        return WriteResult(state="applied", reason=reason, read_back=None)

    def _words(self, name: str) -> dict[str, str]:
        return {"timestamp": str(self._clock.wall_ms()), "device": self._device.key.name, "property": name}

    def rehearse(self, name: str, value: Value) -> Rehearsal:
        """See `PolledDevice`."""
        prop = self._device.properties[name]
        refusal, body = f"{name} has no writeUrl, nor writeTemplate", b""
        if prop.command is not None:
            try:
                refusal, body = "", body_of(prop, prop.command, value, self._words(name))
            except InvalidError as error:
                refusal = str(error)
        return rehearsal(self._device, prop, value, body, refusal)

    # --- in words -----------------------------------------------------------------------------------------

    def place(self, name: str) -> str:
        """See `PolledDevice`."""
        return place_of(self._device, self._device.properties[name])

    def explained(self, name: str) -> tuple[JsonObject, tuple[Step, ...]]:
        """See `PolledDevice`."""
        prop = self._device.properties[name]
        heard = self._heard.get(prop.question) if prop.question is not None else None
        return ({}, ()) if heard is None else (raw_of(heard), heard_steps(prop, heard))

    async def close(self) -> None:
        """See `PolledDevice`."""
        await self._client.close()


def body_of(prop: HttpProperty, command: Command, value: Value, words: Mapping[str, str]) -> bytes:
    """What is sent. Raises `InvalidError` where the device has no form for the value."""
    if command.template is None:
        assert isinstance(prop.layout.source, Binary), "only bytes go without a template"
        return written_bytes(value, prop.layout.source)
    text = written_text(value, prop.config.type, prop.layout)
    return fill(command.template, {**words, "value": text, "json": as_json(value, text)}).encode()


def _over_the_network(device: HttpDevice) -> Client:
    from devices.http.client import HttpClient  # h11 and TLS cost memory: only who has HTTP devices pays

    return HttpClient(
        device.origin, device.tls, timeout_s=device.timeout_s, bytes_max=device.bytes_max, keep=device.keep
    )
