"""`skerry cp`: files and directories into and out of containers, by the `tar` that is in there, as kubectl does.

What comes out of a container is not trusted: names that lead out of the destination, links and devices are left out,
and said. Nothing is held in memory beyond a few pieces.
"""

from __future__ import annotations

import asyncio
import os
import tarfile
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path, PurePosixPath
from typing import IO, Final, cast

import click

from skerry.cli.client import Client
from skerry.cli.into import Wanted, as_kubectl, until_told_to_end
from skerry.cli.options import namespace_option
from skerry.cli.output import say
from skerry.cli.pods import complete_containers, container_in, find_pod
from skerry.cli.talking import Ended, Read, Streams, converse
from skerry.cli.target import Target, with_target
from skerry.errors import BadRequestError, NotFoundError, SkerryError, UnavailableError
from skerry.frozen import Frozen, replace

_PIECE_BYTES: Final = 256 * 1024
_ERROR_BYTES_MAX: Final = 4096


class Place(Frozen):
    """Where something is: `pod` is "" for here."""

    path: str
    pod: str = ""
    namespace: str = ""


@click.command("cp")
@click.argument("source")
@click.argument("destination")
@namespace_option
@click.option("-c", "--container", default="", help="Which container.", shell_complete=complete_containers)
@click.option("--no-preserve", is_flag=True, help="Not its owner and rights.")
@with_target
def cp(target: Target, source: str, destination: str, namespace: str, container: str, no_preserve: bool) -> None:
    """Copy files and directories: `skerry cp logs/ pump:/tmp/logs`, `skerry cp ns/pump:/etc/hosts hosts`.

    The container needs `tar`. Links are left out, as kubectl leaves them out.
    """
    with as_kubectl():
        client = target.client()
        here, there = place_of(source), place_of(destination)
        if bool(here.pod) == bool(there.pod):
            raise BadRequestError("one of both is in a pod (POD:PATH or NAMESPACE/POD:PATH), and one is here")
        remote = here if here.pod else there
        place = remote.namespace or namespace or client.namespace
        pod = find_pod(client, place, remote.pod)
        into = Wanted(pod=pod, place=place, container=container_in(pod, container, quiet=False), quiet=True)
        if there.pod and not Path(here.path).exists():
            raise NotFoundError(f"{here.path} doesn't exist here")
        ended = asyncio.run(
            until_told_to_end(
                _download(client, into, here.path, _destination(here.path, Path(there.path)))
                if here.pod
                else _upload(client, into, Path(here.path).resolve(), there.path, preserve=not no_preserve)
            )
        )
        if isinstance(ended, int):
            raise UnavailableError("it was broken off")


def place_of(text: str) -> Place:
    """`pod:path`, `namespace/pod:path`, or a path here. Raises `BadRequestError`."""
    before, colon, path = text.partition(":")
    if not colon or before.startswith((".", "/")) or before == "":
        return Place(path=text)
    namespace, _, pod = before.rpartition("/")
    if not path or not pod or "/" in namespace:
        raise BadRequestError(f"{text!r}: write POD:PATH or NAMESPACE/POD:PATH")
    return Place(path=path, pod=pod, namespace=namespace)


class _Failed:
    """What a command wrote to its standard error, as far as anybody reads it."""

    def __init__(self) -> None:
        self._text = bytearray()

    async def write(self, data: bytes) -> None:
        self._text += data[: _ERROR_BYTES_MAX - len(self._text)]

    def check(self, ended: Ended, command: str) -> None:
        """Raises `SkerryError`."""
        if ended.failure:
            raise SkerryError(ended.failure)
        if ended.exit_code:
            said = self._text.decode(errors="replace").strip()
            raise SkerryError(f"{command} ended with exit code {ended.exit_code}" + (f": {said}" if said else ""))


async def _run(client: Client, into: Wanted, *command: str, stdin: Read | None = None, stdout: _Sink) -> _Outcome:
    failed = _Failed()
    wanted = replace(into, command=command, stdin=stdin is not None)
    streams = Streams(stdin=stdin, stdout=stdout, stderr=failed.write)
    ended = await converse(client, wanted.path, wanted.query, streams)
    return _Outcome(ended=ended, failed=failed)


_Sink = Callable[[bytes], Awaitable[None]]


class _Outcome(Frozen):
    ended: Ended
    failed: _Failed

    def check(self, command: str) -> None:
        self.failed.check(self.ended, command)


async def _nowhere(_data: bytes) -> None:
    """Nobody wants to know."""


# --- into a container ---------------------------------------------------------------------------------------------


async def _upload(client: Client, into: Wanted, source: Path, destination: str, *, preserve: bool) -> None:
    target = PurePosixPath(destination.rstrip("/") or "/")
    looked = await _run(client, into, "test", "-d", str(target), stdout=_nowhere)
    if looked.ended.failure:
        raise SkerryError(looked.ended.failure)
    if looked.ended.exit_code == 0:
        target = target / source.name
    elif destination.endswith("/"):
        raise NotFoundError(f"{destination} is no directory in the container")
    flags = ("xmf", "-") if preserve else ("--no-same-permissions", "--no-same-owner", "-xmf", "-")
    with _Packing(source, target.name) as packing:
        done = await _run(client, into, "tar", *flags, "-C", str(target.parent), stdin=packing.read, stdout=_nowhere)
    done.check("tar in the container")
    packing.check()


