"""What is asked of libpq, and what its errors mean; the server itself is in `tests/system/test_store_postgres.py`."""

from __future__ import annotations

import pytest

from cloudcore.store.postgres import PostgresSettings, connection_options, shown
from cloudcore.store.postgres_errors import connection_fault, database_fault
from skerry.errors import InvalidError, StorageFullError

SETTINGS = PostgresSettings()


def test_our_limits_are_asked_for_where_the_operator_says_nothing() -> None:
    options = connection_options("postgresql://u@h/d", {}, SETTINGS)
    assert options["target_session_attrs"] == "read-write"
    assert (options["connect_timeout"], options["tcp_user_timeout"]) == ("5", "15000")
    assert (options["user"], options["host"], options["dbname"]) == ("u", "h", "d")


def test_what_the_operator_says_wins_in_the_name_and_in_libpqs_variables() -> None:
    dsn = "postgresql://u@h1:5432,h2:5433/d?connect_timeout=60&sslmode=verify-full&sslrootcert=/ca.pem"
    options = connection_options(dsn, {"PGAPPNAME": "mine", "PGTARGETSESSIONATTRS": "primary"}, SETTINGS)
    assert (options["connect_timeout"], options["sslmode"], options["sslrootcert"]) == (
        "60",
        "verify-full",
        "/ca.pem",
    )
    assert (options["host"], options["port"]) == ("h1,h2", "5432,5433")
    assert not {"application_name", "target_session_attrs"} & options.keys()


@pytest.mark.parametrize(
    "dsn", ["mysql://u:secret@h/d", "host=h password=secret", "postgresql://u:secret@h:x y/d?=1"]
)
def test_a_name_that_is_none_is_refused_without_quoting_it(dsn: str) -> None:
    with pytest.raises(InvalidError, match=r"^--database: ") as error:
        connection_options(dsn, {}, SETTINGS)
    assert "secret" not in str(error.value)


@pytest.mark.parametrize(
    ("dsn", "text"),
    [
        ("postgresql://u:secret@h/d", "PostgreSQL at h, database d, user u"),
        ("postgresql://h1:1,h2:2/d", "PostgreSQL at h1:1, h2:2, database d"),
        ("postgresql://h1,h2/d?port=7", "PostgreSQL at h1:7, h2:7, database d"),
        ("postgresql:///d?host=/run/pg", "PostgreSQL at /run/pg, database d"),
        ("postgresql:///d", "PostgreSQL at local socket, database d"),
    ],
)
def test_a_database_is_shown_without_its_password(dsn: str, text: str) -> None:
    assert shown(connection_options(dsn, {}, SETTINGS)) == text


def test_a_full_disk_is_told_apart() -> None:
    fault = database_fault("PG", "53100", "could not extend file:\n no space")
    assert isinstance(fault, StorageFullError)
    assert str(fault) == "the disk of the store PG is full; nothing was written (could not extend file: no space)"


def test_known_codes_say_what_to_do_and_others_are_told_as_they_are() -> None:
    assert "has no connection left; raise its max_connections" in str(database_fault("PG", "53300", "too many"))
    assert str(database_fault("PG", "XX000", "odd\nthing")) == "the store PG can't be used: odd thing"
    assert str(database_fault("PG", None, "odd")) == "the store PG can't be used: odd"


def test_a_refused_connection_gets_a_hint_where_its_text_is_known() -> None:
    told = str(connection_fault("PG", 'FATAL:  password authentication failed for user "u"'))
    assert told.startswith("the store PG can't be reached: FATAL: password authentication failed")
    assert "PGPASSFILE" in told
    assert str(connection_fault("PG", "refus\u00e9")) == "the store PG can't be reached: refus\u00e9"
