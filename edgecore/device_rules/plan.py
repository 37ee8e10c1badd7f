"""When a device rule fires, when it is over, and what it says then. Pure; keeps nothing.

A rule is looked at when one of its values changes, and when time alone may change what it comes to. What can't be
worked out, as a value is missing or not good enough, is neither true nor false: nothing begins then, and nothing
that is in force ends. A rule that has fired is in force until its end comes (`until`, or else that the condition is
false), and does not fire again before, unless it says to repeat. One firing is under way at a time.

Rests are counted from times of the wall clock, which outlast a restart. When that clock is set, they move with it;
those that a restart finds in the future count as this moment.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final, Literal

from edgecore.device_rules.records import ActionRecord, Firing, RuleRecord, What
from skerry.frozen import Frozen, replace
from skerry.objects.cel import CelFailure, Values
from skerry.objects.cron import next_minute_ms
from skerry.objects.device_rule_values import (
    Truth,
    View,
    parts_of,
    said,
    told_condition,
    told_values,
    truth_of,
    values_of,
)
from skerry.objects.device_rules import Action, DeviceRule

LOOK_S: Final = 1.0
"""Between two looks at a rule that asks for the age of something."""
LOOP_S: Final = 10.0
"""A value that a rule wanted, and that changed within so long, is taken for the rule's doing."""
LOOP_TURNS_MAX: Final = 3
"""Times that a rule may lead to itself again, through others or alone; beyond, it goes round in a circle."""
CHAIN_MAX: Final = 64
"""Firings that follow from each other, as far as they are remembered."""
_CHAIN_SHOWN: Final = 8
STEP_MS: Final = 1000
"""A wall clock that differs by so much from what passed was set; what it differs less is let be."""
BACK_MS_MAX: Final = 3 * 3_600_000
"""A clock that is put back by less repeats minutes, which have come before; by more, it was wrong."""
HALTED_MS: Final = 3_600_000
"""A rule in such a circle rests for so long, or until it is changed."""


class Now(Frozen):
    """The time: for people, and for spans."""

    wall_ms: int
    monotonic_s: float


class Watch(Frozen):
    """What is remembered of a rule between two looks. A restart begins anew: nobody looked meanwhile."""

    held_since_s: float | None = None
    """Since when the condition has held without a break."""
    offset_ms: int | None = None
    """What the wall clock showed beyond the monotonic one when the record's times were true; None: it was not looked
    at yet."""
    minutes_ms: int = 0
    """Until when the minutes of its schedule have come, or are past."""
    result: Truth = None
    why: str = ""
    """Why it could not be worked out."""


class Looked(Frozen):
    """What a look came to."""

    record: RuleRecord
    """As the time now has it."""
    watch: Watch
    event: Literal["fire", "end", "skip"] | None = None
    """`skip`: its time came, and it may not fire now."""
    why: str = ""
    """Of a skip, or of what holds it up."""
    wait_s: float | None = None
    """Look again after so long, whatever happens; None: nothing comes by itself."""


def look(rule: DeviceRule, record: RuleRecord, watch: Watch, view: View, now: Now) -> Looked:
    """What is to be done about a rule now."""
    offset_ms = _offset_ms(watch, now)
    record = _in_time(record, watch, offset_ms, now)
    values = values_of(rule, view, now.monotonic_s)
    result, why = truth_of(rule.when, values)
    held = (now.monotonic_s if watch.held_since_s is None else watch.held_since_s) if result is True else None
    after = Watch(held_since_s=held, offset_ms=offset_ms, minutes_ms=_minutes_ms(watch, now), result=result, why=why)
    if rule.mode == "Off":
        return Looked(record=record, watch=replace(after, held_since_s=None))
    if rule.schedule is not None:
        looked = _on_schedule(rule, record, watch, after, now)
    elif record.active:
        looked = _while_active(rule, record, after, values, now)
    else:
        looked = _while_waiting(rule, record, after, now)
    if rule.watches_time:
        looked = _within(looked, LOOK_S)
    if record.halted:
        looked = _within(looked, (record.halted_until_ms - now.wall_ms) / 1000)
    return looked


def _within(looked: Looked, seconds: float) -> Looked:
    return replace(looked, wait_s=seconds if looked.wait_s is None else min(looked.wait_s, seconds))


def _offset_ms(watch: Watch, now: Now) -> int:
    offset_ms = now.wall_ms - round(1000 * now.monotonic_s)
    if watch.offset_ms is None or abs(offset_ms - watch.offset_ms) >= STEP_MS:
        return offset_ms
    return watch.offset_ms


