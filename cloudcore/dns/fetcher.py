"""Zones of other servers: fetched when their serial moves (AXFR, IXFR, RFC 5936, 1995), and kept as zone files.

A process of its own, with some threads that block as they like. It asks for the serial as often as the zone's SOA
says, and at once when a NOTIFY came (the zone's number in a pipe). Keeps `copies/ORIGIN.zone`, replaced as a whole,
whose time is when the primary was heard last; a zone whose primary is silent for longer than its SOA's `expire` is
taken away (RFC 1035 section 3.3.13).
"""

from __future__ import annotations

import logging
import os
import select
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, cast

import dns.exception
import dns.message
import dns.name
import dns.query
import dns.rcode
import dns.rdatatype
import dns.rdtypes.ANY.SOA
import dns.tsig
import dns.xfr
import dns.zone

from cloudcore.dns.access import Peer
from cloudcore.dns.transfer import is_newer
from cloudcore.dns.tsig import Key
from cloudcore.dns.zonefile import SUFFIX
from skerry.dns.names import text_of
from skerry.errors import UnavailableError
from skerry.files import write_private
from skerry.frozen import Frozen

LOG: Final = logging.getLogger(__name__)
COPIES: Final = "copies"
ASK_S_MAX: Final = 10.0
FETCH_S_MAX: Final = 300.0
URGENT: Final = 4
NOTIFY_PACE_S: Final = 1.0
TOGETHER_MAX: Final = 16
OF_PRIMARY_MAX: Final = 4
"""Zones that are fetched at a time, and of those the ones of one primary."""
REFRESH_S_MIN: Final = 5.0
FIRST_RETRY_S: Final = 5.0
_FAULTS: Final = (OSError, dns.exception.DNSException, EOFError, ValueError)


class Secondary(Frozen):
    origin: bytes
    primary: Peer


@dataclass(slots=True)
class _Copy:
    about: Secondary
    zone: dns.zone.Zone
    due: float = 0.0
    asked_at: float = 0.0
    fault: str = ""
    busy: bool = False
    again: bool = False
    """Whether a NOTIFY came while it was asked for."""
    unwritten: bool = False
    """Whether what was fetched is not on disk yet: the disk may be full."""
    urgent: int = 0
    """Tries that are made soon after each other, since a NOTIFY: its primary may be just about to answer."""

    @property
    def soa(self) -> dns.rdtypes.ANY.SOA.SOA | None:
        found = self.zone.get_rdataset(self.zone.origin or dns.name.root, dns.rdatatype.SOA)
        return cast("dns.rdtypes.ANY.SOA.SOA", found[0]) if found else None


