"""Which server a command talks to, and how its failures become exit codes.

In this order: `--socket`, `--kubeconfig`, `--data`, then the environment (SKERRY_KUBECONFIG, KUBECONFIG), then a
local agent's socket where one listens, then ~/.kube/config. `--data` names the data directory of a cloud (it
holds `admin.kubeconfig`) or of a gateway (it holds `edgecore.sock`).
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import Concatenate, Final, NoReturn, ParamSpec

import click

from skerry.cli import kubeconfig
from skerry.cli.client import Client
from skerry.cli.output import say
from skerry.errors import (
    AlreadyExistsError,
    BadRequestError,
    ConflictError,
    ForbiddenError,
    InvalidError,
    NotFoundError,
    SkerryError,
    UnauthenticatedError,
    UnavailableError,
)
from skerry.frozen import Frozen, replace

EDGE_DATA: Final = Path("/var/lib/skerry/edge")
SOCKET_NAME: Final = "edgecore.sock"

EXIT_FAILED: Final = 1
EXIT_USAGE: Final = 2
EXIT_NOT_FOUND: Final = 3
EXIT_CONFLICT: Final = 4
EXIT_REFUSED: Final = 5
EXIT_TIMEOUT: Final = 6
EXIT_OFFLINE: Final = 7

P = ParamSpec("P")


class RefusedError(SkerryError):
    """The device, not Skerry, said no."""


class DeadlineError(SkerryError):
    """What was waited for did not come in time."""


class QueuedError(SkerryError):
    """It waits for somebody who is out of reach, and goes on by itself when they are back."""


class Target(Frozen):
    """Where the options point; connecting waits until a command needs it."""

    kubeconfig: Path | None = None
    data: Path | None = None
    socket: Path | None = None
    context: str = ""

    def client(self) -> Client:
        """The server meant. Raises `NotFoundError` when nothing names one."""
        if self.socket:
            return _local(self.socket)
        if self.kubeconfig:
            return Client(cluster=kubeconfig.load(self.kubeconfig, self.context))
        if self.data:
            return self._in_data(self.data)
        from_environment = os.environ.get("SKERRY_KUBECONFIG") or os.environ.get("KUBECONFIG", "").split(":")[0]
        if from_environment:
            return Client(cluster=kubeconfig.load(Path(from_environment), self.context))
        if (EDGE_DATA / SOCKET_NAME).exists():
            return _local(EDGE_DATA / SOCKET_NAME)
        return Client(cluster=kubeconfig.load(Path.home() / ".kube" / "config", self.context))

    def _in_data(self, data: Path) -> Client:
        if (data / SOCKET_NAME).exists():
            return _local(data / SOCKET_NAME)
        if (data / "admin.kubeconfig").exists():
            return Client(cluster=kubeconfig.load(data / "admin.kubeconfig", self.context))
        raise NotFoundError(
            f"{data} holds neither admin.kubeconfig (has cloudcore run there?) "
            f"nor {SOCKET_NAME} (is edgecore running?)"
        )


def _local(path: Path) -> Client:
    if not path.exists():
        raise UnavailableError(f"no agent listens at {path}: is edgecore running?")
    return Client(socket_path=path)


def exit_code(error: SkerryError) -> int:
    """Stable exit codes: scripts may rely on them."""
    match error:
        case NotFoundError():
            return EXIT_NOT_FOUND
        case ConflictError() | AlreadyExistsError():
            return EXIT_CONFLICT
        case RefusedError() | InvalidError() | ForbiddenError() | UnauthenticatedError():
            return EXIT_REFUSED
        case DeadlineError():
            return EXIT_TIMEOUT
        case UnavailableError() | QueuedError():
            return EXIT_OFFLINE
        case BadRequestError():
            return EXIT_USAGE
        case _:
            return EXIT_FAILED


def fail(error: SkerryError) -> NoReturn:
    """Say what went wrong, field by field where the server did, and end with the error's exit code."""
    say("error: ", fg="red", bold=True, nl=False, err=True)
    say(str(error), err=True)
    causes = error.causes if isinstance(error, InvalidError) else ()
    if len(causes) > 1:
        for cause in causes:
            say(f"  {cause.field}: {cause.message}", err=True)
    sys.exit(exit_code(error))


@contextmanager
def failures_told() -> Generator[None]:
    """Failures become messages and exit codes: nobody sees a traceback of a refusal."""
    try:
        yield
    except SkerryError as error:
        fail(error)
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(141)


def with_target(command: Callable[Concatenate[Target, P], None]) -> Callable[P, None]:
    """Give a command the options that say which server is meant, and the `Target` they add up to.

    They stand before the command's name or after it, as people type them. Failures are told (`failures_told`).
    """

    @wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        target = click.get_current_context().find_object(Target) or Target()
        with failures_told(), _heard_interrupts():
            command(target, *args, **kwargs)

    return target_options(run)


@contextmanager
def _heard_interrupts() -> Generator[None]:
    """Python looks for signals, then waits in a system call: one that comes just between is seen only when that call
    is interrupted, which for a quiet watch is never. So something interrupts it every second."""
    main = threading.main_thread()
    if threading.current_thread() is not main or main.ident is None:
        yield
        return
    waits_in, over = main.ident, threading.Event()

    def interrupt() -> None:
        while not over.wait(1.0):
            signal.pthread_kill(waits_in, signal.SIGURG)  # which nobody minds otherwise

    def look(_number: int, _frame: object) -> None:
        """What was missed is seen before this is called."""

    before = signal.signal(signal.SIGURG, look)
    threading.Thread(target=interrupt, daemon=True).start()
    try:
        yield
    finally:
        over.set()
        signal.signal(signal.SIGURG, before or signal.SIG_DFL)


def target_options(command: Callable[P, None]) -> Callable[P, None]:
    """The options alone: for the root command, where they may stand as well."""
    for option in _OPTIONS:
        command = option(command)
    return command


def _note(ctx: click.Context, param: click.Parameter, value: Path | str | None) -> None:
    if value:
        assert param.name is not None
        ctx.obj = replace(ctx.find_object(Target) or Target(), **{param.name: value})


def _option(
    name: str, help_text: str, kind: type[Path] | None = None
) -> Callable[[Callable[P, None]], Callable[P, None]]:
    value_type = click.Path(path_type=Path) if kind else click.STRING
    return click.option(name, type=value_type, expose_value=False, callback=_note, help=help_text)


_OPTIONS: Final = (
    _option("--context", "Which context of the kubeconfig."),
    _option("--socket", "A local agent's unix socket.", Path),
    _option("--data", "Data directory of a cloudcore or an edgecore.", Path),
    _option("--kubeconfig", "The cloud, as a kubeconfig file.", Path),
)
