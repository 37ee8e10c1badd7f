"""Carries out `plan` for the messages of Rules, and tells in each Rule's status whether it works and what came of it.

Run by the leader alone, under its fence: what one that was deposed still writes, the store refuses. Messages are in
the store until their target has acknowledged them, so a crash, or a leader that changes between an acknowledgement
and the write of it, sends one again: at least once, with the same `Idempotency-Key`. Keeps counts
that are not written yet, for a few seconds; a crash costs those.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from cloudcore.registry.port import DeleteOptions
from cloudcore.registry.routes import route_faults, types_of
from cloudcore.rules.plan import (
    Answered,
    GiveUp,
    Revive,
    Send,
    Unreached,
    Wait,
    after,
    beyond,
    given_up,
    in_order,
    next_step,
    revived,
    taken,
    waits,
    why,
)
from cloudcore.rules.posting import Post, Target, headers_of, target_of
from cloudcore.runtime.informer import MESSAGES_BY_RULE, Keys, Seen
from cloudcore.runtime.manager import Tools
from skerry.errors import ConflictError, NotFoundError, ProtocolError
from skerry.objects.commands import CAPABILITIES
from skerry.objects.conditions import Condition, condition_of, with_condition
from skerry.objects.json import JsonObject, int_at, map_at, maps_at, str_at, str_map_at
from skerry.objects.meta import Key, being_deleted, name_of, namespace_of, uid_of
from skerry.objects.rules import (
    ENDPOINTS,
    EVENT_BUS,
    MESSAGES,
    NO_BROKER,
    REST,
    RULES,
    WITHIN_S,
    Rule,
    counted,
    payload_of,
    rule_of,
)

PASS_S_MAX: Final = 30.0
"""A rule with many messages gives way after that; a controller's pass has a deadline."""
TELL_S: Final = 5.0
"""Between two writes of a Rule's counts: its gateway hears of each. What is news is written at once."""
WAIT_S_MAX: Final = 3600.0
"""Clocks step; an hour's error at most."""


@dataclass(slots=True)
class _Tally:
    """What became of messages and is not written yet."""

    succeeded: int = 0
    dropped: int = 0
    """Of those that were given up, forgotten to make room."""
    failures: list[str] = field(default_factory=list[str])
    trouble: str = ""
    """What is wrong with the target, as of the last message that was sent; "" for nothing."""
    written_s: float | None = None
    """When counts were written last; None: not yet."""


