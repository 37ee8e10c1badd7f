"""Whose turn it is to write a zone into another server, of several that export the same one. Pure.

They have no way to each other but that server, so they meet there: a TXT record says which of an owner's exporters
wrote last, and from which serial. Each update names the record it has seen as its prerequisite, so that of two who
write at once one is refused and looks again. Who has an older zone writes nothing. Of those with the same zone the
one that wrote last goes on; another takes over when the zone has not been as it should for a while. Two that work and
don't agree on who is up would go on and on taking it from each other; so who is overruled keeps out of it for long.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from typing import Final, Literal

from cloudcore.dns.transfer import is_newer
from skerry.dns.names import LABEL_MAX
from skerry.frozen import Frozen, replace

HOLD_S: Final = 10.0
"""How long the zone is not as it should before another takes over: observers agree within five seconds."""
OVERRULED_S: Final = 180.0
"""Who took over and finds the other's word there again within this time was overruled."""
AWAY_S: Final = 600.0
"""How long who was overruled keeps out of it."""
_PREFIX: Final = b"_export-"
_SAID: Final = re.compile(r"heritage=skerry,skerry/owner=([^,]*),skerry/serial=([0-9]{1,10}),skerry/by=([^,]*)")

Verdict = Literal["write", "wait", "rest", "outdated"]


class Claim(Frozen):
    owner: str
    serial: int
    by: str

    @property
    def name(self) -> str:
        """Of its writer, without what tells copies of one machine apart."""
        return self.by.partition("/")[0]

    @property
    def rdata(self) -> bytes:
        """As one string of a TXT record."""
        data = f"heritage=skerry,skerry/owner={self.owner},skerry/serial={self.serial},skerry/by={self.by}".encode()
        assert len(data) < 256, "owner and by are short"
        return bytes([len(data)]) + data


class Turn(Frozen):
    """What an exporter remembers of the others."""

    since_s: float | None = None
    """Since when the zone is not as it should, and another's."""
    took_s: float | None = None
    """When it was taken over last."""
    away_until_s: float = 0.0


def claim_name(owner: str, origin: bytes) -> bytes:
    label = _PREFIX + owner.lower().encode()
    if b"." in label or len(label) > LABEL_MAX:
        label = _PREFIX + hashlib.blake2b(owner.lower().encode(), digest_size=10).hexdigest().encode()
    return bytes([len(label)]) + label + origin


def claim_of(rdatas: Iterable[bytes], owner: str) -> Claim | None:
    """What others have written there is none."""
    for rdata in rdatas:
        said = _SAID.fullmatch(rdata[1:].decode("ascii", "replace"))
        if said is not None and said[1] == owner and int(said[2]) <= 0xFFFFFFFF:
            return Claim(owner=owner, serial=int(said[2]), by=said[3])
    return None


def turn(
    there: Claim | None, ours: Claim, before: Turn, now_s: float, *, differs: bool, wrote: int | None = None
) -> tuple[Verdict, Turn]:
    """Whether it is ours to write now: `wait`, it may soon be; `rest`, there is nothing to be written. `wrote` is the
    serial that this exporter wrote last: who goes back behind his own does it on purpose, and who finds a newer one
    under his name that he did not write is a copy of a machine."""
    if there == ours:
        return ("write" if differs else "rest"), replace(before, since_s=None)
    back = there is not None and there.by == ours.by and there.serial == wrote
    if there is None or back or is_newer(ours.serial, there.serial):
        return "write", replace(before, since_s=None)
    if there.serial != ours.serial:
        return "outdated", replace(before, since_s=None, took_s=None)
    after = before
    if before.took_s is not None:
        overruled = now_s - before.took_s < OVERRULED_S
        after = replace(before, took_s=None, away_until_s=now_s + AWAY_S if overruled else before.away_until_s)
    if not differs:
        return "rest", replace(after, since_s=None)
    since_s = now_s if after.since_s is None else after.since_s
    if now_s < since_s + HOLD_S or now_s < after.away_until_s:
        return "wait", replace(after, since_s=since_s)
    return "write", replace(after, since_s=None, took_s=now_s)
