"""The HTTP driver: properties are polled, what a page says is taken apart, desired values are sent and read back.

One worker a device, one request at a time on one connection: devices of this kind are small. Properties that ask the
same share one request. A device that does not answer is left alone for a while (`devices.schedule`), as is one that
says for how long (Retry-After). Keeps in memory what was answered last; after a crash it is asked again.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol, TypeAlias
from urllib.parse import urljoin

from devices.http.config import (
    Command,
    HttpDevice,
    HttpProperty,
    Question,
    origin_of,
    parse_device,
    split,
    target_of,
)
from devices.http.explain import Heard, explanation, place_of, reason_of, rehearsal
from devices.inflow import Inflow, no_value
from devices.payload import Binary, read_payload, written_bytes, written_text
from devices.port import DeviceConfig, DeviceHealth, Explanation, Reading, Rehearsal, WriteResult, WriteState
from devices.schedule import Breakers, BreakerSettings, Poll, Schedule
from devices.templates import as_json, fill
from skerry.errors import InvalidError, UnavailableError
from skerry.objects.meta import Key
from skerry.objects.twins import Quality, Value, format_value, same_value
from skerry.ports import Clock, Ids

LOG = logging.getLogger(__name__)

READINGS_MAX: Final = 4096
"""Waiting to be taken; when full, the oldest goes: it is read again in a moment."""
KEPT_BYTES_MAX: Final = 64 * 1024
"""Of a page that is kept because it has an ETag; a larger one is asked for anew each time."""
RETRY_AFTER_S_MAX: Final = 3600.0
RESTART_S: Final = 5.0
"""After a fault of our own in a device's worker."""
TURN_S_MAX: Final = 120.0
"""A write whose turn did not come by then tells so."""

_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_LATER: Final = frozenset({401, 403, 404, 407, 408, 409, 423, 425, 429})
"""Refusals of a request, not of a value: they may pass."""
_OK: Final = range(200, 300)
_NOT_MODIFIED: Final = 304

