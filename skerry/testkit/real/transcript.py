"""What was done to a fleet of real processes, a line each. Times are everybody's."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from skerry.testkit.faults import Timeline


@dataclass(slots=True)
class Transcript:
    """What was done, and when."""

    began_s: float = field(default_factory=time.monotonic)
    lines: list[str] = field(default_factory=list[str])
    timeline: Timeline = field(default_factory=Timeline)

    @property
    def now_s(self) -> float:
        return time.monotonic() - self.began_s

    def note(self, who: str, what: str) -> None:
        self.lines.append(f"{self.now_s:10.3f}  {who:<12} {what}")

    def fault(self, who: str, what: str) -> None:
        """Something that a test did."""
        self.timeline.add(self.now_s, who, what)
        self.note(who, what)
