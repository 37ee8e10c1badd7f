"""The last known state of each target on disk, from which a server that starts goes on rather than from nothing.

Keeps `health` below the state directory: who is up, and when it was known good last, by the wall clock. It is
replaced as a whole when somebody goes up or down, and once a minute at most while nothing moves but when somebody who
is down was good last. A crash leaves what was written last.
"""

from __future__ import annotations

import ipaddress
import logging
import math
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from cloudcore.dns.observer import Judged
from cloudcore.dns.table import HealthTable, Place
from skerry.dns.names import name_of, text_of
from skerry.errors import BadRequestError, InvalidError, UnavailableError
from skerry.files import write_private
from skerry.objects.json import JsonObject, decode_object, encode_object, int_at, map_at, str_at
from skerry.probing.monitor import Counter

LOG: Final = logging.getLogger(__name__)
HEALTH: Final = "health"
KEEP_S: Final = 60.0
"""A minute less is known after a crash of who was good last, which is what counts as together with another."""


class LastKnown:
    """Below a directory; without one nothing is kept. Times are of the monotonic clock."""

    def __init__(self, state: Path | None) -> None:
        self._state = state
        self._good_s: dict[bytes, int | None] = {}
        """By target, as the file has it."""
        self._written_s = -math.inf

    def is_behind(self, target: bytes, judged: Judged, now_s: float) -> bool:
        """Whether the file is to be written since this one, who is down, was good at another time than it says."""
        due = judged.state == "down" and now_s >= self._written_s + KEEP_S
        return due and self._good_s.get(target) != judged.good_s

    def write(self, known: Iterable[tuple[bytes, Judged, Iterable[Place]]], now_s: float) -> None:
        """All targets, and the services' endpoints that each is."""
        self._written_s = now_s
        if self._state is None:
            return
        rows: JsonObject = {}
        good: JsonObject = {}
        good_s: dict[bytes, int | None] = {}
        skew_s = time.time() - time.monotonic()
        for target, judged, places in known:
            good_s[target] = judged.good_s
            for name, address in places:
                key = f"{text_of(name)} {ipaddress.ip_address(address)}"
                rows[key] = judged.state
                if judged.good_s is not None:
                    good[key] = round(judged.good_s + skew_s)
        try:
            write_private(self._state / HEALTH, encode_object({"states": rows, "good": good}))
        except UnavailableError as error:
            LOG.error("who is up is not written down: %s", error)
        else:
            self._good_s = good_s


def recall(state: Path, table: HealthTable) -> int:
    """Fill a table with what was known last; how many are down."""
    try:
        told = decode_object((state / HEALTH).read_bytes())
    except (OSError, BadRequestError, ValueError):
        return 0
    count, now_s = 0, time.monotonic()
    skew_s = time.time() - now_s
    for key in map_at(told, "states"):
        name, _, address = key.partition(" ")
        try:
            place = name_of(name), ipaddress.ip_address(address).packed
        except (InvalidError, ValueError):
            continue
        if place not in table.slots:
            continue
        if str_at(told, "states", key) == "down":
            # None in files of before; one that is too old is forgotten with the first probe.
            at_s = int_at(told, "good", key)
            good_s = round(at_s - skew_s) if at_s and at_s <= time.time() else None
            table.set_verdict(place, down=True, unsure=True, counter=Counter(state="down"), good_s=good_s)
            count += 1
        elif str_at(told, "states", key) == "up":
            # As good as any can be known to be: it must not come behind who has been down since long ago.
            table.set_verdict(place, down=False, unsure=False, counter=Counter(), good_s=round(now_s))
    return count
