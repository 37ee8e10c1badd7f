"""SIGKILL at each system call of a send and of a database write.

strace(1) kills a process at the nth call of a kind, before the call is made: so the points between taking a report
from the disk and dropping it after its receipt are tried one by one, not only those that a timer happens to hit.
"""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import threading
import time
from collections.abc import Sequence
from itertools import pairwise

from benchmarks.faults.case import NOT_TESTED, Case, Figure, exactly
from benchmarks.faults.ground import CORE, FLAGS, Ground, add_device, config_map, ground
from skerry.errors import SkerryError
from skerry.testkit.real.namespaces import tool
from skerry.testkit.real.programs import EDGE, until

POINTS = int(os.environ.get("SKERRY_FAULTS_POINTS", "6"))
"""System calls of each kind, on each end, at which a process is killed."""
SEND_CALLS = ("sendto", "recvfrom", "pwrite64", "fdatasync")
STORE_CALLS = ("pwrite64", "fdatasync")
KILL_S_MAX = 30.0


def kill_at(pid: int, call: str, nth: int) -> bool:
    """SIGKILL the process at its nth call of this kind in a thread; False when it came to none in time."""
    inject = f"inject={call}:signal=SIGKILL:when={nth}"
    tracer = subprocess.Popen(
        [tool("strace"), "-f", "-q", "-o", os.devnull, "-e", f"trace={call}", "-e", inject, "-p", str(pid)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        tracer.wait(KILL_S_MAX)
    except subprocess.TimeoutExpired:
        tracer.send_signal(signal.SIGINT)
        tracer.wait()
        return False
    return True


def sends() -> Sequence[Figure]:
    """Either end is killed at each point of a send; what the gateway kept arrives once, in order."""
    with ground(*FLAGS) as here:
        add_device(here, "meter", "level", cycle_ms=50)
        kills = {"gateway": 0, "cloud": 0}
        for call in SEND_CALLS:
            for nth in range(1, POINTS + 1):
                kills["gateway"] += kill_at(here.edge.machine.pid_of(EDGE), call, nth)
                _start_edge(here)
                kills["cloud"] += kill_at(here.cloud_pid(), call, nth)
                _start_cloud(here)
                until(lambda: here.edge.link_state == "connected", "the gateway to be connected", within_s=90)
        before = len(here.history("meter", "level"))
        until(lambda: len(here.history("meter", "level")) > before + 20, "history to go on", within_s=90)
        numbers = here.history("meter", "level")
        wanted = set(range(1, max(numbers) + 1))
        return [
            Figure(what="kills of the gateway's agent", value=kills["gateway"], at_least=len(SEND_CALLS) * POINTS),
            Figure(what="kills of the cloud", value=kills["cloud"], at_least=len(SEND_CALLS) * POINTS),
            Figure(what="readings that the gateway kept", value=len(wanted)),
            exactly("of them lost", len(wanted - set(numbers)), 0),
            exactly("of them twice", len(numbers) - len(set(numbers)), 0),
            exactly("of them out of order", sum(b < a for a, b in pairwise(numbers)), 0),
        ]


def _start_edge(here: Ground) -> None:
    if not here.edge.running:
        here.edge.start()


def _start_cloud(here: Ground) -> None:
    if not here.rig.cloud.running:
        here.rig.cloud.start()


def store_writes() -> Sequence[Figure]:
    """Power goes at each write and sync of both databases, while both are written to."""
    with ground(*FLAGS) as here:
        cloud = here.rig.cloud
        add_device(here, "meter", "level", cycle_ms=50)
        cloud.create(f"{CORE}/configmaps", config_map("counter", "0"))
        damaged = lost = cuts = 0
        asked = written = 0
        for call in STORE_CALLS:
            for nth in range(1, POINTS + 1):
                with _Writer(here, asked, written) as writer:
                    cuts += kill_at(here.cloud_pid(), call, nth)
                asked, written = writer.asked, writer.written
                damaged += _damaged(here.rig.cloud.data / "cloud.db")
                _start_cloud(here)
                found = cloud.find(f"{CORE}/configmaps/counter")
                data = found["data"] if found else {}
                assert isinstance(data, dict)
                lost += int(str(data["text"])) < written
                pid = here.edge.machine.pid_of(EDGE)
                cuts += kill_at(pid, call, nth)
                here.edge.machine.power_off()
                damaged += sum(_damaged(path) for path in (here.edge.data / "store").glob("*.db"))
                here.edge.start()
                until(lambda: here.edge.link_state == "connected", "the gateway to be connected", within_s=90)
        aside = here.edge.log.count("was damaged")
        numbers = here.history("meter", "level")
        until(lambda: len(here.history("meter", "level")) > len(numbers), "history to go on", within_s=60)
        return [
            Figure(what="cuts", value=cuts, at_least=2 * len(STORE_CALLS) * POINTS),
            exactly("databases that did not pass their integrity check", damaged, 0),
            exactly("gateway stores set aside", aside, 0),
            exactly("acknowledged writes lost in the cloud", lost, 0),
            exactly("readings lost or twice", len(numbers) - len({*numbers} & {*range(1, max(numbers) + 1)}), 0),
        ]


class _Writer:
    """Somebody who counts in a ConfigMap until the cloud is gone, and remembers what was answered."""

    def __init__(self, here: Ground, asked: int, written: int) -> None:
        self._here = here
        self.asked, self.written = asked, written
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> _Writer:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.is_set():
            self.asked += 1
            try:
                self._here.rig.cloud.patch(f"{CORE}/configmaps/counter", {"data": {"text": str(self.asked)}})
                self.written = self.asked
            except (SkerryError, OSError):
                time.sleep(0.05)


def _damaged(path: object) -> bool:
    """Checked on the database as the kill left it, its journal included."""
    with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as connection:
        (said,) = connection.execute("PRAGMA integrity_check").fetchone()
    connection.close()
    return said != "ok"


CASES = (
    Case(
        number=5,
        name="kill-mid-send",
        title="kill -9 of either end at each point of a send",
        method=f"strace kills the agent, then the cloud, at the 1st to {POINTS}th {', '.join(SEND_CALLS)} while "
        f"twenty readings a second are "
        "told; the history is compared with the gateway's own numbers.",
        kubeedge="lost (#6615, #4995)",
        run=sends,
    ),
    Case(
        number=11,
        name="power-cut-writes",
        title="Power cut during database writes",
        method=f"strace kills the cloud under a writer, and the gateway's agent with its whole machine, at the "
        f"1st to {POINTS}th "
        f"{' and '.join(STORE_CALLS)}; integrity_check on what is left. Written but unsynced pages survive on "
        f"this rig: losing those is "
        "tested by the stores' own crash tests and the simulation.",
        kubeedge=NOT_TESTED + " (#4110: database locked or damaged)",
        run=store_writes,
    ),
)
