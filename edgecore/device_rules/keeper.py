"""The device rules of a gateway, of which most gateways have none: what carries them out is loaded with the first.

Keeps nothing; what a rule leaves is in the edge store.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from edgecore.device_rules.port import RuleParts
from edgecore.store.port import EdgeBatch
from skerry.objects.device_rule_reports import DEVICE_RULES
from skerry.objects.json import JsonObject
from skerry.objects.meta import Key

if TYPE_CHECKING:
    from edgecore.device_rules.engine import RuleEngine


class DeviceRules:
    """Run `run` in a task group."""

    def __init__(self, parts: RuleParts) -> None:
        self._parts = parts
        self._engine: RuleEngine | None = None
        self._some = asyncio.Event()

    def status(self, key: Key) -> JsonObject | None:
        """Of one rule, as it is here now; None for one that is not carried out."""
        return None if self._engine is None else self._engine.status(key)

    def _committed(self, batch: EdgeBatch) -> None:
        if self._engine is not None:
            self._engine.committed(batch)
        elif any(held.key.resource == DEVICE_RULES for held in batch.puts):
            self._some.set()

    async def run(self) -> None:
        """Until cancelled."""
        stop = self._parts.store.listen(self._committed)
        try:
            if not self._parts.store.list(DEVICE_RULES) and not self._parts.store.rules():
                await self._some.wait()
            from edgecore.device_rules.engine import RuleEngine  # a megabyte: only who has a rule pays

            self._engine = RuleEngine(self._parts)
            await self._engine.run()
        finally:
            stop()
