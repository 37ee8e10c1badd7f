"""How many requests a replica has carried for each Rule, written to the Rules every few seconds.

Keeps what is not written yet; a crash costs it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from cloudcore.registry.port import Objects
from skerry.errors import CallerError, UnavailableError
from skerry.objects.json import JsonObject
from skerry.objects.meta import Key
from skerry.objects.rules import ERRORS_KEPT, counted
from skerry.objects.scheme import Kind
from skerry.ports import Clock

WRITE_S: Final = 5.0


@dataclass(slots=True)
class _Count:
    succeeded: int = 0
    failed: int = 0
    errors: list[tuple[int, str]] = field(default_factory=list[tuple[int, str]])
    """The newest, each with its time."""


class RuleCounts:
    """Run `run` in a task group."""

    def __init__(self, objects: Objects, kind: Kind, clock: Clock) -> None:
        self._objects = objects
        self._kind = kind
        self._clock = clock
        self._counts: dict[Key, _Count] = {}
        self._some = asyncio.Event()

    def succeeded(self, rule: Key) -> None:
        self._of(rule).succeeded += 1

    def failed(self, rule: Key, reason: str) -> None:
        count = self._of(rule)
        count.failed += 1
        count.errors = [*count.errors, (self._clock.wall_ms(), reason)][-ERRORS_KEPT:]

    def _of(self, rule: Key) -> _Count:
        self._some.set()
        return self._counts.setdefault(rule, _Count())

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await self._some.wait()
            self._some.clear()
            await self.write()
            await asyncio.sleep(WRITE_S)

    async def write(self) -> None:
        """All that is there now. What a store that is away does not take waits for the next time."""
        counts, self._counts = self._counts, {}
        for key, count in counts.items():
            try:
                await self._objects.update(self._kind, key, _with(count), subresource="status")
            except CallerError:
                continue  # the rule is gone
            except UnavailableError:
                self._keep(key, count)

    def _keep(self, key: Key, count: _Count) -> None:
        newer = self._counts.setdefault(key, _Count())
        newer.succeeded += count.succeeded
        newer.failed += count.failed
        newer.errors = [*count.errors, *newer.errors][-ERRORS_KEPT:]
        self._some.set()


def _with(count: _Count) -> Callable[[JsonObject], JsonObject]:
    def transform(rule: JsonObject) -> JsonObject:
        silent = count.failed - len(count.errors)
        rule = counted(rule, at_ms=0, succeeded=count.succeeded)
        for at_ms, reason in count.errors:
            rule = counted(rule, at_ms=at_ms, failed=1, reason=reason)
        status = rule["status"]
        assert isinstance(status, dict), "it was just made"
        failed = status["failMessages"]
        assert isinstance(failed, int), "it was just made"
        return {**rule, "status": {**status, "failMessages": failed + silent}}

    return transform
