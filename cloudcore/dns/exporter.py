"""Keeps zones of other servers in step with ours, by DNS UPDATE with TSIG (RFC 2136, 8945).

A process of its own for each server, which blocks as it likes: who is silent holds up his own zones alone. It reads
the other's zone by AXFR, works out what differs (`exporting`), and sends that: when who is up changes, and each
minute, for what somebody changed there. Where our zones are others it is told to leave, by SIGUSR1, and does so when
it has looked at each of its zones once: else who changes zones without rest could keep it from ever ending.

Others may write into the same zone: with an owner of their own, what is theirs; with the same owner, the same names
in turns (`claims`). What is sent says what it was made of, so that nobody's change is lost: who comes too late looks
again. The file of keys is read each time; the other's administrator may take a key away once we have another.

Keeps `exports/ORIGIN@SERVER`, why a zone is not in step, for the parent to tell, empty where it is; beside it with
`@wrote` the serial that was written there last; and `exports/id`, which tells copies of one machine apart.
"""

from __future__ import annotations

import logging
import os
import re
import secrets
import signal
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final, cast

import dns.exception
import dns.name
import dns.query
import dns.rcode
import dns.rdata
import dns.rdataclass
import dns.rdataset
import dns.rdatatype
import dns.tsig
import dns.update
import dns.xfr
import dns.zone

from cloudcore.dns.access import Peer, read_keys
from cloudcore.dns.claims import Claim, Turn, claim_name, claim_of, turn
from cloudcore.dns.exporting import MARK_TTL, Change, Need, Place, Records, planned, wanted_of
from cloudcore.dns.table import HealthTable
from cloudcore.dns.zone import Zone
from cloudcore.dns.zonefile import type_text
from skerry.dns.names import text_of
from skerry.dns.numbers import TXT
from skerry.errors import SkerryError, UnavailableError
from skerry.files import write_private
from skerry.frozen import Frozen, replace

LOG: Final = logging.getLogger(__name__)
EXPORTS: Final = "exports"
_WROTE: Final = "@wrote"
_IDENTITY: Final = re.compile(r"[0-9a-f]{8}")
LOOK_S: Final = 0.5
AGAIN_S: Final = 60.0
RETRY_S: Final = 5.0
ASK_S_MAX: Final = 10.0
TOGETHER_MAX: Final = 100
"""Changes in one message; they are made together, or none of them."""
ROUNDS_MAX: Final = 4
"""Looks at one zone, one after the other, while somebody else changes it."""
_MOVED: Final = (dns.rcode.NXDOMAIN, dns.rcode.YXDOMAIN, dns.rcode.YXRRSET, dns.rcode.NXRRSET)
"""What an update needs is not so."""
_DENIED: Final = (dns.rcode.NOTAUTH, dns.rcode.REFUSED)
_HOPELESS: Final = (dns.rcode.NOTAUTH, dns.rcode.NOTIMP, dns.rcode.SERVFAIL)
_FAULTS: Final = (OSError, dns.exception.DNSException, EOFError, ValueError)


class Export(Frozen):
    origin: bytes
    server: Peer

    @property
    def file(self) -> str:
        """What keeps it from being in step is written there."""
        return f"{text_of(self.origin).rstrip('.')}@{self.server.host}@{self.server.port}"


class Exporting(Frozen):
    """Who exports."""

    owner: str
    by: str
    """Which of the owner's exporters."""
    keys: Path
    state: Path


_Claims = tuple[Place, Claim | None, Claim, Records | None]
"""Where it is, what it says, what it shall say, and all that is there."""


class _MovedError(Exception):
    """Somebody else has changed the zone since we looked."""


