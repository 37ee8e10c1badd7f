"""Rules that a gateway carries out by itself, `DeviceRule` of `skerry.dev/v1`: when a condition on values of its
devices holds, do something there. Read, checked and compiled here, for both ends.

The cloud refuses what is wrong when it is written, with the field and the mend; the gateway reads the same object by
the same code, with the types of the properties as it serves them. Pure; keeps nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Final, Literal, TypeAlias, cast, get_args

from skerry.errors import Cause, InvalidError
from skerry.frozen import Frozen
from skerry.objects.cel import Names, Program, compiled
from skerry.objects.cel_syntax import RESERVED, CelError, CelType, Name, walk
from skerry.objects.cron import Schedule, schedule_of
from skerry.objects.device_models import is_writable, wanted_value
from skerry.objects.device_rule_reports import DEVICE_RULES, SEVERITIES, Severity
from skerry.objects.json import (
    Json,
    JsonObject,
    bool_at,
    int_at,
    list_at,
    map_at,
    maps_at,
    str_at,
    str_map_at,
    strs_at,
)
from skerry.objects.meta import Key, name_of, namespace_of, uid_of
from skerry.objects.names import subdomain_faults
from skerry.objects.rules import topic_faults
from skerry.objects.twins import Quality

GROUP: Final = "skerry.dev"

VALUES_MAX: Final = 16
ACTIONS_MAX: Final = 16
RULES_MAX: Final = 256
"""Rules that one gateway carries out; the others say that there are too many."""
SECONDS_MAX: Final = 30 * 86_400
FIRINGS: Final = (60, 3600)
"""At most so many firings in so many seconds, where a rule says nothing of it."""
FIRINGS_MAX: Final = 1000
DEADLINE_S: Final = 30
DEADLINE_S_MAX: Final = 3600
PAYLOAD_LENGTH_MAX: Final = 16 * 1024
PRIORITY_MAX: Final = 100

Mode: TypeAlias = Literal["Enforce", "Shadow", "Off"]
"""`Shadow`: what would be done is told, and nothing is done."""
MODES: Final[tuple[Mode, ...]] = get_args(Mode)
QUALITIES: Final[tuple[Quality, ...]] = get_args(Quality)
METHODS: Final = ("GET", "POST", "PUT", "PATCH", "DELETE")
FORMS: Final = ("set", "publish", "call", "alarm")

TypeOf: TypeAlias = "Callable[[str, str], JsonObject | str | None]"
"""(device, property): the model's property, why there is none, or None where nothing is known of either."""

_NAME: Final = re.compile(r"[a-z_][A-Za-z0-9_]{0,31}")
_HEADER: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,64}")
_HEADER_VALUE: Final = re.compile(r"(?:[!-~\xa1-\xff](?:[\t -~\xa1-\xff]{0,1022}[!-~\xa1-\xff])?)?")
_OWN_HEADERS: Final = frozenset({"host", "content-length", "transfer-encoding", "connection", "idempotency-key"})
"""The gateway says them itself."""
_OWN_TOPICS: Final = ("$hw/events/device/", "$hw/events/node/", "$SYS/", "$share/", "skerry/")
"""What the gateway's agent or broker says or follows: on these, values of devices in any namespace are wanted."""
_TARGET: Final = re.compile(r"/[!-~]{0,1023}")
_ROOTS: Final = ("previous", "quality", "age")
"""Names that are there for each value: what it was before, how good it is, and how old in seconds."""
_TYPES: Final[Mapping[str, CelType]] = {
    "INT": "int",
    "FLOAT": "double",
    "DOUBLE": "double",
    "BOOLEAN": "bool",
    "STRING": "string",
}


class Source(Frozen):
    """A value that conditions and actions may name."""

    name: str
    device: str
    prop: str
    accept: frozenset[Quality] = frozenset({"good"})
    """Of another quality it counts as having no value."""


class Words(Frozen):
    """A text, or an expression that makes it."""

    text: str = ""
    program: Program | None = None


