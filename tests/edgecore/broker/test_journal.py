"""What is read back is what was kept, whatever was changed in which turns; and only what is whole."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgecore.broker.journal import MemoryJournal, SqliteJournal
from skerry.errors import StorageFullError, UnavailableError
from skerry.mqtt.broker import Broker
from skerry.mqtt.kept import Changes, Kept, Message
from skerry.mqtt.ledger import joined
from skerry.mqtt.packets import (
    FOREVER,
    Ack,
    Connect,
    Farewell,
    Kind,
    Properties,
    Publish,
    Subscribe,
    Unsubscribe,
    Wanted,
    Will,
)
from skerry.mqtt.packets import Packet as AnyPacket
from tests.skerry.mqtt.table import Disk, Rules


class StillClock:
    """A clock that is moved."""

    def __init__(self) -> None:
        self.wall = 1_700_000_000_000
        self.s = 50.0

    def wall_ms(self) -> int:
        return self.wall

    def monotonic_s(self) -> float:
        return self.s


def sorted_kept(kept: Kept) -> list[list[object]]:
    return [
        sorted(held, key=str)
        for held in (kept.sessions, kept.subscriptions, kept.deliveries, kept.received, kept.retained)
    ]


CLIENTS = ("a", "b")
TOPICS = ("t/1", "t/2")


def packets() -> st.SearchStrategy[AnyPacket]:
    numbers = st.integers(1, 4)
    properties = st.sampled_from(
        [Properties(), Properties(message_expiry_s=90, user=(("k", "ü"),), correlation=b"\0")]
    )
    return st.one_of(
        st.builds(
            Publish,
            topic=st.sampled_from(TOPICS),
            payload=st.sampled_from([b"", b"\x00\xff", b"x"]),
            qos=st.sampled_from([1, 2]),
            packet_id=numbers,
            retain=st.booleans(),
            properties=properties,
        ),
        st.builds(
            Subscribe,
            packet_id=numbers,
            wanted=st.builds(
                Wanted,
                filter=st.sampled_from(["t/+", "$share/g/t/1", "t/2"]),
                qos=st.sampled_from([1, 2]),
                no_local=st.just(False),
                as_published=st.booleans(),
                retain_handling=st.sampled_from([0, 1, 2]),
            ).map(lambda each: (each,)),
            properties=st.sampled_from([Properties(), Properties(subscription_ids=(268_435_455,))]),
        ),
        st.builds(Unsubscribe, packet_id=numbers, filters=st.sampled_from([("t/+",), ("t/2",)])),
        st.builds(Ack, kind=st.sampled_from([Kind.PUBACK, Kind.PUBREC, Kind.PUBREL]), packet_id=numbers),
        st.builds(Farewell, reason=st.sampled_from([0, 4])),
    )


ACTS = st.lists(
    st.one_of(
        st.tuples(st.just("connect"), st.sampled_from(CLIENTS), st.sampled_from([0, 60, FOREVER]), st.booleans()),
        st.tuples(st.just("packet"), st.sampled_from(CLIENTS), packets()),
        st.tuples(st.just("commit")),
    ),
    max_size=40,
)


@given(ACTS)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_what_is_read_is_what_a_table_would_hold(
    tmp_path_factory: pytest.TempPathFactory, acts: list[tuple[object, ...]]
) -> None:
    path = tmp_path_factory.mktemp("journal") / "broker.db"
    clock, disk = StillClock(), Disk()
    journal = SqliteJournal(path, clock)
    broker = Broker(Rules(), now_s=clock.s)
    numbers: dict[object, int] = {}
    unwritten: Changes | None = None
    for act in [*acts, ("commit",)]:
        match act:
            case ("connect", str(name), int(expiry_s), bool(clean)):
                numbers[name] = numbers.get(name, 0 if name == "a" else 1000) + 1
                will = Will(topic="t/1", payload=b"w", qos=1, properties=Properties(will_delay_s=7))
                hello = Connect(client=name, clean=clean, will=will, properties=Properties(session_expiry_s=expiry_s))
                broker.connect(numbers[name], "u", hello, assigned="", now_s=clock.s)
            case ("packet", name, packet):
                broker.receive(numbers.get(name, 0), packet, clock.s)  # type: ignore[arg-type]
            case _:
                if unwritten is not None:
                    journal.commit(unwritten)
                unwritten = None
        changes = broker.take_changes()
        if changes is not None:
            disk.commit(changes)
            unwritten = changes if unwritten is None else joined(unwritten, changes)
    if unwritten is not None:
        journal.commit(unwritten)
    journal.close()
    again = SqliteJournal(path, clock)
    assert sorted_kept(again.load()) == sorted_kept(disk.kept())
    again.close()


def test_times_run_no_longer_than_they_were_meant_to(tmp_path: Path) -> None:
    clock = StillClock()
    journal = SqliteJournal(tmp_path / "broker.db", clock)
    said = Properties(message_expiry_s=100)
    message = Message(topic="t", payload=b"x", qos=1, retain=True, properties=said, expires_s=clock.s + 100)
    journal.commit(Changes(retained=(message,)))
    for wall_ms, left_s in ((30_000, 70.0), (-(10**12), 100.0), (10**12, 0.0)):
        clock.wall += wall_ms
        clock.s += 5  # another start of the machine: its seconds mean nothing here
        (found,) = journal.load().retained
        assert found.expires_s == clock.s + left_s
        clock.wall -= wall_ms
    journal.close()


def test_a_file_that_cannot_be_read_is_set_aside(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "broker.db"
    path.write_bytes(b"no database at all, and long enough to be looked at" * 100)
    journal = SqliteJournal(path, StillClock())
    assert journal.load() == Kept()
    journal.commit(Changes(retained=(Message(topic="t", payload=b"x", qos=0),)))
    journal.close()
    assert len(list(tmp_path.glob("broker.db.damaged-*"))) == 1 and "damaged" in caplog.text
    assert path.stat().st_mode & 0o77 == 0


def test_rows_that_make_no_sense_cost_the_file_not_the_start(tmp_path: Path) -> None:
    path = tmp_path / "broker.db"
    SqliteJournal(path, StillClock()).close()
    with sqlite3.connect(path) as db:
        db.execute("INSERT INTO retained VALUES ('t', x'00', 0, x'FFFFFFFF', '', NULL)")
    db.close()
    journal = SqliteJournal(path, StillClock())
    assert journal.load() == Kept()
    assert list(tmp_path.glob("broker.db.damaged-*"))
    journal.close()


def test_a_full_disk_is_said_and_leaves_nothing_half_done(tmp_path: Path) -> None:
    journal = SqliteJournal(tmp_path / "broker.db", StillClock())
    journal._db.execute("PRAGMA max_page_count=20")
    message = Message(topic="t", payload=b"x", qos=0)
    with pytest.raises(StorageFullError):
        journal.commit(Changes(retained=(message, Message(topic="u", payload=b"x" * 200_000, qos=0))))
    assert journal.load() == Kept()
    journal.commit(Changes(retained=(message,)))
    assert journal.load().retained == [message]
    journal.close()


def test_where_there_can_be_no_file_it_is_said(tmp_path: Path) -> None:
    with pytest.raises(UnavailableError):
        SqliteJournal(tmp_path / "nowhere" / "broker.db", StillClock())


def test_the_form_in_memory_forgets() -> None:
    journal = MemoryJournal()
    journal.commit(Changes(ended=("a",)))
    assert journal.load() == Kept()
    journal.close()
