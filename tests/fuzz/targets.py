"""What is fuzzed, each as one function of bytes: whatever they are, it comes back, or raises for a fault of ours.

The same functions run on the kept corpus in every check, on fresh damage of it for a few seconds in every check, and
under atheris for as long as one likes (`make fuzz`).
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Final

from cloudcore.hub.effects import Reporter
from cloudcore.hub.outcomes import kinds_in
from cloudcore.registry.kinds import builtin_scheme
from skerry.errors import CallerError, ProtocolError
from skerry.objects.json import JsonObject
from skerry.objects.meta import Key
from skerry.sync.effects import DatedReport
from skerry.wire.codec import FRAME_BYTES_MAX, decode, encode
from skerry.wire.frames import Report
from tests.fuzz.machines import CloudUnderTest, EdgeUnderTest, FaultError


def codec(data: bytes) -> None:
    """Any bytes are a frame, an unknown frame or a `ProtocolError`; a frame is the same after another round."""
    try:
        frame = decode(data)
    except ProtocolError:
        return
    if frame is not None and decode(encode(frame)) != frame:
        raise FaultError("a frame changes on its way")


class _Script:
    """Bytes as a list of steps: one byte of what, one of how much, and for a frame its bytes."""

    def __init__(self, data: bytes) -> None:
        self._data = data[: FRAME_BYTES_MAX // 8]
        self._at = 0

    @property
    def left(self) -> bool:
        return self._at < len(self._data)

    def byte(self) -> int:
        value = self._data[self._at] if self.left else 0
        self._at += 1
        return value

    def content(self) -> bytes:
        length = self.byte() | self.byte() << 8
        content = self._data[self._at : self._at + length]
        self._at += length
        return content


def edge(data: bytes) -> None:
    """A gateway's session, fed by a script."""
    script, under = _Script(data), EdgeUnderTest()
    while script.left and under.is_open:
        match script.byte() % 8:
            case 0 | 1 | 2:
                under.receive_bytes(script.content())
            case 3:
                under.write_ends()
            case 4:
                under.append(1 + script.byte() % 8, script.byte() * 300)
            case 5:
                under.wait(script.byte() / 4)
            case 6:
                under.wait_until_due()
            case _:
                under.link_takes()
    _left_alone(under)


def cloud(data: bytes) -> None:
    """A cloud's session, fed by a script."""
    script, under = _Script(data), CloudUnderTest()
    while script.left and under.is_open:
        under.link_takes(3)
        match script.byte() % 8:
            case 0 | 1 | 2:
                under.receive_bytes(script.content())
            case 3:
                how = script.byte()
                under.admit(behind=how % 4 == 3, epoch="e2" if how % 2 else "e1")
            case 4:
                how = script.byte()
                under.change(f"c-{how % 13}", gone=how > 127)
            case 5:
                under.commit_ends(conflict=script.byte() % 4 == 3)
            case 6:
                under.wait(script.byte() / 4)
            case _:
                under.wait_until_due()
    _left_alone(under)


def _left_alone(under: EdgeUnderTest | CloudUnderTest) -> None:
    for _ in range(200):
        if not under.is_open:
            return
        under.wait_until_due()
    raise FaultError("a session that nobody talks to goes on for ever")


_POD: Final[JsonObject] = {"metadata": {"name": "mine", "namespace": "ns", "uid": "u"}, "spec": {"nodeName": "eu-1"}}
_DEVICE: Final[JsonObject] = {
    "metadata": {"name": "plc", "namespace": "ns", "uid": "u"},
    "spec": {"nodeName": "eu-1"},
}
_KINDS: Final = kinds_in(builtin_scheme())


def _lookup(key: Key) -> JsonObject | None:
    found = {"pods": _POD, "devices.devices.kubeedge.io": _DEVICE}.get(key.resource)
    return found if found is not None and key.name in ("mine", "plc") else None


def report(data: bytes) -> None:
    """A report's kind, a line end and its body: an outcome whose effects can be worked out, or a `CallerError`."""
    kind, _, body = data.partition(b"\n")
    told = Report(seq=1, kind=kind.decode(errors="replace"), key="", body=body, wall_ms=0, age_ms=0)
    reporter = Reporter(node="eu-1", kinds=_KINDS, lookup=_lookup)
    try:
        outcome = reporter.outcome(DatedReport(report=told, at_ms=1_790_000_000_000))
        for effect in outcome.effects:
            held = _lookup(effect.key)
            wanted = effect.transform({} if held is None else json.loads(json.dumps(held)))
            assert isinstance(wanted, dict)
    except CallerError:
        return


TARGETS: Final[dict[str, Callable[[bytes], None]]] = {"codec": codec, "edge": edge, "cloud": cloud, "report": report}
