"""Carries out the device rules of this gateway: looks at them, commits what they come to, and then does it.

One loop plans, from what is durable, and writes everything: a firing is committed with what it is about to do, and
with its alarms, before any of it is done; each action is noted when it begins and when it has ended. Actions of one
firing are done one after the other, those of different rules beside each other. What is kept is in the edge store
(`RuleRecord`); in memory are the values as they were read (`Senses`), whatever the deadband of their twins, and since
when conditions hold. A crash loses those: a rule sees a value when it is read again, and a condition that has to hold
for a while begins to.

Imported when the gateway holds its first rule (`keeper`).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from devices.port import Reading
from edgecore.device_rules.acting import ANSWER_S_MAX, NOT_YET, SILENT_S, Acting, Doing, rule_of_origin
from edgecore.device_rules.bodies import Bodies, digest, types_text
from edgecore.device_rules.plan import (
    CHAIN_MAX,
    HALTED_MS,
    LOOP_S,
    Now,
    Watch,
    actions_of,
    circles,
    fire,
    goes_round,
    halted,
    look,
    recovered,
)
from edgecore.device_rules.port import RuleParts
from edgecore.device_rules.records import ActionRecord, RuleRecord, decode_record
from edgecore.device_rules.senses import Place, Senses
from edgecore.device_rules.telling import alarm_report, is_told_enough, is_urgent, status_of, status_report
from edgecore.store.port import EdgeBatch, NewReport, TwinRow
from skerry.errors import InvalidError, UnavailableError
from skerry.frozen import Frozen, replace
from skerry.objects.cel_syntax import Scalar
from skerry.objects.device_models import DEVICES, MODELS
from skerry.objects.device_rule_reports import DEVICE_RULES
from skerry.objects.device_rule_values import Seen
from skerry.objects.device_rules import RULES_MAX, DeviceRule, SetAction, node_of_rule, read_rule
from skerry.objects.json import JsonObject, decode_object, int_at, map_at, str_at
from skerry.objects.meta import Key, being_deleted, name_of, namespace_of, uid_of
from skerry.objects.twins import Quality, Value, decode_state
from skerry.waits import until_set

LOG = logging.getLogger(__name__)

TELL_S: Final = 10.0
"""Between two reports of what a rule comes to, where it does nothing."""
WHOLE: Final = (-(2**63), 2**64 - 1)
"""Whole numbers that devices have; any other is none."""
STORE_AGAIN_S: Final = 1.0
"""After the store refused (a full disk)."""
WORK_S: Final = 0.005
REST_S_MAX: Final = 0.1
"""A pass that took longer than the one is followed by a rest as long as it was, and no longer than the other: rules
leave half of the processor to everybody else."""


@dataclass(slots=True, kw_only=True)
class _Live:
    """A rule as it is here."""

    key: Key
    uid: str
    generation: int
    spec: str
    """Digest."""
    types: str
    """Of what it names: it is read anew when these change."""
    rule: DeviceRule | None
    fault: str
    """Why there is none."""
    crowded: bool = False
    """There are too many: it does not look."""
    record: RuleRecord
    """As it is durable."""
    next: RuleRecord | None = None
    """What became of the record when the rule was read; to be written."""
    watch: Watch = field(default_factory=Watch)
    dirty: bool = True
    due_s: float | None = None
    why: str = ""
    """What holds it up."""
    told: JsonObject | None = None
    told_s: float = 0.0
    untold: bool = True
    task: asyncio.Task[None] | None = None
    led: tuple[str, ...] = ()
    """Which firings led to what it does, by the names of their rules, this one's the last."""

    @property
    def is_busy(self) -> bool:
        """Somebody does what it fired for."""
        return self.task is not None and not self.task.done()


class _Post(Frozen):
    """An action has come so far; `done` when that is durable: whether it may go on."""

    key: Key
    uid: str
    number: int
    index: int
    action: ActionRecord
    done: asyncio.Future[bool]


class _Change(Frozen, kw_only=False):
    live: _Live
    record: RuleRecord
    watch: Watch
    """As it was before."""


