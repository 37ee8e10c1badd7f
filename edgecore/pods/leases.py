"""Asks the region's cloud for how much longer pods may run that must never run twice, and says when they may not.

What was lent is in the edge store now and then (`META_LEASES`), for a restart of the agent: a crash leaves less than
was lent. What was asked for while nobody counted on its end (`META_ASKED`) is there before the question leaves. A
store that was salvaged, or filled from a copy, may have forgotten that: of such pods nothing runs before an answer.

Pods whose time is over are stopped by their workers and stay held back, volumes and all, until they are lent again;
nothing here ends a pod.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Final, Protocol

from edgecore.pods.lending import Lending
from edgecore.pods.plan import Waiting
from edgecore.store.port import EdgeBatch
from edgecore.store.shell import AsyncEdgeStore
from skerry.errors import InvalidError, SkerryError, UnavailableError
from skerry.frozen import Frozen
from skerry.objects.json import JsonObject, bool_at, decode_object, encode_object, read_json, str_at
from skerry.objects.meta import Key, uid_of
from skerry.objects.pod_leases import (
    ANSWER_BYTES_MAX,
    LEASE,
    LEASE_ENDED,
    LEASES,
    Question,
    lease_of,
    left_of,
    untold_of,
)
from skerry.objects.pods import is_over
from skerry.ports import Clock, Pipe
from skerry.waits import until_set

log = logging.getLogger(__name__)

META_LEASES: Final = "pod_leases"
META_ASKED: Final = "pod_leases_asked"
_PODS: Final = "pods"
_MARK: Final = LEASE.encode()
_ANSWER_S_MAX: Final = 10.0
"""For an answer. One that comes later would lend little."""
_LOOK_S: Final = 5.0
_END_S: Final = 1.0
"""Between looks at what has come to its end."""
_WRITES: Final = 2
"""What is written down is brought up to date so often in the time that is left: flash wears."""
ENDED: Final = Waiting(
    reason=LEASE_ENDED,
    message="the region's cloud has not answered for as long as it may run: it is stopped until it does",
)


class Pipes(Protocol):
    """The part of `EdgeLink` that is used."""

    def pipe(self, kind: str, params: bytes) -> AbstractAsyncContextManager[Pipe]: ...


Changed = Callable[[str], None]
"""Told the uid of a pod of which something else is lent now."""
Fence = Callable[[str], None]
"""Told again and again the uid of a pod that is not lent now: what runs is to end, whatever its worker is at."""


class Lent(Protocol):
    """What workers of pods ask."""

    def left_s(self, pod: JsonObject) -> float | None:
        """How much longer it may run; 0: not now. None: nobody lends it, and it may run anyhow."""
        ...

    def over_s(self, pod: JsonObject) -> float:
        """How long ago its lease came to its end, whatever the agent was at; 0 where it has not."""
        ...

    async def run(self, changed: Changed, fence: Fence) -> None:
        """Until cancelled, or at once."""
        ...


class AlwaysLent:
    """Where no pod is lent."""

    def left_s(self, pod: JsonObject) -> float | None:
        return None

    def over_s(self, pod: JsonObject) -> float:
        return 0.0

    async def run(self, changed: Changed, fence: Fence) -> None:
        return


class _Marked(Frozen):
    """A pod that is lent."""

    uid: str
    untold: str
    """What its mark says while nobody counts on its end; "" where somebody may."""


class PodLeases:
    """See the module. Run `run` in a task group."""

    def __init__(self, store: AsyncEdgeStore, clock: Clock, boot_id: str, pipes: Pipes) -> None:
        self._store = store
        self._clock = clock
        self._pipes = pipes
        asked = _kept(store, META_ASKED)
        self._lending = Lending(boot_id, _kept(store, META_LEASES), asked)
        self._sure_of = str_at(asked, "store")
        """The life of the store in which is written down what was asked for."""
        if not self._is_sure:
            self._lending.doubt(dict(filter(None, (_untold(held.body) for held in store.list(_PODS)))))
        self._changed: Changed = _nobody
        self._marked: dict[Key, _Marked] = {}
        """The pods here that are lent."""
        self._ended: set[str] = set()
        """Of whom it was told."""
        self._wake = asyncio.Event()
        """There is something to ask."""
        self._has_ended = asyncio.Event()
        """What is not lent any more is to be written down."""
        self._came = asyncio.Event()
        """The same, for who looks at the ends."""
        self._failed = ""
        self._written_s: float | None = None
        self._written: JsonObject = {}

    @property
    def _is_sure(self) -> bool:
        return self._sure_of == self._store.incarnation

    def left_s(self, pod: JsonObject) -> float | None:
        """See `Lent`."""
        if not lease_of(pod):
            return None
        return self._lending.left_s(uid_of(pod), untold_of(pod), self._clock.monotonic_s())

    def over_s(self, pod: JsonObject) -> float:
        """See `Lent`."""
        if not lease_of(pod):
            return 0.0
        return self._lending.over_s(uid_of(pod), untold_of(pod), self._clock.monotonic_s())

    def welcomed(self) -> None:
        """The cloud is here again."""
        self._lending.hasten()
        self._wake.set()

    async def run(self, changed: Changed, fence: Fence) -> None:
        """Until cancelled."""
        self._changed = changed
        stop = self._store.listen(self._committed)
        for held in self._store.list(_PODS):
            self._see(held.key, held.body)
        try:
            if not self._is_sure:  # else the next start would doubt what comes from now on
                with contextlib.suppress(UnavailableError):
                    await self._write_asked()
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._watch_ends(fence))
                tasks.create_task(self._note_ends())
                while True:
                    self._wake.clear()
                    if not self._marked:
                        await self._wake.wait()
                        continue
                    await self.ask()
                    wait_s = self._lending.ask_again_s(self._pods(), self._clock.monotonic_s())
                    await self._rest(wait_s)
        finally:
            stop()

    async def _rest(self, wait_s: float) -> None:
        """Until there is something to ask: looked at again and again, as timers do not count the time in which the
        machine was suspended."""
        clock = self._clock
        until_s = clock.monotonic_s() + wait_s
        while (left_s := until_s - clock.monotonic_s()) > 0 and not self._wake.is_set():
            await until_set(self._wake, within_s=min(left_s, _LOOK_S))

    async def _watch_ends(self, fence: Fence) -> None:
        """Beside the questions: an answer may be waited for longer than a lease lasts."""
        while True:
            self._came.clear()
            if not self._marked:
                await self._came.wait()
                continue
            now_s = self._clock.monotonic_s()
            left = {uid: self._lending.left_s(uid, untold, now_s) for uid, untold in self._pods().items()}
            ended = {uid for uid, left_s in left.items() if left_s == 0}
            for uid in ended - self._ended:
                self._changed(uid)
            for uid in ended:
                fence(uid)
            if ended - self._ended:
                self._has_ended.set()
            self._ended = ended
            await until_set(self._came, within_s=min([_END_S, *(left_s for left_s in left.values() if left_s)]))

    async def _note_ends(self) -> None:
        """Write down what has come to its end, beside the watch: what was written down of it is older, and a restart
        of the agent would count its grace from that."""
        while True:
            await self._has_ended.wait()
            self._has_ended.clear()
            await self._write_down(self._clock.monotonic_s(), anyhow=True)

    def _pods(self) -> dict[str, str]:
        """Uids of those that are lent, and what their marks say while nobody counts on their end."""
        return {each.uid: each.untold for each in self._marked.values()}

    async def ask(self) -> None:
        """Once, for all pods that are lent here."""
        pods = self._pods()
        clock, left = self._clock, dict[str, float]()
        asked_s = clock.monotonic_s()
        try:
            async with asyncio.timeout(_ANSWER_S_MAX):
                left = await self._answer(pods, asked_s)
        except (SkerryError, TimeoutError) as error:
            why = str(error) or "no answer in time"
            if why != self._failed:
                log.info("leases of pods are not renewed pods=%d reason=%s", len(pods), why)
            self._failed = why
        else:
            self._failed = ""
        now_s = clock.monotonic_s()
        self._lending.answered(left, asked=pods, asked_s=asked_s, now_s=now_s)
        if left:
            await self._write_down(now_s)
        for uid in pods:
            self._changed(uid)

    async def _answer(self, pods: Mapping[str, str], asked_s: float) -> dict[str, float]:
        untold = {uid: mark for uid, mark in pods.items() if mark}
        asked = Question(pods=tuple(pods), untold=untold).encode()
        async with self._pipes.pipe(LEASES, encode_object({"bodyBytes": len(asked)})) as pipe:
            await self._note_asked(pods, asked_s)
            await pipe.write(asked)
            data = bytearray()
            while piece := await pipe.read():
                data += piece
                if len(data) > ANSWER_BYTES_MAX:
                    raise UnavailableError(f"the cloud answers more than {ANSWER_BYTES_MAX} bytes")
        return left_of(bytes(data))

    async def _note_asked(self, pods: Mapping[str, str], asked_s: float) -> None:
        """Before the question leaves: who gets it may count on the end of what it names. Raises `UnavailableError`,
        and nothing is asked."""
        before = self._lending.asked
        if not self._lending.asks(pods, asked_s) and self._is_sure:
            return
        try:
            await self._write_asked()
        except UnavailableError:
            self._lending.asked = before
            raise
        for uid in pods:
            self._changed(uid)

    async def _write_asked(self) -> None:
        """Raises `UnavailableError`."""
        self._keep()
        shown = encode_object({**self._lending.shown_asked(), "store": self._store.incarnation})
        await self._store.apply(EdgeBatch(meta=((META_ASKED, shown.decode()),)))
        self._sure_of = self._store.incarnation

    def _keep(self) -> None:
        """Of pods that are here, also where their mark is gone: it may come back."""
        self._lending.keep({stamp.uid for key, stamp in self._store.stamps() if key.resource == _PODS})

    async def _write_down(self, now_s: float, *, anyhow: bool = False) -> None:
        """`anyhow`: though it is not due yet."""
        self._keep()
        shown = self._lending.shown()
        pods = self._pods()
        left_s = min((left for uid in pods if (left := self._lending.left_s(uid, "", now_s))), default=0.0)
        due_s = 0.0 if self._written_s is None else self._written_s + left_s / _WRITES
        if shown == self._written or (not anyhow and now_s < due_s and _names(shown) == _names(self._written)):
            return
        try:
            await self._store.apply(EdgeBatch(meta=((META_LEASES, encode_object(shown).decode()),)))
        except UnavailableError as error:
            log.warning("what is lent is not written down error=%s", error)
        else:
            self._written_s, self._written = now_s, shown

    def _committed(self, batch: EdgeBatch) -> None:
        for held in batch.puts:
            if held.key.resource == _PODS:
                self._see(held.key, held.body)
        for key in batch.deletes:
            self._marked.pop(key, None)
        for uid, record in batch.pods:
            if record is not None and uid in self._pods() and _has_ended(record):
                self._marked = {key: other for key, other in self._marked.items() if other.uid != uid}

    def _see(self, key: Key, body: bytes) -> None:
        """Of a pod that is over nobody asks; of one that is going, as its grace may be longer than its lease."""
        pod = decode_object(body) if _MARK in body else {}
        record = self._store.pod(uid_of(pod)) if lease_of(pod) else None
        if not lease_of(pod) or is_over(pod) or (record is not None and _has_ended(record)):
            self._marked.pop(key, None)
        elif self._marked.get(key) != (marked := _Marked(uid=uid_of(pod), untold=untold_of(pod))):
            self._marked[key] = marked
            self._lending.hasten()
            self._wake.set()
            self._came.set()


def _nobody(_uid: str) -> None:
    """Nothing runs yet."""


def _kept(store: AsyncEdgeStore, name: str) -> JsonObject:
    try:
        kept = read_json(store.meta(name) or "{}")
    except InvalidError:  # damaged: nothing is proven
        return {}
    return kept if isinstance(kept, dict) else {}


def _untold(body: bytes) -> tuple[str, str] | None:
    """Uid and mark of a pod on whose end nobody counts."""
    pod = decode_object(body) if _MARK in body else {}
    return (uid_of(pod), untold_of(pod)) if untold_of(pod) else None


def _has_ended(record: bytes) -> bool:
    """It was told to have reached its last phase."""
    told = decode_object(record)
    return is_over(told) and not bool_at(told, "gone")


def _names(shown: JsonObject) -> frozenset[str]:
    ends = shown.get("endsMs")
    return frozenset(ends) if isinstance(ends, dict) else frozenset()
