"""The end of a client of paho-mqtt: what its thread was woken by is closed there.

`loop_start` makes a pair of sockets, and `loop_stop` leaves it to the garbage collector, so a gateway that begins
anew with one broker after the other gathers open files until it passes. Keeps no data.

Source: `Client.loop_start`, `Client.reinitialise` of paho-mqtt 2.1.
"""

from __future__ import annotations

from typing import Protocol


class Client(Protocol):
    """The part of `paho.mqtt.client.Client` that is used."""

    def loop_stop(self) -> object: ...

    def reinitialise(self) -> object: ...


def end(client: Client) -> None:
    """Wait for its thread, and close all that it holds: it is of no use afterwards. Blocks."""
    client.loop_stop()
    client.reinitialise()
