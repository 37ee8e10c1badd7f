"""Commands as objects: what is asked of a gateway once, and what became of it; for both ends.

A Command (`skerry.dev/v1`) is begun at most once. Its spec never changes but for `cancel`; what the server knew when
it was given (`spec.issued`) travels with it, so that a gateway can tell by itself whether it may still begin. Its
status only ever moves forward: what was said last, and for good, stands. Pure; keeps nothing.
"""

from __future__ import annotations

from typing import Final, Literal, TypeAlias

from skerry.errors import ProtocolError
from skerry.frozen import Frozen
from skerry.objects.conditions import Condition, with_condition
from skerry.objects.json import (
    Json,
    JsonObject,
    bool_at,
    encode_object,
    int_at,
    map_at,
    maps_at,
    str_at,
    str_map_at,
    strs_at,
)
from skerry.objects.meta import being_deleted
from skerry.objects.times import micro_time_text, ms_at

GROUP: Final = "skerry.dev"
COMMANDS: Final = "commands.skerry.dev"
REPORT: Final = "command"
"""Kind of the reports that tell of commands: states, keyed by the command's uid."""
INCARNATION: Final = "skerry.dev/incarnation"
"""Annotation of a Node: which life of its gateway's store was heard last. A command is given to that life alone."""

CAPABILITY: Final = "commands"
"""Of an agent that carries them out, in its `Hello`. The first release had none."""
CAPABILITIES: Final = "skerry.dev/capabilities"
"""Annotation of a Node: what its agent said that it can when it was heard last, of what the cloud asks for, with
commas between. Where it is missing nobody has said."""

EXPIRES_S: Final = 3600
EXPIRES_S_MAX: Final = 30 * 86_400
TIMEOUT_S: Final = 60
TIMEOUT_S_MAX: Final = 3600
TTL_S: Final = 86_400
RESULT_BYTES_MAX: Final = 16 * 1024
"""Of one command's result as JSON: it is a row in a store and a line in somebody's terminal, not a file transfer."""
PARAMETERS_MAX: Final = 64
VALUE_LENGTH_MAX: Final = 4096

Phase: TypeAlias = Literal[
    "Pending", "Delivered", "Running", "Succeeded", "Failed", "Expired", "Rejected", "Cancelled", "Unknown"
]
FINAL: Final = frozenset({"Succeeded", "Failed", "Expired", "Rejected", "Cancelled", "Unknown"})
_RANKS: Final = {"": 0, "Pending": 0, "Delivered": 1, "Running": 2}
_PHASES: Final[dict[str, Phase]] = {
    "Pending": "Pending",
    "Delivered": "Delivered",
    "Running": "Running",
    "Succeeded": "Succeeded",
    "Failed": "Failed",
    "Expired": "Expired",
    "Rejected": "Rejected",
    "Cancelled": "Cancelled",
    "Unknown": "Unknown",
}

SILENT: Final = "GatewaySilent"
"""Reason of the one end that the cloud puts down without knowing: what the gateway says later takes its place."""


# --- what is asked ---


class DeviceMethod(Frozen):
    """Write the parameters to the method's properties, in the method's order; read the others of them back."""

    device: str
    method: str
    parameters: tuple[tuple[str, str], ...]
    """Property and value as text."""


class DeviceRefresh(Frozen):
    """Read a device now, whatever its cycles."""

    device: str
    properties: tuple[str, ...]
    """Empty: all."""


class PodRestart(Frozen):
    """End a pod's containers as its deletion would, and let them start again."""

    pod: str
    container: str
    """"" for all."""


class ImagePull(Frozen):
    """Fetch an image now, so that a pod that needs it later starts at once."""

    image: str


class OtherAction(Frozen):
    """Something that only newer versions know, or nothing at all ("")."""

    name: str


Action: TypeAlias = DeviceMethod | DeviceRefresh | PodRestart | ImagePull | OtherAction
ACTIONS: Final = ("deviceMethod", "deviceRefresh", "podRestart", "imagePull")
"""Fields of `spec.action`, of which a command has one."""


class CommandSpec(Frozen):
    """A command's spec, read."""

    node: str
    action: Action
    cancel: bool
    timeout_s: int
    target_uid: str
    """Life of the device or pod that is meant; "" where there is none."""
    incarnation: str
    """The life of the gateway's store that may begin it."""
    epoch: str
    """The life of the cloud's store in which it was given."""
    issued_ms: int
    expires_ms: int
    """By the cloud's clock: from then on it is not begun."""


