"""What a sink sends to, as the runner sees it. Forms: `http`, `postgres`, `mqtt`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from cloudcore.sinks.rows import Row
from skerry.errors import SkerryError, UnavailableError


class RefusedRowsError(SkerryError):
    """The other side has the rows and will not take them, now or later: something of them is at fault."""


class SlowError(UnavailableError):
    """The other side is there, and has not answered in time: so many rows may be too many at once."""


class Receiver(Protocol):
    """One place that rows are sent to."""

    async def send(self, rows: Sequence[Row]) -> int:
        """They are durable there when this returns, as far as the other side says so; how many of them it has no form
        for. Sent again, they do no harm where the other side can tell. Raises `RefusedRowsError`, or
        `UnavailableError` for all that may go away."""
        ...

    async def close(self) -> None: ...


Secret = Mapping[str, str]
"""The values of a Secret, as text."""
