"""`skerry exec` and `skerry attach`: into a container, through the gateway's own session or at the gateway itself.

Exit codes are kubectl's: the command's own, and 1 where it could not be run.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Coroutine, Generator, Sequence
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from skerry.cli.client import Client, path_of
from skerry.cli.options import namespace_option
from skerry.cli.output import say
from skerry.cli.pods import POD, complete_containers, complete_pods, container_in, find_pod
from skerry.cli.target import EXIT_FAILED, Target, with_target
from skerry.errors import BadRequestError, SkerryError
from skerry.frozen import Frozen
from skerry.objects.json import JsonObject, bool_at, maps_at, str_at
from skerry.objects.meta import name_of
from skerry.waits import end_tasks

if TYPE_CHECKING:
    from skerry.cli.talking import Ended

_ENDED: Final = ("Succeeded", "Failed")
_KEYS: Final = "ctrl-p,ctrl-q"
_SIGNALLED: Final = 128
T = TypeVar("T")


class Wanted(Frozen):
    """A conversation as it was asked for."""

    pod: JsonObject
    place: str
    container: str
    command: tuple[str, ...] = ()
    stdin: bool = False
    tty: bool = False
    quiet: bool = False
    keys: str = ""
    """By which the user leaves; "" for none."""

    @property
    def path(self) -> str:
        return path_of(POD, self.place, name_of(self.pod), "exec" if self.command else "attach")

    @property
    def query(self) -> list[tuple[str, str]]:
        flags = {"stdin": self.stdin, "stdout": True, "stderr": not self.tty, "tty": self.tty}
        return [
            ("container", self.container),
            *((name, "true" if wanted else "false") for name, wanted in flags.items()),
            *(("command", word) for word in self.command),
        ]


@click.command("exec")
@click.argument("pod", shell_complete=complete_pods)
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
@namespace_option
@click.option("-c", "--container", default="", help="Which container.", shell_complete=complete_containers)
@click.option("-i", "--stdin", "with_stdin", is_flag=True, help="Pass standard input to the command.")
@click.option("-t", "--tty", is_flag=True, help="Give it a terminal.")
@click.option("-q", "--quiet", is_flag=True, help="Print only what the command prints.")
@click.option("--detach-keys", default="", help="Keys by which to hang up, such as ctrl-p,ctrl-q.")
@with_target
def exec_(
    target: Target,
    pod: str,
    command: Sequence[str],
    namespace: str,
    container: str,
    with_stdin: bool,
    tty: bool,
    quiet: bool,
    detach_keys: str,
) -> None:
    """Run a command in a container: `skerry exec -it pump -- sh`, `skerry exec deploy/web -- cat /etc/hosts`.

    Ends with the command's own exit code, and with 1 where it could not be run. On a gateway it needs no cloud, and
    is told to the cloud later, with who and when (`skerry node local-changes`).
    """
    with as_kubectl():
        client = target.client()
        place = namespace or client.namespace
        found = find_pod(client, place, pod)
        if str_at(found, "status", "phase") in _ENDED:
            phase = str_at(found, "status", "phase")
            raise BadRequestError(f"cannot exec into a container in a completed pod; current phase is {phase}")
        wanted = Wanted(
            pod=found,
            place=place,
            container=container_in(found, container, quiet=quiet),
            command=tuple(command),
            stdin=with_stdin,
            tty=_terminal(tty and with_stdin, asked=tty),
            quiet=quiet,
            keys=detach_keys,
        )
        sys.exit(run(client, wanted))


@click.command("attach")
@click.argument("pod", shell_complete=complete_pods)
@namespace_option
@click.option("-c", "--container", default="", help="Which container.", shell_complete=complete_containers)
@click.option("-i", "--stdin", "with_stdin", is_flag=True, help="Pass standard input to it.")
@click.option("-t", "--tty", is_flag=True, help="Standard input is a terminal, as the container's is.")
@click.option("-q", "--quiet", is_flag=True, help="Print only what the container prints.")
@click.option("--detach-keys", default=_KEYS, show_default=True, help="Keys by which to leave; '' for none.")
@with_target
def attach(
    target: Target,
    pod: str,
    namespace: str,
    container: str,
    with_stdin: bool,
    tty: bool,
    quiet: bool,
    detach_keys: str,
) -> None:
    """Attach to what runs in a container already. It goes on when you leave (with a terminal, by --detach-keys)."""
    with as_kubectl():
        client = target.client()
        place = namespace or client.namespace
        found = find_pod(client, place, pod)
        name = container_in(found, container, quiet=quiet)
        if tty and not _has_terminal(found, name):
            say(f"error: Unable to use a TTY - container {name} did not allocate one", err=True)
            tty = False
        wanted = Wanted(
            pod=found,
            place=place,
            container=name,
            stdin=with_stdin,
            tty=_terminal(tty and with_stdin, asked=tty),
            quiet=quiet,
            keys=detach_keys,
        )
        sys.exit(run(client, wanted))


def _has_terminal(pod: JsonObject, container: str) -> bool:
    specs = [*maps_at(pod, "spec", "containers"), *maps_at(pod, "spec", "ephemeralContainers")]
    return any(str_at(one, "name") == container and bool_at(one, "tty") for one in specs)


def _terminal(wanted: bool, *, asked: bool) -> bool:
    """Whether there is a terminal to give; kubectl's words where there is none."""
    if asked and not wanted:
        return True  # without input: the command has a terminal, and this one stays as it is
    if wanted and not sys.stdin.isatty():
        say("Unable to use a TTY - input is not a terminal or the right kind of file", err=True)
        return False
    return wanted