PollKey: TypeAlias = "tuple[Question, float]"


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A request as a client gets it, with the credentials."""

    method: str
    target: str
    headers: Mapping[str, str] = field(repr=False)
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


@dataclass(slots=True, kw_only=True)
class _Worker:
    """One device and what is known of it."""

    device: HttpDevice
    client: Client
    schedule: Schedule[PollKey]
    polls: dict[PollKey, list[HttpProperty]]
    breaker: Breakers[int]
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    heard: dict[Question, Heard] = field(default_factory=dict[Question, Heard])
    """The newest answer to each request that had one."""
    errors: dict[Question, tuple[str, int]] = field(default_factory=dict[Question, "tuple[str, int]"])
    """The newest failure, and when."""
    health: DeviceHealth | None = None
    closed_until_s: float = 0.0
    closed_reason: str = ""


class HttpDriver:
    """A `Driver`. See the module."""

    def __init__(self, *, clock: Clock, ids: Ids, connect: Connect | None = None) -> None:
        """`connect` makes what speaks to a device; None: over the network."""
        self._clock = clock
        self._ids = ids
        self._connect = connect or _over_the_network
        self._workers: dict[Key, _Worker] = {}
        self._inflow = Inflow(most=READINGS_MAX)
        self._changed = asyncio.Event()

    async def configure(self, devices: Sequence[DeviceConfig]) -> Sequence[tuple[Key, str]]:
        """See `Driver`."""
        refused: list[tuple[Key, str]] = []
        before, self._workers = self._workers, {}
        for config in devices:
            try:
                parsed = parse_device(config)
            except InvalidError as error:
                refused.append((config.device, str(error)))
                continue
            held = before.get(config.device)
            same = held is not None and _line_of(held.device) == _line_of(parsed)
            self._workers[config.device] = worker = held if held is not None and same else self._worker(parsed)
            self._plan(worker, parsed)
        self._changed.set()
        return refused

    def _worker(self, device: HttpDevice) -> _Worker:
        return _Worker(
            device=device,
            client=self._connect(device),
            schedule=Schedule(),
            polls={},
            breaker=Breakers(BreakerSettings()),
        )

    def _plan(self, worker: _Worker, device: HttpDevice) -> None:
        worker.device, worker.polls = device, {}
        for prop in device.properties.values():
            if prop.question is not None:
                worker.polls.setdefault((prop.question, prop.config.collect_ms / 1000), []).append(prop)
        questions = {question for question, _ in worker.polls}
        worker.heard = {question: heard for question, heard in worker.heard.items() if question in questions}
        worker.errors = {question: error for question, error in worker.errors.items() if question in questions}
        polls = [Poll(key=key, period_s=key[1]) for key in worker.polls]
        worker.schedule.configure(polls, self._clock.monotonic_s())
        worker.changed.set()

    async def run(self) -> None:
        """See `Driver`."""
        running: dict[Key, tuple[_Worker, asyncio.Task[None]]] = {}
        async with asyncio.TaskGroup() as group:
            while True:
                ending = [key for key, (worker, _) in running.items() if self._workers.get(key) is not worker]
                for key in ending:
                    running[key][1].cancel()
                if ending:
                    await asyncio.wait([running.pop(key)[1] for key in ending])
                for key, worker in self._workers.items():
                    if key not in running:
                        running[key] = worker, group.create_task(self._keep(worker))
                await self._changed.wait()
                self._changed.clear()

    async def _keep(self, worker: _Worker) -> None:
        """A worker's root: a fault in one device is told, and leaves the others alone."""
        try:
            while True:
                try:
                    await self._work(worker)
                except Exception:
                    LOG.exception("http_worker_failed device=%s restart_s=%g", worker.device.key, RESTART_S)
                    await asyncio.sleep(RESTART_S)
        finally:
            await worker.client.close()

    async def _work(self, worker: _Worker) -> None:
        while True:
            due = worker.schedule.next()
            now_s = self._clock.monotonic_s()
            if due is not None and due[1] <= now_s:
                worker.schedule.done(due[0], now_s)
                async with worker.turn:
                    await self._poll(worker, due[0])
                continue
            try:
                async with asyncio.timeout(None if due is None else due[1] - now_s):
                    await worker.changed.wait()
            except TimeoutError:
                pass
            worker.changed.clear()

    # --- reading ------------------------------------------------------------------------------------------

    async def _poll(self, worker: _Worker, key: PollKey) -> None:
        question = key[0]
        reason = self._closed(worker) or await self._ask(worker, question)
        for prop in worker.polls.get(key, []):
            if reason:
                self._inflow.tell(no_value(worker.device.key, prop.config.name, reason, self._clock))
            elif (reading := self._reading(worker, prop)) is not None:
                self._inflow.tell(reading)

    def _closed(self, worker: _Worker) -> str:
        """Why the device is not asked now; "" when it is."""
        now_s = self._clock.monotonic_s()
        if worker.closed_until_s > now_s:
            return f"{worker.closed_reason}; it is asked again in {worker.closed_until_s - now_s:.0f} s"
        wait_s = worker.breaker.wait_s(0, now_s)
        last = worker.health.reason if worker.health else ""
        return f"{last or 'no answer'}; it is asked again in {wait_s:.1f} s" if wait_s else ""

    async def _ask(self, worker: _Worker, question: Question) -> str:
        """Ask, and remember the answer. Returns "" or why there is none that counts."""
        begun_s, begun_ms = self._clock.monotonic_s(), self._clock.wall_ms()
        held = worker.heard.get(question)
        headers = dict(question.headers) | dict(worker.device.credentials)
        if held is not None and held.tag and held.body is not None:
            headers["If-None-Match"] = held.tag
        if question.body:
            headers = {"Content-Type": "application/json", **headers}
        asked = Asked(method=question.method, target=question.target, headers=headers, body=question.body.encode())
        try:
            answer = await self._follow(worker, asked)
        except (UnavailableError, InvalidError) as error:
            return self._failed(worker, question, str(error))
        taken_s = self._clock.monotonic_s() - begun_s
        at_ms, at_s = begun_ms + round(taken_s * 500), begun_s + taken_s / 2
        if answer.status == _NOT_MODIFIED and held is not None and held.body is not None:
            worker.heard[question] = held.again(at_ms, at_s)
            return ""
        if answer.status not in _OK:
            return self._failed(worker, question, reason_of(answer.status, answer.body))
        tag = answer.headers.get("etag", "") if len(answer.body) <= KEPT_BYTES_MAX else ""
        worker.heard[question] = Heard.of(answer.status, answer.body, tag=tag, at_ms=at_ms, at_s=at_s)
        return ""

    async def _follow(self, worker: _Worker, asked: Asked) -> Answered:
        """Ask, and again where the device says that it is elsewhere, as long as that is the same device."""
        for left in range(worker.device.redirects, -1, -1):
            answer = await self._exchange(worker, asked)
            if answer.status not in _REDIRECTS or asked.method != "GET":
                return answer
            where = urljoin(f"{worker.device.origin}{asked.target}", answer.headers.get("location", ""))
            parts = split(where, "the answer's Location")
            if origin_of(parts) != worker.device.origin:
                raise UnavailableError(f"it sends to {origin_of(parts)}: let the device's url begin with that")
            if not left:
                break
            asked = Asked(method="GET", target=target_of(parts), headers=asked.headers)
        raise UnavailableError(f"it sends elsewhere, to {asked.target} and on (redirects: {worker.device.redirects})")

    async def _exchange(self, worker: _Worker, asked: Asked, *, once: bool = False) -> Answered:
        """Any answer says that the device is there."""
        try:
            answer = await worker.client.exchange(asked, once=once)
        except UnavailableError as error:
            worker.breaker.silent(0, self._clock.monotonic_s(), self._ids.unit())
            worker.health = DeviceHealth(device=worker.device.key, online=False, reason=str(error))
            raise
        worker.breaker.answered(0)
        worker.health = DeviceHealth(device=worker.device.key, online=True, reason="")
        if answer.status in (429, 503):
            wait_s = answer.headers.get("retry-after", "")
            if wait_s.isdecimal():
                worker.closed_until_s = self._clock.monotonic_s() + min(float(wait_s[:9]), RETRY_AFTER_S_MAX)
                worker.closed_reason = f"it answers {answer.status} and wants to be left alone"
        return answer

    def _failed(self, worker: _Worker, question: Question, reason: str) -> str:
        worker.errors[question] = reason, self._clock.wall_ms()
        return reason

    def _reading(self, worker: _Worker, prop: HttpProperty) -> Reading | None:
        """What the newest answer says of a property; None when it says nothing of it."""
        assert prop.question is not None, "only what is read has a reading"
        heard = worker.heard[prop.question]
        value: Value | None = None
        quality: Quality = "bad"
        reason, source_ms, source_seq = "", heard.at_ms, None
        try:
            said = read_payload(heard.payload, prop.config.type, prop.layout)
            if said is None:
                return None
            value, source_seq = said.value, said.source_seq
            quality, reason = prop.config.quality_of(said.value)
            source_ms = said.source_ms if said.source_ms is not None else source_ms
        except InvalidError as error:
            reason = str(error)
        return Reading(
            device=worker.device.key,
            prop=prop.config.name,
            value=value,
            quality=quality,
            reason=reason,
            source_ms=source_ms,
            monotonic_s=heard.at_s,
            source_seq=source_seq,
        )

    def _find(self, device: Key, prop: str) -> tuple[_Worker | None, HttpProperty | None]:
        worker = self._workers.get(device)
        return worker, worker.device.properties.get(prop) if worker else None

    async def read(self, device: Key, prop: str) -> Reading:
        """See `Driver`."""
        worker, found = self._find(device, prop)
        if worker is None or found is None:
            return no_value(device, prop, f"{device} has no property {prop} here", self._clock)
        if found.question is None:
            return no_value(device, prop, "it has no url: it is written only, and can't be asked", self._clock)
        try:
            async with asyncio.timeout(TURN_S_MAX), worker.turn:
                return await self._read_now(worker, found)
        except TimeoutError:
            return no_value(device, prop, f"its turn did not come within {TURN_S_MAX:g} s", self._clock)

    async def _read_now(self, worker: _Worker, prop: HttpProperty) -> Reading:
        assert prop.question is not None, "looked at before"
        reason = self._closed(worker) or await self._ask(worker, prop.question)
        reading = self._reading(worker, prop) if not reason else None
        said = reason or "the answer says nothing of it"
        return reading or no_value(worker.device.key, prop.config.name, said, self._clock)

    def readings(self) -> AsyncIterator[Reading]:
        """See `Driver`."""
        return self._inflow.readings()

    def stored(self, receipts: Sequence[int]) -> None:
        """See `Driver`: nothing waits; a value is polled again."""

    def health(self) -> Sequence[DeviceHealth]:
        """See `Driver`."""
        return [worker.health for worker in self._workers.values() if worker.health is not None]

    # --- writing ------------------------------------------------------------------------------------------

    async def write(self, device: Key, prop: str, value: Value, *, once: bool = False) -> WriteResult:
        """See `Driver`."""
        worker, found = self._find(device, prop)
        if worker is None or found is None:
            return _result("failed", f"{device} has no property {prop} here")
        if refusal := refusal_of(found):
            return _result("refused", refusal)
        assert found.command is not None, "what has none is refused"
        try:
            body = body_of(found, found.command, value, self._words(device, prop))
        except InvalidError as error:
            return _result("refused", str(error))
        try:
            async with asyncio.timeout(TURN_S_MAX), worker.turn:
                return await self._write(worker, found, value, body, once=once)
        except TimeoutError:
            return _result("failed", f"its turn did not come within {TURN_S_MAX:g} s")

    def _words(self, device: Key, prop: str) -> dict[str, str]:
        return {"timestamp": str(self._clock.wall_ms()), "device": device.name, "property": prop}

    async def _write(
        self, worker: _Worker, prop: HttpProperty, value: Value, body: bytes, *, once: bool
    ) -> WriteResult:
        command = prop.command
        assert command is not None, "looked at before"
        if closed := self._closed(worker):
            return _result("failed", closed)
        headers = {"Content-Type": command.type, **dict(command.headers), **worker.device.credentials}
        asked = Asked(method=command.method, target=command.target, headers=headers, body=body)
        try:
            answer = await self._exchange(worker, asked, once=once)
        except UnavailableError as error:
            return _result("failed", str(error))
        if answer.status not in _OK:
            final = 400 <= answer.status < 500 and answer.status not in _LATER
            return _result("refused" if final else "failed", reason_of(answer.status, answer.body))
        if prop.question is None:
            return _result("applied", "the device took it; it has no url to be read back from")
        if worker.device.verify_delay_s:
            await asyncio.sleep(worker.device.verify_delay_s)
        back = await self._read_now(worker, prop)
        if back.value is None:
            return WriteResult(state="applied", reason=f"written; can't be read back: {back.reason}", read_back=None)
        same = same_value(prop.config.type, format_value(back.value), format_value(value), prop.config.twin.tolerance)
        if same:
            return WriteResult(state="verified", reason="", read_back=back)
        reason = f"read back {format_value(back.value)} in place of {format_value(value)}"
        return WriteResult(state="failed", reason=reason, read_back=back)

    # --- for those who ask why ----------------------------------------------------------------------------

    def explain(self, device: Key, prop: str) -> Explanation | None:
        """See `Driver`."""
        worker, found = self._find(device, prop)
        if worker is None or found is None:
            return None
        question = found.question
        if question is None:
            return Explanation(
                place=place_of(worker.device, found), asked="written only", raw={}, steps=(), reading=None
            )
        period_s = found.config.collect_ms / 1000
        due_s = worker.schedule.due_s((question, period_s))
        heard = worker.heard.get(question)
        return explanation(
            worker.device,
            found,
            heard,
            self._reading(worker, found) if heard is not None else None,
            error=worker.errors.get(question, ("", 0)),
            next_s=None if due_s is None else max(0.0, due_s - self._clock.monotonic_s()),
        )

    def rehearse(self, device: Key, prop: str, value: Value) -> Rehearsal | None:
        """See `Driver`."""
        worker, found = self._find(device, prop)
        if worker is None or found is None:
            return None
        refusal, body = refusal_of(found), b""
        if not refusal and found.command is not None:
            try:
                body = body_of(found, found.command, value, self._words(device, prop))
            except InvalidError as error:
                refusal = str(error)
        return rehearsal(worker.device, found, value, body, refusal)

    async def close(self) -> None:
        """See `Driver`. The workers end with `run`."""
        self._workers = {}
        self._changed.set()


