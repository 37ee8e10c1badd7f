"""Sees which gateways of the site are dead, with no cloud to say so: their pods are led to no more.

A datagram to each now and then has the kernel look for it on the network (ARP, or RFC 4861 over IPv6); what it found
is read from its table. Who is not found twice in a row, at none of its addresses, is gone until it is found again.
Only gateways to whose pods there is a way (`--cluster-cidr`), which are on one network with this one. Keeps in memory
who was missed.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import Callable
from typing import Final

from edgecore.network.directory import Directory
from edgecore.network.neighbour_table import answered

LOG: Final = logging.getLogger(__name__)

LOOK_S: Final = 4.0
"""More than the kernel takes to give up (three questions, one a second)."""
MISSED_MAX: Final = 2
_DISCARD: Final = 9


class Neighbours:
    """Run `run` in a task group. `changed` is told when somebody is gone or back."""

    def __init__(self, directory: Directory, changed: Callable[[], None]) -> None:
        self._directory = directory
        self._changed = changed
        self._missed: dict[str, int] = {}
        """By node: in how many looks in a row nobody answered."""

    async def run(self) -> None:
        """Until cancelled."""
        said = ""
        while True:
            others = self._others()
            if others:
                self._knock([*others])
            await asyncio.sleep(LOOK_S)
            try:
                found = answered() if others else {}
                said = ""
            except OSError as error:  # nobody is gone then, as far as anybody knows
                found = {}
                if str(error) != said:
                    said = str(error)
                    LOG.warning("the kernel does not say who is on the network reason=%s", error.strerror or error)
            self.looked(others, found)

    def _others(self) -> dict[str, str]:
        """Node by address."""
        here = self._directory
        return {
            each.gateway: each.node for each in here.routes() if each.node != here.node and each.zone == here.zone
        }

    def looked(self, others: dict[str, str], found: dict[str, bool]) -> None:
        """What one look came to. One that the kernel has no word of is on another network, or there."""
        silent = {node for address, node in others.items() if found.get(address) is False}
        silent -= {node for address, node in others.items() if found.get(address) is True}
        self._missed = {node: self._missed.get(node, 0) + 1 for node in silent}
        gone = frozenset(node for node, count in self._missed.items() if count >= MISSED_MAX)
        before = self._directory.gone
        if gone == before:
            return
        for node in sorted(gone - before):
            LOG.warning("a gateway of the site is not found on the network: its pods are left out node=%s", node)
        for node in sorted(before - gone):
            LOG.info("a gateway of the site is found again node=%s", node)
        self._directory.gone = gone
        self._changed()

    @staticmethod
    def _knock(addresses: list[str]) -> None:
        for family, colon in ((socket.AF_INET, False), (socket.AF_INET6, True)):
            mine = [each for each in addresses if (":" in each) == colon]
            with contextlib.suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as made:
                made.setblocking(False)
                for address in mine:
                    with contextlib.suppress(OSError):  # no way there just now: the kernel says so in its table
                        made.sendto(b"", (address, _DISCARD))