def _in_time(record: RuleRecord, watch: Watch, offset_ms: int, now: Now) -> RuleRecord:
    """The record with what rests are counted from moved as the wall clock was, and without a rest that is over. None
    of it is in the future then: a clock that was ahead for a while holds nothing up when it is right again."""
    step_ms = 0 if watch.offset_ms is None else offset_ms - watch.offset_ms
    fired = tuple(min(at_ms + step_ms, now.wall_ms) for at_ms in record.fired)
    if fired != record.fired:
        record = replace(record, fired=fired)
    if record.halted:
        until_ms = min(record.halted_until_ms + step_ms, now.wall_ms + HALTED_MS)
        if until_ms <= now.wall_ms:
            record = replace(record, halted="", halted_until_ms=0)
        elif until_ms != record.halted_until_ms:
            record = replace(record, halted_until_ms=until_ms)
    return record


def _minutes_ms(before: Watch, now: Now) -> int:
    return before.minutes_ms if 0 < before.minutes_ms - now.wall_ms <= BACK_MS_MAX else now.wall_ms


def _on_schedule(rule: DeviceRule, record: RuleRecord, before: Watch, after: Watch, now: Now) -> Looked:
    assert rule.schedule is not None, "asked before"
    wait_s = (next_minute_ms(now.wall_ms) - now.wall_ms) / 1000 + 0.01
    if before.offset_ms is None or not rule.schedule.came(after_ms=before.minutes_ms, until_ms=now.wall_ms):
        return Looked(record=record, watch=after, wait_s=wait_s)
    if after.result is not True:
        why = after.why or "its condition did not hold"
        event = "skip" if after.result is None else None
        return Looked(record=record, watch=after, event=event, why=why, wait_s=wait_s)
    _, why = _blocked(rule, record, now)
    if not why and record.current is not None:
        why = "what it did before is still under way"
    return Looked(record=record, watch=after, event="skip" if why else "fire", why=why, wait_s=wait_s)


def _while_active(rule: DeviceRule, record: RuleRecord, watch: Watch, values: Values, now: Now) -> Looked:
    over = truth_of(rule.until, values)[0] if rule.until is not None else watch.result is False
    if record.current is not None:
        return Looked(record=record, watch=watch, why="what it did before is still under way")
    if over is True:
        return Looked(record=record, watch=replace(watch, held_since_s=None), event="end")
    if not rule.repeat_s or watch.result is not True:
        return Looked(record=record, watch=watch)
    last_ms = record.fired[-1] if record.fired else 0
    due_s = (last_ms + 1000 * rule.repeat_s - now.wall_ms) / 1000
    return _fire_in(rule, record, watch, now, due_s)


def _while_waiting(rule: DeviceRule, record: RuleRecord, watch: Watch, now: Now) -> Looked:
    if watch.held_since_s is None:
        return Looked(record=record, watch=watch)
    return _fire_in(rule, record, watch, now, watch.held_since_s + rule.for_s - now.monotonic_s)


def _fire_in(rule: DeviceRule, record: RuleRecord, watch: Watch, now: Now, due_s: float) -> Looked:
    if due_s > 0:
        return Looked(record=record, watch=watch, wait_s=due_s)
    blocked_s, why = _blocked(rule, record, now)
    if blocked_s > 0:
        return Looked(record=record, watch=watch, why=why, wait_s=blocked_s)
    if record.current is not None:
        return Looked(record=record, watch=watch, why="what it did before is still under way")
    return Looked(record=record, watch=watch, event="fire")


def _blocked(rule: DeviceRule, record: RuleRecord, now: Now) -> tuple[float, str]:
    """For how long it may not fire, and why."""
    if record.halted:
        return (record.halted_until_ms - now.wall_ms) / 1000, record.halted
    if record.fired:
        cooldown_ms = record.fired[-1] + 1000 * rule.cooldown_s - now.wall_ms
        if cooldown_ms > 0:
            return cooldown_ms / 1000, f"it fired less than {rule.cooldown_s} s ago (cooldownSeconds)"
    count, seconds = rule.firings
    if len(record.fired) >= count:
        limit_ms = record.fired[-count] + 1000 * seconds - now.wall_ms
        if limit_ms > 0:
            return limit_ms / 1000, f"it fired {count} times in {seconds} s (limit)"
    return 0.0, ""


# --- firing -----------------------------------------------------------------------------------------------


