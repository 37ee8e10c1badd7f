"""What a gateway knows of the cloud it belongs to: its name, its certificate, where to dial.

    DIR/pki/node.key node.crt ca.crt    made together, by rename of their directory
    DIR/join.json                       written last: without it the gateway has not joined

The key never leaves the gateway and is kept when the certificate is renewed, so that a renewal replaces one file.
A crash while joining leaves no join.json; joining again with the same token and key goes on from there.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path
from typing import Final

from skerry.errors import InvalidError, NotFoundError
from skerry.files import unavailable, write_private
from skerry.frozen import Frozen
from skerry.objects.enrolment import HUB_SERVER_NAME, Enrolled
from skerry.objects.json import Json, JsonObject, int_at, str_at, strs_at
from skerry.transport.identity import Identity

HUB_PORT: Final = 10443
"""Where a cloud's hub listens, unless its address says otherwise."""


class Membership(Frozen):
    """As joined."""

    node: str
    clouds: tuple[str, ...]
    """HOST:PORT of hubs, tried in turn."""
    identity: Identity
    server_name: str
    """What the cloud's servers are asked by, and known by."""
    renew_after_ms: int
    """When two thirds of the certificate's life are over, by the cloud's clock; milliseconds since the epoch."""


class Credentials(Frozen):
    """What joining gave, in PEM."""

    key_pem: str
    certificate_pem: str
    ca_pem: str
    server_name: str = HUB_SERVER_NAME


def identity_in(data: Path, *, server_name: str) -> Identity:
    pki = data / "pki"
    return Identity(
        ca_file=pki / "ca.crt",
        certificate_file=pki / "node.crt",
        key_file=pki / "node.key",
        server_name=server_name,
    )


def load_membership(data: Path) -> Membership:
    """What `join` wrote. Raises `NotFoundError` when this gateway has not joined, `InvalidError` when what was
    written is damaged."""
    path = data / "join.json"
    try:
        obj: Json = json.loads(path.read_bytes())
    except FileNotFoundError as error:
        raise NotFoundError(
            f"this gateway has not joined a cloud ({path} is missing): "
            f"run `edgecore join --data {data} --cloud HOST:PORT --token TOKEN`"
        ) from error
    except (OSError, ValueError) as error:
        raise InvalidError(f"{path} can't be read ({error}): join again with a new token") from error
    server_name = str_at(obj, "server_name", default=HUB_SERVER_NAME)
    membership = Membership(
        node=str_at(obj, "node"),
        clouds=tuple(strs_at(obj, "clouds")),
        identity=identity_in(data, server_name=server_name),
        server_name=server_name,
        renew_after_ms=int_at(obj, "renew_after_ms"),
    )
    if not membership.node or not membership.clouds:
        raise InvalidError(f"{path} is damaged: join again with a new token")
    return membership


def save_membership(
    data: Path, credentials: Credentials, *, node: str, clouds: tuple[str, ...], renew_after_ms: int
) -> Membership:
    """Write everything, join.json last. Raises `UnavailableError` (`StorageFullError`), nothing half-joined."""
    try:
        temporary = Path(tempfile.mkdtemp(dir=data, prefix=".pki-new-"))
        write_private(temporary / "node.key", credentials.key_pem.encode())
        write_private(temporary / "node.crt", credentials.certificate_pem.encode())
        write_private(temporary / "ca.crt", credentials.ca_pem.encode())
        target = data / "pki"
        if target.exists():
            (data / "join.json").unlink(missing_ok=True)
            shutil.rmtree(target)
        temporary.rename(target)
    except OSError as error:
        raise unavailable(data, error) from error
    _save_settings(data, node=node, clouds=clouds, server_name=credentials.server_name, renew_after_ms=renew_after_ms)
    for left in data.glob(".pki-new-*"):
        shutil.rmtree(left, ignore_errors=True)
    return load_membership(data)


def save_renewed(data: Path, membership: Membership, enrolled: Enrolled, *, renew_after_ms: int) -> None:
    """Replace the certificate of the same key, and the authorities that are trusted. The name to ask by comes last:
    who is cut off in between can check what it is shown under the old name, too."""
    write_private(membership.identity.ca_file, enrolled.ca_pem.encode())
    write_private(membership.identity.certificate_file, enrolled.certificate_pem.encode())
    _save_settings(
        data,
        node=membership.node,
        clouds=membership.clouds,
        server_name=enrolled.server_name or HUB_SERVER_NAME,
        renew_after_ms=renew_after_ms,
    )


def _save_settings(data: Path, *, node: str, clouds: tuple[str, ...], server_name: str, renew_after_ms: int) -> None:
    obj: JsonObject = {
        "node": node,
        "clouds": list[Json](clouds),
        "server_name": server_name,
        "renew_after_ms": renew_after_ms,
    }
    write_private(data / "join.json", json.dumps(obj, indent=2).encode() + b"\n")