class RuleDelivery:
    """See the module. A controller whose keys are Rules."""

    name = "rule-delivery"
    workers = 16
    """Rules at a time: most of that is waiting for answers."""

    def __init__(self, tools: Tools, post: Post) -> None:
        self._tools = tools
        self._post = post
        self._rules = tools.kind(RULES)
        self._messages = tools.kind(MESSAGES)
        self._tallies: dict[Key, _Tally] = {}

    def watches(self) -> Sequence[Keys]:
        return [
            Keys(resource=RULES, keys=lambda change: [] if change.deleted else [change.key]),
            Keys(resource=MESSAGES, keys=_rule_of_message),
            Keys(resource=ENDPOINTS, keys=self._rules_at),
            Keys(resource="nodes", keys=self._rules_of),
        ]

    async def reconcile(self, key: Key) -> float | None:
        stored = self._tools.cache.read(key)
        if stored is None or being_deleted(self._tools.cache.obj(stored)):
            self._tallies.pop(key, None)
            return None
        rule = rule_of(self._tools.cache.obj(stored))
        ready, carries = self._readiness(rule)
        tally, wait_s = self._tallies.setdefault(key, _Tally()), None
        if carries:
            wait_s = await self._deliver(rule, stored.uid, tally)
        tell_s = 0.0 if tally.written_s is None else tally.written_s + TELL_S - self._tools.clock.monotonic_s()
        if tell_s <= 0 or _is_news(self._tools.cache.obj(stored), ready, tally):
            await self._tell(key, stored.uid, ready, tally)
            return wait_s
        return tell_s if wait_s is None else min(wait_s, tell_s)

    # --- whether it works ---------------------------------------------------------------------------------

    def _readiness(self, rule: Rule) -> tuple[Condition, bool]:
        """The condition, and whether messages of it are delivered from here."""
        source, target = types_of(rule, self._tools.cache)
        missing = [name for name, type_ in ((rule.source, source), (rule.target, target)) if type_ is None]
        if missing:
            text = f"waits for ruleendpoint {' and '.join(missing)} in namespace {rule.namespace}"
            return Condition(type="Ready", status="False", reason="EndpointMissing", message=text), False
        faults = [f"{cause.field}: {cause.message}" for cause in route_faults(rule, source, target)]
        if faults:
            return Condition(type="Ready", status="False", reason="DoesNotFit", message="; ".join(faults)), False
        text = f"from {source} to {target}"
        carries = (source, target) == (EVENT_BUS, REST)
        if source == EVENT_BUS and self._lacks_broker(rule.node):
            text = f"node {rule.node} has no MQTT broker (edgecore run --mqtt-broker): it hears nothing"
            return Condition(type="Ready", status="False", reason="NoBroker", message=text), carries
        return Condition(type="Ready", status="True", reason="EndpointsFit", message=text), carries

    def _lacks_broker(self, node: str) -> bool:
        """What was heard while it had one is delivered all the same."""
        stored = self._tools.cache.read(Key("nodes", "", node))
        return stored is not None and NO_BROKER in _capabilities(self._tools.cache.obj(stored)).split(",")

    # --- messages -----------------------------------------------------------------------------------------

    async def _deliver(self, rule: Rule, uid: str, tally: _Tally) -> float | None:
        """Until nothing is due, the pass has taken its time, or the rule means something else by now. Seconds until
        something is due; None: nothing waits."""
        endpoint = self._endpoint(rule)
        read = self._ways_changed()
        within_s = int(endpoint.get("deliver_within_seconds", WITHIN_S))
        target = target_of(rule, endpoint)
        clock = self._tools.clock
        until_s = clock.monotonic_s() + PASS_S_MAX
        messages: list[JsonObject] = []
        while clock.monotonic_s() < until_s:
            if read != (read := self._ways_changed()) and not self._means_still(rule, uid, endpoint):
                return 0.0
            now_ms = clock.wall_ms()
            if not messages:
                messages = self._waiting(rule)
                await self._thin_out(messages, tally)
            match next_step(messages, within_s=within_s, now_ms=now_ms):
                case Wait(until_ms=None):
                    return None
                case Wait(until_ms=due_ms):
                    assert due_ms is not None, "the case before has the other"
                    return min(max(0.0, (due_ms - now_ms) / 1000) + 0.05, WAIT_S_MAX)
                case Send(message=message):
                    if await self._send(target, message, tally, within_s=within_s):
                        messages.remove(message)  # those behind it need not be read and put in order anew
                        continue
                case GiveUp(message=message):
                    status = given_up(message)
                    if await self._write(message, status):
                        tally.failures.append(str_at(status, "message"))
                case Revive(message=message):
                    await self._revive(message, within_s=within_s)
            messages = []
        return 0.0

    def _ways_changed(self) -> tuple[int, int]:
        """Moves when any Rule or RuleEndpoint does."""
        cache = self._tools.cache
        return cache.changed(RULES), cache.changed(ENDPOINTS)

    def _means_still(self, rule: Rule, uid: str, endpoint: Mapping[str, str]) -> bool:
        stored = self._tools.cache.read(rule.key)
        if stored is None or stored.uid != uid:
            return False
        obj = self._tools.cache.obj(stored)
        same = not being_deleted(obj) and rule_of(obj) == rule and self._endpoint(rule) == endpoint
        return same and self._readiness(rule)[1]

    async def _thin_out(self, messages: list[JsonObject], tally: _Tally) -> None:
        """What was given up and is too much goes, the oldest first; out of the list as well."""
        for message in beyond(messages):
            tally.dropped += await self._remove(message)
            messages.remove(message)

    def _endpoint(self, rule: Rule) -> Mapping[str, str]:
        """The properties of the target."""
        stored = self._tools.cache.read(Key(ENDPOINTS, rule.namespace, rule.target))
        return {} if stored is None else str_map_at(self._tools.cache.obj(stored), "spec", "properties")

    def _waiting(self, rule: Rule) -> list[JsonObject]:
        cache = self._tools.cache
        found = cache.indexed(MESSAGES_BY_RULE, f"{rule.namespace}/{rule.name}")
        # Calls are answered each on its own (`answering`).
        return in_order(
            message
            for message in map(cache.obj, found)
            if not being_deleted(message) and not str_at(message, "spec", "call")
        )

    async def _send(self, target: Target, message: JsonObject, tally: _Tally, *, within_s: int) -> bool:
        """Whether the target has it."""
        spec = map_at(message, "spec")
        try:
            body = payload_of(spec)
        except ProtocolError as error:
            answer: Answered | Unreached = Answered(status=400, words=str(error))
        else:
            answer = await self._post(target, body, headers_of(message))
        if taken(answer):
            tally.trouble = ""
            await self._remove(message)
            tally.succeeded += 1
            return True
        tally.trouble = why(answer)
        status = after(message, answer, within_s=within_s, now_ms=self._tools.clock.wall_ms())
        if await self._write(message, status) and status["phase"] == "Dead":
            tally.failures.append(tally.trouble)
        return False

    async def _remove(self, message: JsonObject) -> bool:
        """False where somebody else deleted it."""
        try:
            await self._tools.objects.delete(
                self._messages, self._key(message), DeleteOptions(uid=uid_of(message), grace_s=0)
            )
        except (NotFoundError, ConflictError):
            return False
        return True

    async def _write(self, message: JsonObject, status: JsonObject) -> bool:
        """False where the message is gone."""
        uid = uid_of(message)

        def transform(current: JsonObject) -> JsonObject:
            return {**current, "status": status} if uid_of(current) == uid else current

        try:
            await self._tools.objects.update(self._messages, self._key(message), transform, subresource="status")
        except NotFoundError:
            return False
        return True

    async def _revive(self, message: JsonObject, *, within_s: int) -> None:
        """Its status first: a crash in between sends it once more when it was given up again."""
        if not await self._write(message, revived(message, within_s=within_s, now_ms=self._tools.clock.wall_ms())):
            return
        uid = uid_of(message)

        def transform(current: JsonObject) -> JsonObject:
            if uid_of(current) != uid:
                return current
            return {**current, "spec": {**map_at(current, "spec"), "redeliver": False}}

        try:
            await self._tools.objects.update(self._messages, self._key(message), transform)
        except NotFoundError:
            return

    def _key(self, message: JsonObject) -> Key:
        return self._messages.key(namespace_of(message), name_of(message))

    # --- what is told of it -------------------------------------------------------------------------------

    async def _tell(self, key: Key, uid: str, ready: Condition, tally: _Tally) -> None:
        def transform(current: JsonObject) -> JsonObject:
            if uid_of(current) != uid:
                return current
            return self._told(current, ready, tally)

        try:
            await self._tools.objects.update(self._rules, key, transform, subresource="status")
        except NotFoundError:
            return
        tally.succeeded = tally.dropped = 0
        tally.failures.clear()
        tally.written_s = self._tools.clock.monotonic_s()

    def _told(self, obj: JsonObject, ready: Condition, tally: _Tally) -> JsonObject:
        now_ms = self._tools.clock.wall_ms()
        if tally.succeeded:
            obj = counted(obj, at_ms=now_ms, succeeded=tally.succeeded)
        for reason in tally.failures:
            obj = counted(obj, at_ms=now_ms, failed=1, reason=reason)
        status = map_at(obj, "status")
        conditions = with_condition(maps_at(status, "conditions"), ready, now_ms=now_ms)
        if tally.trouble:
            away = Condition(type="Delivering", status="False", reason="TargetFails", message=tally.trouble)
            conditions = with_condition([*_maps(conditions)], away, now_ms=now_ms)
        elif tally.succeeded:
            works = Condition(
                type="Delivering", status="True", reason="Delivered", message="the target takes messages"
            )
            conditions = with_condition([*_maps(conditions)], works, now_ms=now_ms)
        waiting = sum(1 for message in self._waiting(rule_of(obj)) if waits(message))
        counts: JsonObject = {"successMessages": 0, "failMessages": 0, "errors": []}
        told: JsonObject = {**counts, **status, "conditions": conditions, "waitingMessages": waiting}
        if tally.dropped:
            told["droppedMessages"] = int_at(status, "droppedMessages") + tally.dropped
        return {**obj, "status": told}

    # --- what wakes it ------------------------------------------------------------------------------------

    def _rules_at(self, change: Seen) -> Iterable[Key]:
        """Those that name an endpoint that changed."""
        cache, name = self._tools.cache, change.key.name
        for stored in cache.select(RULES, namespace=change.key.namespace):
            rule = rule_of(cache.obj(stored))
            if name in (rule.source, rule.target):
                yield stored.key

    def _rules_of(self, change: Seen) -> Iterable[Key]:
        """Those of a node whose agent says something else of itself."""
        if _capabilities(change.before) == _capabilities(change.after):
            return
        cache = self._tools.cache
        for stored in cache.select(RULES):
            if rule_of(cache.obj(stored)).node == change.key.name:
                yield stored.key


def _capabilities(node: JsonObject | None) -> str:
    return str_at(map_at(node or {}, "metadata", "annotations"), CAPABILITIES)


def _is_news(rule: JsonObject, ready: Condition, tally: _Tally) -> bool:
    """Whether something changes that somebody waits for."""
    held = condition_of(rule, "Ready") or {}
    if (str_at(held, "status"), str_at(held, "message")) != (ready.status, ready.message):
        return True
    delivering = str_at(condition_of(rule, "Delivering") or {}, "status")
    now = "False" if tally.trouble else "True" if tally.succeeded else delivering
    return now != delivering or bool(tally.failures)


def _rule_of_message(change: Seen) -> Iterable[Key]:
    """A new message, one that somebody wants to be tried again, and one that somebody deleted."""
    rule = str_at(change.last, "spec", "rule")
    return [Key(RULES, change.key.namespace, rule)] if rule else []


def _maps(values: Iterable[object]) -> Iterable[JsonObject]:
    for value in values:
        assert isinstance(value, dict), "conditions are objects"
        yield value