class _Packing:
    """Makes an archive in a thread, and is read as it is made."""

    def __init__(self, source: Path, name: str) -> None:
        self._source = source
        self._name = name
        self._error: Exception | None = None
        self._ends = os.pipe()
        self._thread = threading.Thread(target=self._pack, daemon=True)

    def __enter__(self) -> _Packing:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._ends[0])  # whoever writes hears it
        self._thread.join()

    async def read(self) -> bytes:
        return await asyncio.to_thread(os.read, self._ends[0], _PIECE_BYTES)

    def check(self) -> None:
        """Raises `SkerryError` for what could not be read here."""
        if self._error is not None:
            raise SkerryError(f"{self._source}: {self._error}")

    def _pack(self) -> None:
        try:
            with os.fdopen(self._ends[1], "wb") as sink, tarfile.open(fileobj=sink, mode="w|") as archive:
                archive.add(self._source, self._name, filter=_packed)
        except (OSError, tarfile.TarError) as error:
            self._error = error


def _packed(member: tarfile.TarInfo) -> tarfile.TarInfo | None:
    if member.isfile() or member.isdir():
        return member
    say(f"warning: left out, as it is neither a file nor a directory: {member.name}", err=True)
    return None


# --- out of a container -------------------------------------------------------------------------------------------


async def _download(client: Client, into: Wanted, source: str, destination: Path) -> None:
    path = PurePosixPath(source)
    name, parent = path.name or ".", str(path.parent if path.name else path)
    with _Unpacking(name, destination) as unpacking:
        done = await _run(client, into, "tar", "cf", "-", "-C", parent, name, stdout=unpacking.write)
    done.check("tar in the container")
    unpacking.check()


def _destination(source: str, given: Path) -> Path:
    """Into a directory that is there, or by the name that is given. Raises `NotFoundError`."""
    name = PurePosixPath(source).name
    if given.is_dir() and name not in ("", ".."):
        return given / name
    if not given.parent.is_dir():
        raise NotFoundError(f"{given.parent} is no directory here")
    return given


class _Unpacking:
    """Takes an archive apart in a thread, as it comes."""

    def __init__(self, name: str, destination: Path) -> None:
        self._name = name
        self._destination = destination
        self._error: Exception | None = None
        self._ends = os.pipe()
        self._thread = threading.Thread(target=self._unpack, daemon=True)

    def __enter__(self) -> _Unpacking:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._ends[1])
        self._thread.join()

    async def write(self, data: bytes) -> None:
        await asyncio.to_thread(self._write, data)

    def _write(self, data: bytes) -> None:
        at = 0
        try:
            while at < len(data):
                at += os.write(self._ends[1], data[at:])
        except BrokenPipeError as error:
            raise UnavailableError(f"{self._destination}: {self._error or 'it can not be written'}") from error

    def check(self) -> None:
        """Raises `SkerryError` for what could not be written here."""
        if self._error is not None:
            raise SkerryError(f"{self._destination}: {self._error}")

    def _unpack(self) -> None:
        try:
            with os.fdopen(self._ends[0], "rb") as source:
                unpack(source, self._name, self._destination)
        except (OSError, tarfile.TarError, EOFError) as error:
            self._error = error


def unpack(source: IO[bytes], name: str, destination: Path) -> None:
    """Files and directories of an archive below `name` to where they belong here; all else is left out and said."""
    with tarfile.open(fileobj=source, mode="r|") as archive:
        for member in archive:
            place = placed(member.name, name, destination)
            if place is None or not (member.isfile() or member.isdir()):
                say(f"warning: left out: {member.name}", err=True)
            elif member.isdir():
                place.mkdir(parents=True, exist_ok=True)
            else:
                place.parent.mkdir(parents=True, exist_ok=True)
                _write(cast("IO[bytes]", archive.extractfile(member)), place, member.mode)
        while source.read(_PIECE_BYTES):  # what is behind the end of the archive
            pass


def placed(member: str, name: str, destination: Path) -> Path | None:
    """Where a member belongs; None for one that is not below `name`, or leads out of it."""
    parts = [part for part in member.split("/") if part not in ("", ".")]
    base = [] if name == "." else [name]
    if member.startswith("/") or ".." in parts or parts[: len(base)] != base:
        return None
    place = destination.joinpath(*parts[len(base) :])
    # A link that is there already must not lead a file out of the destination.
    real, root = place.parent.resolve(), destination.resolve()
    return place if place == destination or real == root or root in real.parents else None


def _write(source: IO[bytes], place: Path, mode: int) -> None:
    descriptor = os.open(place, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "wb") as sink:
        while data := source.read(_PIECE_BYTES):
            sink.write(data)
    place.chmod(mode & 0o777)
