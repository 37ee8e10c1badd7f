"""Keeps the tokens of this gateway's pods: asks for them while there is a link, and has them when there is none.

What it keeps is in `DIR/tokens`, a file for each pod (0600, in a directory of 0700, as Secrets are in the store): a
gateway that boots alone mounts what it had. A file is replaced as a whole; one that can't be read is as none, and the
cloud is asked again. A token is deleted with its pod alone: an old one is better than none (docs/decisions/0351).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final, Protocol

from edgecore.store.port import EdgeBatch
from edgecore.store.shell import AsyncEdgeStore
from edgecore.tokens.plan import (
    Token,
    Wanted,
    decode_tokens,
    encode_tokens,
    renewed_at_ms,
    request_for,
    token_from,
    wanted_by,
)
from skerry.errors import AwaitedError, SkerryError, UnansweredError, UnavailableError
from skerry.files import unavailable, write_private
from skerry.frozen import Frozen
from skerry.objects.cloud_calls import CallHead, CloudAnswer
from skerry.objects.json import JsonObject, decode_object
from skerry.objects.meta import uid_of
from skerry.ports import Clock, Ids
from skerry.waits import longer_s, until_set

log = logging.getLogger(__name__)

PODS: Final = "pods"
AT_ONCE: Final = 4
"""Requests under way: after a week alone each pod needs another, and they come one after the other."""
AGAIN_S_MIN: Final = 2.0
AGAIN_S_MAX: Final = 300.0
LOOK_S: Final = 60.0
"""A clock that steps tells nobody."""


class Calls(Protocol):
    """See `edgecore.link.calls.CloudCalls`."""

    async def ask(self, head: CallHead, body: bytes = b"") -> CloudAnswer: ...


class TokenParts(Frozen):
    """What the keeper is made of."""

    store: AsyncEdgeStore
    calls: Calls
    clock: Clock
    """With what is known of the cloud's."""
    ids: Ids
    directory: Path
    connected: Callable[[], bool]
    """There is a session with the cloud."""
    in_step: Callable[[], bool]
    """The store is known to equal the cloud's view: what is not in it is not wanted."""
    changed: Callable[[str], None]
    """Told the uid of a pod that has another token."""


