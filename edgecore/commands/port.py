"""What carries commands out, as `edgecore.agent` hands it over: devices by the twins, pods by the pods."""

from __future__ import annotations

import asyncio
from typing import Protocol

from skerry.objects.commands import Order, Outcome, Refusal


class Executor(Protocol):
    """Carries out one kind of action."""

    def refusal(self, order: Order) -> Refusal | None:
        """Why it could not be begun now; None: it can be. Looks, and does nothing."""
        ...

    async def execute(self, order: Order, halt: asyncio.Event) -> Outcome:
        """Do it, once, without retrying what may have taken effect. When `halt` is set, stop before the next step.

        Errors of `skerry.errors` count as failures. May be cancelled when its time is over.
        """
        ...
