"""What somebody at a gateway did there by hand, for both ends: restarts, stops, starts, and holds of upgrades.

`LocalChange` is the body of a report, in order with events, and of a row that the cloud and the gateway keep for
those who ask later. Pure.
"""

from __future__ import annotations

from typing import Final, Literal, TypeAlias, get_args

from skerry.errors import ProtocolError
from skerry.frozen import Frozen
from skerry.objects.json import JsonObject, encode_object, int_at, str_at
from skerry.objects.times import time_text

LOCAL_CHANGE: Final = "local_change"
"""Kind of the report."""
UPGRADES_HELD: Final = "UpgradesHeld"
"""Type of a condition of a Node, while somebody holds them there."""
STOPPED: Final = "StoppedOnGateway"
"""Reason of a pod that somebody stopped there."""
HELD: Final = "UpgradesHeld"
"""Reason of a pod that came while upgrades were held."""
WORDS_MAX: Final = 256
"""Of a reason, and of a name; the rest is cut."""
LIMIT_MAX: Final = 1000

Entry: TypeAlias = Literal["exec", "attach", "port-forward"]
"""Into a container: nothing is changed by it alone, and whoever wonders what was must know who was inside."""
Act: TypeAlias = Literal["restart", "stop", "start", "hold", "release"] | Entry
ENTRIES: Final[tuple[Entry, ...]] = get_args(Entry)
ACTS: Final[tuple[Act, ...]] = ("restart", "stop", "start", "hold", "release", *ENTRIES)
EVENTS: Final[dict[Act, str]] = {
    "restart": "RestartedOnGateway",
    "stop": STOPPED,
    "start": "StartedOnGateway",
    "hold": UPGRADES_HELD,
    "release": "UpgradesReleased",
    "exec": "ExecOnGateway",
    "attach": "AttachedOnGateway",
    "port-forward": "PortForwardedOnGateway",
}
"""Reasons of the Events that tell of them."""


def changes_series(node: str) -> str:
    """Name of the series. No property's history has a colon before its first slash."""
    return f"local-changes:{node}"


class UpgradeHold(Frozen):
    """Pods from the cloud stay as they are here: `until_ms` None for until it is released."""

    by: str
    since_ms: int
    until_ms: int | None
    reason: str

    def holds(self, now_ms: int) -> bool:
        return self.until_ms is None or now_ms < self.until_ms

    def sentence(self) -> str:
        """Who, since when, until when and why."""
        until = "until they are released" if self.until_ms is None else f"until {time_text(self.until_ms)}"
        why = f": {self.reason}" if self.reason else ""
        return f"upgrades are held on the gateway by {self.by} since {time_text(self.since_ms)}, {until}{why}"

    def shown(self) -> JsonObject:
        body: JsonObject = {"by": self.by, "since": time_text(self.since_ms), "reason": self.reason}
        return body if self.until_ms is None else body | {"until": time_text(self.until_ms)}

    def encode(self) -> str:
        body: JsonObject = {"by": self.by, "sinceMs": self.since_ms, "untilMs": self.until_ms, "reason": self.reason}
        return encode_object(body).decode()


def hold_of(body: JsonObject) -> UpgradeHold:
    until = body.get("untilMs")
    return UpgradeHold(
        by=str_at(body, "by"),
        since_ms=int_at(body, "sinceMs"),
        until_ms=until if isinstance(until, int) else None,
        reason=str_at(body, "reason"),
    )


class LocalChange(Frozen):
    """One act. `pod` is "" for one that is about the gateway."""

    act: Act
    by: str
    at_ms: int
    """By the gateway's time."""
    namespace: str = ""
    pod: str = ""
    container: str = ""
    reason: str = ""
    until_ms: int | None = None

    def body(self) -> JsonObject:
        found: JsonObject = {"act": self.act, "by": self.by, "atMs": self.at_ms}
        for name, text in (
            ("namespace", self.namespace),
            ("pod", self.pod),
            ("container", self.container),
            ("reason", self.reason),
        ):
            if text:
                found[name] = text
        if self.until_ms is not None:
            found["untilMs"] = self.until_ms
        return found

    def encode(self) -> bytes:
        return encode_object(self.body())

    @classmethod
    def decode(cls, body: JsonObject) -> LocalChange:
        """Raises `ProtocolError` for an act that is not known, and for text that no store keeps."""
        act: Act | None = next((each for each in ACTS if each == str_at(body, "act")), None)
        words = [str_at(body, name)[:WORDS_MAX] for name in ("by", "namespace", "pod", "container", "reason")]
        if act is None or any("\0" in word for word in words):
            raise ProtocolError(f"{LOCAL_CHANGE}: the act is none that is known, or a name has a NUL")
        by, namespace, pod, container, reason = words
        until = body.get("untilMs")
        return cls(
            act=act,
            by=by,
            at_ms=int_at(body, "atMs"),
            namespace=namespace,
            pod=pod,
            container=container,
            reason=reason,
            until_ms=until if isinstance(until, int) and not isinstance(until, bool) else None,
        )

    def shown(self, at_ms: int | None = None) -> JsonObject:
        """As it is listed, dated by whoever lists it."""
        body = self.body()
        body.pop("atMs", None)
        until = body.pop("untilMs", None)
        body["time"] = time_text(self.at_ms if at_ms is None else at_ms)
        if isinstance(until, int):
            body["until"] = time_text(until)
        return body

    def sentence(self) -> str:
        """For an Event."""
        when = time_text(self.at_ms)
        match self.act:
            case "restart":
                what = f"container {self.container}" if self.container else "its containers"
                text = f"{what} restarted on the gateway by {self.by} at {when}"
            case "stop":
                text = f"stopped on the gateway by {self.by} at {when}, until it is started there or changed"
            case "start":
                text = f"started on the gateway by {self.by} at {when}"
            case "hold":
                until = "until they are released" if self.until_ms is None else f"until {time_text(self.until_ms)}"
                text = f"upgrades held on the gateway by {self.by} at {when}, {until}"
            case "exec":
                text = f"a command run in container {self.container} on the gateway by {self.by} at {when}"
            case "attach":
                text = f"container {self.container} attached to on the gateway by {self.by} at {when}"
            case "port-forward":
                text = f"port forwarded on the gateway by {self.by} at {when}"
            case "release":
                text = f"upgrades released on the gateway by {self.by} at {when}"
        return f"{text}: {self.reason}" if self.reason else text


def changes_list(node: str, rows: list[JsonObject]) -> JsonObject:
    """What is answered to who asks for them."""
    return {
        "kind": "LocalChangeList",
        "apiVersion": "skerry.dev/v1",
        "metadata": {"name": node},
        "items": [*rows],
    }