class SetAction(Frozen):
    """Want a value of a property."""

    device: str
    prop: str
    value: Words
    expires_s: int = 0
    """0: it is wanted until something else is."""
    yield_s: int = 0
    """What somebody other than a rule wanted in so many seconds before stands."""


class PublishAction(Frozen):
    """Say something on the gateway's MQTT broker."""

    topic: str
    payload: Words


class CallAction(Frozen):
    """Ask an HTTP service on the gateway's loopback address."""

    port: int
    method: str
    path: str
    headers: tuple[tuple[str, str], ...]
    body: Words


class AlarmAction(Frozen):
    """Tell the cloud, before everything else that waits for it, and durably."""

    severity: Severity
    message: Words


Deed: TypeAlias = "SetAction | PublishAction | CallAction | AlarmAction"


class Action(Frozen):
    """One thing to do."""

    deed: Deed
    deadline_s: int = DEADLINE_S
    """From the firing; what could not be done by then is not done."""
    at_least_once: bool = False
    """What may have been done is done again; else it is left, and said to be unknown."""


class DeviceRule(Frozen):
    """One rule, checked and compiled."""

    key: Key
    uid: str
    node: str
    """"" for one that follows a device."""
    mode: Mode
    priority: int
    sources: tuple[Source, ...]
    when: Program | None
    until: Program | None
    for_s: int
    repeat_s: int
    cooldown_s: int
    firings: tuple[int, int]
    """At most so many in so many seconds."""
    schedule: Schedule | None
    actions: tuple[Action, ...]
    otherwise: tuple[Action, ...]

    @property
    def watches_time(self) -> bool:
        """What it comes to may change while no value does."""
        return any(
            isinstance(node, Name) and node.path[0] == "age"
            for program in (self.when, self.until)
            if program is not None
            for node in walk(program.tree)
        )

    def named(self) -> Iterator[tuple[str, str]]:
        """The (device, property) pairs that it reads."""
        for source in self.sources:
            yield source.device, source.prop

    def wanted(self) -> Iterator[tuple[str, str]]:
        """Those that it writes."""
        for action in (*self.actions, *self.otherwise):
            if isinstance(action.deed, SetAction):
                yield action.deed.device, action.deed.prop


def followed_device(obj: JsonObject) -> str:
    """The Device whose gateway carries a rule out that names none: that of its first value, else of the first that it
    wants something of. "" for a rule that names its gateway."""
    if str_at(obj, "spec", "nodeName"):
        return ""
    actions = (map_at(each, "set") for name in ("actions", "otherwise") for each in maps_at(obj, "spec", name))
    named = (str_at(each, "device") for each in (*maps_at(obj, "spec", "values"), *actions))
    return next((device for device in named if device), "")


def node_of_rule(obj: JsonObject) -> str:
    """The gateway that carries it out: that which it names, or else the cloud's choice. "" for none."""
    return str_at(obj, "spec", "nodeName") or (str_at(obj, "status", "nodeName") if followed_device(obj) else "")


def read_rule(obj: JsonObject, type_of: TypeOf = lambda _device, _prop: None) -> DeviceRule:
    """Raises `InvalidError` with every cause, each with its field and the mend."""
    reader = _Reader(map_at(obj, "spec"), type_of)
    rule = reader.rule(Key(DEVICE_RULES, namespace_of(obj), name_of(obj)), uid_of(obj))
    if reader.causes:
        first = reader.causes[0]
        raise InvalidError(f"{first.field}: {first.message}", reader.causes)
    return rule


