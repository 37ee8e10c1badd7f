"""Does one action of a firing: wants a value of a twin, publishes, asks a service.

A value is wanted through the twin, as a person on the gateway wants it: ranges, guards, holds, conflicts and the
acknowledgement are the twin's. Its origin names rule, firing and action, by which it is found again after a crash.
Keeps nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from edgecore.device_rules.port import RuleParts
from edgecore.device_rules.records import ActionRecord, Firing
from skerry.errors import CallerError, UnavailableError, UncertainError
from skerry.frozen import Frozen, replace
from skerry.objects.desired import Desired, Wish
from skerry.objects.device_models import DEVICES
from skerry.objects.device_rules import Action, CallAction, DeviceRule, PublishAction, SetAction
from skerry.objects.json import str_at
from skerry.objects.meta import Key
from skerry.objects.rule_calls import ServiceRequest
from skerry.objects.twins import AckState

ANSWER_S_MAX: Final = 5.0
"""So long a device's answer is waited for before the next action begins; what comes later is the twin's to tell."""
SILENT_S: Final = 1.0
"""And so long where one of the firing did not answer: devices that are all off must not use up the time of others."""
NOT_YET: Final = "not yet: "
AGAIN_S: Final = (0.5, 30.0)
"""Between two tries of what could not be done."""
_ANSWERS: Final[frozenset[AckState]] = frozenset({"applied", "verified", "refused", "failed", "expired"})
_ANSWER_LENGTH_MAX: Final = 200
_REASON_LENGTH_MAX: Final = 300
RULE_ORIGIN: Final = "rule:"


def origin_of(key: Key, firing: int, index: int) -> str:
    return f"{RULE_ORIGIN}{key.namespace}/{key.name}#{firing}.{index}"


def rule_of_origin(origin: str) -> tuple[str, str] | None:
    """Namespace and name of the rule that wanted something; None for anybody else."""
    if not origin.startswith(RULE_ORIGIN):
        return None
    namespace, _, name = origin.removeprefix(RULE_ORIGIN).rpartition("#")[0].partition("/")
    return namespace, name


class Doing(Frozen):
    """One action, and what it belongs to."""

    rule: DeviceRule
    firing: Firing
    index: int
    action: Action
    fired_s: float
    """When it fired, monotonic: whatever becomes of the wall clock, a deadline is as long as it says."""
    patience_s: float
    """So long a device's answer is waited for."""

    @property
    def record(self) -> ActionRecord:
        return self.firing.actions[self.index]

    @property
    def ends_s(self) -> float:
        """Its deadline, monotonic."""
        return self.fired_s + self.action.deadline_s


