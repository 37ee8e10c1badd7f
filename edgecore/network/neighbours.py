"""Sees which gateways of the site are dead, with no cloud to say so: their pods are led to no more.

A datagram to each now and then has the kernel look for it on the network (ARP); what it found is read from
/proc/net/arp. Who is not found twice in a row is gone until it is found again. Only IPv4, and only gateways to whose
pods there is a way (`--cluster-cidr`), which are on one network with this one. Keeps in memory who was missed.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Final

from edgecore.network.directory import Directory

LOG: Final = logging.getLogger(__name__)

LOOK_S: Final = 4.0
"""More than the kernel takes to give up (three questions, one a second)."""
MISSED_MAX: Final = 2
ARP: Final = Path("/proc/net/arp")
_DISCARD: Final = 9
_COMPLETE: Final = 0x2
"""ATF_COM (if_arp.h)."""


def found_in(text: str) -> dict[str, bool]:
    """By address whether somebody answered for it, of what /proc/net/arp says. Pure."""
    rows = [line.split() for line in text.splitlines()[1:]]
    answered: dict[str, bool] = {}
    for row in rows:
        if len(row) >= 3:  # of one that is on two interfaces, one answer counts
            answered[row[0]] = answered.get(row[0], False) or bool(int(row[2], 16) & _COMPLETE)
    return answered


class Neighbours:
    """Run `run` in a task group. `changed` is told when somebody is gone or back."""

    def __init__(self, directory: Directory, changed: Callable[[], None]) -> None:
        self._directory = directory
        self._changed = changed
        self._missed: dict[str, int] = {}
        """By node: in how many looks in a row nobody answered."""

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            others = self._others()
            if others:
                self._knock([*others])
            await asyncio.sleep(LOOK_S)
            try:
                text = ARP.read_text() if others else ""
            except OSError:
                return  # a kernel without it
            self.looked(others, found_in(text))

    def _others(self) -> dict[str, str]:
        """Node by address."""
        here = self._directory
        return {
            each.gateway: each.node
            for each in here.routes()
            if each.node != here.node and each.zone == here.zone and "." in each.gateway
        }

    def looked(self, others: dict[str, str], answered: dict[str, bool]) -> None:
        """What one look came to. One that the kernel has no word of is on another network, or there."""
        silent = {node for address, node in others.items() if answered.get(address) is False}
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
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as made:
            made.setblocking(False)
            for address in addresses:
                with contextlib.suppress(OSError):  # no way there just now: the kernel says so in its table
                    made.sendto(b"", (address, _DISCARD))
