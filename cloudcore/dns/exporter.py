"""Keeps zones of other servers in step with ours, by DNS UPDATE with TSIG (RFC 2136, 8945).

A process of its own for each server, which blocks as it likes: who is silent holds up his own zones alone. It reads
the other's zone by AXFR, works out what differs (`exporting`), and sends that: when who is up changes, and each
minute, for what somebody changed there. Where our zones are others it is told to leave, by SIGUSR1, and does so when
it has looked at each of its zones once: else who changes zones without rest could keep it from ever ending.

Keeps `exports/ORIGIN`, why a zone is not in step, for the parent to tell; empty where it is.
"""

from __future__ import annotations

import logging
import signal
import time
from collections.abc import Mapping, Sequence
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

from cloudcore.dns.access import Peer
from cloudcore.dns.exporting import Change, Place, Records, planned, wanted_of
from cloudcore.dns.table import HealthTable
from cloudcore.dns.tsig import Key
from cloudcore.dns.zone import Zone
from cloudcore.dns.zonefile import type_text
from skerry.dns.names import text_of
from skerry.errors import UnavailableError
from skerry.files import write_private
from skerry.frozen import Frozen

LOG: Final = logging.getLogger(__name__)
EXPORTS: Final = "exports"
LOOK_S: Final = 0.5
AGAIN_S: Final = 60.0
RETRY_S: Final = 5.0
ASK_S_MAX: Final = 10.0
TOGETHER_MAX: Final = 100
"""Changes in one message; they are made together, or none of them."""
_HOPELESS: Final = (dns.rcode.NOTAUTH, dns.rcode.NOTIMP, dns.rcode.SERVFAIL)
_FAULTS: Final = (OSError, dns.exception.DNSException, EOFError, ValueError)


class Export(Frozen):
    origin: bytes
    server: Peer


class Exporter:
    """`run` until it is told to leave."""

    def __init__(
        self,
        exports: Sequence[Export],
        zones: Mapping[bytes, Zone],
        table: HealthTable,
        state: Path,
        key: Key,
        owner: str,
    ) -> None:
        self._exports = [each for each in exports if each.origin in zones]
        self._zones = zones
        self._table = table
        self._directory = state / EXPORTS
        self._owner = owner
        name = dns.name.from_text(text_of(key.name))
        self._key = dns.tsig.Key(name, key.secret, dns.name.from_text(text_of(key.algorithm)))
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
        """Whether the other is in step now."""
        zone = self._zones[export.origin]
        try:
            wanted = {
                place: Records(ttl=each.ttl, rdatas=frozenset(_canonical(place[1], data) for data in each.rdatas))
                for place, each in wanted_of(zone, self._table).items()
            }
            plan = planned(wanted, self._content(export), owner=self._owner, zone=zone, words=type_text)
            refused: list[str] = []
            for at in range(0, len(plan.changes), TOGETHER_MAX):
                refused += self._send(export, plan.changes[at : at + TOGETHER_MAX])
        except _FAULTS as error:
            self._tell(export, str(error) or type(error).__name__)
            return False
        if len(plan.changes) > len(refused):
            LOG.info("zone exported zone=%s changes=%d", text_of(export.origin), len(plan.changes))
        self._tell(export, "; ".join([*plan.conflicts, *refused][:5]))
        return True

    def _tell(self, export: Export, fault: str) -> None:
        if self._faults.get(export) == fault:
            return
        self._faults[export] = fault
        if fault:
            LOG.warning(
                "a zone is not as ours zone=%s server=%s: %s", text_of(export.origin), export.server.host, fault
            )
        try:
            write_private(self._directory / text_of(export.origin).rstrip("."), fault.encode())
        except UnavailableError as error:
            LOG.error("what keeps an export from being made is not written down: %s", error)

    def _content(self, export: Export) -> dict[Place, Records]:
        """All that is there."""
        zone = dns.zone.Zone(dns.name.from_text(text_of(export.origin)), relativize=False)
        query, _ = dns.xfr.make_query(zone, keyring=self._key)
        dns.query.inbound_xfr(
            export.server.host, zone, query, export.server.port, timeout=ASK_S_MAX, lifetime=3 * ASK_S_MAX
        )
        found: dict[Place, Records] = {}
        for name, rdataset in zone.iterate_rdatasets():
            owner = (name.to_wire() or b"").lower()
            rdatas = frozenset(each.to_digestable() for each in cast("list[dns.rdata.Rdata]", [*rdataset]))
            found[owner, int(rdataset.rdtype)] = Records(ttl=rdataset.ttl, rdatas=rdatas)
        return found

    def _send(self, export: Export, changes: Sequence[Change]) -> list[str]:
        """What is refused; of several changes one may be, and then each is sent by itself. Raises `ValueError` where
        nothing can be changed."""
        try:
            rcode = self._sent(export, changes)
        except dns.exception.TooBig:
            if len(changes) == 1:
                name, kind = changes[0].place
                return [f"{text_of(name)} {type_text(kind)} is larger than a message can be"]
            half = len(changes) // 2
            return [*self._send(export, changes[:half]), *self._send(export, changes[half:])]
        if rcode == dns.rcode.NOERROR:
            return []
        if rcode in _HOPELESS:
            raise ValueError(f"{export.server.host} takes no updates ({dns.rcode.to_text(rcode)})")
        if len(changes) > 1:
            return [fault for change in changes for fault in self._send(export, [change])]
        name, kind = changes[0].place
        return [f"{text_of(name)} {type_text(kind)} is refused there ({dns.rcode.to_text(rcode)})"]

    def _sent(self, export: Export, changes: Sequence[Change]) -> dns.rcode.Rcode:
        update = dns.update.UpdateMessage(dns.name.from_text(text_of(export.origin)), keyring=self._key)
        for change in changes:
            if change.before is None and change.after is not None:
                # Somebody may have made it since we looked.
                name, kind = change.place
                update.absent(dns.name.from_wire(name, 0)[0], dns.rdatatype.RdataType.make(kind))
            _put(update, change.place, change.after)
            _put(update, change.mark, change.mark_after)
        return dns.query.tcp(update, export.server.host, ASK_S_MAX, export.server.port).rcode()


def _canonical(kind: int, data: bytes) -> bytes:
    """Names within it in lower case: some servers keep them so, and some as they came (RFC 4034 section 6.2)."""
    made = dns.rdata.from_wire(dns.rdataclass.IN, dns.rdatatype.RdataType.make(kind), data, 0, len(data))
    return made.to_digestable()


def _put(update: dns.update.UpdateMessage, place: Place, records: Records | None) -> None:
    name, kind = dns.name.from_wire(place[0], 0)[0], dns.rdatatype.RdataType.make(place[1])
    update.delete(name, kind)
    if records is None:
        return
    rdatas = [dns.rdata.from_wire(dns.rdataclass.IN, kind, data, 0, len(data)) for data in sorted(records.rdatas)]
    update.add(name, dns.rdataset.from_rdata_list(records.ttl, rdatas))
