"""Real processes of our programs that begin where the imports end, so that the suite does not import all day.

A cloud takes a second of a processor to import what it is made of, and the suite starts hundreds. So each worker of
the suite has, for each program that it starts, one process that has imported it and forks at each start. What is
started is a process of its own, with its own arguments, environment, directory and files, and runs the program's main
module from the beginning; whoever wants the interpreter's own beginning as well (another environment of Python's,
something to be loaded before it, a command in front) gets that. Signals, exit codes and deaths are as everywhere.

A command that `nsenter --net=PATH --` stands before is forked as well, and enters that network first.

`start` is `subprocess.Popen`. The processes end with the worker.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import importlib
import json
import os
import runpy
import selectors
import signal
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any, Final, NamedTuple, NoReturn, cast

from skerry.objects.json import JsonObject
from skerry.testkit.real.namespaces import enter

PRELOADED: Final = {
    "cloudcore.main": (
        "cloudcore.cloud",
        "cloudcore.dns.supervisor",
        "cloudcore.store.sql",
        "sqlalchemy.dialects.sqlite",
        "skerry.transport.quic_link",
        "jwt",
    ),
    "edgecore.main": ("edgecore.agent", "edgecore.store.sqlite", "edgecore.pods.runtimes.process"),
    "skerry.cli.main": tuple(f"skerry.cli.{name}" for name in ("apply", "device", "get", "node", "token")),
}
"""Programs, and what they import beside it at their start."""
_BEFORE_PYTHON: Final = ("PYTHON", "LD_")
"""Variables that are read when an interpreter begins."""
_NETWORK: Final = Path("/proc/thread-self/ns/net").readlink()
"""The network namespace of the suite, of those who fork, and so of all their forks."""
_LENGTH: Final = struct.Struct("<I")
ROOT: Final = Path(__file__).parents[2]

_File = int | IO[Any] | None


def start(
    command: Sequence[str],
    *,
    stdin: _File = None,
    stdout: _File = None,
    stderr: _File = None,
    cwd: str | Path | None = None,
    env: Mapping[str, str] | None = None,
    start_new_session: bool = False,
) -> subprocess.Popen[bytes]:
    """Start a command: one of ours as a fork, any other as everywhere."""
    kind: type[subprocess.Popen[bytes]] = Forked if _can_fork(command, env) else subprocess.Popen
    return kind(
        command,
        stdin=stdin,
        stdout=stdout,
        stderr=stderr,
        cwd=cwd,
        env=env,
        start_new_session=start_new_session,
    )


def run(
    command: Sequence[str], *, timeout_s: float, stdin: str = "", env: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run it to its end; what it said."""
    pipe = subprocess.PIPE
    with start(command, stdin=pipe, stdout=pipe, stderr=pipe, env=env) as process:
        try:
            out, err = process.communicate(stdin.encode(), timeout=timeout_s)
        except BaseException:
            process.kill()
            raise
    return subprocess.CompletedProcess(command, process.returncode, out.decode(), err.decode())


def _can_fork(command: Sequence[str], env: Mapping[str, str] | None) -> bool:
    network, command = _entered(command)
    ours = list(command[:2]) == [sys.executable, "-m"] and len(command) > 2 and command[2] in PRELOADED
    if not ours or (not network and _network() != _NETWORK):
        return False
    return env is None or _before_python(env) == _before_python(os.environ)


def _entered(command: Sequence[str]) -> tuple[str, Sequence[str]]:
    """The network that a command is to run in, as a path, "" for this one; and the command itself."""
    if len(command) > 3 and Path(command[0]).name == "nsenter" and command[2] == "--":
        option, _, path = str(command[1]).partition("=")
        if option == "--net":
            return path, command[3:]
    return "", command


def _network() -> Path:
    """The network namespace of this thread, which a fork of somebody in another would not be in."""
    return Path("/proc/thread-self/ns/net").readlink()


def _before_python(env: Mapping[str, str]) -> dict[str, str]:
    found = {name: value for name, value in env.items() if name.startswith(_BEFORE_PYTHON)}
    if found.get("PYTHONPATH") == str(ROOT):
        del found["PYTHONPATH"]  # where the fork finds its modules anyway
    found.pop("PYTHONUNBUFFERED", None)  # some machines set it for all, and no test counts on it
    return found


# --- on the side of the tests ---


