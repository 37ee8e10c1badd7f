"""The embedded broker put together: its directory, its users, the agent's own password, and where it listens.

Keeps all of it in one directory that is the agent's user's alone: `broker.db` (what clients rest on), `users.json`,
and passwords that are there for programs on this gateway to read. The agent's own is a new one with each start.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from edgecore.broker.journal import SqliteJournal
from edgecore.broker.server import BrokerServer, Listener, ServerParts
from edgecore.broker.serving import ServingFiles
from edgecore.broker.users import UserBook
from skerry.files import unavailable, write_private
from skerry.frozen import Frozen
from skerry.ports import Clock, Ids

DATABASE: Final = "broker.db"
PASSWORD_BYTES: Final = 24


class Embedding(Frozen):
    """What the settings say."""

    directory: Path
    users_file: Path
    agent_password_file: Path
    plain: Sequence[tuple[str, int]]
    secure: Sequence[tuple[str, int]]
    tls_files: tuple[str, str] | None
    """Certificate and key; required with `secure`."""
    client_ca_file: str
    """"" for clients that show a password."""
    socket: Path | None
    socket_group: str
    version: str
    own_clients: str
    """How the agent's own client ids begin."""


def open_embedded(said: Embedding, clock: Clock, ids: Ids) -> BrokerServer:
    """Nothing runs yet. Raises `InvalidError`, `UnavailableError`."""
    try:
        said.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise unavailable(said.directory, error) from error
    password = new_password()
    write_private(said.agent_password_file, password + b"\n")
    listeners = [Listener(host=host, port=port) for host, port in said.plain]
    if said.secure:
        assert said.tls_files is not None, "the settings were checked"
        tls = ServingFiles(*said.tls_files, said.client_ca_file).context
        listeners += [
            Listener(host=host, port=port, tls=tls, certified=bool(said.client_ca_file)) for host, port in said.secure
        ]
    if said.socket is not None:
        listeners.append(Listener(path=said.socket, group=said.socket_group))
    return BrokerServer(
        ServerParts(
            version=said.version,
            listeners=listeners,
            journal=SqliteJournal(said.directory / DATABASE, clock),
            book=UserBook(said.users_file, password, said.own_clients),
            clock=clock,
            ids=ids,
        )
    )


def new_password() -> bytes:
    return secrets.token_urlsafe(PASSWORD_BYTES).encode()
