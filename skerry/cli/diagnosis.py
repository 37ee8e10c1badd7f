"""What is wrong with a device, from its declaration to the wire: evidence in, findings with their next steps out.

Pure. The evidence is the objects that the server has, what the drivers here say of them, and what the gateway tells
of itself (`DeviceCheckup`). Findings come in the order in which a person would look: the first fault is the likeliest
cause of those after it, and gives `skerry device doctor` its exit code.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final, Literal, TypeAlias

from skerry.errors import BadRequestError, ConflictError, NotFoundError, SkerryError, UnavailableError
from skerry.frozen import Frozen
from skerry.objects.json import JsonObject, bool_at, dig, float_at, int_at, map_at, maps_at, str_at, strs_at
from skerry.objects.meta import name_of, namespace_of
from skerry.objects.times import human_duration
from skerry.objects.twins import same_value

Level: TypeAlias = Literal["ok", "note", "warning", "fault"]
LEVELS: Final[tuple[Level, ...]] = ("ok", "note", "warning", "fault")
Kind: TypeAlias = Literal["", "missing", "conflict", "refused", "late", "away"]
"""Which of the exit codes a fault has: 3, 4, 5, 6, 7; "" is 1."""

LATE_CYCLES: Final = 3
"""A value that is older than so many of its cycles is late, and by `LATE_MS` at least."""
LATE_MS: Final = 5_000
BACKLOG_MS: Final = 60_000
NEEDS_WARN: Final = 0.8
"""Of a line, as `skerry device bus plan` warns."""
UNKNOWN_PATH: Final = "the server could not find the requested resource"
"""How Kubernetes' API, the cloud and the agent say that they serve no such path; of objects they say a name."""
DISK_WARN: Final = 0.1
DISK_BYTES: Final = 64 << 20
FAILURES_WARN: Final = 0.05
"""Of a unit's requests."""
REQUESTS_MIN: Final = 20


class Finding(Frozen):
    """One thing that was looked at."""

    level: Level
    check: str
    """`model`, `node`, `driver`, `line`, `value` ..."""
    says: str
    next: str = ""
    """What to do about it; "" where nothing is."""
    prop: str = ""
    kind: Kind = ""


class Evidence(Frozen):
    """What is known of one device."""

    device: JsonObject
    model: JsonObject | None
    """None: there is no such object."""
    problem: str | None
    """What the drivers here say against the declaration, "" for nothing; None: there are no drivers here."""
    local: bool
    """Asked on the gateway itself."""
    node: JsonObject | None
    """The Node, in the cloud; None where there is none, or it may not be read."""
    node_known: bool
    link: JsonObject
    """On the gateway: how its link to the cloud does."""
    told: JsonObject | SkerryError
    """The gateway's own check-up, or why there is none."""
    live: JsonObject | SkerryError | None
    """What the device says just now; None: it was not asked."""

    @property
    def name(self) -> str:
        return f"{namespace_of(self.device)}/{name_of(self.device)}"

    @property
    def node_name(self) -> str:
        return str_at(self.device, "spec", "nodeName")


def diagnosed(evidence: Evidence) -> list[Finding]:
    """Of a device, without its gateway (`gateway_findings`)."""
    found = [*_declared(evidence), *_placed(evidence)]
    told = evidence.told
    if isinstance(told, SkerryError):
        found.append(_unasked(evidence, told))
        return found
    found += [*_served(evidence, told), *_files(told), *_line(told), *_live(evidence)]
    found += [*_values(told), *_wishes(told), *_pushes(told)]
    return found


def gateway_findings(evidence: Evidence) -> list[Finding]:
    """Of the gateway that the device is on: once for all devices on it."""
    found = [*_heard(evidence)]
    if isinstance(evidence.told, SkerryError):
        return found
    gateway = map_at(evidence.told, "gateway")
    trusted = bool_at(gateway, "clockTrusted", default=True)
    found.append(
        Finding(level="ok", check="clock", says="known to be right")
        if trusted
        else Finding(
            level="warning",
            check="clock",
            says="not known to be right: readings are dated as well as can be, and marked unsynced",
            next="let the gateway meet the cloud once, or run an NTP client on it",
        )
    )
    return [*found, *_outbox(evidence, gateway), *_disk(gateway)]


def worst(findings: Sequence[Finding]) -> Level:
    """Of all of them; ok for none."""
    return LEVELS[max((LEVELS.index(each.level) for each in findings), default=0)]