def command_spec(obj: JsonObject) -> CommandSpec:
    """What the object says; nothing is checked that admission has checked."""
    issued_ms = ms_at(str_at(obj, "spec", "issued", "time"))
    expires_s = int_at(obj, "spec", "expiresAfterSeconds", default=EXPIRES_S)
    return CommandSpec(
        node=str_at(obj, "spec", "nodeName"),
        action=action_of(map_at(obj, "spec", "action")),
        cancel=bool_at(obj, "spec", "cancel"),
        timeout_s=int_at(obj, "spec", "timeoutSeconds", default=TIMEOUT_S),
        target_uid=str_at(obj, "spec", "issued", "targetUID"),
        incarnation=str_at(obj, "spec", "issued", "incarnation"),
        epoch=str_at(obj, "spec", "issued", "epoch"),
        issued_ms=issued_ms,
        expires_ms=issued_ms + 1000 * expires_s,
    )


def action_of(said: JsonObject) -> Action:
    """`spec.action`."""
    names = [name for name in said if said[name] is not None]
    name = names[0] if len(names) == 1 else ",".join(sorted(names))
    body = map_at(said, name)
    match name:
        case "deviceMethod":
            parameters = tuple(str_map_at(body, "parameters").items())
            return DeviceMethod(device=str_at(body, "device"), method=str_at(body, "method"), parameters=parameters)
        case "deviceRefresh":
            return DeviceRefresh(device=str_at(body, "device"), properties=tuple(strs_at(body, "properties")))
        case "podRestart":
            return PodRestart(pod=str_at(body, "pod"), container=str_at(body, "container"))
        case "imagePull":
            return ImagePull(image=str_at(body, "image"))
        case _:
            return OtherAction(name=name)


def described(action: Action) -> tuple[str, str]:
    """(kind of action, what it is done to), for tables and people."""
    match action:
        case DeviceMethod():
            return "DeviceMethod", f"device/{action.device}.{action.method}"
        case DeviceRefresh():
            return "DeviceRefresh", f"device/{action.device}"
        case PodRestart():
            inside = f"/{action.container}" if action.container else ""
            return "PodRestart", f"pod/{action.pod}{inside}"
        case ImagePull():
            return "ImagePull", action.image
        case OtherAction():
            return action.name or "<none>", ""


def lane_of(action: Action, namespace: str, uid: str) -> str:
    """Commands of one lane are begun one after the other, in the order in which they were given."""
    match action:
        case DeviceMethod() | DeviceRefresh():
            return f"device {namespace}/{action.device}"
        case PodRestart():
            return f"pod {namespace}/{action.pod}"
        case ImagePull() | OtherAction():
            return uid


# --- what became of it ---


def phase_of(obj: JsonObject) -> str:
    """ "" counts as Pending."""
    return str_at(obj, "status", "phase") or "Pending"


def is_settled(obj: JsonObject) -> bool:
    """Finished, and for good: nothing that a gateway says changes it any more."""
    return phase_of(obj) in FINAL and str_at(obj, "status", "reason") != SILENT


def is_open_to(obj: JsonObject) -> str:
    """The node whose gateway should hold it now: it was offered there, and the gateway has not had the last word."""
    if is_settled(obj) or being_deleted(obj) or not str_at(obj, "status", "offeredTime"):
        return ""
    return str_at(obj, "spec", "nodeName")


