"""What a client of the gateway's DNS is answered: from the cluster's names, from the cache, or from others.

Nothing here waits for the cloud. The same question of several clients goes out once. Where those who are asked ask us
(a machine whose own resolver was pointed here), no question ends: `look_for_circle` sends one that nobody else knows,
and while that comes back, others are not asked. Keeps the cache, in memory.
"""

from __future__ import annotations

import asyncio
import secrets
import struct
from collections.abc import Awaitable, Callable
from typing import Protocol

from edgecore.network.answers import Names
from edgecore.network.cache import AnswerCache, Question
from edgecore.network.ready import TURNS_MAX, ReadyAnswers
from edgecore.network.replies import BAD_VERSION, Reply, encode, refusal, room_of
from skerry.dns.answers import addresses_in, is_unable
from skerry.dns.names import name_of
from skerry.dns.numbers import AAAA, ANY, CNAME, FORMERR, HEADER, IN, REFUSED, SERVFAIL, A, MalformedError
from skerry.dns.queries import Query, parse_query, question
from skerry.dns.records import Record
from skerry.errors import UnavailableError
from skerry.frozen import replace
from skerry.ports import Clock

_ALIASES_MAX = 8
"""Followed from one name to the next."""
_KEYED_FLAGS = 0x0110
"""RD and CD: they change what others answer."""


class Ask(Protocol):
    """`Upstream.ask`."""

    def __call__(self, query: bytes, *, over_tcp: bool) -> Awaitable[bytes]: ...


