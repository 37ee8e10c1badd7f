"""The processes of the server: one at each seat, forked again when it ends, and replaced by who has newer zones.

A seat is what a process does: read a socket, or something that there is one of. Forking hands zones over without
encoding them; so the parent runs no threads and no event loop, and a fork copies nothing half-done. Keeps who sits
where; a crash of the parent ends all of them.
"""

from __future__ import annotations

import ctypes
import gc
import logging
import os
import selectors
import signal
import time
from collections.abc import Callable, Iterable, Set
from dataclasses import dataclass
from typing import Final

from cloudcore.dns.handover import READY_S_MAX, Handover, Words
from skerry.errors import UnavailableError

LOG: Final = logging.getLogger("cloudcore.dns")
RESPAWN_S: Final = 1.0
"""Between two starts of a process that dies at once."""
STOP_S_MAX: Final = 15.0
STOP_LOOK_S: Final = 0.02
SETTLE_S: Final = 0.1
"""Between two looks at whether a new process has ended before it was ready."""
GARBAGE: Final = (10_000, 20, 50)
_PR_SET_PDEATHSIG: Final = 1


@dataclass(slots=True)
class Child:
    """One forked process."""

    seat: int
    pid: int
    started_at: float
    leaving: bool = False
    """Whether it was told to end when it can, and another takes its seat then."""