def fire(rule: DeviceRule, record: RuleRecord, what: What, view: View, now: Now) -> RuleRecord:
    """The record with a firing, or an ending, whose actions are all still to be done."""
    values = values_of(rule, view, now.monotonic_s)
    actions = rule.actions if what == "fired" else rule.otherwise
    program = rule.until if what == "ended" and rule.until is not None else rule.when
    firing = Firing(
        number=record.number + 1,
        what=what,
        at_ms=now.wall_ms,
        condition=told_condition(program, values),
        values=tuple(told_values(rule, view)),
        actions=tuple(_staged(action, values, now, shadow=rule.mode == "Shadow") for action in actions),
        spec=record.spec,
    )
    record = replace(record, number=firing.number, current=firing)
    if what == "ended":
        record = replace(record, active=False, ended_ms=now.wall_ms).counted("endings")
    else:
        fired = (*record.fired, now.wall_ms)[-rule.firings[0] :]
        record = replace(record, active=rule.schedule is None, fired_ms=now.wall_ms, fired=fired, halted="")
        record = record.counted("shadowFirings" if rule.mode == "Shadow" else "firings")
    for action in firing.actions:
        if action.state == "failed":
            record = record.counted("failedActions")
            record = record.with_error(f"{action.form} {action.target}: {action.reason}", now.wall_ms)
    return record.settled()


def goes_round(chain: Sequence[str]) -> bool:
    """Whether the last of these rules, each of which led to the next, comes back to itself without an end."""
    return chain.count(chain[-1]) > LOOP_TURNS_MAX


def halted(record: RuleRecord, chain: Sequence[str], now: Now) -> RuleRecord:
    """The record of a rule that goes round in a circle with others, or by itself."""
    why = f"rules lead to each other without an end: {' > '.join(chain[-_CHAIN_SHOWN:])}"
    return replace(record, halted=why, halted_until_ms=now.wall_ms + HALTED_MS).with_error(why, now.wall_ms)


def _staged(action: Action, values: Values, now: Now, *, shadow: bool) -> ActionRecord:
    form, target, words = parts_of(action)
    try:
        text = said(words, values)
    except CelFailure as failure:
        return ActionRecord(form=form, target=target, said="", state="failed", reason=str(failure), at_ms=now.wall_ms)
    return ActionRecord(
        form=form, target=target, said=text, state="shadow" if shadow else "staged", at_ms=now.wall_ms
    )


def recovered(record: RuleRecord, actions: Sequence[Action], was_done: Callable[[int], bool], now: Now) -> RuleRecord:
    """The record after a start: what was not begun is still to be done, and what was under way is looked up, done
    again where the rule says so, or unknown. Nothing is done again of a rule that was changed since. `actions`: of
    the rule as it is now. `was_done`: whether the value of the action of this index was wanted."""
    firing = record.current
    if firing is None:
        return record
    for index, action in enumerate(firing.actions):
        if action.state != "begun":
            continue
        if action.form == "set" and was_done(index):
            after = replace(action, state="done", at_ms=now.wall_ms)
        elif firing.spec != record.spec:
            why = "the agent ended while it was under way, and the rule was changed"
            state = "cancelled" if action.form == "set" else "unknown"
            after = replace(action, state=state, reason=why, at_ms=now.wall_ms)
        elif action.form == "set" or (index < len(actions) and actions[index].at_least_once):
            after = replace(action, state="staged", at_ms=now.wall_ms)
        else:
            why = "the agent ended while it was under way"
            after = replace(action, state="unknown", reason=why, at_ms=now.wall_ms)
        record = record.with_action(index, after)
    return record


def actions_of(rule: DeviceRule, what: What) -> tuple[Action, ...]:
    return rule.actions if what == "fired" else rule.otherwise


# --- circles ----------------------------------------------------------------------------------------------


def circles(rules: Mapping[str, DeviceRule]) -> dict[str, tuple[str, ...]]:
    """The rules, by name, that may lead back to themselves through values that they want, with the way round. A rule
    that reads what it writes alone is none: that is how one asks whether something is done already."""
    readers: dict[tuple[str, str, str], list[str]] = {}
    for name, rule in rules.items():
        for device, prop in rule.named():
            readers.setdefault((rule.key.namespace, device, prop), []).append(name)
    follows = {
        name: sorted(
            {
                other
                for device, prop in rule.wanted()
                for other in readers.get((rule.key.namespace, device, prop), ())
                if other != name
            }
        )
        for name, rule in rules.items()
    }
    return {name: way for name in follows if (way := _way_back(name, follows))}


def _way_back(start: str, follows: Mapping[str, list[str]]) -> tuple[str, ...]:
    """The shortest."""
    ways: list[tuple[str, ...]] = [(start,)]
    seen: set[str] = set()
    while ways:
        way = ways.pop(0)
        for other in follows[way[-1]]:
            if other == start:
                return (*way, start)
            if other not in seen:
                seen.add(other)
                ways.append((*way, other))
    return ()
