"""Files of a gateway that a Device names, as secrets or as whom to trust: which they may be, and how they are read.

Whoever may write Devices in the cloud would else have any file of the gateway sent to any place, or shown as its own
certificate: those that are meant for devices lie in one directory, which the gateway's operator names. A file is read
only where it is one: a pipe, a device or a file without an end would stop the agent. Keeps nothing.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Collection, Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

from skerry.errors import InvalidError, UnavailableError
from skerry.objects.json import JsonObject, map_at

if TYPE_CHECKING:
    import ssl

FILES: Final = ("passwordFile", "tokenFile", "caFile", "certFile", "keyFile")
"""Fields of `configData` that name one."""
SECRET_BYTES_MAX: Final = 64 * 1024
AUTHORITIES_BYTES_MAX: Final = 1 << 20
"""A system's bundle of certificate authorities has a quarter of that."""


class UnusableFileError(UnavailableError):
    """A file that is named can't be read, or is not what it should be. It may come, or be mended."""


def refuse_elsewhere(path: str, directory: Path | None, where: str) -> None:
    """Raises `InvalidError` for a file that is not below `directory`, by its name and with links followed. None: any
    file will do, as for tools that run as who asks. Files elsewhere are not looked at."""
    if not path or directory is None:
        return
    named = Path(path)
    # By name first: else a link of somebody else's could lead here now, and elsewhere when the file is read.
    by_name = ".." not in named.parts and named.is_relative_to(directory.absolute())
    if not by_name or not named.resolve().is_relative_to(directory.resolve()):
        raise InvalidError(
            f"{where}: {path} is not in {directory}: put it there, or name its directory by "
            "edgecore run --device-credentials"
        )


def files_in(data: JsonObject, where: str, names: Collection[str] = FILES) -> Iterator[tuple[str, str]]:
    """Field and path of each file that a `configData` names, `where` it is."""
    for name, value in data.items():
        if name in names and isinstance(value, str) and value:
            yield f"{where}.{name}", value
        elif isinstance(value, dict):
            yield from files_in(map_at(data, name), f"{where}.{name}", names)


def refuse_files_elsewhere(data: JsonObject, directory: Path | None, where: str) -> None:
    """`refuse_elsewhere` for all of them."""
    for field, path in files_in(data, where):
        refuse_elsewhere(path, directory, field)


def read_file(path: str, *, bytes_max: int = SECRET_BYTES_MAX) -> bytes:
    """Blocks as long as a file's own disk does. Raises `UnusableFileError`."""
    content = b""
    try:
        # A pipe's end is not waited for, and a device not opened at all: opening one may do something.
        kind = Path(path).stat().st_mode
        if stat.S_ISREG(kind):
            descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
            with os.fdopen(descriptor, "rb") as opened:
                kind = os.fstat(descriptor).st_mode  # of what was opened
                if stat.S_ISREG(kind):
                    content = opened.read(bytes_max + 1)
    except (OSError, ValueError) as error:
        raise UnusableFileError(f"{path} can't be read: {getattr(error, 'strerror', '') or error}") from error
    if not stat.S_ISREG(kind):
        raise UnusableFileError(f"{path} can't be read: it is no file with content")
    if len(content) > bytes_max:
        raise UnusableFileError(f"{path} can't be read: it has more than {bytes_max} bytes")
    return content


def read_secret(path: str) -> str:
    """A password or a token: one line, without blanks around it. Raises `UnusableFileError`."""
    try:
        text = read_file(path).decode().strip()
    except UnicodeDecodeError as error:
        raise UnusableFileError(f"{path} is not UTF-8 text") from error
    if not text or not text.isprintable():
        raise UnusableFileError(f"{path} is empty, or more than a line")
    return text


# --- TLS --------------------------------------------------------------------------------------------------


def tls_context(
    *, ca_file: str = "", cert_file: str = "", key_file: str = "", ca_pem: str = "", chain_pem: str = ""
) -> ssl.SSLContext:
    """Of a client, by files and by what a Secret has; "" is none: without authorities the system's are trusted. Reads
    files, and blocks. Raises `UnusableFileError`."""
    import ssl

    authorities = [ca_pem.encode()] if ca_pem else []
    if ca_file:
        authorities.append(read_file(ca_file, bytes_max=AUTHORITIES_BYTES_MAX))
    chain = b"\n".join(read_file(each) for each in (cert_file, key_file) if each) or chain_pem.encode()
    try:
        if authorities:
            with _as_file(b"\n".join(authorities)) as path:
                context = ssl.create_default_context(cafile=path)
        else:
            context = ssl.create_default_context()
    except (OSError, ValueError) as error:  # `ssl`'s own are of the first
        named = ca_file or "ca.crt of the Secret"
        raise UnusableFileError(f"{named} has no certificates of authorities: {_reason(error)}") from error
    if chain:
        named = ", ".join(filter(None, (cert_file, key_file))) or "tls.crt and tls.key of the Secret"
        try:
            with _as_file(chain) as path:
                context.load_cert_chain(path, password="")  # else whoever sits at a terminal would be asked for one
        except (OSError, ValueError) as error:
            raise UnusableFileError(f"{named}: no certificate with its key: {_reason(error)}") from error
    return context


def _reason(error: Exception) -> str:
    return str(getattr(error, "reason", "") or getattr(error, "strerror", "") or error)


@contextmanager
def _as_file(content: bytes) -> Generator[str]:
    """Python's ssl reads from files alone: one in memory, that nobody else sees."""
    number = os.memfd_create("pem", os.MFD_CLOEXEC)
    try:
        with os.fdopen(os.dup(number), "wb") as opened:
            opened.write(content)
        yield f"/proc/self/fd/{number}"
    finally:
        os.close(number)