class TokenKeeper:
    """Run `run` in a task group; `token` may be asked at any time, from any thread."""

    def __init__(self, parts: TokenParts) -> None:
        """Reads what is kept. Raises `UnavailableError` where the directory can't be had."""
        self._parts = parts
        self._place = parts.directory / "tokens"
        self._look = asyncio.Event()
        self._failures: dict[tuple[str, Wanted], _Failure] = {}
        self._chances: dict[tuple[str, Wanted], float] = {}
        try:
            self._place.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._place.chmod(0o700)
            self._tokens = _read_all(self._place)
        except OSError as error:
            raise unavailable(self._place, error) from error

    def token(self, pod: JsonObject, audience: str, seconds: int) -> str:
        """The newest that there is, in date or not. Raises `UnavailableError` saying why there is none,
        `UnansweredError` where the cloud can't be asked now, and `AwaitedError` while it is asked."""
        wanted = Wanted(audience=audience, seconds=seconds)
        found = self._tokens.get(uid_of(pod), {}).get(wanted)
        if found is not None:
            return found.text
        failure = self._failures.get((uid_of(pod), wanted))
        if not self._parts.connected():
            raise UnansweredError("failed to fetch token: the cloud was not reached since the pod came here")
        if failure is None:
            raise AwaitedError("failed to fetch token: asking the cloud")
        text = f"failed to fetch token: {failure.why}"
        raise UnansweredError(text) if failure.unanswered else UnavailableError(text)

    def poke(self) -> None:
        """There is a link again."""
        self._failures.clear()
        self._look.set()

    async def run(self) -> None:
        stop = self._parts.store.listen(self._committed)
        try:
            while True:
                self._look.clear()
                wait_s = await self._round()
                await until_set(self._look, within_s=wait_s)
        finally:
            stop()

    def _committed(self, batch: EdgeBatch) -> None:
        if any(key.resource == PODS for key in (*(held.key for held in batch.puts), *batch.deletes)):
            self._look.set()

    async def _round(self) -> float:
        """Ask for what is due; seconds until the next look."""
        pods = {held.stamp.uid: decode_object(held.body) for held in self._parts.store.list(PODS)}
        self._forget(pods)
        now_ms = self._parts.clock.wall_ms()
        due: list[tuple[JsonObject, Wanted]] = []
        next_ms = now_ms + round(LOOK_S * 1000)
        for uid, pod in pods.items():
            for wanted in wanted_by(pod):
                at_ms = self._due_ms(uid, wanted)
                if at_ms <= now_ms:
                    due.append((pod, wanted))
                else:
                    next_ms = min(next_ms, at_ms)
        if due and self._parts.connected():
            turns = asyncio.Semaphore(AT_ONCE)
            async with asyncio.TaskGroup() as tasks:
                for pod, wanted in due:
                    tasks.create_task(self._renew(pod, wanted, turns))
            return AGAIN_S_MIN / 4  # what was asked for is due again later, or was refused and waits
        return max(0.05, (next_ms - now_ms) / 1000)

    def _due_ms(self, uid: str, wanted: Wanted) -> int:
        failure = self._failures.get((uid, wanted))
        again_ms = 0
        if failure is not None:  # by no clock that somebody may set
            wait_s = failure.again_s - self._parts.clock.monotonic_s()
            again_ms = self._parts.clock.wall_ms() + round(wait_s * 1000)
        token = self._tokens.get(uid, {}).get(wanted)
        if token is None:
            return again_ms
        chance = self._chances.setdefault((uid, wanted), self._parts.ids.unit())
        return max(again_ms, renewed_at_ms(token, chance))

    async def _renew(self, pod: JsonObject, wanted: Wanted, turns: asyncio.Semaphore) -> None:
        uid = uid_of(pod)
        async with turns:
            head, body = request_for(pod, wanted)
            try:
                answer = await self._parts.calls.ask(head, body)
                token = token_from(answer, wanted, now_ms=self._parts.clock.wall_ms())
                self._keep(uid, token)
            except SkerryError as error:
                self._note(uid, wanted, error)
                return
        self._failures.pop((uid, wanted), None)
        self._parts.changed(uid)

    def _keep(self, uid: str, token: Token) -> None:
        # Here and not in a thread: it is a thousand bytes once a day for each pod, and two of one pod share a file.
        tokens = {**self._tokens.get(uid, {}), token.wanted: token}
        write_private(self._place / f"{uid}.json", encode_tokens(tokens.values()))
        self._tokens[uid] = tokens
        self._chances.pop((uid, token.wanted), None)

    def _note(self, uid: str, wanted: Wanted, error: SkerryError) -> None:
        why = str(error)
        before = self._failures.get((uid, wanted))
        delay_s = longer_s(before.delay_s if before else 0.0, least_s=AGAIN_S_MIN, most_s=AGAIN_S_MAX)
        again_s = self._parts.clock.monotonic_s() + delay_s
        self._failures[uid, wanted] = _Failure(
            why=why, delay_s=delay_s, again_s=again_s, unanswered=isinstance(error, UnavailableError)
        )
        if before is None or before.why != why:
            log.warning("a token is not to be had pod=%s audience=%r reason=%s", uid, wanted.audience, why)
            self._parts.changed(uid)  # whoever waits for it can say why

    def _forget(self, pods: Mapping[str, JsonObject]) -> None:
        """Tokens of pods that are gone, here and in the cloud. A store that was made anew knows nothing yet."""
        if not self._parts.in_step():
            return
        there = {*pods, *(uid for uid, _ in self._parts.store.pods())}
        for uid in self._tokens.keys() - there:
            del self._tokens[uid]
            (self._place / f"{uid}.json").unlink(missing_ok=True)
        for gone in [each for each in (*self._failures, *self._chances) if each[0] not in there]:
            self._failures.pop(gone, None)
            self._chances.pop(gone, None)


class _Failure(Frozen):
    """Why a token was not to be had last, and when it is asked for again."""

    why: str
    delay_s: float
    again_s: float
    unanswered: bool
    """The cloud did not say no: it said nothing, or is too old to be asked."""


def _read_all(place: Path) -> dict[str, dict[Wanted, Token]]:
    found: dict[str, dict[Wanted, Token]] = {}
    for path in place.glob("*.json"):
        try:
            tokens = decode_tokens(path.read_bytes())
        except ValueError as error:
            log.warning("tokens of a pod can't be read and are asked for anew pod=%s error=%s", path.stem, error)
            continue
        found[path.stem] = {token.wanted: token for token in tokens}
    return found