# --- the declaration --------------------------------------------------------------------------------------


def _declared(evidence: Evidence) -> Iterator[Finding]:
    named = str_at(evidence.device, "spec", "deviceModelRef", "name")
    if evidence.model is None:
        yield Finding(
            level="fault",
            check="model",
            says=f"there is no DeviceModel {named!r}" if named else "spec.deviceModelRef.name is empty",
            next="apply the model: `skerry device apply -f FILE`; `skerry device model list` shows those there are",
            kind="missing",
        )
        return
    if evidence.problem:
        yield Finding(
            level="fault",
            check="declaration",
            says=evidence.problem,
            next=f"`skerry device edit {name_of(evidence.device)}` checks it while you write",
            kind="refused",
        )
        return
    judged = "" if evidence.problem is not None else " (no drivers are installed here to judge its fields)"
    yield Finding(level="ok", check="declaration", says=f"of model {named}{judged}")


def _placed(evidence: Evidence) -> Iterator[Finding]:
    if not evidence.node_name:
        yield Finding(
            level="fault",
            check="node",
            says="it is on no gateway: spec.nodeName is empty",
            next=f"set spec.nodeName with `skerry device edit {name_of(evidence.device)}`",
            kind="missing",
        )


def _heard(evidence: Evidence) -> Iterator[Finding]:
    if evidence.local:
        state = str_at(evidence.link, "state")
        error = str_at(evidence.link, "lastError")
        if bool_at(evidence.link, "cut"):
            yield Finding(
                level="warning",
                check="cloud",
                says="the link is cut by hand; devices go on, and what they tell waits",
                next="`skerry link heal`",
            )
        elif state != "connected":
            yield Finding(
                level="warning",
                check="cloud",
                says=f"not connected{f': {error}' if error else ''}; devices go on, and what they tell waits",
                next="nothing, if that is meant; else look at `skerry link`",
            )
        else:
            yield Finding(level="ok", check="cloud", says="connected")
        return
    if not evidence.node_known:
        return
    if evidence.node is None:
        yield Finding(
            level="fault",
            check="node",
            says=f"there is no node {evidence.node_name!r}",
            next=f"`skerry token create {evidence.node_name}` and `edgecore join` on the gateway, or mend nodeName",
            kind="missing",
        )
        return
    conditions = {str_at(each, "type"): each for each in maps_at(evidence.node, "status", "conditions")}
    ready = conditions.get("Ready", {})
    if str_at(ready, "status") != "True":
        silent = str_at(ready, "status") in ("Unknown", "")
        yield Finding(
            level="fault",
            check="node",
            says=str_at(ready, "message") or ("not heard" if silent else "not ready"),
            next="on site: `systemctl status edgecore`, the network, and there `skerry device doctor`",
            kind="away" if silent else "",
        )
    else:
        yield Finding(level="ok", check="node", says="heard")


# --- the gateway's side -----------------------------------------------------------------------------------


def _unasked(evidence: Evidence, error: SkerryError) -> Finding:
    if isinstance(error, NotFoundError) and str(error) == UNKNOWN_PATH:
        asked = "its agent" if evidence.local else "the cloud"
        return Finding(
            level="warning",
            check="gateway",
            says=f"can't be asked: {asked} is of an older release, which knows no check-ups",
            next=f"update {asked}; `skerry device why {name_of(evidence.device)}/PROPERTY` tells a part of it",
        )
    if isinstance(error, NotFoundError):
        return Finding(
            level="fault",
            check="gateway",
            says=f"it does not have the device: {error}",
            next="wait for it to come; if it does not, `skerry get node` shows whether the gateway is in step",
            kind="missing",
        )
    if isinstance(error, BadRequestError):
        return Finding(
            level="warning",
            check="gateway",
            says=f"can't be asked: {error}",
            next="its agent is of an older release: update it",
        )
    away = isinstance(error, UnavailableError)
    return Finding(
        level="fault",
        check="gateway",
        says=f"can't be asked: {error}",
        next=f"ask on the gateway {evidence.node_name} itself: `skerry device doctor {name_of(evidence.device)}`",
        kind="away" if away else "",
    )