class CommandReport(Frozen):
    """What a gateway tells of one command: the whole of it each time, so that the newest report is enough.

    The ages are of the moments before the report, in milliseconds; None: not yet (or never).
    """

    namespace: str
    name: str
    uid: str
    incarnation: str
    phase: Phase
    reason: str
    message: str
    result: JsonObject
    delivered_ago_ms: int | None
    started_ago_ms: int | None
    finished_ago_ms: int | None

    def encode(self) -> bytes:
        ages: JsonObject = {
            "deliveredAgoMs": self.delivered_ago_ms,
            "startedAgoMs": self.started_ago_ms,
            "finishedAgoMs": self.finished_ago_ms,
        }
        return encode_object(
            {
                "namespace": self.namespace,
                "name": self.name,
                "uid": self.uid,
                "incarnation": self.incarnation,
                "phase": self.phase,
                "reason": self.reason,
                "message": self.message,
                "result": self.result,
                **{name: value for name, value in ages.items() if value is not None},
            }
        )

    @classmethod
    def decode(cls, body: JsonObject) -> CommandReport:
        """Raises `ProtocolError` where the command or its phase is not named, or the result is too large."""
        phase = _PHASES.get(str_at(body, "phase"))
        if phase is None:
            raise ProtocolError(f"command: {str_at(body, 'phase')!r} is no phase")
        result = map_at(body, "result")
        if len(encode_object(result)) > RESULT_BYTES_MAX:
            raise ProtocolError(f"command: a result of more than {RESULT_BYTES_MAX} bytes")
        report = cls(
            namespace=str_at(body, "namespace"),
            name=str_at(body, "name"),
            uid=str_at(body, "uid"),
            incarnation=str_at(body, "incarnation"),
            phase=phase,
            reason=str_at(body, "reason")[:128],
            message=str_at(body, "message")[:1024],
            result=result,
            delivered_ago_ms=_age_at(body, "deliveredAgoMs"),
            started_ago_ms=_age_at(body, "startedAgoMs"),
            finished_ago_ms=_age_at(body, "finishedAgoMs"),
        )
        if not (report.namespace and report.name and report.uid):
            raise ProtocolError("command: namespace, name and uid are required")
        return report


def _age_at(body: JsonObject, name: str) -> int | None:
    value = body.get(name)
    return max(0, value) if isinstance(value, int) and not isinstance(value, bool) else None


def with_report(obj: JsonObject, told: CommandReport, *, at_ms: int) -> JsonObject:
    """The Command after a report that was made at `at_ms` of the cloud's clock; itself where that is no news."""
    if is_settled(obj):
        return obj
    silent = phase_of(obj) in FINAL
    if told.phase not in FINAL and not silent and _RANKS[told.phase] <= _RANKS[phase_of(obj)] > 0:
        return obj
    status: JsonObject = {**map_at(obj, "status")}
    for name, ago_ms in (
        ("deliveredTime", told.delivered_ago_ms),
        ("startedTime", told.started_ago_ms),
        ("finishedTime", told.finished_ago_ms),
    ):
        if ago_ms is not None:
            status[name] = micro_time_text(at_ms - ago_ms)
    status["gateway"] = {"incarnation": told.incarnation}
    if silent and told.phase not in FINAL:
        # It was begun in time, and goes on: the end that was put down for want of news is taken back.
        status.pop("finishedTime", None)
    return ended(
        {**obj, "status": status},
        phase=told.phase,
        reason=told.reason,
        message=told.message,
        result=told.result,
        now_ms=at_ms,
    )


def ended(
    obj: JsonObject, *, phase: Phase, reason: str, message: str, now_ms: int, result: JsonObject | None = None
) -> JsonObject:
    """The Command in that phase, with the conditions that follow from it."""
    status: JsonObject = {**map_at(obj, "status"), "phase": phase, "reason": reason, "message": message}
    for name in ("reason", "message"):
        if not status[name]:
            del status[name]
    if result:
        status["result"] = result
    if phase in FINAL:
        status.setdefault("finishedTime", micro_time_text(now_ms))
    if phase in FINAL or maps_at(status, "conditions"):
        status["conditions"] = _conditions(maps_at(status, "conditions"), phase, reason, message, now_ms=now_ms)
    return {**obj, "status": status}


def _conditions(held: list[JsonObject], phase: Phase, reason: str, message: str, *, now_ms: int) -> list[Json]:
    """`Complete` as that of a Job, `Failed` for every other end, `Finished` for any."""
    truths = {"Complete": phase == "Succeeded", "Failed": phase in FINAL - {"Succeeded"}, "Finished": phase in FINAL}
    conditions: list[Json] = [*held]
    for name, holds in truths.items():
        said = Condition(type=name, status="True" if holds else "False", reason=reason or phase, message=message)
        conditions = with_condition([each for each in conditions if isinstance(each, dict)], said, now_ms=now_ms)
    return conditions


# --- what a gateway's rooms hand each other ---


class Order(Frozen):
    """One command to be carried out now, once."""

    namespace: str
    name: str
    uid: str
    action: Action
    target_uid: str


class Refusal(Frozen):
    """Why a command can't be begun. With `patience_s` it may be a matter of moments: what it is about can be on its
    way from the cloud."""

    reason: str
    message: str
    patience_s: float = 0.0


class Outcome(Frozen):
    """How it ended."""

    phase: Literal["Succeeded", "Failed", "Expired", "Cancelled"]
    reason: str
    message: str
    result: JsonObject
