"""What the event bus and the announcer share: a connection to the gateway's broker, as this node, and the twins."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Final, Protocol, TypeAlias

from devices.mqtt.port import Connection, Hooks
from skerry.errors import UnavailableError
from skerry.objects.desired import Vector
from skerry.objects.meta import Key

LOG = logging.getLogger(__name__)

PUBLISH_S_MAX: Final = 5.0
"""A broker that takes longer to acknowledge does not take it."""
START_AGAIN_S: Final = 30.0

Open: TypeAlias = Callable[[Hooks], Connection]
"""A connection to the broker that has not been started."""


class Summary(Protocol):
    """See `edgecore.twins.port.DeviceSummary`."""

    @property
    def device(self) -> Key: ...
    @property
    def state(self) -> str: ...
    @property
    def last_online_ms(self) -> int: ...


class Twins(Protocol):
    """See `edgecore.twins.port.Twins`."""

    def devices(self) -> Sequence[Summary]: ...
    async def set_desired(
        self, device: Key, prop: str, value: str, *, origin: str, expires_ms: int | None = None
    ) -> Vector: ...


async def begin(connection: Connection) -> None:
    """Start it; a file that can't be read yet, one with a password say, is waited for."""
    told = ""
    while True:
        try:
            connection.start()
        except UnavailableError as error:
            if str(error) != told:
                LOG.warning("broker_not_begun reason=%r", str(error))
            told = str(error)
            await asyncio.sleep(START_AGAIN_S)
        else:
            return