def _served(evidence: Evidence, told: JsonObject) -> Iterator[Finding]:
    state, reason = str_at(told, "device", "state"), str_at(told, "device", "reason")
    invalid = str_at(told, "device", "invalid")
    name, protocol = name_of(evidence.device), str_at(told, "device", "protocol")
    by = str_at(told, "device", "servedBy")
    if not invalid and state not in ("invalid", "waiting"):
        yield Finding(level="ok", check="driver", says=f"{protocol}, by {'a' if by == 'mapper' else 'the'} {by}")
    match state:
        case "online":
            note = reason or str_at(told, "device", "note")
            yield (
                Finding(level="note", check="state", says=f"online; {note}")
                if note
                else Finding(level="ok", check="state", says="online")
            )
        case "held":
            yield Finding(
                level="note", check="state", says=reason, next=f"`skerry device release {name}` when that is over"
            )
        case "waiting":
            yield Finding(
                level="fault",
                check="driver",
                says=reason or f"nobody speaks {protocol}",
                next="start its mapper, or install a driver beside the agent: see docs/howto/kubeedge-mappers.md",
                kind="away",
            )
        case "invalid":
            yield Finding(
                level="fault",
                check="declaration",
                says=f"the gateway refuses it: {reason or invalid}",
                next=f"`skerry device edit {name}`",
                kind="refused",
            )
        case _:
            yield Finding(
                level="fault",
                check="state",
                says=f"{state}: {reason}" if reason else state,
                next=_silent_next(told, name),
                kind="late",
            )


def _silent_next(told: JsonObject, name: str) -> str:
    if map_at(told, "line"):
        return f"power and cable of the device, its unit id and speed: `skerry device bus stats {name}`"
    return "power and cable of the device, its address, and who else it answers"


def _files(told: JsonObject) -> Iterator[Finding]:
    for each in maps_at(told, "files"):
        path, problem, steady = str_at(each, "path"), str_at(each, "problem"), str_at(each, "steadyPath")
        if problem:
            yield Finding(
                level="fault",
                check="file",
                says=f"{path} ({str_at(each, 'field')}): {problem.lower()}",
                next=f"on the gateway: `ls -l {path}`; the agent's user needs it"
                + (", as a member of the group dialout" if path.startswith("/dev/tty") else ""),
                kind="refused",
            )
        elif steady:
            yield Finding(
                level="warning",
                check="file",
                says=f"{path} may be another port after the next start",
                next=f"write {steady}, which stays the same",
            )


def _line(told: JsonObject) -> Iterator[Finding]:
    line = map_at(told, "line")
    if not line:
        return
    where, down = str_at(line, "line"), str_at(line, "down")
    if down:
        yield Finding(
            level="fault",
            check="line",
            says=f"{where} is down: {down}",
            next="the network or the cable, and who else holds the port: a line has one master",
            kind="away",
        )
    else:
        yield Finding(level="ok", check="line", says=f"{where} is open")
    needs = dig(line, "needs")
    if isinstance(needs, int | float) and needs > NEEDS_WARN:
        yield Finding(
            level="fault" if needs > 1 else "warning",
            check="budget",
            says=f"its polls need {needs:.0%} of {where}"
            + ("; values come later than asked for" if needs > 1 else ""),
            next="raise the collectCycle of what need not be so fresh: `skerry device bus plan` says of which",
            kind="late" if needs > 1 else "",
        )
    elif isinstance(needs, int | float):
        yield Finding(level="ok", check="budget", says=f"polls need {needs:.0%} of the line")
    yield from _units(told, line)


def _units(told: JsonObject, line: JsonObject) -> Iterator[Finding]:
    own = f"{namespace_of(told)}/{name_of(told)}"
    for unit in maps_at(line, "units"):
        requests = int_at(unit, "requests")
        failed = int_at(unit, "silences") + int_at(unit, "wrongAnswers")
        if own not in strs_at(unit, "devices") or requests < REQUESTS_MIN or failed < FAILURES_WARN * requests:
            continue
        yield Finding(
            level="warning",
            check="unit",
            says=f"unit {int_at(unit, 'unit')}: {int_at(unit, 'silences')} silences and "
            f"{int_at(unit, 'wrongAnswers')} wrong answers of {requests} requests",
            next="cable, termination, earth; a longer timeoutMs for a slow device; pauseMs for one that is hurried",
        )
    missed = int_at(map_at(line, "missedCycles"), own)
    if missed:
        yield Finding(
            level="warning",
            check="cycles",
            says=f"{missed} cycles were skipped because the line was busy",
            next="`skerry device bus stats` and `bus plan`: who takes most of it",
        )