class Forked(subprocess.Popen[bytes]):
    """A process that somebody else forked, and waits for."""

    _link: socket.socket
    _code: bytes = b""

    def _execute_child(self, args: Sequence[str], *rest: Any) -> None:
        """In place of fork and exec. `rest` is as `subprocess` hands it on (3.11 to 3.14)."""
        (_, _, _, _, cwd, env, _, _, _, *pipes) = rest[:15]
        p2cread, _, _, c2pwrite, _, errwrite = cast("list[int]", pipes)
        network, args = _entered(args)
        asked: JsonObject = {
            "argv": [str(part) for part in args[3:]],
            "network": network,
            "cwd": str(cwd or Path.cwd()),
            "env": dict(os.environ if env is None else env),
            "session": bool(rest[20]),
        }
        files = [given if given != -1 else own for given, own in ((p2cread, 0), (c2pwrite, 1), (errwrite, 2))]
        self._link = socket.socket(socket.AF_UNIX)
        self._link.connect(_server(args[2]))
        body = json.dumps(asked).encode()
        socket.send_fds(self._link, [_LENGTH.pack(len(body))], files)
        self._link.sendall(body)
        self.pid = _LENGTH.unpack(self._link.recv(_LENGTH.size, socket.MSG_WAITALL))[0]
        self._link.setblocking(False)
        self._child_created = True
        self._close_pipe_fds(*pipes)  # pyright: ignore

    def _try_wait(self, wait_flags: int) -> tuple[int, int]:
        if wait_flags == 0:
            self._link.setblocking(True)
        try:
            said = self._link.recv(_LENGTH.size, socket.MSG_WAITALL)
        except BlockingIOError:
            return 0, 0
        finally:
            self._link.setblocking(False)
        self._link.close()
        return self.pid, _LENGTH.unpack(said)[0] if said else 255 << 8

    def _internal_poll(self, _deadstate: int | None = None, **_: object) -> int | None:
        if self.returncode is None and self._waitpid_lock.acquire(blocking=False):  # pyright: ignore
            try:
                if self.returncode is None:
                    pid, status = self._try_wait(os.WNOHANG)
                    if pid == self.pid:
                        self._handle_exitstatus(status)  # pyright: ignore
            finally:
                self._waitpid_lock.release()  # pyright: ignore
        return self.returncode


_servers: dict[str, str] = {}
_beginning: Final = threading.Lock()
"""Tests start several at once, each in a thread."""


def _server(program: str) -> str:
    """Where the one that forks this program listens; started when it is first wanted."""
    with _beginning:
        return _servers.get(program) or _begun(program)


def _begun(program: str) -> str:
    listener = socket.socket(socket.AF_UNIX)
    place = f"\0skerry-tests-{os.getpid()}-{program}"
    listener.bind(place)
    listener.listen(64)
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.system.forked", program, str(os.getpid())],
        stdin=listener.fileno(),
        stdout=subprocess.DEVNULL,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        start_new_session=True,
    )
    listener.close()
    atexit.register(process.wait)
    atexit.register(process.kill)
    _servers[program] = place
    return place


# --- the one that forks ---


class Job(NamedTuple):
    """What a fork is to be."""

    argv: list[str]
    network: str
    """Path of the one that it is in; "" for that of the suite."""
    cwd: str
    env: dict[str, str]
    session: bool
    files: list[int]
    """For 0, 1 and 2."""


def serve(listener: socket.socket, parent: int) -> Job:
    """Fork whenever one asks, for as long as whoever started it is there. Returns in each fork, with what it is."""
    waking, woken = socket.socketpair()
    woken.setblocking(False)
    children: dict[int, socket.socket] = {}
    with waking, woken, selectors.DefaultSelector() as waiting:
        waiting.register(listener, selectors.EVENT_READ)
        waiting.register(waking, selectors.EVENT_READ)
        signal.set_wakeup_fd(woken.fileno())
        signal.signal(signal.SIGCHLD, lambda *_: None)
        while os.getppid() == parent:
            for ready, _ in waiting.select(timeout=5):
                if ready.fileobj is not listener:
                    waking.recv(4096)
                elif (job := _asked(listener, children)) is not None:
                    signal.set_wakeup_fd(-1)
                    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                    return job
            _reap(children)
    sys.exit()


def _reap(children: dict[int, socket.socket]) -> None:
    while children:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if pid == 0:
            return
        with children.pop(pid) as link, contextlib.suppress(OSError):
            link.sendall(_LENGTH.pack(status))


def _asked(listener: socket.socket, children: dict[int, socket.socket]) -> Job | None:
    """Fork for the next who asks: what the fork is to be, in the fork."""
    link, _ = listener.accept()
    head, files, _, _ = socket.recv_fds(link, _LENGTH.size, 3)
    job = Job(**json.loads(link.recv(_LENGTH.unpack(head)[0], socket.MSG_WAITALL)), files=files)
    pid = os.fork()
    if pid == 0:
        for other in (link, listener, *children.values()):
            other.close()
        return job
    for file in files:
        os.close(file)
    children[pid] = link
    link.sendall(_LENGTH.pack(pid))
    return None


def become(program: str, job: Job) -> NoReturn:
    """What `python -m` is when it has begun."""
    for number, file in enumerate(job.files):
        os.dup2(file, number)
    for file in job.files:
        os.close(file)
    if job.session:
        os.setsid()
    if job.network:
        enter(os.open(job.network, os.O_RDONLY | os.O_CLOEXEC))
    os.chdir(job.cwd)
    os.environ.clear()
    os.environ.update(job.env)
    sys.argv[:] = [program, *job.argv]
    sys.path[0] = job.cwd
    sys.modules.pop(program, None)
    runpy.run_module(program, run_name="__main__", alter_sys=True)
    sys.exit()


def main(program: str, parent: int) -> NoReturn:
    """Import it, listen at standard input, and fork, for a process `parent`."""
    for module in (program, *PRELOADED[program]):
        importlib.import_module(module)
    gc.collect()
    gc.freeze()  # each fork would look at all of it again
    become(program, serve(socket.socket(fileno=os.dup(0)), parent))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
