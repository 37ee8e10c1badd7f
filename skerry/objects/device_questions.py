"""Questions about devices that only their gateway can answer: why a value is what it is, and what it is just now.

They travel as streams of kind `devices` to a gateway that is connected, and leave nothing behind; the gateway's own
API answers the same ones. For what should wait until a gateway is back there are commands
(docs/decisions/0290). Pure; keeps nothing.
"""

from __future__ import annotations

import re
from typing import Final, Literal

from skerry.errors import BadRequestError
from skerry.frozen import Frozen
from skerry.objects.json import JsonObject, dig, int_at, str_at, strs_at

DEVICES: Final = "devices"
"""The kind of stream."""
PROPERTIES_MAX: Final = 64
"""Read in one question: a line has other work."""
VALUE_LENGTH_MAX: Final = 4096
FRESH_MS_MAX: Final = 7 * 86_400_000
TIMEOUT_S: Final = 20
TIMEOUT_S_MAX: Final = 50
"""Less than what an HTTP client waits for."""


LISTEN_S: Final = 5
"""To what speaks on a broker: what is retained comes at once, what is told every second soon."""
LISTEN_S_MAX: Final = 25
_LABEL: Final = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")


class Explain(Frozen):
    """How the newest value of a property came to be; with a value, also what writing that would do."""

    namespace: str
    device: str
    uid: str
    """Life of the Device that is meant; "" for whichever there is."""
    prop: str
    value: str | None = None

    def params(self) -> JsonObject:
        asked: JsonObject = {
            "ask": "explain",
            "namespace": self.namespace,
            "device": self.device,
            "uid": self.uid,
            "property": self.prop,
        }
        return asked | ({"value": self.value} if self.value is not None else {})


class Read(Frozen):
    """What properties are now: asked of the device, or what was read no more than `fresh_ms` ago."""

    namespace: str
    device: str
    uid: str
    props: tuple[str, ...]
    """Empty: all."""
    fresh_ms: int = 0
    timeout_s: int = TIMEOUT_S

    def params(self) -> JsonObject:
        return {
            "ask": "read",
            "namespace": self.namespace,
            "device": self.device,
            "uid": self.uid,
            "properties": [*self.props],
            "freshMs": self.fresh_ms,
            "timeoutSeconds": self.timeout_s,
        }


class OfLine(Frozen):
    """How the line does that a device is on, and who else is on it."""

    namespace: str
    device: str
    uid: str

    def params(self) -> JsonObject:
        return {"ask": "line", "namespace": self.namespace, "device": self.device, "uid": self.uid}


class Checkup(Frozen):
    """All that the gateway knows of a device's health, from its declaration to the wire."""

    namespace: str
    device: str
    uid: str

    def params(self) -> JsonObject:
        return {"ask": "checkup", "namespace": self.namespace, "device": self.device, "uid": self.uid}


class Discover(Frozen):
    """What speaks on the gateway's MQTT broker and is no Device yet. Of a gateway, not of a device."""

    namespace: str
    """Of the objects that are made of it."""
    seconds: int = LISTEN_S

    def params(self) -> JsonObject:
        return {"ask": "discover", "namespace": self.namespace, "seconds": self.seconds}


OfDevice = Explain | Read | OfLine | Checkup
Question = OfDevice | Discover


def question_of(params: JsonObject) -> Question:
    """Raises `BadRequestError` where it is none that is known."""
    asked: Literal["explain", "read", "line", "checkup", "discover"] | str = str_at(params, "ask")
    if asked == "discover":
        return discover_of(params)
    namespace, device, uid = (str_at(params, name) for name in ("namespace", "device", "uid"))
    if not namespace or not device:
        raise BadRequestError("a question about a device names its namespace and its name")
    if asked == "explain":
        return explain_of(params, namespace=namespace, device=device, uid=uid)
    if asked == "read":
        return read_of(params, namespace=namespace, device=device, uid=uid)
    if asked == "line":
        return OfLine(namespace=namespace, device=device, uid=uid)
    if asked == "checkup":
        return Checkup(namespace=namespace, device=device, uid=uid)
    raise BadRequestError(
        f"this gateway's agent does not know the question {asked!r}: "
        "it knows explain, read, line, checkup and discover"
    )


def discover_of(params: JsonObject) -> Discover:
    """From a query or a stream's parameters. Raises `BadRequestError`."""
    namespace = str_at(params, "namespace") or "default"
    if not _LABEL.fullmatch(namespace):
        raise BadRequestError(f"namespace: {namespace!r} is no name of a namespace")
    seconds = dig(params, "seconds")
    if isinstance(seconds, str) and seconds.isdecimal():
        params = {"seconds": int(seconds)}
    return Discover(
        namespace=namespace, seconds=_number(params, "seconds", low=1, high=LISTEN_S_MAX, default=LISTEN_S)
    )


def explain_of(params: JsonObject, *, namespace: str, device: str, uid: str) -> Explain:
    """From a query or a stream's parameters. Raises `BadRequestError`."""
    prop, value = str_at(params, "property"), dig(params, "value")
    if not prop:
        raise BadRequestError("property: required: which property is to be explained? (`?property=NAME`)")
    if value is not None and (not isinstance(value, str) or len(value) > VALUE_LENGTH_MAX):
        raise BadRequestError(f"value: must be a text of at most {VALUE_LENGTH_MAX} characters")
    return Explain(namespace=namespace, device=device, uid=uid, prop=prop, value=value)


def read_of(body: JsonObject, *, namespace: str, device: str, uid: str) -> Read:
    """From a request's body or a stream's parameters. Raises `BadRequestError`."""
    props = tuple(strs_at(body, "properties"))
    if len(props) > PROPERTIES_MAX:
        raise BadRequestError(f"properties: at most {PROPERTIES_MAX} are read at once, not {len(props)}")
    return Read(
        namespace=namespace,
        device=device,
        uid=uid,
        props=props,
        fresh_ms=_number(body, "freshMs", low=0, high=FRESH_MS_MAX, default=0),
        timeout_s=_number(body, "timeoutSeconds", low=1, high=TIMEOUT_S_MAX, default=TIMEOUT_S),
    )


def _number(body: JsonObject, name: str, *, low: int, high: int, default: int) -> int:
    given = dig(body, name)
    number = int_at(body, name, default=default)
    if given is not None and (isinstance(given, bool) or not isinstance(given, int) or not low <= number <= high):
        raise BadRequestError(f"{name}: must be a whole number from {low} to {high}, not {given!r}")
    return number