class _Reader:
    """Reads a spec, and gathers what is wrong with it."""

    def __init__(self, spec: JsonObject, type_of: TypeOf) -> None:
        self._spec = spec
        self._type_of = type_of
        self._names: Names = {}
        self.causes: list[Cause] = []

    def _wrong(self, field: str, message: str, reason: str = "FieldValueInvalid") -> None:
        self.causes.append(Cause(field=field, reason=reason, message=message))

    def _required(self, field: str, message: str) -> None:
        self._wrong(field, f"Required value: {message}", "FieldValueRequired")

    def _unsupported(self, field: str, value: str, allowed: Iterable[str]) -> None:
        self._wrong(field, f"Unsupported value: {value!r}: write {', '.join(allowed)}", "FieldValueNotSupported")

    def _too_many(self, field: str, count: int, most: int) -> None:
        self._wrong(field, f"Too many: {count}: must have at most {most} items", "FieldValueTooMany")

    def rule(self, key: Key, uid: str) -> DeviceRule:
        spec = self._spec
        node = str_at(spec, "nodeName")
        if not node and not followed_device({"spec": spec}):
            self._required(
                "spec.nodeName",
                "name the gateway on which the rule is carried out: there is no device whose gateway it could follow",
            )
        elif node and subdomain_faults(node):
            self._wrong("spec.nodeName", f"Invalid value: {node!r}: {subdomain_faults(node)[0]}")
        sources = self._sources()
        self._names = self._names_of(sources)
        when = self._condition("when")
        schedule = self._schedule()
        if when is None and schedule is None and "when" not in spec:
            self._required("spec.when", "say when something is to be done: a condition, or a schedule")
        until = self._condition("until")
        for field in ("until", "otherwise", "repeatSeconds", "forSeconds"):
            if schedule is not None and field in spec:
                self._wrong(f"spec.{field}", "a rule with a schedule is over as soon as it has acted: leave it out")
        actions, otherwise = self._actions("actions"), self._actions("otherwise")
        if not actions:
            self._required("spec.actions", f"name something to do: {', '.join(FORMS)}")
        return DeviceRule(
            key=key,
            uid=uid,
            node=node,
            mode=self._mode(),
            priority=self._number("priority", least=-PRIORITY_MAX, most=PRIORITY_MAX),
            sources=sources,
            when=when,
            until=until,
            for_s=self._number("forSeconds"),
            repeat_s=self._number("repeatSeconds"),
            cooldown_s=self._number("cooldownSeconds"),
            firings=self._firings(),
            schedule=schedule,
            actions=actions,
            otherwise=otherwise,
        )

    # --- simple fields ---

    def _number(
        self, name: str, *, least: int = 0, most: int = SECONDS_MAX, default: int = 0, at: str = "", of: Json = None
    ) -> int:
        holder = self._spec if of is None else of
        found = int_at(holder, name, default=default)
        if not least <= found <= most:
            self._wrong(f"{at or 'spec'}.{name}", f"Invalid value: {found}: must be between {least} and {most}")
        return found

    def _mode(self) -> Mode:
        found = str_at(self._spec, "mode") or "Enforce"
        if found not in MODES:
            self._unsupported("spec.mode", found, MODES)
            return "Enforce"
        return found

    def _firings(self) -> tuple[int, int]:
        limit = self._spec.get("limit")
        if limit is None:
            return FIRINGS
        count = self._number("count", least=1, most=FIRINGS_MAX, default=FIRINGS[0], at="spec.limit", of=limit)
        return count, self._number("seconds", least=1, default=FIRINGS[1], at="spec.limit", of=limit)

    def _schedule(self) -> Schedule | None:
        if "schedule" not in self._spec:
            if "timeZone" in self._spec:
                self._wrong("spec.timeZone", "there is no schedule that it could be of: leave it out")
            return None
        try:
            return schedule_of(str_at(self._spec, "schedule"), str_at(self._spec, "timeZone"))
        except InvalidError as error:
            field = "spec.timeZone" if str(error).startswith("time zone") else "spec.schedule"
            self._wrong(field, f"Invalid value: {error}")
            return None

    # --- values ---

    def _sources(self) -> tuple[Source, ...]:
        found: list[Source] = []
        entries = maps_at(self._spec, "values")
        if len(entries) > VALUES_MAX:
            self._too_many("spec.values", len(entries), VALUES_MAX)
        for number, entry in enumerate(entries[:VALUES_MAX]):
            at = f"spec.values[{number}]"
            name = str_at(entry, "name")
            if not _NAME.fullmatch(name) or name in RESERVED or name in (*_ROOTS, "math"):
                self._wrong(
                    f"{at}.name",
                    f"Invalid value: {name!r}: write a name such as level, of letters, digits and _; "
                    f"{', '.join(_ROOTS)} and CEL's own words are taken",
                )
            elif any(name == other.name for other in found):
                self._wrong(f"{at}.name", f"Duplicate value: {name!r}", "FieldValueDuplicate")
            accept = strs_at(entry, "accept") or ["good"]
            for quality in accept:
                if quality not in QUALITIES:
                    self._unsupported(f"{at}.accept", quality, QUALITIES)
            device, prop = self._place(entry, at)
            qualities = frozenset(cast("list[Quality]", [each for each in accept if each in QUALITIES]))
            found.append(Source(name=name, device=device, prop=prop, accept=qualities))
        return tuple(found)

    def _place(self, entry: Json, at: str) -> tuple[str, str]:
        device, prop = str_at(entry, "device"), str_at(entry, "property")
        if not device:
            self._required(f"{at}.device", "name a Device in the namespace of the rule")
        elif subdomain_faults(device):
            self._wrong(f"{at}.device", f"Invalid value: {device!r}: {subdomain_faults(device)[0]}")
        if not prop:
            self._required(f"{at}.property", "name a property of the device's model")
        return device, prop

    def _names_of(self, sources: tuple[Source, ...]) -> Names:
        types = {
            source.name: self._cel_type(source.device, source.prop, f"spec.values[{number}].property")
            for number, source in enumerate(sources)
        }
        return {
            **types,
            "previous": types,
            "quality": dict.fromkeys(types, "string"),
            "age": dict.fromkeys(types, "double"),
        }

    def _cel_type(self, device: str, prop: str, field: str) -> CelType:
        found = self._type_of(device, prop) if device and prop else None
        if isinstance(found, str):
            self._wrong(field, f"Invalid value: {prop!r}: {found}")
        if found is None or isinstance(found, str):
            return "dyn"
        declared = str_at(found, "type").upper()
        if declared not in _TYPES:
            self._wrong(field, f"Invalid value: {prop!r}: it is of type {declared}, which conditions can't name")
        return _TYPES.get(declared, "dyn")

    # --- expressions ---

    def _condition(self, name: str) -> Program | None:
        return self._program(self._spec, name, f"spec.{name}", "bool") if name in self._spec else None

    def _program(self, holder: Json, name: str, field: str, wanted: CelType) -> Program | None:
        try:
            return compiled(str_at(holder, name), self._names, wanted=wanted)
        except CelError as error:
            self._wrong(field, f"Invalid value: {error}")
            return None

    def _words(self, holder: JsonObject, name: str, at: str, *, needed: bool, wanted: CelType = "string") -> Words:
        """`name` has the text, `NAMEExpression` what makes it."""
        coded = f"{name}Expression"
        if coded in holder:
            if name in holder:
                self._wrong(f"{at}.{name}", f"either {name} or {coded}: leave one out")
            return Words(program=self._program(holder, coded, f"{at}.{coded}", wanted))
        text = str_at(holder, name)
        if needed and name not in holder:
            self._required(f"{at}.{name}", f"or {coded}, an expression that makes it")
        if len(text) > PAYLOAD_LENGTH_MAX:
            self._wrong(
                f"{at}.{name}", f"Too long: may not be more than {PAYLOAD_LENGTH_MAX} characters", "FieldValueTooLong"
            )
        return Words(text=text)

    # --- actions ---

    def _actions(self, name: str) -> tuple[Action, ...]:
        entries = list_at(self._spec, name)
        if len(entries) > ACTIONS_MAX:
            self._too_many(f"spec.{name}", len(entries), ACTIONS_MAX)
        made = (self._action(entry, f"spec.{name}[{number}]") for number, entry in enumerate(entries[:ACTIONS_MAX]))
        return tuple(action for action in made if action is not None)

    def _action(self, entry: Json, at: str) -> Action | None:
        given = [form for form in FORMS if isinstance(entry, dict) and form in entry]
        if len(given) != 1:
            self._wrong(at, f"must have exactly one of {', '.join(FORMS)}", "FieldValueRequired")
            return None
        body, within = map_at(entry, given[0]), f"{at}.{given[0]}"
        match given[0]:
            case "set":
                deed: Deed | None = self._set(body, within)
            case "publish":
                deed = self._publish(body, within)
            case "call":
                deed = self._call(body, within)
            case _:
                deed = self._alarm(body, within)
        deadline_s = self._number(
            "deadlineSeconds", least=1, most=DEADLINE_S_MAX, default=DEADLINE_S, at=at, of=entry
        )
        return Action(deed=deed, deadline_s=deadline_s, at_least_once=bool_at(entry, "atLeastOnce"))

    def _set(self, body: JsonObject, at: str) -> SetAction:
        device, prop = self._place(body, at)
        found = self._type_of(device, prop) if device and prop else None
        if isinstance(found, str):
            self._wrong(f"{at}.property", f"Invalid value: {prop!r}: {found}")
        known = found if isinstance(found, dict) else None
        wanted = _TYPES.get(str_at(known, "type").upper(), "dyn")
        value = self._words(body, "value", at, needed=True, wanted="dyn" if wanted == "double" else wanted)
        if value.program is not None and wanted == "double" and value.program.type not in ("int", "double", "dyn"):
            self._wrong(
                f"{at}.valueExpression", f"Invalid value: this gives a {value.program.type}, where a number is wanted"
            )
        if known is not None and value.program is not None and not is_writable(known):
            self._wrong(f"{at}.property", f"Invalid value: {prop!r}: it is read-only")
        if known is not None and value.program is None and "value" in body:
            try:
                wanted_value(known, value.text)
            except InvalidError as error:
                self._wrong(f"{at}.value", f"Invalid value: {error}")
        return SetAction(
            device=device,
            prop=prop,
            value=value,
            expires_s=self._number("expiresSeconds", at=at, of=body),
            yield_s=self._number("yieldSeconds", at=at, of=body),
        )

    def _publish(self, body: JsonObject, at: str) -> PublishAction:
        topic = str_at(body, "topic")
        if not topic:
            self._required(f"{at}.topic", "name a topic of the gateway's MQTT broker")
        for fault in topic_faults(topic, wildcards=False) if topic else ():
            self._wrong(f"{at}.topic", f"Invalid value: {topic!r}: {fault}")
        if topic.startswith(_OWN_TOPICS):
            hint = "is the gateway's own: to want a value of a device, use set"
            self._wrong(f"{at}.topic", f"Invalid value: {topic!r}: {hint}")
        return PublishAction(topic=topic, payload=self._words(body, "payload", at, needed=True))

    def _call(self, body: JsonObject, at: str) -> CallAction:
        port, method, path = (
            int_at(body, "port"),
            str_at(body, "method", default="POST"),
            str_at(body, "path", default="/"),
        )
        if not 1 <= port <= 65_535:
            self._wrong(
                f"{at}.port", f"Invalid value: {port}: name the port of a service on the gateway, between 1 and 65535"
            )
        if method not in METHODS:
            self._unsupported(f"{at}.method", method, METHODS)
        if not _TARGET.fullmatch(path):
            self._wrong(f"{at}.path", f"Invalid value: {path!r}: begins with a slash, and is escaped")
        headers = str_map_at(body, "headers")
        for name, value in headers.items():
            if not _HEADER.fullmatch(name) or not _HEADER_VALUE.fullmatch(value):
                self._wrong(f"{at}.headers[{name}]", "Invalid value: no header can be so")
            if name.lower() in _OWN_HEADERS:
                self._wrong(f"{at}.headers[{name}]", "Invalid value: the gateway says it itself: leave it out")
        return CallAction(
            port=port,
            method=method,
            path=path,
            headers=tuple(sorted(headers.items())),
            body=self._words(body, "body", at, needed=False),
        )

    def _alarm(self, body: JsonObject, at: str) -> AlarmAction:
        severity = str_at(body, "severity", default="Warning")
        if severity not in SEVERITIES:
            self._unsupported(f"{at}.severity", severity, SEVERITIES)
            severity = "Warning"
        return AlarmAction(severity=severity, message=self._words(body, "message", at, needed=True))