class Processes:
    """Seats from 0 answer, and change with the zones; those below do what there is one of."""

    def __init__(self) -> None:
        self.wanted: dict[int, Callable[[int], None]] = {}
        """What a process does, by its seat."""
        self.lasting: set[int] = set()
        """Seats whose process is the same before and after a reload."""
        self.generation = 0
        self.handover: Handover | None = None
        """While processes of two generations are there."""
        self.words = Words()
        self._has_let = False
        """Whether its new processes were told to read."""
        self._children: dict[int, Child] = {}
        self._due: dict[int, float] = {}
        """Seats to be taken again, and when."""

    def __len__(self) -> int:
        return len(self._children)

    def close(self) -> None:
        self.words.close()

    def at(self, seat: int) -> list[Child]:
        return [child for child in self._children.values() if child.seat == seat]

    def deadlines(self) -> list[float]:
        """When to look again, on the monotonic clock."""
        ready_by = self.handover.deadline if self.handover is not None else None
        return [*self._due.values(), *([ready_by] if ready_by is not None else [])]

    @property
    def is_stuck(self) -> bool:
        """Whether a handover does not come to an end."""
        return self.handover is not None and self.handover.failures > 0

    def fork_all(self) -> None:
        there = {child.seat for child in self._children.values() if child.seat in self.lasting}
        self._due = {seat: at for seat, at in self._due.items() if seat in self.lasting}
        for seat in self.wanted:
            if seat not in there and seat not in self._due:
                self._fork(seat)

    def want(self, seat: int, work: Callable[[int], None]) -> None:
        self.wanted[seat] = work

    def want_nobody(self, seat: int) -> None:
        self.wanted.pop(seat, None)
        self._due.pop(seat, None)

    def replace(self, seat: int) -> None:
        """By one that knows what is wanted now; where nothing is, by nobody."""
        before = self.at(seat)
        if seat in self.wanted and (before or seat not in self._due):
            self._fork(seat)
        for child in before:
            os.kill(child.pid, signal.SIGTERM)

    def leave(self, seat: int, number: signal.Signals) -> None:
        """Whoever is there ends when it can, and another comes then."""
        for child in self.at(seat):
            child.leaving = True
            os.kill(child.pid, number)

    def begin(self, work: Callable[[], None]) -> int:
        """Fork a process that does this and ends; which one it is."""
        parent = os.getpid()
        pid = os.fork()
        if pid:
            return pid
        code = 1
        try:
            _become_child(parent)
            work()
            code = 0
        except UnavailableError as error:
            LOG.error("a process of the DNS server ends: %s", error)
        # The root of a process: whatever it is, it is told, and the parent forks another.
        except BaseException:
            LOG.exception("a process of the DNS server ends")
        finally:
            os._exit(code)

    def _fork(self, seat: int) -> None:
        pid = self.begin(lambda: self.wanted[seat](seat))
        self._children[pid] = Child(seat=seat, pid=pid, started_at=time.monotonic())
        if self.handover is not None:
            self.handover.started(pid, seat, time.monotonic())

    def reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if not pid:
                return
            child = self._children.pop(pid, None)
            if child is None or child.seat not in self.wanted:
                continue  # nobody wants its seat taken again
            if self.handover is not None and self.handover.ended(pid):
                LOG.error("a process with new zones ended before it answered seat=%d status=%d", child.seat, status)
                self._due[child.seat] = max(time.monotonic(), child.started_at + RESPAWN_S)
                continue
            if any(each.seat == child.seat and not each.leaving for each in self._children.values()):
                continue  # another has it
            if child.leaving:
                self._due[child.seat] = time.monotonic()
                continue
            LOG.error("a process of the DNS server ended by itself seat=%d status=%d", child.seat, status)
            self._due[child.seat] = max(time.monotonic(), child.started_at + RESPAWN_S)

    def respawn(self) -> None:
        now = time.monotonic()
        for seat in [seat for seat, at in self._due.items() if at <= now]:
            del self._due[seat]
            self._fork(seat)

    def begin_handover(self) -> None:
        """Fork processes with these zones; those who answer are told nothing yet."""
        given_up = self.handover
        for pid in given_up.waiting if given_up is not None else ():
            self._children.pop(pid, None)
            os.kill(pid, signal.SIGKILL)
        before = {pid for pid, child in self._children.items() if child.seat >= 0 and not child.leaving}
        if given_up is None:
            self.generation += 1
        self.words.forget()
        self._has_let = False
        self.handover = Handover({seat for seat in self.wanted if seat >= 0}, before)
        self.fork_all()

    def hand_over(self) -> bool:
        """As far as the new processes are; whether it is over with this."""
        told = self.words.take()
        handover = self.handover
        if handover is None:
            return False
        for pid, word in told:
            handover.told(pid, word)
        for pid in handover.overdue(time.monotonic()):
            LOG.error("a process with new zones is not ready pid=%d after_s=%g: another is started", pid, READY_S_MAX)
            os.kill(pid, signal.SIGKILL)
        if (handover.is_ready() or handover.let) and not self._has_let:
            self.words.let()
            self._has_let = True
        if not handover.is_over():
            return False
        for pid in handover.before:
            self._children[pid].leaving = True
            os.kill(pid, signal.SIGTERM)
        self.handover = None
        return True

    def settle(self, over: Callable[[], None]) -> None:
        """Wait until no handover is under way, or it does not come to an end; bounded."""
        with selectors.DefaultSelector() as selector:
            selector.register(self.words, selectors.EVENT_READ)
            until = time.monotonic() + READY_S_MAX
            while self.handover is not None and not self.is_stuck and time.monotonic() < until:
                selector.select(timeout=SETTLE_S)
                self.reap()
                if self.hand_over():
                    over()

    # What children say of themselves.

    def wait_to_read(self) -> None:
        """In a child that follows others: until it is let."""
        if self.handover is not None:
            self.words.say("ready")
            self.words.wait()

    def say_reading(self) -> None:
        if self.handover is not None:
            self.words.say("reading")

    @property
    def follows_others(self) -> bool:
        """In a child: whether others answer until it does."""
        return self.handover is not None and not self.handover.let

    def end_all(self, last: Iterable[int]) -> None:
        """Those at these seats when the others have ended: a connection may take its time, and datagrams don't
        wait for it."""
        until, stay = time.monotonic() + STOP_S_MAX, frozenset(last)
        self._end({child.pid for child in self._children.values() if child.seat not in stay}, until)
        self._end(set(self._children), until)
        for pid in self._children:
            os.kill(pid, signal.SIGKILL)

    def _end(self, pids: Set[int], until: float) -> None:
        for pid in pids & self._children.keys():
            os.kill(pid, signal.SIGTERM)
        while pids & self._children.keys() and time.monotonic() < until:
            pid, _ = os.waitpid(-1, os.WNOHANG)
            self._children.pop(pid, None)
            if not pid:
                time.sleep(STOP_LOOK_S)


def _become_child(parent: int) -> None:
    """Without what is the parent's alone; it ends when the parent does."""
    signal.set_wakeup_fd(-1)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD):
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:
        os._exit(0)
    gc.set_threshold(*GARBAGE)
