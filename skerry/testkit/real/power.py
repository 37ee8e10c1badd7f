"""The runner's hold on machines: power on, start and signal programs, power off.

Keeps one pipe to each machine. Whatever end the runner comes to, the pipes close, and with them the machines end.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from skerry.errors import UnavailableError
from skerry.objects.json import JsonObject, int_at
from skerry.testkit.real.namespaces import Namespace, tool

ANSWER_S_MAX: Final = 20.0
STOP_S_MAX: Final = 20.0
UPTIME_S: Final = 20.0
"""How long an isolated machine says that it has been awake, when it is powered on."""
SLEPT_S: Final = 600.0
"""How long it says that it was suspended on top of that."""


class Steward:
    """A helper program of the kit that obeys lines of JSON and answers each with one."""

    def __init__(self, name: str, command: Sequence[str], *, pass_fds: Sequence[int] = (), log: Path) -> None:
        self.name = name
        self._log = log
        with log.open("ab") as stderr:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
                pass_fds=pass_fds,
                start_new_session=True,
            )
        self.greeting = self._answer()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def order(self, order: Mapping[str, object]) -> JsonObject:
        """Tell it; its answer. Raises `UnavailableError` when it is gone, or refuses."""
        stdin = self._process.stdin
        assert stdin is not None
        try:
            stdin.write(json.dumps(order).encode() + b"\n")
            stdin.flush()
        except (OSError, ValueError) as error:
            raise UnavailableError(f"{self.name} is gone: {self._last_words()}") from error
        answer = self._answer()
        if "error" in answer:
            raise UnavailableError(str(answer["error"]))
        return answer

    def end(self) -> None:
        """Close its input, and see it end."""
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                stream.close()
        try:
            self._process.wait(STOP_S_MAX)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def kill(self) -> None:
        """End it with no word: its first child where it has one (`unshare` waits for that), else itself."""
        below = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()
        os.kill(int(below[0]) if below else self.pid, signal.SIGKILL)
        self.end()

    def _answer(self) -> JsonObject:
        stdout = self._process.stdout
        assert stdout is not None
        line = stdout.readline()
        if not line:
            raise UnavailableError(f"{self.name} ended: {self._last_words()}")
        answer: JsonObject = json.loads(line)
        return answer

    def _last_words(self) -> str:
        words = self._log.read_text(errors="replace").strip().splitlines()
        return words[-1] if words else "it said nothing"


@dataclass(slots=True)
class Machine:
    """What one gateway, cloud or PLC runs on."""

    name: str
    logs: Path
    """Directory of logs: NAME.log for each program."""
    namespace: Namespace | None = None
    """Its network; None: this machine's own, without root."""
    _steward: Steward | None = field(default=None, repr=False)

    @property
    def powered(self) -> bool:
        return self._steward is not None

    @property
    def pid(self) -> int:
        """Of the process from which all others here descend. Raises `UnavailableError` without power."""
        return self._on().pid

    def power_on(self) -> None:
        """An empty machine, as after a boot."""
        assert self._steward is None, f"{self.name} is on"
        command = [sys.executable, "-m", "skerry.testkit.real.machine"]
        if self.namespace is None:
            command += ["plain", ""]
        else:
            command = [*self.namespace.prefix, *_unshare(), *command, "isolated", str(uuid.uuid4())]
        self._steward = Steward(f"machine {self.name}", command, log=self.log_of("machine"))

    def power_off(self) -> None:
        """Everything here is killed at once, without a word to anybody."""
        if self._steward is not None:
            steward, self._steward = self._steward, None
            if self.namespace is None:
                steward.end()  # it has to do the killing itself
            else:
                steward.kill()  # process 1; the kernel kills the others, and only then says that it is gone

    def start(self, name: str, argv: Sequence[str | Path], env: Mapping[str, str] | None = None) -> None:
        """Start a program. Raises `UnavailableError` when it can't be."""
        words = [str(word) for word in argv]
        environment = {**os.environ, **(env or {})}
        self._on().order(
            {"do": "start", "name": name, "argv": words, "env": environment, "log": str(self.log_of(name))}
        )

    def signal(self, name: str, number: signal.Signals) -> None:
        self._on().order({"do": "signal", "name": name, "number": int(number)})

    def code(self, name: str) -> int | None:
        """Its exit code (negative: the signal that killed it); None while it runs."""
        code = self._state(name)["code"]
        return None if code is None else int(str(code))

    def runs(self, name: str) -> bool:
        """The machine is on, and a program of that name was started since and has not ended."""
        if self._steward is None:
            return False
        state = self._state(name)
        return state["pid"] != 0 and state["code"] is None

    def pid_of(self, name: str) -> int:
        """Its process, as the runner's own /proc numbers it. Raises `UnavailableError` when there is none."""
        inside = int_at(self._state(name), "pid")
        for pid in below(self._on().pid):
            status = Path(f"/proc/{pid}/status").read_text()
            numbers = next(line.split()[1:] for line in status.splitlines() if line.startswith("NSpid:"))
            if int(numbers[-1]) == inside:
                return pid
        raise UnavailableError(f"{name} does not run on {self.name}")

    def wait(self, name: str, within_s: float = STOP_S_MAX) -> int:
        """Its exit code, once it has ended. Raises `UnavailableError` when it does not end in time."""
        deadline = time.monotonic() + within_s
        while (code := self.code(name)) is None:
            if time.monotonic() > deadline:
                raise UnavailableError(f"{name} on {self.name} has not ended within {within_s:.0f} s")
            time.sleep(0.02)
        return code

    def run(
        self, name: str, argv: Sequence[str | Path], *, env: Mapping[str, str] | None = None, within_s: float = 60.0
    ) -> str:
        """Run a program to its end; what it said. Raises `UnavailableError` when it fails."""
        log = self.log_of(name)
        before = log.stat().st_size if log.exists() else 0
        self.start(name, argv, env)
        code = self.wait(name, within_s)
        said = log.read_bytes()[before:].decode(errors="replace")
        if code:
            raise UnavailableError(f"{name} on {self.name} ended with {code}: {said.strip()}")
        return said

    def log_of(self, program: str) -> Path:
        return self.logs / f"{self.name}-{program}.log"

    def _state(self, name: str) -> JsonObject:
        return self._on().order({"do": "state", "name": name})

    def _on(self) -> Steward:
        if self._steward is None:
            raise UnavailableError(f"{self.name} has no power")
        return self._steward


def below(pid: int) -> list[int]:
    """All processes that descend from this one (proc(5), `children`)."""
    found: list[int] = []
    following = [pid]
    while following:
        parent = following.pop()
        try:
            children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
        except OSError:
            continue
        following += map(int, children)
        found += map(int, children)
    return found


def _unshare() -> list[str]:
    """Process, mount and time namespaces, in which monotonic time begins anew as on a real boot. It has slept since:
    whoever takes the clock that stands still in a suspended machine for the other is seen to be wrong."""
    offset = f"-{max(0.0, time.monotonic() - UPTIME_S):.0f}"
    boot = f"{UPTIME_S + SLEPT_S - time.clock_gettime(time.CLOCK_BOOTTIME):.0f}"
    spaces = ["--pid", "--mount", "--time", "--fork", "--kill-child=SIGKILL", "--mount-proc"]
    return [tool("unshare"), *spaces, f"--monotonic={offset}", f"--boottime={boot}", "--"]
