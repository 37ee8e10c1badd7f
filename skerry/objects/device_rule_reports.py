"""What a gateway tells of its device rules, and what becomes of it in the cloud. Pure; keeps nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal, TypeAlias, get_args

from skerry.errors import ProtocolError
from skerry.frozen import Frozen
from skerry.objects.conditions import Condition, with_condition
from skerry.objects.events import event_object
from skerry.objects.json import Json, JsonObject, encode_object, int_at, map_at, maps_at, str_at
from skerry.objects.times import micro_time_text

DEVICE_RULES: Final = "devicerules.skerry.dev"
STATUS_REPORT: Final = "device_rule"
"""Kind of the state reports that tell of a rule, keyed by its uid."""
ALARM_REPORT: Final = "rule_alarm"
"""Kind of the reports, of the class `alarm`, by which a rule raises one."""
Severity: TypeAlias = Literal["Info", "Warning", "Critical"]
SEVERITIES: Final[tuple[Severity, ...]] = get_args(Severity)
ALARMS_KEPT: Final = 20
MESSAGE_LENGTH_MAX: Final = 1024


class RuleStatus(Frozen):
    """Body of a `device_rule` report (state, keyed by the rule's uid)."""

    namespace: str
    name: str
    uid: str
    status: JsonObject

    def encode(self) -> bytes:
        return encode_object({"namespace": self.namespace, "name": self.name, "uid": self.uid, "status": self.status})

    @classmethod
    def decode(cls, body: JsonObject) -> RuleStatus:
        """Raises `ProtocolError`."""
        told = cls(
            namespace=str_at(body, "namespace"),
            name=str_at(body, "name"),
            uid=str_at(body, "uid"),
            status=map_at(body, "status"),
        )
        if not (told.namespace and told.name and told.uid):
            raise ProtocolError("device_rule: namespace, name and uid are required")
        return told


class RuleAlarm(Frozen):
    """Body of a `rule_alarm` report, in order and of the class `alarm`."""

    namespace: str
    name: str
    uid: str
    severity: str
    message: str
    number: int
    """Of the firing; -1 for the index is that the rule was halted after it."""
    index: int
    at_ms: int
    """Not told: the cloud dates it."""

    def encode(self) -> bytes:
        return encode_object(
            {
                "namespace": self.namespace,
                "name": self.name,
                "uid": self.uid,
                "severity": self.severity,
                "message": self.message,
                "number": self.number,
                "index": self.index,
            }
        )

    @classmethod
    def decode(cls, body: JsonObject, *, at_ms: int) -> RuleAlarm:
        """`at_ms`: when it was told, by the cloud's time. Raises `ProtocolError`."""
        told = cls(
            namespace=str_at(body, "namespace"),
            name=str_at(body, "name"),
            uid=str_at(body, "uid"),
            severity=str_at(body, "severity"),
            message=str_at(body, "message")[:MESSAGE_LENGTH_MAX],
            number=int_at(body, "number"),
            index=int_at(body, "index"),
            at_ms=at_ms,
        )
        if not (told.namespace and told.name and told.uid) or told.severity not in SEVERITIES:
            raise ProtocolError("rule_alarm: namespace, name, uid and severity are required")
        return told


def with_status(rule: JsonObject, told: JsonObject, *, at_ms: int) -> JsonObject:
    """The DeviceRule as its gateway tells it. What the cloud keeps of its alarms and its place stays."""
    held = map_at(rule, "status")
    kept: Mapping[str, Json] = {name: held[name] for name in ("alarms", "alarmCount", "nodeName") if name in held}
    status = {name: value for name, value in told.items() if name not in ("ready", "conditions", *kept)}
    return {
        **rule,
        "status": {**status, **kept, "conditions": with_ready(maps_at(held, "conditions"), told, at_ms=at_ms)},
    }


def with_ready(conditions: list[JsonObject], told: JsonObject, *, at_ms: int) -> list[Json]:
    ready = map_at(told, "ready")
    said = str_at(ready, "status")
    condition = Condition(
        type="Ready",
        status="True" if said == "True" else "False" if said == "False" else "Unknown",
        reason=str_at(ready, "reason") or "Unknown",
        message=str_at(ready, "message")[:MESSAGE_LENGTH_MAX],
    )
    return with_condition(conditions, condition, now_ms=at_ms)


def with_alarm(rule: JsonObject, told: RuleAlarm) -> JsonObject:
    """The DeviceRule with one more alarm."""
    status = map_at(rule, "status")
    alarms: list[Json] = [*maps_at(status, "alarms")]
    alarms.append(
        {
            "time": micro_time_text(told.at_ms),
            "severity": told.severity,
            "message": told.message,
            "number": told.number,
        }
    )
    return {
        **rule,
        "status": {**status, "alarms": alarms[-ALARMS_KEPT:], "alarmCount": int_at(status, "alarmCount") + 1},
    }


def alarm_event(told: RuleAlarm, *, node: str, suffix: str) -> JsonObject:
    """The Event by which Kubernetes' tools see it. Numbers of firings begin anew on another gateway and in another
    life of the rule: what tells alarms apart is said by whoever received it."""
    about: JsonObject = {
        "apiVersion": "skerry.dev/v1",
        "kind": "DeviceRule",
        "metadata": {"namespace": told.namespace, "name": told.name, "uid": told.uid},
    }
    return event_object(
        about,
        f"{told.severity}Alarm",
        told.message,
        node=node,
        suffix=suffix,
        now_ms=told.at_ms,
        warning=told.severity != "Info",
    )
