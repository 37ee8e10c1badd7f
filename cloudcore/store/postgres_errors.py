"""What PostgreSQL's and libpq's errors mean to whoever runs CloudCore, and what to do about them.

Codes are of https://www.postgresql.org/docs/current/errcodes-appendix.html. A server that refuses a connection
gives libpq a text and no code, in the server's language: then the text is told as it is, with a hint where it can be
recognized. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from skerry.errors import StorageFullError, UnavailableError

_FULL: Final = "53100"

_MEANINGS: Final[Mapping[str, str]] = {
    "25006": "is a standby or read-only; name all hosts in --database, and the one that takes writes is found",
    "42501": "refuses: this user may not create or use the tables; make it the owner of the database",
    "42P01": "has lost its tables since cloudcore started; restore it from a backup",
    "42703": "has tables that are not Skerry's; give Skerry a database (or a schema) of its own",
    "53200": "is out of memory",
    "53300": "has no connection left; raise its max_connections (a cloudcore needs seven)",
    "55P03": "is held by another replica that does not move on; nothing was written",
    "57014": "took too long over a statement and ended it",
    "57P01": "is stopping",
    "57P02": "has crashed and restarts",
    "57P03": "is starting",
    "25P03": "ended a write that this process had stopped in the middle of; nothing was written",
    "57P05": "closed an idle connection",
}

_HINTS: Final = (
    ("password authentication failed", "check the user and the password (better in PGPASSFILE than in --database)"),
    ("no password supplied", "give the password in a file named by PGPASSFILE, or in --database"),
    ("does not exist", "create the database, and a user who owns it, first (docs/howto/postgresql.md)"),
    ("no pg_hba.conf entry", "the server's pg_hba.conf does not let this user in from this address"),
    ("certificate verify failed", "the server's certificate is not of the CA in sslrootcert"),
    ("permission denied for database", "grant this user CONNECT and CREATE on the database"),
    ("read-only", "none of the hosts takes writes: is the primary down?"),
    ("session is not read-write", "none of the hosts takes writes: is the primary down?"),
    ("unsupported startup parameter", "behind a pooler? CloudCore needs sessions of its own: name the server itself"),
)


def database_fault(name: str, state: str | None, text: str) -> UnavailableError:
    """The world's error that an error of a statement means."""
    first = _one_line(text)
    if state == _FULL:
        return StorageFullError(f"the disk of the store {name} is full; nothing was written ({first})")
    meaning = _MEANINGS.get(state or "")
    if meaning is None:
        return UnavailableError(f"the store {name} can't be used: {first}")
    return UnavailableError(f"the store {name} {meaning} ({first})")


def connection_fault(name: str, text: str) -> UnavailableError:
    """The world's error that a failed connection means."""
    line = _one_line(text)
    hint = next((f"; {hint}" for sign, hint in _HINTS if sign in line), "")
    return UnavailableError(f"the store {name} can't be reached: {line}{hint}")


def _one_line(text: str) -> str:
    return " ".join(text.split())