class Exporter:
    """`run` until it is told to leave."""

    def __init__(
        self,
        exports: Sequence[Export],
        zones: Mapping[bytes, Zone],
        table: HealthTable,
        about: Exporting,
    ) -> None:
        self._exports = [each for each in exports if each.origin in zones]
        self._zones = zones
        self._table = table
        self._about = replace(about, by=f"{about.by}/{identity_of(about.state / EXPORTS)}")
        self._wrote: dict[Export, int] = {}
        self._keys: dict[Export, dns.tsig.Key] = {}
        """The one that was taken last."""
        self._turns: dict[Export, Turn] = {}
        self._due = dict.fromkeys(self._exports, 0.0)
        self._faults: dict[Export, str] = {}
        self._leaving = False

    def run(self) -> None:
        signal.signal(signal.SIGUSR1, self._leave)
        number = -1
        while True:
            if self._table.number != number:
                number = self._table.number
                self._due = {each: min(due, time.monotonic()) for each, due in self._due.items()}
            for each in self._exports:
                if self._due[each] <= time.monotonic():
                    self._due[each] = time.monotonic() + (AGAIN_S if self._step(each) else RETRY_S)
            if self._leaving:
                return
            time.sleep(LOOK_S)

    def _leave(self, number: int, frame: object) -> None:
        self._leaving = True

    def _step(self, export: Export) -> bool:
        """Whether the other is in step now, or somebody else sees to it."""
        try:
            for left in reversed(range(ROUNDS_MAX)):
                try:
                    return self._round(export, last=not left)
                except _MovedError:
                    continue
        except _FAULTS as error:
            self._tell(export, str(error) or type(error).__name__)
        return False

    def _round(self, export: Export, *, last: bool) -> bool:
        zone, about = self._zones[export.origin], self._about
        wanted = {
            place: Records(ttl=each.ttl, rdatas=frozenset(_canonical(place[1], data) for data in each.rdatas))
            for place, each in wanted_of(zone, self._table).items()
        }
        place = claim_name(about.owner, zone.origin), TXT
        if wanted.pop(place, None) is not None:
            LOG.warning("%s is where exporters take turns, and is not exported", text_of(place[0]))
        there = self._content(export)
        plan = planned(wanted, there, owner=about.owner, zone=zone, words=type_text)
        seen = there.get(place)
        claim = claim_of(seen.rdatas if seen is not None else (), about.owner)
        ours = Claim(owner=about.owner, serial=zone.serial, by=about.by)
        before = self._turns.get(export, Turn())
        verdict, self._turns[export] = turn(
            claim, ours, before, time.monotonic(), differs=bool(plan.changes), wrote=self._written_last(export)
        )
        faults = [*plan.conflicts]
        if verdict == "write":
            faults += self._written(export, plan.changes, (place, claim, ours, seen), last=last)
        elif verdict == "outdated" and claim is not None:
            newer = f"serial {claim.serial}, ours is {zone.serial}"
            faults = [f"{claim.name} exports a newer one there for {claim.owner} ({newer})"]
        self._tell(export, "; ".join(faults[:5]))
        return verdict != "wait"

    def _written(self, export: Export, changes: Sequence[Change], claims: _Claims, *, last: bool) -> list[str]:
        """Faults of single changes."""
        place, claim, ours, seen = claims
        guard = Need(place=place, rdatas=frozenset({ours.rdata}))
        refused: list[str] = []
        if claim != ours:
            said = Records(ttl=MARK_TTL, rdatas=frozenset({ours.rdata}))
            needs = (Need(place=place, rdatas=seen.rdatas if seen is not None else None),)
            self._remember(export, ours.serial)
            rcode = self._sent(
                export, [Change(place=place, mark=place, before=seen, after=said, mark_after=said)], needs
            )
            if rcode in _MOVED:
                raise _MovedError
            if rcode != dns.rcode.NOERROR:
                why = f"({dns.rcode.to_text(rcode)}): exporters of one owner can't take turns"
                refused.append(f"{text_of(place[0])} TXT is refused there {why}")
                guard = None
            elif claim is not None and claim.by != ours.by:
                LOG.info("export taken over zone=%s from=%s", text_of(export.origin), claim.name)
        needs = (guard,) if guard is not None else ()
        for at in range(0, len(changes), TOGETHER_MAX):
            refused += self._send(export, changes[at : at + TOGETHER_MAX], needs, last=last)
        if len(changes) > len(refused):
            LOG.info("zone exported zone=%s changes=%d", text_of(export.origin), len(changes))
        return refused

    def _written_last(self, export: Export) -> int | None:
        """The serial; of the process before as well."""
        if export not in self._wrote:
            with suppress(OSError, ValueError):
                self._wrote[export] = int((self._about.state / EXPORTS / f"{export.file}{_WROTE}").read_text()[:10])
        return self._wrote.get(export)

    def _remember(self, export: Export, serial: int) -> None:
        """Before it is written: a crash between leaves a serial that nobody has, and no other."""
        if self._wrote.get(export) == serial:
            return
        self._wrote[export] = serial
        try:
            write_private(self._about.state / EXPORTS / f"{export.file}{_WROTE}", str(serial).encode())
        except UnavailableError as error:
            LOG.error("what was exported last is not written down: %s", error)

    def _tell(self, export: Export, fault: str) -> None:
        if self._faults.get(export) == fault:
            return
        self._faults[export] = fault
        if fault:
            LOG.warning(
                "a zone is not as ours zone=%s server=%s: %s", text_of(export.origin), export.server.host, fault
            )
        try:
            write_private(self._about.state / EXPORTS / export.file, fault.encode())
        except UnavailableError as error:
            LOG.error("what keeps an export from being made is not written down: %s", error)

    def _content(self, export: Export) -> dict[Place, Records]:
        """All that is there, asked for with the key that was taken last, or else with each that we have."""
        keys = [*_keys_of(self._about.keys)]
        taken = self._keys.get(export)
        keys.sort(key=lambda key: key != taken)
        denied: Exception | None = None
        for key in keys:
            try:
                found = _transferred(export, key)
            except (dns.tsig.PeerError, dns.xfr.TransferError) as error:
                if isinstance(error, dns.xfr.TransferError) and error.rcode not in _DENIED:
                    raise
                denied = denied or error
            else:
                self._keys[export] = key
                return found
        raise ValueError(f"{export.server.host} gives its zone to none of our keys: {denied or 'there is none'}")

    def _send(self, export: Export, changes: Sequence[Change], needs: tuple[Need, ...], *, last: bool) -> list[str]:
        """What is refused; of several changes some may be, and they are found by halves. Raises `_MovedError`, and
        `ValueError` where nothing can be changed."""
        try:
            rcode = self._sent(export, changes, (*needs, *(need for change in changes for need in change.needs)))
        except dns.exception.TooBig:
            if len(changes) == 1:
                name, kind = changes[0].place
                return [f"{text_of(name)} {type_text(kind)} is larger than a message can be"]
            rcode = dns.rcode.FORMERR
        if rcode == dns.rcode.NOERROR:
            return []
        if rcode in _HOPELESS:
            raise ValueError(f"{export.server.host} takes no updates ({dns.rcode.to_text(rcode)})")
        if rcode in _MOVED and not last:
            raise _MovedError
        if len(changes) > 1:
            half = len(changes) // 2
            first = self._send(export, changes[:half], needs, last=last)
            return [*first, *self._send(export, changes[half:], needs, last=last)]
        name, kind = changes[0].place
        what = "is changed there by somebody else, again and again" if rcode in _MOVED else "is refused there"
        return [f"{text_of(name)} {type_text(kind)} {what} ({dns.rcode.to_text(rcode)})"]

    def _sent(self, export: Export, changes: Sequence[Change], needs: Iterable[Need]) -> dns.rcode.Rcode:
        update = dns.update.UpdateMessage(dns.name.from_text(text_of(export.origin)), keyring=self._keys[export])
        for need in dict.fromkeys(needs):
            _require(update, need)
        for change in changes:
            _put(update, change.place, change.after)
            if change.mark != change.place:
                _put(update, change.mark, change.mark_after)
        return dns.query.tcp(update, export.server.host, ASK_S_MAX, export.server.port).rcode()


