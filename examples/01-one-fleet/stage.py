"""What the demo stands on: processes with their logs, claims with their figures, and a view of it all.

Everything lives under one directory; a process's output is in `logs/NAME.log`. On a terminal the view is live;
elsewhere each step is one line.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.text import Text

T = TypeVar("T")


class DemoError(Exception):
    """The demo can't go on; the message says why, and where to look."""


@dataclass
class Claim:
    """One thing that Skerry says of itself, and what was measured."""

    text: str
    figure: str
    holds: bool


@dataclass
class Step:
    title: str
    started_s: float
    ended_s: float = 0.0
    note: str = ""


@dataclass
class Stage:
    """Runs processes, times steps, collects claims."""

    directory: Path
    console: Console = field(default_factory=Console)
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    taken: list[int] = field(default_factory=list)
    """Processes of an earlier run."""
    steps: list[Step] = field(default_factory=list)
    claims: list[Claim] = field(default_factory=list)
    picture: Callable[[], RenderableType] | None = None
    _live: Live | None = None

    def __enter__(self) -> Stage:
        (self.directory / "logs").mkdir(parents=True, exist_ok=True)
        if self.console.is_terminal:
            self._live = Live(get_renderable=self._render, console=self.console, refresh_per_second=4, transient=True)
            self._live.start()
        return self

    def __exit__(self, *exc: object) -> None:
        if self._live:
            self._live.stop()
            self._live = None

    # --- processes ---

    def start(self, name: str, command: Sequence[str | Path], env: dict[str, str] | None = None) -> None:
        """Run a process in a session of its own, its output in the log of that name (appended)."""
        log = self.log_of(name).open("ab")
        self.processes[name] = subprocess.Popen(
            [str(part) for part in command],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env={**os.environ, **(env or {})},
            start_new_session=True,
        )
        log.close()

    def log_of(self, name: str) -> Path:
        return self.directory / "logs" / f"{name}.log"

    def kill(self, name: str) -> None:
        """Power cut, as far as one process is concerned."""
        process = self.processes.pop(name)
        process.send_signal(signal.SIGKILL)
        process.wait()

    def stop_all(self) -> None:
        """Ask every process to stop, in the reverse of the order in which they were started."""
        pids = [process.pid for process in self.processes.values()] + self.taken
        for pid in reversed(pids):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
        deadline = time.monotonic() + 10
        while any(self._runs(pid) for pid in pids):
            if time.monotonic() > deadline:
                for pid in filter(self._runs, pids):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.05)
        self.processes.clear()
        self.taken.clear()
        (self.directory / "processes.json").unlink(missing_ok=True)

    def hand_over(self) -> None:
        """Leave the processes running, and a note of them for `take_over`."""
        note = {name: [process.pid, began(process.pid)] for name, process in self.processes.items()}
        (self.directory / "processes.json").write_text(json.dumps(note))
        self.processes.clear()

    def take_over(self) -> bool:
        """Find the processes that an earlier run left; False when there are none."""
        note = self.directory / "processes.json"
        if not note.exists():
            return False
        # A pid alone may be another's by now; its start time says whether it is still ours.
        self.taken = [pid for pid, since in json.loads(note.read_text()).values() if began(pid) == since]
        return True

    def _runs(self, pid: int) -> bool:
        for process in self.processes.values():
            if process.pid == pid:
                return process.poll() is None
        return began(pid) is not None

    def check_alive(self) -> None:
        for name, process in self.processes.items():
            if process.poll() is not None:
                tail = "\n    ".join(self.log_of(name).read_text(errors="replace").splitlines()[-12:])
                raise DemoError(f"{name} ended with code {process.returncode}; the end of its log:\n    {tail}")

    # --- steps ---

    def step(self, title: str) -> None:
        self.finish_step()
        self.steps.append(Step(title, time.monotonic()))
        if not self._live:
            self.console.print(f"[bold]·[/bold] {title}")

    def note(self, text: str) -> None:
        self.steps[-1].note = text
        if not self._live:
            self.console.print(f"    {text}", highlight=False)

    def finish_step(self) -> None:
        if self.steps and not self.steps[-1].ended_s:
            self.steps[-1].ended_s = time.monotonic()

    def wait_for(self, what: str, look: Callable[[], T | None], seconds: float = 30.0) -> T:
        """Look until there is something to see. Raises `DemoError` after `seconds`."""
        deadline = time.monotonic() + seconds
        while True:
            found = look()
            if found:
                return found
            self.check_alive()
            if time.monotonic() > deadline:
                raise DemoError(f"waited {seconds:.0f} s in vain for {what}; logs are in {self.directory / 'logs'}")
            time.sleep(0.1)

    def claim(self, text: str, figure: str, *, holds: bool) -> None:
        self.claims.append(Claim(text, figure, holds))

    # --- the view ---

    def _render(self) -> RenderableType:
        lines: list[RenderableType] = []
        for step in self.steps:
            running = not step.ended_s
            seconds = (step.ended_s or time.monotonic()) - step.started_s
            lines.append(
                Text.assemble(
                    (f"{seconds:5.1f} s ", "dim"),
                    ("▸ ", "yellow") if running else ("✓ ", "green"),
                    (step.title, "bold" if running else ""),
                    no_wrap=True,
                    overflow="ellipsis",
                )
            )
            if step.note and running:
                lines.append(Text(f"          {step.note}", style="dim", no_wrap=True, overflow="ellipsis"))
        if self.picture:
            lines += [Text(), self.picture()]
        return Group(*lines)

    def print_steps(self) -> None:
        """What remains on the terminal when the live view is gone."""
        if self.console.is_terminal:
            for step in self.steps:
                seconds = step.ended_s - step.started_s
                self.console.print(f"[dim]{seconds:5.1f} s[/dim] [green]✓[/green] {step.title}", highlight=False)


def began(pid: int) -> int | None:
    """When a process started, in the kernel's ticks; None when it is gone (or a zombie)."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] == "Z" else int(fields[19])


def parent_of(pid: int) -> int:
    """0 when it is gone."""
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def listening(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(0.3)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def run(
    command: Sequence[str | Path], *, check: bool = True, seconds: float = 60.0, env: dict[str, str] | None = None
) -> str:
    """Run a command to its end; its standard output. Raises `DemoError` with what it said."""
    words = [str(part) for part in command]
    try:
        done = subprocess.run(
            words,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
            env={**os.environ, **(env or {})},
        )
    except subprocess.TimeoutExpired:
        raise DemoError(f"`{' '.join(words)}` did not end within {seconds:.0f} s") from None
    if check and done.returncode:
        said = done.stderr.strip() or done.stdout.strip()
        raise DemoError(f"`{' '.join(words)}` ended with code {done.returncode}: {said}")
    return done.stdout
