"""`skerry device bus stats`: each line once, and in words."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import cast

from devices.commands.stats import lines_of, notes, summary
from devices.figures import LineFigures, UnitFigures
from edgecore.twins.lines import line_shown
from skerry.cli.client import Answer, Client
from skerry.errors import NotFoundError
from skerry.objects.json import JsonObject
from skerry.objects.meta import Key


def unit(number: int, *devices: str, alone_s: float = 0.0) -> UnitFigures:
    return UnitFigures(
        unit=number, devices=devices, requests=9, silences=1, wrong_answers=2, refusals=3, alone_s=alone_s
    )


def shown(name: str, *units: UnitFigures, needs: float | None = 0.5, down: str = "", waiting: int = 0) -> JsonObject:
    figures = LineFigures(
        line=name, counted_s=3600, requests=99, requests_s=12.345, used=0.4321, needs=needs, waiting_writes=waiting,
        waiting_reads=0, down=down, units=units, missed={"default/a": 4},
    )  # fmt: skip
    return line_shown(figures, Key("devices", "default", "a"), node="eu-1", now_ms=1_700_000_000_000)


@dataclass
class FakeClient:
    """Devices by path, and what was asked."""

    lines: dict[str, JsonObject]
    asked: list[str] = field(default_factory=list)

    def request(self, method: str, path: str) -> Answer:
        name = path.split("/")[-2]
        self.asked.append(name)
        if name not in self.lines:
            raise NotFoundError(f'device "{name}" is on no line')
        return Answer(status=200, body=self.lines[name], warnings=())


def test_devices_that_share_a_line_are_asked_once_and_troubles_hide_nothing() -> None:
    one = shown("/dev/ttyS0", unit(1, "default/a", "default/b"), unit(2, "default/c"))
    client = FakeClient({"a": one, "b": one, "c": one, "d": shown("10.0.0.1:502", unit(1, "default/d"))})
    wanted = [("default", name) for name in ("a", "b", "c", "none", "d")]
    lines, troubles = lines_of(cast("Client", client), wanted)
    assert [line["line"] for line in lines] == ["/dev/ttyS0", "10.0.0.1:502"]
    assert client.asked == ["a", "none", "d"] and [str(error) for error in troubles] == [
        'device "none" is on no line'
    ]


def test_a_line_in_words_is_coloured_by_what_is_wrong_with_it() -> None:
    told = shown("/dev/ttyS0", unit(1, "default/a", alone_s=1.5))
    assert told["missedCycles"] == {"default/a": 4} and told["countedSeconds"] == 3600
    assert summary(told) == (
        "/dev/ttyS0 at eu-1: 43% used, 12.3 requests a second; its polls need 50%",
        None,
    )
    assert summary(shown("x", needs=None)) == ("x at eu-1: 43% used, 12.3 requests a second", None)
    assert summary(shown("x", needs=0.9))[1] == "yellow" and summary(shown("x", needs=1.2))[1] == "red"
    down = shown("x", down="cannot connect", waiting=2)
    assert summary(down)[1] == "red"
    assert list(notes(down)) == ["99 requests in 60m", "down: cannot connect", "waiting: 2 writes"]
