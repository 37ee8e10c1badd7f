"""What runs when the agent begins, asked of the runtime once for all pods: a first look is at its own part of it.

A runtime takes milliseconds for an answer, and after a power cycle every pod wants two before its sandbox can be
made. In memory, until every worker that was there at the start has looked.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from edgecore.pods.port import ContainerState, SandboxState
from skerry.frozen import Frozen


class Found(Frozen):
    """Of one pod."""

    containers: Sequence[ContainerState] = ()
    sandboxes: Sequence[SandboxState] = ()


class FirstLook:
    """Told once by whoever asked."""

    def __init__(self) -> None:
        self._told = asyncio.Event()
        self._found: dict[str, Found] | None = None

    def tell(self, containers: Sequence[ContainerState], sandboxes: Sequence[SandboxState]) -> None:
        """In the order in which the runtime names them."""
        pods = {each.pod_uid for each in (*containers, *sandboxes)}
        self._found = {
            uid: Found(
                containers=[each for each in containers if each.pod_uid == uid],
                sandboxes=[each for each in sandboxes if each.pod_uid == uid],
            )
            for uid in pods
        }
        self._told.set()

    def fail(self) -> None:
        """There was no answer: each looks by itself."""
        self._told.set()

    async def of(self, uid: str) -> Found | None:
        """None where nothing is known."""
        await self._told.wait()
        return None if self._found is None else self._found.get(uid, Found())