def _live(evidence: Evidence) -> Iterator[Finding]:
    live = evidence.live
    if live is None:
        return
    if isinstance(live, SkerryError):
        yield Finding(level="fault", check="answer", says=f"could not be asked: {live}", kind="away")
        return
    asked = map_at(live, "properties")
    silent = {name: str_at(asked, name, "reason") for name in asked if dig(asked, name, "value") is None}
    for name, reason in silent.items():
        late = bool_at(asked, name, "late")
        yield Finding(
            level="fault",
            check="answer",
            prop=name,
            says=reason or "no value",
            next=_why(evidence.device, name),
            kind="late" if late else "away",
        )
    if not silent and asked:
        yield Finding(level="ok", check="answer", says=f"asked just now, it told all {len(asked)} properties")


# --- properties -------------------------------------------------------------------------------------------


def _values(told: JsonObject) -> Iterator[Finding]:
    well = 0
    state = str_at(told, "device", "state")
    for prop in maps_at(told, "properties"):
        found = _value(told, prop, state)
        if found is None:
            well += 1
        else:
            yield found
    if well:
        yield Finding(level="ok", check="values", says=f"{well} good and fresh")


def _value(told: JsonObject, prop: JsonObject, state: str) -> Finding | None:
    name, reading = str_at(prop, "property"), map_at(prop, "reading")
    written_only = "nextMs" not in prop and not reading
    if state in ("held", "invalid", "waiting") or (written_only and not map_at(prop, "twin")):
        return None if written_only else _stale(told, prop)
    if not reading and "nextMs" in prop and "error" not in prop:
        due = human_duration(int_at(prop, "nextMs") / 1000)
        return Finding(level="note", check="value", prop=name, says=f"not read yet since the agent started; in {due}")
    if not reading:
        return Finding(
            level="fault" if state == "online" else "warning",
            check="value",
            prop=name,
            says=str_at(prop, "error", "message") or "nothing was heard since the agent started",
            next=_why(told, name),
            kind="away",
        )
    quality, reason = str_at(reading, "quality"), str_at(reading, "reason")
    if quality != "good":
        return Finding(
            level="warning" if quality == "uncertain" else "fault",
            check="value",
            prop=name,
            says=f"{quality}{f': {reason}' if reason else ''}",
            next=_why(told, name),
            kind="" if quality == "uncertain" else "away",
        )
    period_ms, age_ms = int_at(prop, "periodMs"), int_at(reading, "ageMs")
    if "nextMs" in prop and age_ms > max(LATE_CYCLES * period_ms, LATE_MS):
        return Finding(
            level="warning",
            check="value",
            prop=name,
            says=f"{human_duration(age_ms / 1000)} old, and read every {period_ms / 1000:g} s",
            next=_why(told, name),
        )
    return None


def _stale(told: JsonObject, prop: JsonObject) -> Finding:
    """Of a device that is not served now: said once for the device, and here how old the value is."""
    name = str_at(prop, "property")
    return Finding(level="note", check="value", prop=name, says="not read now; what is shown is old")


def _wishes(told: JsonObject) -> Iterator[Finding]:
    open_wishes = 0
    for prop in maps_at(told, "properties"):
        desired = map_at(prop, "desired")
        if not desired:
            continue
        open_wishes += 1
        yield from _conflict(told, prop, desired)
        yield from _answer(told, prop, desired)
    if open_wishes == 0:
        yield Finding(level="ok", check="wanted", says="nothing is wanted of it")


def _conflict(told: JsonObject, prop: JsonObject, desired: JsonObject) -> Iterator[Finding]:
    lost = map_at(desired, "conflict")
    if not lost:
        return
    name, place = str_at(prop, "property"), f"{name_of(told)}/{str_at(prop, 'property')}"
    waiting = bool_at(lost, "waiting")
    other = f"{str_at(lost, 'side')} ({str_at(lost, 'origin')}) wanted {dig(lost, 'value')}"
    yield Finding(
        level="fault" if waiting else "note",
        check="conflict",
        prop=name,
        says=f"both sides wrote: {other}, {'and a person is to choose' if waiting else 'which lost'}",
        next=f"`skerry device conflicts resolve {place} --take cloud` (or edge, desired)" if waiting else "",
        kind="conflict" if waiting else "",
    )


