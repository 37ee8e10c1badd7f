"""What the SQL store asks of a database: connections, an identity, the end of a write transaction, and news.

The store's logic is in `sql.py` and `sql_writer.py`, its statements are in `sql_tables.py`; all of that is the
same for every database. What differs is behind this port: `sqlite.py` (one file, one process) and `postgres.py`
(one server, any number of processes).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError

from skerry.errors import GoneError, UnavailableError
from skerry.frozen import Frozen
from skerry.objects.meta import Revision


class News(Frozen):
    """How far the database has come."""

    revision: Revision
    entry: int = 0
    """Number of the newest entry; 0: nothing is said of it."""


Heard = Callable[[News | GoneError], None]
"""Told, from any thread, how far the database is by now; or that it is another database now, and that nothing known
of it holds any more."""


class Database(Protocol):
    """One open database. Everything but the properties is called in threads that may wait."""

    @property
    def name(self) -> str:
        """What messages call it; holds no secret."""
        ...

    @property
    def writer(self) -> Engine:
        """One connection; a transaction on it keeps other writers out from its first statement on."""
        ...

    @property
    def readers(self) -> Engine:
        """`connections` of them; a transaction on one sees one state of the database."""
        ...

    @property
    def connections(self) -> int: ...

    @property
    def shared(self) -> bool:
        """Whether other processes may have it open as well."""
        ...

    @property
    def patience_s(self) -> float:
        """How long a write waits for a database that has gone away; 0 where it can't come back."""
        ...

    def begin_setup(self, connection: Connection) -> None:
        """First in the transaction that makes or checks the tables: keep other processes out of it."""
        ...

    def identity(self, connection: Connection) -> str:
        """What a copy of the database does not share with it, once the tables are there."""
        ...

    def seal(self, connection: Connection, news: News) -> None:
        """Last before a commit: leave a mark by which `sealed` knows the transaction, and tell the others."""
        ...

    def sealed(self) -> bool | None:
        """Whether the transaction sealed last was committed, where its end was not heard; None: that can't be
        found out now. Once this has answered, it stays so."""
        ...

    def lost(self, error: DBAPIError) -> bool:
        """Whether the error means that the connection has gone."""
        ...

    def explain(self, error: DBAPIError) -> UnavailableError: ...

    def follow(self, heard: Heard) -> None:
        """Begin to tell what other processes commit, until `close`."""
        ...

    def close(self) -> None:
        """Let go of everything; the writer and the readers have ended."""
        ...