@contextmanager
def as_kubectl() -> Generator[None]:
    """Whatever is refused ends with 1, as kubectl does: other codes are the command's."""
    try:
        yield
    except SkerryError as error:
        say("error: ", fg="red", bold=True, nl=False, err=True)
        say(str(error), err=True)
        sys.exit(EXIT_FAILED)


def run(client: Client, wanted: Wanted) -> int:
    """With this process's own streams, until it has ended; its exit code. Raises what refuses it."""
    from skerry.cli.terminal import DetachedError, keys_of, raw

    keys = keys_of(wanted.keys)
    with ExitStack() as stack:
        if wanted.tty and wanted.stdin:
            if not wanted.command and not wanted.quiet:
                say("If you don't see a command prompt, try pressing enter.", err=True)
            stack.enter_context(raw(sys.stdin.fileno()))
        try:
            finished = asyncio.run(_converse(client, wanted, keys))
        except DetachedError:
            stack.close()
            say("\nhung up" if wanted.command else "\ndetached; it goes on", err=True)
            return 0
    if isinstance(finished, int):
        return _SIGNALLED + finished
    if finished.failure:
        raise SkerryError(finished.failure)
    if finished.exit_code and not wanted.quiet:
        say(f"command terminated with exit code {finished.exit_code}", err=True)
    return finished.exit_code


async def _converse(client: Client, wanted: Wanted, keys: bytes) -> Ended | int:
    """How it ended, or the number of the signal that ended this side."""
    from skerry.cli.talking import Streams, converse
    from skerry.cli.terminal import DetachKeys, Input, Sizes, write_error, write_out

    sizes = Sizes(sys.stdout.fileno()) if wanted.tty and sys.stdout.isatty() else None
    reading = Input(sys.stdin.fileno(), DetachKeys(keys) if wanted.tty else None) if wanted.stdin else None
    streams = Streams(stdin=reading, stdout=write_out, stderr=write_error, sizes=sizes)
    try:
        return await until_told_to_end(converse(client, wanted.path, wanted.query, streams))
    finally:
        if sizes is not None:
            sizes.close()


async def until_told_to_end(work: Coroutine[Any, Any, T]) -> T | int:
    """What it ends with, or the number of a signal that ends it: whatever it set up is put right in any case."""
    loop = asyncio.get_running_loop()
    told: asyncio.Future[int] = loop.create_future()

    def tell(number: int) -> None:
        if not told.done():
            told.set_result(number)

    for number in (signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, tell, number)
    working = asyncio.ensure_future(work)
    try:
        await asyncio.wait((working, told), return_when=asyncio.FIRST_COMPLETED)
        return told.result() if told.done() else working.result()
    finally:
        await end_tasks(working)
        for number in (signal.SIGTERM, signal.SIGHUP):
            loop.remove_signal_handler(number)
