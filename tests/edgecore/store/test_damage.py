"""Damage of an edge store's file: what a start waits for, what is found later, what survives it."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from edgecore.store.damage import GONE, META_DAMAGE, META_DROPPED, META_USAGE, DamageNote, is_suspect, suspect
from edgecore.store.database import FILE_NAME
from edgecore.store.opening import OpenedStore, open_store
from edgecore.store.port import META_EPOCH, META_REVISION, EdgeBatch, NewPush, OutboxBudgets, TwinRow
from edgecore.store.sqlite import StoreSettings
from skerry.clocks import ManualClock, SystemIds
from skerry.errors import DamagedError
from tests.contracts.edge_store_contract import DEVICE, held, kept, report, telemetry
from tests.edgecore.store.test_sqlite import old_file

ROWS = 600
PAGE = 4096
TWIN = TwinRow(device=DEVICE, prop="speed", body=b"{}")


def opened(directory: Path, told: Callable[[str], None] = lambda _: None) -> OpenedStore:
    settings = StoreSettings(directory=directory, boot_id="boot-1", budgets=OutboxBudgets(), damaged=told)
    return open_store(settings, ManualClock(), SystemIds())


def filled(directory: Path) -> str:
    """A store in which everything is, and a backlog of many pages; its incarnation."""
    store = opened(directory).store
    meta = ((META_EPOCH, "e"), (META_REVISION, "7"), ("link_cut", "yes"))
    store.apply(
        EdgeBatch(
            puts=(held("web", resource="pods"), *(held(f"c{number}") for number in range(400))),
            twins=(TWIN,),
            pods=(("uid-web", b"{}"), ("uid-gone", b"{}")),
            commands=(("order", b"{}"),),
            pushes=(NewPush("q", b"pushed"),),
            meta=meta,
        )
    )
    store.apply(EdgeBatch(reports=tuple(telemetry(number) for number in range(ROWS))))
    store.close()
    return store.incarnation


def tear(directory: Path, holds: bytes) -> None:
    """Overwrite the page that holds these bytes last, as a card does that lied about what it had written."""
    path = directory / FILE_NAME
    content = bytearray(path.read_bytes())
    page = content.rindex(holds) // PAGE
    content[page * PAGE : (page + 1) * PAGE] = b"\xff" * PAGE
    path.write_bytes(content)


def change(directory: Path, statement: str, *values: object) -> None:
    with closing(sqlite3.connect(directory / FILE_NAME)) as connection:
        connection.execute(statement, values)
        connection.commit()


def test_a_start_does_not_wait_for_the_outbox_and_a_look_beside_it_finds_what_is_wrong(tmp_path: Path) -> None:
    filled(tmp_path)
    tear(tmp_path, b"%090d" % 300)
    told: list[str] = []
    found = opened(tmp_path, told.append)
    assert found.set_aside is None
    assert found.store.get(held("web", resource="pods").key) is not None
    assert found.store.stats().outbox_reports == ROWS
    assert (told, is_suspect(tmp_path)) == ([], False)
    assert found.store.damage() == found.store.damage() != ""
    assert (len(told), is_suspect(tmp_path)) == (1, True), "told once"
    found.store.close()


def test_a_statement_that_meets_damage_says_so_once_and_the_next_start_reads_everything(tmp_path: Path) -> None:
    filled(tmp_path)
    tear(tmp_path, b"%090d" % 300)
    told: list[str] = []
    store = opened(tmp_path, told.append).store
    for _ in range(2):
        with pytest.raises(DamagedError):
            store.outbox(after=0, limit=ROWS)
        with pytest.raises(DamagedError):
            store.prune_outbox(through=ROWS)
    assert len(told) == 1
    store.close()
    again = opened(tmp_path)
    assert again.set_aside is not None
    assert not is_suspect(tmp_path)
    again.store.close()


def test_what_is_sound_beside_a_damaged_outbox_is_taken_over(tmp_path: Path) -> None:
    incarnation = filled(tmp_path)
    tear(tmp_path, b"%090d" % 300)
    suspect(tmp_path, "as an agent leaves it")
    found = opened(tmp_path)
    store = found.store
    assert found.set_aside is not None
    assert found.taken_over == ("objects", "twins", "pods", "commands", "pushes", "rules", "meta")
    assert (store.incarnation, store.outbox_head()) == (incarnation, ROWS), "its life goes on"
    assert store.stats().outbox_reports == 0, "what waited is saved beside the agent"
    assert len(list(store.stamps())) == 401
    assert list(store.twins()) == [TWIN]
    assert [uid for uid, _ in store.pods()] == ["uid-web"], "of a pod that is not held nothing is known"
    assert [uid for uid, _ in store.commands()] == ["order"]
    assert [each.body for each in store.pushes("q", limit=9)] == [b"pushed"]
    assert [(each.queue, each.waiting) for each in store.push_queues()] == [("q", 1)]
    assert store.meta("link_cut") == "yes", "what an operator said"
    assert (store.meta(META_EPOCH), store.meta(META_REVISION)) == (None, None), "so that all is told again"
    assert store.damage() == ""
    names = {path.name for path in tmp_path.iterdir() if "damaged" in path.name}
    assert names == {found.set_aside.name}
    store.close()


def test_no_record_of_a_pod_comes_over_without_the_objects(tmp_path: Path) -> None:
    filled(tmp_path)
    tear(tmp_path, b"uid-c200")
    found = opened(tmp_path)
    assert found.set_aside is not None, "a start reads what it begins with"
    assert "objects" not in found.taken_over
    assert list(found.store.pods()) == [], "it would say that its pod was deleted"
    assert list(found.store.twins()) == [TWIN]
    found.store.close()


def test_a_pod_that_can_not_be_read_goes_together_with_its_record(tmp_path: Path) -> None:
    filled(tmp_path)
    change(tmp_path, "UPDATE objects SET body = x'7b' WHERE resource = 'pods'")
    store = opened(tmp_path).store
    assert store.get(held("web", resource="pods").key) is None
    assert [uid for uid, _ in store.pods()] == ["uid-gone"]
    store.close()


def test_a_suspicion_that_comes_to_nothing_costs_a_count(tmp_path: Path) -> None:
    incarnation = filled(tmp_path)
    change(tmp_path, "UPDATE meta SET value = ? WHERE name = ?", '{"telemetry":[1,2]}', META_USAGE)
    suspect(tmp_path, "as an agent leaves it")
    found = opened(tmp_path)
    assert (found.set_aside, found.store.incarnation) == (None, incarnation)
    assert found.store.stats().outbox_reports == ROWS
    assert (found.store.damage(), is_suspect(tmp_path)) == ("", False)
    found.store.close()


def test_counts_that_are_wrong_are_damage(tmp_path: Path) -> None:
    filled(tmp_path)
    change(tmp_path, "UPDATE meta SET value = ? WHERE name = ?", '{"telemetry":[1,2]}', META_USAGE)
    store = opened(tmp_path).store
    assert "is said to hold" in store.damage()
    store.close()


def test_damage_that_an_opening_meets_is_set_aside_at_once(tmp_path: Path) -> None:
    """A file of an older agent is counted when it is opened, and so is what a start would not have looked at."""
    old_file(tmp_path, 3)
    with closing(sqlite3.connect(tmp_path / FILE_NAME)) as connection:
        rows = [(seq, b"%090d" % seq) for seq in range(3, ROWS)]
        connection.executemany(
            "INSERT INTO outbox (seq, class, kind, key, body, wall_ms, boot, monotonic_ms, cost)"
            " VALUES (?, 'an-index-holds-the-class', 'k', 's', ?, 1, 1, 1, 1)",
            rows,
        )
        connection.execute("DROP INDEX outbox_class")
        connection.execute("CREATE INDEX outbox_class ON outbox (class, seq, cost)")
        connection.commit()
    while b"an-index-holds-the-class" in tmp_path.joinpath(FILE_NAME).read_bytes():
        tear(tmp_path, b"an-index-holds-the-class")
    told: list[str] = []
    found = opened(tmp_path, told.append)
    assert found.set_aside is not None
    assert told == [], "it is dealt with"
    assert [key.name for key, _ in found.store.stamps()] == ["a"]
    found.store.apply(EdgeBatch(reports=(report("p"),)))
    assert kept(found.store) == ["state"]
    found.store.close()


def test_nothing_comes_of_a_file_that_is_none(tmp_path: Path) -> None:
    tmp_path.joinpath(FILE_NAME).write_bytes(b"not a database at all" * 400)
    found = opened(tmp_path)
    assert (found.set_aside is not None, found.taken_over) == (True, ())
    assert list(found.store.stamps()) == []
    found.store.close()


class DyingIds(SystemIds):
    """The power goes while the new store is given its name."""

    def token_hex(self, n_bytes: int) -> str:
        raise KeyboardInterrupt


def test_a_power_cut_after_a_file_was_set_aside_leaves_a_store_that_opens(tmp_path: Path) -> None:
    filled(tmp_path)
    tear(tmp_path, b"%090d" % 300)
    suspect(tmp_path, "as an agent leaves it")
    settings = StoreSettings(directory=tmp_path, boot_id="boot-1", budgets=OutboxBudgets())
    with pytest.raises(KeyboardInterrupt):
        open_store(settings, ManualClock(), DyingIds())
    assert is_suspect(tmp_path), "the next start looks at everything again"
    found = opened(tmp_path)
    assert found.set_aside is not None, "it goes on where the start before it was cut short"
    assert (len(list(found.store.stamps())), found.store.damage()) == (401, "")
    assert not is_suspect(tmp_path)
    assert len([path for path in tmp_path.iterdir() if "damaged" in path.name]) == 1
    found.store.close()


def test_what_befell_a_store_is_to_be_told_until_somebody_has(tmp_path: Path) -> None:
    """A power cut right after the start that set it aside keeps nothing secret."""
    filled(tmp_path)
    tear(tmp_path, b"uid-c200")
    found = opened(tmp_path)
    found.store.close()
    again = opened(tmp_path)
    assert again.damage == "", "it is another store"
    note = DamageNote.read(again.store.meta(META_DAMAGE) or "")
    assert found.set_aside is not None
    assert note == DamageNote(damage=found.damage, file=found.set_aside.name, taken_over=found.taken_over)
    again.store.apply(EdgeBatch(meta=((META_DAMAGE, ""),)))
    assert DamageNote.read(again.store.meta(META_DAMAGE) or "") is None
    again.store.close()


def test_that_a_store_was_lost_is_to_be_told_until_somebody_has(tmp_path: Path) -> None:
    filled(tmp_path)
    for path in tmp_path.glob(f"{FILE_NAME}*"):
        path.unlink()
    for _ in range(2):
        store = opened(tmp_path).store
        assert DamageNote.read(store.meta(META_DAMAGE) or "") == DamageNote(damage=GONE)
        store.close()


def test_what_cannot_be_read_of_a_sound_file_is_dropped_and_that_is_noted(tmp_path: Path) -> None:
    filled(tmp_path)
    with closing(sqlite3.connect(tmp_path / FILE_NAME)) as connection:
        connection.execute("UPDATE objects SET body = CAST('{' AS BLOB) WHERE resource = 'pods'")
        connection.commit()
    found = opened(tmp_path)
    assert found.set_aside is None
    assert found.store.get(held("web", resource="pods").key) is None
    assert found.store.meta(META_DROPPED) == "yes"
    found.store.close()
