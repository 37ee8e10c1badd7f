"""Waiting for a level, and telling what was seen when it never came.

Works on whatever lets time pass. What is kept of a wait is what changed: a condition that was looked at ten thousand
times and gave three different answers leaves three lines.
"""

from __future__ import annotations

import inspect
import reprlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, Protocol, TypeVar

from skerry.errors import InvalidError, UnavailableError
from skerry.frozen import Frozen
from skerry.testkit import arguments

T = TypeVar("T")

SEEN_MAX: Final = 12
"""Different answers that are told of; of more, the first and the last ones."""
TEXT_MAX: Final = 300


class Time(Protocol):
    """Somebody who can let time pass."""

    @property
    def now_s(self) -> float: ...
    def wait(self, seconds: float) -> None: ...


class Patience(Frozen):
    """How a wait goes on."""

    within_s: float = 60.0
    every_s: float = 0.25
    """Between two looks."""
    message: str = ""
    """What is waited for, in the test's own words."""


def patience(within_s: object, name: str, *, every_s: float | None, usual_s: float, message: str) -> Patience:
    """What a test asked for; `name` says where. Raises `InvalidError`."""
    between_s = usual_s if every_s is None else arguments.number(every_s, "every_s", least=0)
    if between_s == 0:
        raise InvalidError("every_s: time has to pass between two looks, so it is above 0")
    return Patience(within_s=arguments.seconds(within_s, name), every_s=between_s, message=message)


@dataclass(slots=True)
class Seen:
    """Answers of a condition over time, each change once."""

    answers: list[tuple[float, str]] = field(default_factory=list[tuple[float, str]])
    looks: int = 0
    dropped: int = 0

    def add(self, at_s: float, answer: str) -> None:
        self.looks += 1
        if self.answers and self.answers[-1][1] == answer:
            return
        if len(self.answers) == SEEN_MAX:
            del self.answers[SEEN_MAX // 2]
            self.dropped += 1
        self.answers.append((at_s, answer))

    def lines(self) -> list[str]:
        told = [f"  at {at_s:9.3f} s  {answer}" for at_s, answer in self.answers]
        if self.dropped:
            told.insert(SEEN_MAX // 2, f"  ... {self.dropped} more changes")
        return told


class UnmetError(AssertionError):
    """A condition that did not hold; the text is the account of the wait."""


def eventually(time: Time, condition: Callable[[], T], patience: Patience) -> T:
    """The condition's first true answer. Raises `UnmetError`."""
    arguments.condition(condition, "eventually")
    seen = Seen()
    begun_s = time.now_s
    while True:
        answer, cause = _look(condition)
        seen.add(time.now_s, _told(answer, cause))
        if cause is None and answer:
            return answer
        left_s = begun_s + patience.within_s - time.now_s
        if left_s <= 0:
            what = patience.message or source_of(condition)
            head = f"not within {patience.within_s:g} s: {what}"
            raise UnmetError("\n".join([head, f"seen in {seen.looks} looks:", *seen.lines()])) from cause
        time.wait(min(patience.every_s, left_s))


def throughout(time: Time, condition: Callable[[], object], patience: Patience) -> None:
    """The condition holds at every look. Raises `UnmetError` at the first at which it does not."""
    arguments.condition(condition, "throughout")
    seen = Seen()
    begun_s = time.now_s
    while True:
        answer, cause = _look(condition)
        seen.add(time.now_s, _told(answer, cause))
        if cause is not None or not answer:
            what = patience.message or source_of(condition)
            head = f"no longer true after {time.now_s - begun_s:.3f} of {patience.within_s:g} s: {what}"
            raise UnmetError("\n".join([head, f"seen in {seen.looks} looks:", *seen.lines()])) from cause
        left_s = begun_s + patience.within_s - time.now_s
        if left_s <= 0:
            return
        time.wait(min(patience.every_s, left_s))


def _look(condition: Callable[[], T]) -> tuple[T | None, Exception | None]:
    try:
        return condition(), None
    except (AssertionError, LookupError, StopIteration, UnavailableError, AttributeError, TypeError) as error:
        # "Not yet": what is asked for has still to appear, or whoever is asked. An attribute or item of None is of
        # something that is not there; any other is a slip of the pen, which should not be waited for.
        if isinstance(error, AttributeError | TypeError) and "NoneType" not in str(error):
            raise
        return None, error


def _told(answer: object, cause: Exception | None) -> str:
    if cause is not None:
        nothing = "StopIteration: there is none" if isinstance(cause, StopIteration) else ""
        text = nothing or f"{type(cause).__name__}: {cause}".rstrip(": ")
    else:
        shown = reprlib.Repr()
        shown.maxstring = shown.maxother = TEXT_MAX
        shown.maxdict = shown.maxlist = 12
        text = shown.repr(answer)
    line = " ".join(text.split())
    return line if len(line) <= TEXT_MAX else f"{line[:TEXT_MAX]}..."


def source_of(condition: Callable[[], object]) -> str:
    """The condition as it was written, for people."""
    try:
        lines = inspect.getsource(condition).strip().splitlines()
    except (OSError, TypeError):
        return getattr(condition, "__qualname__", repr(condition))
    if getattr(condition, "__name__", "") != "<lambda>":
        return getattr(condition, "__qualname__", lines[0])
    text = " ".join(line.strip() for line in lines)
    return text if len(text) <= TEXT_MAX else f"{text[:TEXT_MAX]}..."