def _line_of(device: HttpDevice) -> tuple[object, ...]:
    """What a connection is made for: where these are the same, it is kept."""
    return device.origin, device.tls, device.credentials, device.timeout_s, device.bytes_max


def refusal_of(prop: HttpProperty) -> str:
    """Why nothing is ever written to it; "" when something may be."""
    if not prop.config.writable:
        return f"{prop.config.name} is read-only"
    return "" if prop.command is not None else f"{prop.config.name} has no writeUrl, nor writeTemplate"


def body_of(prop: HttpProperty, command: Command, value: Value, words: Mapping[str, str]) -> bytes:
    """What is sent. Raises `InvalidError` where the device has no form for the value."""
    if command.template is None:
        assert isinstance(prop.layout.source, Binary), "only bytes go without a template"
        return written_bytes(value, prop.layout.source)
    text = written_text(value, prop.config.type, prop.layout)
    return fill(command.template, {**words, "value": text, "json": as_json(value, text)}).encode()


def _result(state: WriteState, reason: str) -> WriteResult:
    return WriteResult(state=state, reason=reason, read_back=None)


def _over_the_network(device: HttpDevice) -> Client:
    from devices.http.client import HttpClient  # h11 and TLS cost memory: only who has HTTP devices pays

    return HttpClient(device.origin, device.tls, timeout_s=device.timeout_s, bytes_max=device.bytes_max)