def identity_of(directory: Path) -> str:
    """Of this state directory, made once: names of machines are copied with them."""
    path, made = directory / "id", secrets.token_hex(4)
    try:
        if _IDENTITY.fullmatch(found := path.read_text() if path.exists() else ""):
            return found
        if found:
            path.unlink(missing_ok=True)
        temporary = directory / f"id.{os.getpid()}"
        write_private(temporary, made.encode())
        # Exporters of several servers begin at once; the first has made it.
        with suppress(FileExistsError):
            os.link(temporary, path)
        temporary.unlink(missing_ok=True)
        return path.read_text()
    except (OSError, UnavailableError, ValueError) as error:
        LOG.error("which exporter this is, is not written down: %s", error)
        return made


def _keys_of(path: Path) -> list[dns.tsig.Key]:
    """Raises `ValueError`."""
    try:
        keys = read_keys(path)
    except SkerryError as error:
        raise ValueError(str(error)) from error
    return [
        dns.tsig.Key(dns.name.from_text(text_of(key.name)), key.secret, dns.name.from_text(text_of(key.algorithm)))
        for key in keys.values()
    ]


def _transferred(export: Export, key: dns.tsig.Key) -> dict[Place, Records]:
    zone = dns.zone.Zone(dns.name.from_text(text_of(export.origin)), relativize=False)
    query, _ = dns.xfr.make_query(zone, keyring=key)
    dns.query.inbound_xfr(
        export.server.host, zone, query, export.server.port, timeout=ASK_S_MAX, lifetime=3 * ASK_S_MAX
    )
    found: dict[Place, Records] = {}
    for name, rdataset in zone.iterate_rdatasets():
        owner = (name.to_wire() or b"").lower()
        rdatas = frozenset(each.to_digestable() for each in cast("list[dns.rdata.Rdata]", [*rdataset]))
        found[owner, int(rdataset.rdtype)] = Records(ttl=rdataset.ttl, rdatas=rdatas)
    return found


def _require(update: dns.update.UpdateMessage, need: Need) -> None:
    name, kind = dns.name.from_wire(need.place[0], 0)[0], dns.rdatatype.RdataType.make(need.place[1])
    if need.rdatas is None:
        if kind == dns.rdatatype.ANY:
            update.absent(name)
        else:
            update.absent(name, kind)
        return
    update.present(name, dns.rdataset.from_rdata_list(0, _rdatas_of(kind, need.rdatas)))


def _canonical(kind: int, data: bytes) -> bytes:
    """Names within it in lower case: some servers keep them so, and some as they came (RFC 4034 section 6.2)."""
    made = dns.rdata.from_wire(dns.rdataclass.IN, dns.rdatatype.RdataType.make(kind), data, 0, len(data))
    return made.to_digestable()


def _put(update: dns.update.UpdateMessage, place: Place, records: Records | None) -> None:
    name, kind = dns.name.from_wire(place[0], 0)[0], dns.rdatatype.RdataType.make(place[1])
    update.delete(name, kind)
    if records is None:
        return
    update.add(name, dns.rdataset.from_rdata_list(records.ttl, _rdatas_of(kind, records.rdatas)))


def _rdatas_of(kind: dns.rdatatype.RdataType, rdatas: Iterable[bytes]) -> list[dns.rdata.Rdata]:
    return [dns.rdata.from_wire(dns.rdataclass.IN, kind, data, 0, len(data)) for data in sorted(rdatas)]
