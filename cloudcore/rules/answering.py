"""Calls of applications on gateways (rules from servicebus to rest): posted to their target, and answered.

A controller whose keys are RuleMessages that have a `call`: each on its own, as somebody waits. The answer is written
to the message, which then is in the view of its gateway; a while later it is deleted. A target that is not reached is
asked again until the call's time is over. Keeps nothing: a crash after the target has answered and before that is
written asks it again, with the same `Idempotency-Key`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Final

from cloudcore.registry.port import DeleteOptions
from cloudcore.registry.routes import types_of
from cloudcore.rules.counts import RuleCounts
from cloudcore.rules.plan import BACKOFF_S_MIN, Answered, after, due_ms, given_up, waits, why
from cloudcore.rules.posting import Post, headers_of, target_of
from cloudcore.runtime.informer import Keys, Seen
from cloudcore.runtime.manager import Tools
from skerry.errors import ConflictError, NotFoundError, ProtocolError
from skerry.objects.json import JsonObject, str_at, str_map_at
from skerry.objects.meta import Key, uid_of
from skerry.objects.rules import ENDPOINTS, MESSAGES, REST, RULES, SERVICE_BUS, answer_json, payload_of, rule_of
from skerry.objects.times import micro_time_text, ms_at

KEPT_S: Final = 120.0
"""How long an answer stays: a link that is lost is back by then, or nobody waits any more."""


class CallAnswering:
    """See the module."""

    name = "rule-calls"
    workers = 32

    def __init__(self, tools: Tools, post: Post, counts: RuleCounts) -> None:
        self._tools = tools
        self._post = post
        self._counts = counts
        self._messages = tools.kind(MESSAGES)

    def watches(self) -> Sequence[Keys]:
        return [Keys(resource=MESSAGES, keys=_calls)]

    async def reconcile(self, key: Key) -> float | None:
        stored = self._tools.cache.read(key)
        if stored is None:
            return None
        message = self._tools.cache.obj(stored)
        now_ms = self._tools.clock.wall_ms()
        deadline_ms = ms_at(str_at(message, "status", "deadlineTime"))
        if not waits(message):
            left_s = (deadline_ms - now_ms) / 1000 + KEPT_S
            if left_s > 0:
                return left_s
            await self._remove(key, stored.uid)
            return None
        wait_s = (min(due_ms(message), deadline_ms) - now_ms) / 1000
        if wait_s > 0:
            return wait_s  # its own last status woke it
        rule = Key(RULES, key.namespace, str_at(message, "spec", "rule"))
        status = given_up(message) if now_ms >= deadline_ms else await self._asked(message, rule)
        if status.get("phase") == "Dead":
            self._counts.failed(rule, str_at(status, "message"))
        await self._write(key, stored.uid, lambda current: {**current, "status": status})
        return BACKOFF_S_MIN if status.get("phase") == "Pending" else None

    async def _asked(self, message: JsonObject, key: Key) -> JsonObject:
        """The message's next status."""
        cache = self._tools.cache
        stored = cache.read(key)
        rule = None if stored is None else rule_of(cache.obj(stored))
        if rule is None or types_of(rule, cache) != (SERVICE_BUS, REST):
            return {**given_up(message), "reason": "NotReady", "message": "its rule does not lead to rest any more"}
        endpoint = cache.read(Key(ENDPOINTS, rule.namespace, rule.target))
        properties = {} if endpoint is None else str_map_at(cache.obj(endpoint), "spec", "properties")
        try:
            body = payload_of(message["spec"])
        except ProtocolError as error:
            return {**given_up(message), "message": str(error)}
        answer = await self._post(target_of(rule, properties), body, headers_of(message))
        now_ms = self._tools.clock.wall_ms()
        if not isinstance(answer, Answered):
            return after(message, answer, within_s=0, now_ms=now_ms) | {
                "deadlineTime": str_at(message, "status", "deadlineTime")
            }
        if 200 <= answer.status < 300:
            self._counts.succeeded(key)
        else:
            self._counts.failed(key, why(answer))
        return {
            "phase": "Answered",
            "deadlineTime": str_at(message, "status", "deadlineTime"),
            "lastAttemptTime": micro_time_text(now_ms),
            "answer": {"status": answer.status} | answer_json(answer.body),
        }

    async def _write(self, key: Key, uid: str, change: Callable[[JsonObject], JsonObject]) -> None:
        def transform(current: JsonObject) -> JsonObject:
            return change(current) if uid_of(current) == uid else current

        try:
            await self._tools.objects.update(self._messages, key, transform, subresource="status")
        except NotFoundError:
            return

    async def _remove(self, key: Key, uid: str) -> None:
        try:
            await self._tools.objects.delete(self._messages, key, DeleteOptions(uid=uid, grace_s=0))
        except (NotFoundError, ConflictError):
            return


def _calls(change: Seen) -> Iterable[Key]:
    return [change.key] if change.after is not None and str_at(change.after, "spec", "call") else []