def _answer(told: JsonObject, prop: JsonObject, desired: JsonObject) -> Iterator[Finding]:
    name, ack = str_at(prop, "property"), map_at(prop, "ack")
    wanted, state, reason = str_at(desired, "value"), str_at(ack, "state"), str_at(ack, "reason")
    waits = str_at(prop, "waits", "reason")
    because = f": {reason}" if reason else ""
    match state:
        case "verified" | "applied":
            shown, tolerance = str_at(prop, "twin", "value"), float_at(prop, "tolerance")
            if state == "applied" or not shown or same_value(str_at(prop, "type"), shown, wanted, tolerance):
                yield Finding(level="ok", check="wanted", prop=name, says=f"{wanted}: {state}")
            else:
                yield Finding(
                    level="warning",
                    check="wanted",
                    prop=name,
                    says=f"{wanted} was {state}, and the device shows {shown} now: somebody changed it there",
                    next=f"`skerry device set {name_of(told)} {name}={wanted}` wants it again",
                )
        case "refused":
            yield Finding(
                level="fault",
                check="wanted",
                prop=name,
                says=f"{wanted} is refused{because}",
                next=f"want another value, or none: `skerry device unset {name_of(told)} {name}`",
                kind="refused",
            )
        case "expired":
            yield Finding(
                level="warning",
                check="wanted",
                prop=name,
                says=f"{wanted} expired before it was carried out{because}",
                next=f"`skerry device set {name_of(told)} {name}={wanted}` wants it again",
            )
        case "failed":
            yield Finding(
                level="fault",
                check="wanted",
                prop=name,
                says=f"{wanted} could not be written, and is tried again{because}",
                next=_why(told, name),
                kind="late",
            )
        case _:
            yield Finding(
                level="warning",
                check="wanted",
                prop=name,
                says=f"{wanted} waits{f': {waits}' if waits else because}",
                next=_why(told, name),
            )


def _pushes(told: JsonObject) -> Iterator[Finding]:
    for each in maps_at(told, "pushes"):
        waiting, dropped, reason = int_at(each, "waiting"), int_at(each, "dropped"), str_at(each, "reason")
        counts = f"{waiting} wait" + (f", {dropped} were dropped" if dropped else "")
        if reason or dropped:
            yield Finding(
                level="warning",
                check="push",
                prop=str_at(each, "property"),
                says=f"to {str_at(each, 'place')}: {reason or 'readings were dropped'} ({counts})",
                next="the place that pushMethod names; `skerry device queue status` on the gateway",
            )


# --- the gateway itself -----------------------------------------------------------------------------------


def _outbox(evidence: Evidence, gateway: JsonObject) -> Iterator[Finding]:
    waiting, oldest_ms = int_at(gateway, "outbox", "reports"), int_at(gateway, "outbox", "oldestMs")
    dropped = int_at(gateway, "outbox", "dropped")
    connected = not evidence.local or str_at(evidence.link, "state") == "connected"
    if waiting and oldest_ms > BACKLOG_MS:
        age = human_duration(oldest_ms / 1000)
        yield Finding(
            level="warning" if connected else "note",
            check="queue",
            says=f"{waiting} reports wait for the cloud, the oldest for {age}",
            next="`skerry device queue status` shows whether it grows or goes" if connected else "",
        )
    else:
        yield Finding(level="ok", check="queue", says=f"{waiting} reports wait" if waiting else "nothing waits")
    if dropped:
        yield Finding(
            level="warning",
            check="gaps",
            says=f"{dropped} reports were dropped since its outbox was made",
            next="`skerry device queue gaps` says when, and why; more room: --telemetry-mib",
        )


def _disk(gateway: JsonObject) -> Iterator[Finding]:
    free, whole = int_at(gateway, "disk", "freeBytes"), int_at(gateway, "disk", "bytes")
    if not whole:
        return
    says = f"{free // (1 << 20)} MiB free of {whole // (1 << 20)}"
    if free < DISK_BYTES or free < DISK_WARN * whole:
        yield Finding(
            level="fault" if free < DISK_BYTES else "warning",
            check="disk",
            says=says,
            next="make room: below --free-floor-mib readings that wait are dropped",
        )
    else:
        yield Finding(level="ok", check="disk", says=says)


def _why(device: JsonObject, prop: str) -> str:
    return f"`skerry device why {name_of(device)}/{prop}`"


def error_of(finding: Finding, says: str) -> SkerryError:
    """What the command ends with."""
    from skerry.cli.target import DeadlineError, RefusedError

    match finding.kind:
        case "missing":
            return NotFoundError(says)
        case "conflict":
            return ConflictError(says)
        case "refused":
            return RefusedError(says)
        case "late":
            return DeadlineError(says)
        case "away":
            return UnavailableError(says)
        case _:
            return SkerryError(says)
