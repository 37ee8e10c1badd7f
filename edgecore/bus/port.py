"""What the event bus and the announcer share: a connection to the gateway's broker, as this node."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Final, TypeAlias

from devices.mqtt.port import Connection, Hooks
from skerry.errors import UnavailableError

LOG = logging.getLogger(__name__)

PUBLISH_S_MAX: Final = 5.0
"""A broker that takes longer to acknowledge does not take it."""
START_AGAIN_S: Final = 30.0

Open: TypeAlias = Callable[[Hooks], Connection]
"""A connection to the broker that has not been started."""


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