class Acting:
    """See the module."""

    def __init__(self, parts: RuleParts, stronger: Callable[[DeviceRule, str], str]) -> None:
        """`stronger`: the name of a rule in force that wanted a value by this origin and goes before this one; "" for
        none."""
        self._parts = parts
        self._stronger = stronger

    async def do(self, doing: Doing) -> ActionRecord:
        """How it ended. Tries again what could not be done, until its deadline."""
        clock, record = self._parts.clock, doing.record
        again_s = AGAIN_S[0]
        while True:
            left_s = doing.ends_s - clock.monotonic_s()
            if left_s <= 0:
                return self._ended(record, "failed", record.reason or "there was no time left for it")
            record = replace(record, attempts=record.attempts + 1)
            try:
                return await self._once(doing, record, left_s)
            except CallerError as error:
                return self._ended(record, "failed", str(error))
            except UncertainError as error:
                if not doing.action.at_least_once:
                    return self._ended(record, "unknown", str(error))
                record = replace(record, reason=str(error))
            except UnavailableError as error:
                record = replace(record, reason=str(error))
            except TimeoutError:
                why = f"no answer within {doing.action.deadline_s} s (deadlineSeconds)"
                return self._ended(record, "unknown", why)
            await asyncio.sleep(min(again_s, max(0.0, doing.ends_s - clock.monotonic_s())))
            again_s = min(2 * again_s, AGAIN_S[1])

    def _ended(self, record: ActionRecord, state: str, reason: str = "", answer: str = "") -> ActionRecord:
        assert state in ("done", "failed", "unknown", "yielded"), "it is over"
        at_ms = self._parts.clock.wall_ms()
        return replace(
            record,
            state=state,
            reason=reason[:_REASON_LENGTH_MAX],
            answer=answer[:_ANSWER_LENGTH_MAX],
            at_ms=at_ms,
        )

    async def _once(self, doing: Doing, record: ActionRecord, left_s: float) -> ActionRecord:
        """Raises `TimeoutError` where nobody knows by then what became of it."""
        if isinstance(doing.action.deed, SetAction):
            return await self._set(doing, doing.action.deed, record, left_s)
        async with asyncio.timeout(left_s):
            return await self._say(doing, record)

    async def _say(self, doing: Doing, record: ActionRecord) -> ActionRecord:
        match doing.action.deed:
            case PublishAction() as deed:
                if self._parts.publish is None:
                    return self._ended(
                        record, "failed", "this gateway has no MQTT broker (edgecore run --mqtt-broker)"
                    )
                await self._parts.publish(deed.topic, record.said.encode())
                return self._ended(record, "done", answer="acknowledged")
            case CallAction() as deed:
                return await self._call(doing, deed, record)
            case _:
                raise AssertionError("alarms are raised in the transaction of their firing")

    async def _set(self, doing: Doing, deed: SetAction, record: ActionRecord, left_s: float) -> ActionRecord:
        """It is done when the value is wanted; the answer is waited for while there is time."""
        device = Key(DEVICES, doing.rule.key.namespace, deed.device)
        wanted = self.wanted(device, deed.prop)
        if why := self._yields(doing, deed, wanted):
            return self._ended(record, "yielded", why)
        now_ms = self._parts.clock.wall_ms()
        wish = Wish(
            prop=deed.prop,
            value=record.said,
            expires_ms=now_ms + 1000 * deed.expires_s if deed.expires_s else None,
        )
        origin = origin_of(doing.rule.key, doing.firing.number, doing.index)
        async with asyncio.timeout(left_s):
            (ver,) = await self._parts.twins.write(device, [wish], origin=origin)
        patience_s = min(doing.patience_s, max(0.0, doing.ends_s - self._parts.clock.monotonic_s()))
        try:
            state = await self._parts.twins.wait(
                device, deed.prop, for_ver=ver, states=_ANSWERS, timeout_s=patience_s
            )
        except UnavailableError as error:
            return self._ended(record, "done", answer=f"{NOT_YET}{error}")
        answer = state.ack
        if answer is None:
            return self._ended(record, "done", answer="wanted")
        said = f"{answer.state}: {answer.reason}" if answer.reason else answer.state
        if answer.state in ("refused", "expired"):
            return self._ended(record, "failed", said)
        return self._ended(record, "done", answer=said)

    def wanted(self, device: Key, prop: str) -> Desired | None:
        """What is wanted of a property now."""
        return next((twin.state.wanted for twin in self._parts.twins.twins(device) if twin.prop == prop), None)

    def _yields(self, doing: Doing, deed: SetAction, wanted: Desired | None) -> str:
        """Why what is wanted now stands; "" where it does not."""
        if wanted is None:
            return ""
        if rule_of_origin(wanted.origin) is not None:
            other = self._stronger(doing.rule, wanted.origin)
            return f"rule {other} is in force, goes before this one and wants {wanted.value!r}" if other else ""
        ago_s = (self._parts.clock.wall_ms() - wanted.hlc.wall_ms) / 1000
        # A clock that was ahead wrote what seems to come yet: it counts no longer than what is past.
        if deed.yield_s and abs(ago_s) < deed.yield_s:
            who = wanted.origin or wanted.side
            return f"{who} wanted {wanted.value!r} less than {deed.yield_s} s ago (yieldSeconds)"
        return ""

    def was_wanted(self, rule: Key, firing: Firing, index: int) -> bool:
        """Whether a value was wanted by this action, before a crash: now, or as the log of the device has it. Not by
        one of the same number of an earlier rule of this name: that was before this firing."""
        name, _, prop = firing.actions[index].target.partition("/")
        device = Key(DEVICES, rule.namespace, name)
        origin = origin_of(rule, firing.number, index)
        wanted = self.wanted(device, prop)
        if wanted is not None and wanted.origin == origin and wanted.hlc.wall_ms >= firing.at_ms:
            return True
        log = self._parts.twins.desired_log(device, since_ms=firing.at_ms - 1)
        return any(str_at(entry, "desired", "origin") == origin for _, _, entry in log)

    async def _call(self, doing: Doing, deed: CallAction, record: ActionRecord) -> ActionRecord:
        # With its time: where a rule was on another gateway meanwhile, its firings count from one again.
        key = f"{doing.rule.uid}-{doing.firing.at_ms}-{doing.firing.number}-{doing.index}"
        asked = ServiceRequest(
            method=deed.method,
            port=deed.port,
            target=deed.path,
            headers=(*deed.headers, ("Idempotency-Key", key)),
        )
        reply = await self._parts.ask(asked, record.said.encode())
        said = f"{reply.status} {' '.join(reply.body[:_ANSWER_LENGTH_MAX].decode(errors='replace').split())}".strip()
        if 200 <= reply.status < 300:
            return self._ended(record, "done", answer=said)
        if doing.action.at_least_once and (reply.status >= 500 or reply.status in (408, 429)):
            raise UnavailableError(f"the service answers {said}")
        return self._ended(record, "failed", f"the service answers {said}")
