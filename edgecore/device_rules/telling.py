"""What the cloud is told of a device rule: its status, a state that is coalesced, and its alarms, each once. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from edgecore.device_rules.plan import Watch
from edgecore.device_rules.records import RuleRecord, shown_record, shown_values
from edgecore.store.port import NewReport
from skerry.objects.device_rule_reports import ALARM_REPORT, STATUS_REPORT, RuleAlarm, RuleStatus
from skerry.objects.device_rule_values import View, told_values
from skerry.objects.device_rules import DeviceRule
from skerry.objects.json import JsonObject, map_at
from skerry.objects.meta import Key

_RESULTS: Final = {True: "True", False: "False", None: "Unknown"}


def status_of(
    rule: DeviceRule | None,
    record: RuleRecord,
    watch: Watch,
    *,
    fault: str,
    why: str,
    generation: int,
    circle: Sequence[str],
    view: View,
) -> JsonObject:
    """The status as this gateway has it; the cloud adds when conditions turned."""
    status: JsonObject = {
        "observedGeneration": generation,
        "ready": _ready(rule, record, fault, circle),
        **shown_record(record),
    }
    if rule is not None:
        last: JsonObject = {
            "result": _RESULTS[watch.result],
            "values": shown_values(told_values(rule, view)),
        }
        if watch.why:
            last["reason"] = watch.why
        if why:
            last["heldUp"] = why
        status["last"] = last
    return status


def _ready(rule: DeviceRule | None, record: RuleRecord, fault: str, circle: Sequence[str]) -> JsonObject:
    if rule is None:
        return {"status": "False", "reason": "DoesNotFit", "message": fault}
    if record.halted:
        return {"status": "False", "reason": "Halted", "message": record.halted}
    if rule.mode != "Enforce":
        return {"status": "True", "reason": rule.mode, "message": f"mode is {rule.mode}: it does nothing"}
    if circle:
        way = " > ".join(name.rpartition("/")[2] for name in circle)
        return {"status": "True", "reason": "MayGoRound", "message": f"these may lead to each other: {way}"}
    return {"status": "True", "reason": "Works", "message": "it is carried out on its gateway"}


def status_report(key: Key, uid: str, status: JsonObject) -> NewReport:
    told = RuleStatus(namespace=key.namespace, name=key.name, uid=uid, status=status)
    return NewReport(report_class="state", kind=STATUS_REPORT, key=uid, body=told.encode())


def is_urgent(before: JsonObject, after: JsonObject) -> bool:
    """Whether something happened."""
    return any(before.get(name) != after.get(name) for name in ("ready", "active", "recent", "observedGeneration"))


def is_told_enough(before: JsonObject, after: JsonObject) -> bool:
    """Whether nothing is new but values that move: those are told with what comes of them."""
    return _without_values(before) == _without_values(after)


def _without_values(status: JsonObject) -> JsonObject:
    last = map_at(status, "last")
    return {**status, "last": {name: value for name, value in last.items() if name != "values"}}


def alarm_report(rule: DeviceRule, severity: str, message: str, *, number: int, index: int) -> NewReport:
    told = RuleAlarm(
        namespace=rule.key.namespace,
        name=rule.key.name,
        uid=rule.uid,
        severity=severity,
        message=message,
        number=number,
        index=index,
        at_ms=0,
    )
    return NewReport(report_class="alarm", kind=ALARM_REPORT, key="", body=told.encode())