@dataclass(slots=True)
class _Plan:
    """What one pass is about to commit."""

    changes: dict[str, _Change] = field(default_factory=dict[str, _Change])
    """By uid."""
    reports: list[NewReport] = field(default_factory=list[NewReport])
    begun: list[_Live] = field(default_factory=list[_Live])
    told: list[tuple[_Live, JsonObject]] = field(default_factory=list[tuple[_Live, JsonObject]])

    def record_of(self, live: _Live) -> RuleRecord:
        change = self.changes.get(live.uid)
        return live.record if change is None else change.record

    def change(self, live: _Live, record: RuleRecord, watch: Watch | None = None) -> None:
        """`watch`: as it was before the look."""
        before = self.changes.get(live.uid)
        kept = before.watch if before is not None else live.watch if watch is None else watch
        self.changes[live.uid] = _Change(live, record, kept)
        live.untold = True


class RuleEngine:
    """Everything runs on one event loop."""

    def __init__(self, parts: RuleParts) -> None:
        self._parts = parts
        self._acting = Acting(parts, self._stronger)
        self._rules: dict[Key, _Live] = {}
        self._senses = Senses()
        self._named: dict[Place, list[_Live]] = {}
        self._declared: dict[Place, str] = {}
        """Types of what they name."""
        self._changed_s: dict[Place, float] = {}
        self._caused: dict[Place, tuple[tuple[str, ...], float]] = {}
        """What a rule wanted lately: which rules led to it, that one the last, and when."""
        self._posts: list[_Post] = []
        self._stale: set[Key] = set()
        """Objects that changed."""
        self._gone: list[str] = []
        self._wake = asyncio.Event()
        self._circles: dict[str, tuple[str, ...]] = {}
        self._tasks: asyncio.TaskGroup | None = None

    def status(self, key: Key) -> JsonObject | None:
        """Of one rule, as it is now; None for one that is not carried out here."""
        live = self._rules.get(key)
        return None if live is None else self._status(live, live.next or live.record)

    # --- what is heard ------------------------------------------------------------------------------------

    def committed(self, batch: EdgeBatch) -> None:
        """What the store tells."""
        touched = {held.key for held in batch.puts} | {*batch.deletes}
        self._stale |= {key for key in touched if key.resource in (DEVICE_RULES, DEVICES, MODELS)}
        for row in batch.twins:
            self._take_row(row)
        if self._stale:
            self._wake.set()

    def hear(self, reading: Reading) -> None:
        """A value was read."""
        place = (reading.device.namespace, reading.device.name, reading.prop)
        if place not in self._named:
            return
        held = self._senses.newest(place)
        value = _scalar(reading.value, self._declared.get(place, ""))
        if value is None:
            value = None if held is None else held.value
            quality: Quality = "bad" if value is None else "stale"
            at_s = reading.monotonic_s if held is None or held.value is None else held.at_s
            self._see(place, Seen(value=value, quality=quality, at_s=at_s))
        else:
            self._see(place, Seen(value=value, quality=reading.quality, at_s=reading.monotonic_s))

    def _take_row(self, row: TwinRow) -> None:
        """A twin that is not read any more says so by its quality alone."""
        place = (row.device.namespace, row.device.name, row.prop)
        held = self._senses.newest(place) if place in self._named else None
        if held is None or not row.is_twin:
            return
        reported = decode_state(row.body).reported
        if reported is not None and reported.quality in ("stale", "bad") and held.quality not in ("stale", "bad"):
            self._see(place, replace(held, quality=reported.quality))

    def _see(self, place: Place, seen: Seen) -> None:
        if self._senses.hear(place, seen):
            self._changed_s[place] = self._parts.clock.monotonic_s()
            self._wake.set()

    # --- running ------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Until cancelled."""
        records = {uid: decode_record(body) for uid, body in self._parts.store.rules()}
        stop = self._parts.twins.listen(self.hear)
        try:
            async with asyncio.TaskGroup() as tasks:
                self._tasks = tasks
                self._load(records)
                held = {live.uid for live in self._rules.values()}
                self._gone += [uid for uid in records if uid not in held]
                while True:
                    wait_s = await self._pass()
                    await until_set(self._wake, within_s=wait_s)
                    self._wake.clear()
        finally:
            stop()

    async def _pass(self) -> float | None:
        """Look at what may have changed, and commit what it comes to. Seconds until the next look that time calls
        for."""
        if self._stale:
            self._load({})
        posts, self._posts = self._posts, []
        gone, self._gone = self._gone, []
        begun_s = self._parts.clock.monotonic_s()
        plan = self._planned(posts)
        worked_s = self._parts.clock.monotonic_s() - begun_s
        rows = [(uid, each.record.encode()) for uid, each in plan.changes.items() if each.record != each.live.record]
        batch = EdgeBatch(reports=tuple(plan.reports), rules=(*rows, *((uid, None) for uid in gone)))
        if batch != EdgeBatch():
            try:
                await self._parts.store.apply(batch)
            except UnavailableError as error:
                LOG.warning("device_rules_not_saved reason=%r", str(error))
                self._posts[:0], self._gone[:0] = posts, gone
                self._senses.put_back()
                for change in plan.changes.values():
                    change.live.watch, change.live.dirty = change.watch, True
                await asyncio.sleep(STORE_AGAIN_S)
                return 0.0
        self._senses.settle()
        self._take_for_true(plan, posts)
        if worked_s >= WORK_S:
            await asyncio.sleep(min(worked_s, REST_S_MAX))
        return self._next_s()

    def _planned(self, posts: Iterable[_Post]) -> _Plan:
        plan, now = _Plan(), self._now()
        for live in self._rules.values():
            if live.next is not None:
                plan.change(live, live.next)
                if live.next.current is not None and live.rule is not None and not live.is_busy:
                    plan.begun.append(live)
        for post in posts:
            self._take_post(post, plan)
        self._take_in()
        for live in sorted(self._rules.values(), key=_turn):
            if live.dirty or (live.due_s is not None and live.due_s <= now.monotonic_s):
                self._look(live, plan, now)
        for live in self._rules.values():
            if live.untold:
                self._tell(live, plan, now)
        return plan

    def _take_in(self) -> None:
        """What was read since the last pass, in order. A value that changes once more has to wait for the next one:
        whoever names it looks first."""
        changed: set[Place] = set()
        while (place := self._senses.next()) is not None and place not in changed:
            self._senses.take_in()
            changed.add(place)
            for live in self._named[place]:
                live.dirty = True

    def _take_for_true(self, plan: _Plan, posts: Iterable[_Post]) -> None:
        for change in plan.changes.values():
            change.live.record, change.live.next = change.record, None
        for live, status in plan.told:
            live.told, live.told_s, live.untold = status, self._parts.clock.monotonic_s(), False
        for post in posts:
            if not post.done.done():
                post.done.set_result(self._may_go_on(post))
        for live in plan.begun:
            assert self._tasks is not None, "only while running"
            live.task = self._tasks.create_task(self._carry_out(live))

    def _may_go_on(self, post: _Post) -> bool:
        """Whether what was posted is what the record says: the rule may have gone, or been changed."""
        live = self._of(post)
        firing = None if live is None else live.record.current
        if firing is None or firing.number != post.number:
            return False
        return firing.actions[post.index].state == post.action.state

    def _of(self, post: _Post) -> _Live | None:
        live = self._rules.get(post.key)
        return live if live is not None and live.uid == post.uid else None

    def _next_s(self) -> float | None:
        due = [live.due_s for live in self._rules.values() if live.due_s is not None]
        if self._senses.next() is not None:
            return 0.0
        due += [live.told_s + TELL_S for live in self._rules.values() if live.untold]
        return max(0.0, min(due) - self._parts.clock.monotonic_s()) if due else None

    def _now(self) -> Now:
        clock = self._parts.clock
        return Now(wall_ms=clock.wall_ms(), monotonic_s=clock.monotonic_s())

    # --- looking ------------------------------------------------------------------------------------------

    def _look(self, live: _Live, plan: _Plan, now: Now) -> None:
        live.dirty, live.due_s = False, None
        if live.rule is None or live.crowded:
            return
        record, before, view = plan.record_of(live), live.watch, self._senses.view(live.key.namespace)
        unchanged, was = record, (before.result, before.why, live.why)
        looked = look(live.rule, record, before, view, now)
        record, live.watch, live.why = looked.record, looked.watch, looked.why
        if looked.wait_s is not None:
            live.due_s = now.monotonic_s + looked.wait_s
        match looked.event:
            case "fire":
                record = self._fire(live, live.rule, record, plan, now)
            case "end":
                record, live.led = fire(live.rule, record, "ended", view, now), self._led_to(live.rule, now)
                record = self._staged(live, live.rule, record, plan, now)
            case "skip":
                record = record.counted("skipped").with_error(f"it did not fire: {looked.why}", now.wall_ms)
            case None:
                pass
        if record is not unchanged or (looked.watch.result, looked.watch.why, looked.why) != was:
            plan.change(live, record, before)

    def _fire(self, live: _Live, rule: DeviceRule, record: RuleRecord, plan: _Plan, now: Now) -> RuleRecord:
        by_time = record.active or rule.schedule is not None  # it repeats, or its minute came: no value led to it
        chain = live.led = (rule.key.name,) if by_time else self._led_to(rule, now)
        if goes_round(chain):
            LOG.warning("device_rule_halted rule=%s/%s", rule.key.namespace, rule.key.name)
            record = halted(record, chain, now)
            plan.reports.append(alarm_report(rule, "Warning", record.halted, number=record.number, index=-1))
            live.watch = replace(live.watch, held_since_s=None)
            live.due_s = now.monotonic_s + HALTED_MS / 1000
            return record
        view = self._senses.view(rule.key.namespace)
        return self._staged(live, rule, fire(rule, record, "fired", view, now), plan, now)

    def _staged(self, live: _Live, rule: DeviceRule, record: RuleRecord, plan: _Plan, now: Now) -> RuleRecord:
        """Alarms are raised here and now, with the firing itself; all else is begun when that is durable."""
        for index, action in enumerate(() if record.current is None else record.current.actions):
            if action.form == "alarm" and action.state == "staged":
                report = alarm_report(rule, action.target, action.said, number=record.number, index=index)
                plan.reports.append(report)
                record = record.with_action(index, replace(action, state="done", at_ms=now.wall_ms, answer="raised"))
        if record.current is not None:
            plan.begun.append(live)
        return record

    def _led_to(self, rule: DeviceRule, now: Now) -> tuple[str, ...]:
        """Which firings led to this one, by the names of their rules, this one's the last."""
        longest: tuple[str, ...] = ()
        for device, prop in rule.named():
            place = (rule.key.namespace, device, prop)
            chain, at_s = self._caused.get(place, ((), 0.0))
            if chain and now.monotonic_s - at_s <= LOOP_S and self._changed_s.get(place, 0.0) >= at_s:
                longest = max(longest, chain, key=len)
        return (*longest, rule.key.name)[-CHAIN_MAX:]

    def _stronger(self, rule: DeviceRule, origin: str) -> str:
        found = rule_of_origin(origin)
        if found is None or found == (rule.key.namespace, rule.key.name):
            return ""
        other = self._rules.get(Key(DEVICE_RULES, *found))
        if other is None or other.rule is None or other.rule.mode != "Enforce" or not other.record.active:
            return ""
        return other.key.name if other.rule.priority > rule.priority else ""

    # --- doing --------------------------------------------------------------------------------------------

    async def _carry_out(self, live: _Live) -> None:
        rule, firing = live.rule, live.record.current
        if rule is None or firing is None:
            return
        actions = actions_of(rule, firing.what)
        now = self._now()
        chain = live.led or self._led_to(rule, now)
        fired_s = now.monotonic_s - max(0, now.wall_ms - firing.at_ms) / 1000
        patience_s = ANSWER_S_MAX
        for index, record in enumerate(firing.actions):
            if record.state != "staged":
                continue
            begun = replace(record, state="begun", at_ms=self._parts.clock.wall_ms())
            if not await self._post(live, firing.number, index, begun):
                return
            deed = actions[index].deed
            if isinstance(deed, SetAction):
                place = (rule.key.namespace, deed.device, deed.prop)
                self._caused[place] = (chain, self._parts.clock.monotonic_s())
            ended = await self._acting.do(
                Doing(
                    rule=rule,
                    firing=firing,
                    index=index,
                    action=actions[index],
                    fired_s=fired_s,
                    patience_s=patience_s,
                )
            )
            if ended.answer.startswith(NOT_YET):
                patience_s = SILENT_S
            if not await self._post(live, firing.number, index, ended):
                return

    async def _post(self, live: _Live, number: int, index: int, action: ActionRecord) -> bool:
        """Returns when it is durable: whether to go on."""
        done: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        post = _Post(key=live.key, uid=live.uid, number=number, index=index, action=action, done=done)
        self._posts.append(post)
        self._wake.set()
        return await done

    def _take_post(self, post: _Post, plan: _Plan) -> None:
        live = self._of(post)
        if live is None:
            return
        record = plan.record_of(live)
        firing = record.current
        if firing is None or firing.number != post.number:
            return
        if firing.actions[post.index].state == ("staged" if post.action.state == "begun" else "begun"):
            plan.change(live, record.with_action(post.index, post.action))
            live.dirty = True  # it may be over, or fire again, when this is

    # --- which rules there are ----------------------------------------------------------------------------

    def _load(self, records: Mapping[str, RuleRecord]) -> None:
        """Read what changed. `records`: as they were found at the start."""
        stale, self._stale = self._stale, set()
        bodies = Bodies(self._parts.store)
        there = {held.key: held.body for held in self._parts.store.list(DEVICE_RULES)}
        for key, body in there.items():
            live = self._rules.get(key)
            if live is None or key in stale or self._may_fit_otherwise(live, stale, bodies):
                self._read(decode_object(body), bodies, records)
        for key in [key for key in self._rules if key not in there]:
            self._gone.append(self._rules.pop(key).uid)
        self._seat()
        now_s = self._parts.clock.monotonic_s()
        self._caused = {place: cause for place, cause in self._caused.items() if now_s - cause[1] <= LOOP_S}
        self._changed_s = {place: at_s for place, at_s in self._changed_s.items() if place in self._named}
        self._senses.forget(self._named.keys())
        self._circles = circles(
            {
                f"{key.namespace}/{key.name}": live.rule
                for key, live in self._rules.items()
                if live.rule is not None and not live.crowded
            }
        )

    def _seat(self) -> None:
        """Who looks, and at what: as many rules as there is room for, those that go before first."""
        self._named.clear()
        fit = [live for live in self._rules.values() if live.rule is not None]
        for number, live in enumerate(sorted(fit, key=_turn)):
            crowded = number >= RULES_MAX
            if crowded is not live.crowded:
                live.crowded, live.watch, live.dirty, live.untold = crowded, Watch(), True, True
            for device, prop in () if crowded or live.rule is None else {*live.rule.named()}:
                self._named.setdefault((live.key.namespace, device, prop), []).append(live)

    def _may_fit_otherwise(self, live: _Live, stale: set[Key], bodies: Bodies) -> bool:
        """Whether what a rule names has changed."""
        near = [key for key in stale if key.namespace == live.key.namespace and key.resource in (DEVICES, MODELS)]
        if live.rule is None or not near:
            return bool(near)
        devices = {device for device, _ in (*live.rule.named(), *live.rule.wanted())}
        if not any(key.resource == MODELS or key.name in devices for key in near):
            return False
        return self._types_of(live, bodies) != live.types

    def _types_of(self, live: _Live, bodies: Bodies) -> str:
        """ "" for a rule that could not be read: it is read again."""
        if live.rule is None:
            return ""
        pairs = {*live.rule.named(), *live.rule.wanted()}
        return types_text({pair: bodies.prop(live.key.namespace, *pair) for pair in pairs})

    def _read(self, obj: JsonObject, bodies: Bodies, records: Mapping[str, RuleRecord]) -> None:
        key, uid = Key(DEVICE_RULES, namespace_of(obj), name_of(obj)), uid_of(obj)
        before = self._rules.get(key)
        left = being_deleted(obj) or node_of_rule(obj) != self._parts.node
        if before is not None and (left or before.uid != uid):
            self._gone.append(self._rules.pop(key).uid)
            before = None
        if left:
            return
        spec, generation = digest(map_at(obj, "spec")), int_at(obj, "metadata", "generation")
        if before is not None and before.spec == spec and before.rule is not None:
            if before.generation != generation:
                before.generation, before.untold = generation, True
            if self._types_of(before, bodies) == before.types:
                return
        found: dict[tuple[str, str], JsonObject | str] = {}

        def type_of(device: str, prop: str) -> JsonObject | str:
            return found.setdefault((device, prop), bodies.prop(key.namespace, device, prop))

        rule, fault = None, ""
        try:
            rule = read_rule(obj, type_of)
        except InvalidError as error:
            fault = "; ".join(f"{cause.field}: {cause.message}" for cause in error.causes) or str(error)
        for (device, prop), declared in found.items():
            self._declared[key.namespace, device, prop] = str_at(declared, "type").upper()
        record = records.get(uid, RuleRecord(spec=spec)) if before is None else before.next or before.record
        live = _Live(
            key=key,
            uid=uid,
            generation=generation,
            spec=spec,
            types=types_text(found),
            rule=rule,
            fault=fault,
            record=record if before is None else before.record,
        )
        if before is not None:
            live.told, live.told_s, live.task = before.told, before.told_s, before.task
        live.next = self._continued(live, record)
        self._rules[key] = live

    def _continued(self, live: _Live, record: RuleRecord) -> RuleRecord:
        """What stays of a record when its rule is read."""
        now, rule = self._now(), live.rule
        if record.spec != live.spec:
            record = record.cancelled("the rule was changed", now.wall_ms)
            record = replace(record, spec=live.spec, active=False, halted="", halted_until_ms=0)
        if rule is None:
            record = record.cancelled("the rule can't be carried out any more", now.wall_ms)
        firing = record.current
        if firing is None or live.is_busy:
            return record
        actions = () if rule is None else actions_of(rule, firing.what)
        record = recovered(record, actions, lambda index: self._acting.was_wanted(live.key, firing, index), now)
        return record if rule is not None else record.cancelled("the rule can't be carried out any more", now.wall_ms)

    # --- telling ------------------------------------------------------------------------------------------

    def _status(self, live: _Live, record: RuleRecord) -> JsonObject:
        return status_of(
            None if live.crowded else live.rule,
            record,
            live.watch,
            fault=f"this gateway carries out {RULES_MAX} rules, and has more" if live.crowded else live.fault,
            why=live.why,
            generation=live.generation,
            circle=self._circles.get(f"{live.key.namespace}/{live.key.name}", ()),
            view=self._senses.view(live.key.namespace),
        )

    def _tell(self, live: _Live, plan: _Plan, now: Now) -> None:
        status = self._status(live, plan.record_of(live))
        if live.told is not None and is_told_enough(live.told, status):
            live.untold = False
            return
        urgent = live.told is None or is_urgent(live.told, status)
        if urgent or now.monotonic_s >= live.told_s + TELL_S:
            plan.reports.append(status_report(live.key, live.uid, status))
            plan.told.append((live, status))


def _scalar(value: Value | None, declared: str) -> Scalar | None:
    """As conditions have it: drivers of others may give a whole number for a DOUBLE, and one of any length."""
    if isinstance(value, bytes) or (isinstance(value, int) and not WHOLE[0] <= value <= WHOLE[1]):
        return None
    if declared in ("FLOAT", "DOUBLE") and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    return value


def _turn(live: _Live) -> tuple[int, str, str]:
    return (-live.rule.priority if live.rule is not None else 0), live.key.namespace, live.key.name
