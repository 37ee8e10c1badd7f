"""A zone of a cloud's as it is kept on disk: ORIGIN.snapshot, the spec of its DnsSnapshot as JSON.

A file is replaced as a whole, by what could be read as a zone, so a crash leaves the one before or the one after.
What a file can't be read for keeps the zone as it was served.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from cloudcore.dns.servicefile import services_of
from cloudcore.dns.zone import Zone
from cloudcore.dns.zonefile import parse_records, with_services
from skerry.dns.names import name_of
from skerry.errors import BadRequestError, InvalidError, UnavailableError
from skerry.files import sync_directory, unavailable, write_private
from skerry.objects.json import JsonObject, decode_object, encode_object, map_at, str_at
from skerry.objects.names import subdomain_faults

SUFFIX: Final = ".snapshot"


def read_snapshot(path: Path) -> Zone:
    """Raises `InvalidError`, `UnavailableError`."""
    try:
        spec = decode_object(path.read_bytes())
    except OSError as error:
        raise UnavailableError(f"{path}: {error.strerror}") from error
    except (BadRequestError, ValueError) as error:
        raise InvalidError(f"{path}: {error}") from error
    try:
        return zone_of_snapshot(path.name.removesuffix(SUFFIX), spec)
    except InvalidError as error:
        raise InvalidError(f"{path}: {error}") from error


def zone_of_snapshot(name: str, spec: JsonObject) -> Zone:
    """Raises `InvalidError`."""
    origin = name_of(name).lower()
    services = services_of(map_at(spec, "services"), origin, strict=False)
    return with_services(parse_records(str_at(spec, "zone"), origin), origin, services)


def keep_snapshot(directory: Path, name: str, spec: JsonObject) -> bool:
    """Write it down; whether it is another than was there. What can't be served replaces nothing: a start would find
    no zone in it. Raises `UnavailableError`, `InvalidError`."""
    path = _path(directory, name)
    content = encode_object(spec)
    try:
        if path.read_bytes() == content:
            return False
    except OSError:
        pass  # there is none, or none that can be read: it is written
    zone_of_snapshot(name, spec)
    write_private(path, content)
    return True


def forget_snapshot(directory: Path, name: str) -> bool:
    """Whether there was one. Raises `UnavailableError`, `InvalidError`."""
    path = _path(directory, name)
    try:
        path.unlink()
        sync_directory(directory)
    except FileNotFoundError:
        return False
    except OSError as error:
        raise unavailable(path, error) from error
    return True


def kept_snapshots(directory: Path) -> list[str]:
    """Names of zones. Raises `UnavailableError`."""
    try:
        names = [path.name.removesuffix(SUFFIX) for path in directory.iterdir() if path.name.endswith(SUFFIX)]
    except OSError as error:
        raise unavailable(directory, error) from error
    return sorted(name for name in names if not subdomain_faults(name))


def _path(directory: Path, name: str) -> Path:
    if faults := subdomain_faults(name):
        raise InvalidError(f"{name!r} is no zone's name: {faults[0]}")
    return directory / f"{name}{SUFFIX}"