class Resolving:
    """Answers messages. `recurses`: whether others are asked at all."""

    def __init__(self, names: Names, ask: Ask, clock: Clock, *, recurses: Callable[[], bool] = lambda: True) -> None:
        self._names = names
        self._ask = ask
        self._clock = clock
        self._recurses = recurses
        self._cache = AnswerCache()
        self._ready = ReadyAnswers(lambda: names.generation)
        self._turn = 0
        """Of answers that nobody keeps."""
        self._under_way: dict[tuple[Question, bool], asyncio.Task[bytes]] = {}
        self._sought = b""
        """The name that comes back where there is a circle."""
        self.circle = False
        """Those who are asked ask us."""

    async def look_for_circle(self) -> None:
        """Raises `UnavailableError` where nobody answers: then nothing is known."""
        self._sought = name_of(f"{secrets.token_hex(8)}.circle.skerry.invalid")
        self.circle = False
        await self._ask(question(secrets.randbits(16), self._sought, A), over_tcp=False)

    def at_once(self, data: bytes) -> bytes | None:
        """The answer over UDP, where nobody has to be waited for; None: `answer` tells."""
        kept = self._ready.get(data)
        if kept is not None:
            return kept
        if len(data) < HEADER.size or data[2] & 0x80:
            return None
        try:
            query = parse_query(data)
        except MalformedError:
            return refusal(data, FORMERR)
        if query.name == self._sought or not query.question or (query.opt is not None and query.opt.version):
            return None
        reply = self._names.answer(query)
        if reply is None:
            return self._kept(query, data, room=room_of(query))
        if _is_alias(query, reply):
            return None
        if query.opt is not None and query.opt.options:  # cookies and their like are never the same again
            self._turn += 1
            return encode(query, _turned(reply, self._turn), bytes_max=room_of(query))
        answers = [encode(query, turn, bytes_max=room_of(query)) for turn in _turns(reply)]
        self._ready.put(data, answers)
        return answers[0]

    async def answer(self, data: bytes, *, over_tcp: bool) -> bytes | None:
        """None: what came deserves none."""
        if len(data) < HEADER.size or data[2] & 0x80:
            return None
        try:
            query = parse_query(data)
        except MalformedError:
            return refusal(data, FORMERR)
        if query.name == self._sought:
            self.circle = True
            return refusal(data, REFUSED)
        if not query.question:
            return refusal(data, FORMERR)
        bytes_max = 65_535 if over_tcp else room_of(query)
        if query.opt is not None and query.opt.version > 0:
            return encode(query, BAD_VERSION, bytes_max=bytes_max)
        reply = self._names.answer(query)
        if reply is None:
            return await self._others(query, data, over_tcp=over_tcp)
        return encode(query, await self._followed(query, reply), bytes_max=bytes_max)

    async def _followed(self, query: Query, reply: Reply) -> Reply:
        """With what an alias leads to: stub resolvers don't ask again (RFC 1034 section 5.2.2)."""
        if not _is_alias(query, reply):
            return reply
        found: list[Record] = [*reply.answers]
        for _ in range(_ALIASES_MAX):
            if found[-1].type != CNAME:
                break
            target = found[-1].rdata.lower()
            asked = replace(query, name=target, cls=IN)
            inner = self._names.answer(asked)
            if inner is None:
                found += await self._addresses(target, query.type)
                break
            if not inner.answers:
                break
            found += inner.answers
        return replace(reply, answers=tuple(found))

    async def _addresses(self, name: bytes, type_: int) -> list[Record]:
        """Of somebody else's name; none where nobody knows."""
        data = question(0, name, type_)
        try:
            answer = await self._others(parse_query(data), data, over_tcp=False)
            return addresses_in(answer)
        except MalformedError:
            return []

    async def _others(self, query: Query, data: bytes, *, over_tcp: bool) -> bytes:
        kept = self._kept(query, data, room=65_535 if over_tcp else room_of(query))
        if kept is not None:
            return kept
        asked = _question(query, data)
        try:
            answer = await self._asked_once(asked, data, over_tcp=over_tcp)
        except UnavailableError:
            answer = encode(query, Reply(code=SERVFAIL, authoritative=False), bytes_max=512)
        if is_unable(answer):  # a router without its link often says so at once
            stale = self._cache.get(asked, query.id, self._clock.monotonic_s(), stale=True)
            if stale is not None and (over_tcp or len(stale) <= room_of(query)):
                return _as_asked(stale, query)
        self._cache.put(asked, answer, self._clock.monotonic_s())
        return _as_asked(data[:2] + answer[2:], query)

    def _kept(self, query: Query, data: bytes, *, room: int) -> bytes | None:
        """Of others' names, what is known or refused without asking anybody."""
        if self.circle or not self._recurses() or query.type == ANY:
            # RFC 8482: ANY is of no use but to those who want large answers sent to others.
            return encode(query, Reply(code=REFUSED, authoritative=False), bytes_max=512)
        kept = self._cache.get(_question(query, data), query.id, self._clock.monotonic_s())
        return _as_asked(kept, query) if kept is not None and len(kept) <= room else None

    async def _asked_once(self, asked: Question, data: bytes, *, over_tcp: bool) -> bytes:
        """Raises `UnavailableError`. Whoever asks first may go away: the others still wait."""
        at = (asked, over_tcp)
        task = self._under_way.get(at)
        if task is None:
            task = asyncio.ensure_future(self._answered(data, over_tcp=over_tcp))
            self._under_way[at] = task
            task.add_done_callback(lambda _: self._under_way.pop(at, None))
        answer = await asyncio.shield(task)
        if not answer:
            raise UnavailableError("no DNS server answers")
        return answer

    async def _answered(self, data: bytes, *, over_tcp: bool) -> bytes:
        """b"" where nobody answers."""
        try:
            return await self._ask(data, over_tcp=over_tcp)
        except UnavailableError:
            return b""


def _is_alias(query: Query, reply: Reply) -> bool:
    """Whether what it leads to has to be found as well."""
    return query.type in (A, AAAA) and bool(reply.answers) and reply.answers[-1].type == CNAME


def _turns(reply: Reply) -> list[Reply]:
    """The same with another of its answers first; clients take the first."""
    return [_turned(reply, turn) for turn in range(max(1, min(_count(reply), TURNS_MAX)))]


def _turned(reply: Reply, turn: int) -> Reply:
    at = turn % max(1, _count(reply))
    return replace(reply, answers=(*reply.answers[at:], *reply.answers[:at]))


def _count(reply: Reply) -> int:
    """Of answers that may be first."""
    return len(reply.answers) if all(each.type in (A, AAAA) for each in reply.answers) else 1


def _as_asked(answer: bytes, query: Query) -> bytes:
    """With the question as this client wrote it: some check the case of its letters."""
    end = HEADER.size + len(query.question)
    return answer[: HEADER.size] + query.question + answer[end:]


def _question(query: Query, data: bytes) -> Question:
    (flags,) = struct.unpack_from("!H", data, 2)
    # What EDNS adds (DO, cookies, subnets) changes the answer: the additional section as it came is part of the key.
    extra = data[HEADER.size + len(query.question) :]
    return (query.name, query.type, query.cls, hash((flags & _KEYED_FLAGS, extra)))