class Fetcher:
    """`run` for ever; `changed` is called when files are others."""

    def __init__(
        self, secondaries: Sequence[Secondary], state: Path, key: Key | None, heard: int, changed: Callable[[], None]
    ) -> None:
        self._directory = state / COPIES
        self._heard = heard
        self._changed = changed
        self._key = None
        if key is not None:
            name = dns.name.from_text(text_of(key.name))
            self._key = dns.tsig.Key(name, key.secret, dns.name.from_text(text_of(key.algorithm)))
        self._copies = [_Copy(about=each, zone=self._read(each)) for each in secondaries]

    def run(self) -> None:
        done: deque[_Copy] = deque()
        ended, ends = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)

        def work(copy: _Copy) -> None:
            try:
                self._refresh(copy)
            finally:
                done.append(copy)
                os.write(ends, b"e")

        with ThreadPoolExecutor(TOGETHER_MAX) as pool:
            while True:
                now = time.monotonic()
                for copy in self._startable(now):
                    copy.busy, copy.asked_at = True, time.monotonic()
                    pool.submit(work, copy)
                ready = select.select([self._heard, ended], [], [], self._wait_s(now))[0]
                if ended in ready:
                    os.read(ended, 4096)
                    while done:
                        self._ended(done.popleft())
                if self._heard in ready:
                    self._notified()

    def _startable(self, now: float) -> list[_Copy]:
        """Those whose time has come, within what is fetched at a time: a primary that is slow holds up its own
        zones."""
        running = [copy for copy in self._copies if copy.busy]
        begun: list[_Copy] = []
        for copy in sorted(self._copies, key=lambda each: each.due):
            if copy.busy or copy.due > now or len(running) + len(begun) >= TOGETHER_MAX:
                continue
            same = sum(each.about.primary.host == copy.about.primary.host for each in (*running, *begun))
            if same < OF_PRIMARY_MAX:
                begun.append(copy)
        return begun

    def _wait_s(self, now: float) -> float | None:
        """Until the next is due; those that were due and wait for an end are begun then."""
        dues = [copy.due for copy in self._copies if not copy.busy and copy.due > now]
        return max(0.0, min(dues) - time.monotonic()) if dues else None

    def _ended(self, copy: _Copy) -> None:
        copy.busy = False
        if copy.again:
            copy.again = False
            copy.due, copy.urgent = min(copy.due, copy.asked_at + NOTIFY_PACE_S), URGENT

    def _notified(self) -> None:
        """Zones by their numbers, two bytes each. A NOTIFY over UDP may be forged: it never makes us ask for a zone
        more than once a second."""
        with suppress(BlockingIOError):
            told = os.read(self._heard, 4096)
            for number in {int.from_bytes(told[at : at + 2], "big") for at in range(0, len(told), 2)}:
                origin = self._copies[number].about.origin
                for copy in [each for each in self._copies if each.about.origin == origin]:
                    if copy.busy:
                        copy.again = True
                    else:
                        copy.due, copy.urgent = copy.asked_at + NOTIFY_PACE_S, URGENT

    def _path(self, about: Secondary) -> Path:
        return self._directory / f"{text_of(about.origin).rstrip('.')}{SUFFIX}"

    def _read(self, about: Secondary) -> dns.zone.Zone:
        origin = dns.name.from_text(text_of(about.origin))
        with suppress(*_FAULTS):
            return dns.zone.from_text(self._path(about).read_text(), origin=origin, relativize=False)
        return dns.zone.Zone(origin, relativize=False)

    def _refresh(self, copy: _Copy) -> None:
        soa, path = copy.soa, self._path(copy.about)
        try:
            serial = self._serial(copy)
            if soa is None or is_newer(serial, soa.serial):
                self._fetch(copy)
                copy.unwritten = True
            if copy.unwritten:
                text = f"$ORIGIN {text_of(copy.about.origin)}\n" + copy.zone.to_text(want_origin=False)
                write_private(path, text.encode())
                copy.unwritten = False
                self._changed()
            path.touch()
        except UnavailableError as error:
            self._failed(copy, str(error))
        except _FAULTS as error:
            self._failed(copy, str(error) or type(error).__name__)
        else:
            if copy.fault:
                LOG.info("a zone is fetched again zone=%s", text_of(copy.about.origin))
                copy.fault = ""
            copy.urgent = 0
            soa = copy.soa
            assert soa is not None, "a zone that was fetched has one"
            copy.due = time.monotonic() + max(REFRESH_S_MIN, float(soa.refresh))

    def _failed(self, copy: _Copy, fault: str) -> None:
        soa, name = copy.soa, text_of(copy.about.origin)
        if fault != copy.fault:
            LOG.warning("a zone can't be fetched zone=%s primary=%s: %s", name, copy.about.primary.host, fault)
            copy.fault = fault
        retry_s = FIRST_RETRY_S if soa is None or copy.urgent else max(REFRESH_S_MIN, float(soa.retry))
        copy.urgent = max(0, copy.urgent - 1)
        copy.due = time.monotonic() + retry_s
        path = self._path(copy.about)
        with suppress(OSError):
            if soa is not None and time.time() - path.stat().st_mtime > soa.expire:
                path.unlink()
                copy.zone = self._read(copy.about)
                LOG.error("a zone has expired, and is answered for no more zone=%s", name)
                self._changed()

    def _serial(self, copy: _Copy) -> int:
        primary = copy.about.primary
        query = dns.message.make_query(text_of(copy.about.origin), dns.rdatatype.SOA)
        if self._key is not None:
            query.use_tsig(self._key)
        told = dns.query.tcp(query, primary.host, ASK_S_MAX, primary.port)
        for rrset in told.answer:
            if rrset.rdtype == dns.rdatatype.SOA:
                return cast("dns.rdtypes.ANY.SOA.SOA", rrset[0]).serial
        raise ValueError(f"{primary.host} does not say its serial ({dns.rcode.to_text(told.rcode())})")

    def _fetch(self, copy: _Copy) -> None:
        primary = copy.about.primary
        query, _ = dns.xfr.make_query(copy.zone, keyring=self._key)
        try:
            dns.query.inbound_xfr(
                primary.host, copy.zone, query, primary.port, timeout=ASK_S_MAX, lifetime=FETCH_S_MAX
            )
        except dns.xfr.TransferError:
            # Who can't tell what has changed is asked for everything.
            whole = dns.zone.Zone(copy.zone.origin, relativize=False)
            query, _ = dns.xfr.make_query(whole, keyring=self._key)
            dns.query.inbound_xfr(primary.host, whole, query, primary.port, timeout=ASK_S_MAX, lifetime=FETCH_S_MAX)
            copy.zone = whole
