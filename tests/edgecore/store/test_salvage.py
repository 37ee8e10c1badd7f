"""What waited in a damaged store: what of it is saved, what is told of the rest, and that a crash changes neither."""

from __future__ import annotations

import shutil
import sqlite3
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from edgecore.store import opening, taking_over
from edgecore.store import salvage as salvage_module
from edgecore.store import sqlite as sqlite_module
from edgecore.store.damage import META_USAGE, suspect
from edgecore.store.database import FILE_NAME, Database
from edgecore.store.gaps import Lost
from edgecore.store.held_copy import FILE, Beside, HeldCopy, restore
from edgecore.store.opening import OpenedStore, open_store
from edgecore.store.outbox import SavedRow
from edgecore.store.port import META_LEAVING, EdgeBatch, EdgeStore, OutboxBudgets
from edgecore.store.salvage import DamagedOutbox, Salvage, Salvaging
from edgecore.store.set_aside import begin_salvage, salvage_from
from edgecore.store.shell import AsyncEdgeStore
from edgecore.store.sqlite import SqliteEdgeStore, StoreSettings
from skerry.clocks import ManualClock, SystemIds
from skerry.errors import StorageFullError
from skerry.frozen import replace
from skerry.objects.reports import GAP, GapReport
from tests.contracts.edge_store_contract import gaps_of, held, report, telemetry
from tests.edgecore.store.test_damage import PAGE, tear

ROWS = 3000


def opened(directory: Path, *, boot: str = "boot-1", free: int = 1 << 40) -> OpenedStore:
    settings = StoreSettings(
        directory=directory, boot_id=boot, budgets=OutboxBudgets(), free_bytes=lambda _directory: free
    )
    return open_store(settings, ManualClock(), SystemIds())


def filled(directory: Path, *, received: int = 0) -> str:
    """A backlog of many pages, of which the cloud has the first so many; its incarnation."""
    store = opened(directory).store
    store.apply(EdgeBatch(puts=(held("c"),), reports=(report("p"), report("valve", report_class="alarm"))))
    for first in range(0, ROWS, 500):
        store.apply(EdgeBatch(reports=tuple(telemetry(number) for number in range(first, first + 500))))
    if received:
        store.apply(EdgeBatch(meta=((META_LEAVING, "yes"),)))
        store.prune_outbox(through=received)
    store.close()
    return store.incarnation


def break_outbox(directory: Path, *numbers: int) -> None:
    for number in numbers:
        tear(directory, b"%090d" % number)
    suspect(directory, "as an agent leaves it")


def saved(store: EdgeStore) -> None:
    while store.salvage():
        pass


def waiting(store: EdgeStore) -> list[int]:
    return [int(each.body) for each in store.outbox(after=0, limit=2 * ROWS) if each.report_class == "telemetry"]


def test_rows_around_pages_that_broke_are_saved_and_the_rest_is_counted(tmp_path: Path) -> None:
    incarnation = filled(tmp_path, received=1002)
    break_outbox(tmp_path, 1200, 1201 + 40, 2500)
    store = opened(tmp_path, boot="boot-2").store
    saved(store)
    numbers = waiting(store)
    assert numbers == sorted(set(numbers)), "each once, in order"
    lost = set(range(1000, ROWS)) - set(numbers)
    assert {1200, 1241, 2500} <= lost
    assert len(lost) < 3 * 50, "no more than is on those pages"
    gap = gaps_of(store)["telemetry"]
    assert (gap.dropped, gap.damaged, gap.total, gap.unknown) == (len(lost), len(lost), len(lost), False)
    assert (gap.first_seq, gap.last_seq) == (min(lost) + 3, max(lost) + 3)
    assert set(gaps_of(store)) == {"telemetry"}
    told = [each for each in store.outbox(after=0, limit=2 * ROWS) if each.kind == GAP]
    assert [(each.key, each.seq) for each in told] == [("telemetry", ROWS + 3)]
    assert store.incarnation == incarnation, "what the cloud has of it is settled as after any break"
    assert store.outbox_left() == ROWS + 2, "all may have been sent"
    assert {each.boot_id for each in store.outbox(after=0, limit=1)} == {"boot-1"}
    assert store.boots()[-1].boot_id == "boot-2"
    assert (store.damage(), salvage_from(tmp_path)) == ("", None)
    store.close()


def test_what_is_written_meanwhile_follows_and_newer_states_stay(tmp_path: Path) -> None:
    filled(tmp_path)
    break_outbox(tmp_path, 700)
    store = opened(tmp_path).store
    store.apply(EdgeBatch(reports=(report("p", b"newer"), telemetry(ROWS))))
    saved(store)
    states = [each for each in store.outbox(after=0, limit=2 * ROWS) if each.key == "p"]
    assert [(each.seq, each.body) for each in states] == [(ROWS + 3, b"newer")]
    numbers = waiting(store)
    assert numbers == sorted(numbers)
    assert numbers[-1] == ROWS
    assert set(gaps_of(store)) == {"telemetry"}, "the older state is no loss"
    assert store.damage() == ""
    store.close()


def test_where_nothing_is_lost_nothing_is_told(tmp_path: Path) -> None:
    """An index broke, and every row can be read."""
    filled(tmp_path)
    with closing(sqlite3.connect(tmp_path / FILE_NAME)) as connection:
        (root,) = connection.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'outbox_class'").fetchone()
    path = tmp_path / FILE_NAME
    content = bytearray(path.read_bytes())
    content[(root - 1) * PAGE : root * PAGE] = b"\xff" * PAGE
    path.write_bytes(content)
    suspect(tmp_path, "as an agent leaves it")
    store = opened(tmp_path).store
    saved(store)
    assert waiting(store) == list(range(ROWS))
    assert gaps_of(store) == {}
    store.close()


def test_a_count_that_is_lost_is_made_from_the_index_else_an_unknown_number_is_told(tmp_path: Path) -> None:
    filled(tmp_path)
    tear(tmp_path, META_USAGE.encode())
    break_outbox(tmp_path, 700)
    found = opened(tmp_path)
    assert "meta" not in found.taken_over
    saved(found.store)
    gap = gaps_of(found.store)["telemetry"]
    assert gap.damaged == ROWS - len(waiting(found.store)) > 0
    assert found.store.outbox_left() == 0, "a new life, of which nothing was sent"
    assert found.store.outbox_head() == ROWS + 3
    found.store.close()


def test_without_the_commands_that_were_begun_a_new_life_begins(tmp_path: Path) -> None:
    incarnation = filled(tmp_path)
    with closing(sqlite3.connect(tmp_path / FILE_NAME)) as connection:
        (root,) = connection.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'commands'").fetchone()
    path = tmp_path / FILE_NAME
    content = bytearray(path.read_bytes())
    content[(root - 1) * PAGE : root * PAGE] = b"\xff" * PAGE
    path.write_bytes(content)
    found = opened(tmp_path)
    assert "commands" not in found.taken_over
    assert found.store.incarnation != incarnation, "by that the cloud knows that nobody can say what became of them"
    saved(found.store)
    assert waiting(found.store) == list(range(ROWS))
    assert (found.store.outbox_head(), found.store.outbox_left()) == (ROWS + 2, 0)
    assert gaps_of(found.store) == {}
    found.store.close()


def test_of_a_file_that_is_none_an_unknown_number_is_told(tmp_path: Path) -> None:
    filled(tmp_path)
    tmp_path.joinpath(FILE_NAME).write_bytes(b"not a database at all" * 400)
    store = opened(tmp_path).store
    saved(store)
    assert {name: (gap.dropped, gap.unknown) for name, gap in gaps_of(store).items()} == {
        "alarm": (0, True),
        "event": (0, True),
        "message": (0, True),
        "telemetry": (0, True),
    }
    assert waiting(store) == []
    store.close()


def test_rows_of_boots_of_which_nothing_is_left_are_saved(tmp_path: Path) -> None:
    filled(tmp_path)
    with closing(sqlite3.connect(tmp_path / FILE_NAME)) as connection:
        (root,) = connection.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'boots'").fetchone()
    path = tmp_path / FILE_NAME
    content = bytearray(path.read_bytes())
    content[(root - 1) * PAGE : root * PAGE] = b"\xff" * PAGE
    path.write_bytes(content)
    store = opened(tmp_path).store
    saved(store)
    assert waiting(store) == list(range(ROWS))
    first, last = store.boots()
    assert (first.boot_id.startswith("lost-"), last.boot_id) == (True, "boot-1")
    store.close()


class _Cut(BaseException):
    """The power goes."""


def _watched(monkeypatch: pytest.MonkeyPatch, at: int) -> list[str]:
    """The power goes before the `at`-th of all that is written; what came before it."""
    done: list[str] = []

    def before(what: str) -> None:
        if len(done) == at:
            raise _Cut(what)
        done.append(what)

    transaction = Database.transaction

    def watched(database: Database, doing: str) -> object:
        before(doing)
        return transaction(database, doing)

    monkeypatch.setattr(Database, "transaction", watched)
    for module, name in (
        (opening, "begin_salvage"),
        (opening, "set_aside"),
        (opening, "trust"),
        (taking_over, "take_over"),
        (sqlite_module, "end_salvage"),
    ):
        real = getattr(module, name)

        def in_turn(*values: object, real: Callable[..., object] = real, name: str = name) -> object:
            before(name)
            return real(*values)

        monkeypatch.setattr(module, name, in_turn)
    return done


def test_the_power_may_go_at_any_moment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(salvage_module, "STEP_ROWS", 700)
    incarnation = filled(tmp_path / "before", received=302)
    break_outbox(tmp_path / "before", 900, 1700)
    outcomes: set[tuple[str, int, int, int]] = set()
    cut = 0
    finished = False
    while not finished:
        directory = tmp_path / f"cut-{cut}"
        shutil.copytree(tmp_path / "before", directory)
        with monkeypatch.context() as patched:
            _watched(patched, cut)
            store: SqliteEdgeStore | None = None
            try:
                store = opened(directory).store
                saved(store)
                finished = True
            except _Cut:
                pass
            if store is not None:
                store.close()
        store = opened(directory).store
        saved(store)
        numbers = waiting(store)
        assert numbers == sorted(set(numbers)), cut
        gap = gaps_of(store)["telemetry"]
        assert store.damage() == ""
        assert salvage_from(directory) is None
        outcomes.add((store.incarnation, len(numbers), gap.damaged, gap.total))
        store.close()
        shutil.rmtree(directory)
        cut += 1
    assert cut > 12, "opening, taking over, and several steps"
    ((life, left, damaged, total),) = outcomes
    assert (life, left + damaged, total) == (incarnation, ROWS - 300, damaged)


def test_a_crash_between_the_parts_of_a_file_loses_none_of_them(tmp_path: Path) -> None:
    filled(tmp_path)
    break_outbox(tmp_path, 700)
    target = tmp_path / "edge.db.damaged-5"
    begin_salvage(target)
    (tmp_path / FILE_NAME).rename(target)
    (tmp_path / "edge.db-wal").write_bytes(b"")
    found = opened(tmp_path)
    assert found.set_aside == target
    assert (tmp_path / "edge.db.damaged-5-wal").exists()
    saved(found.store)
    assert 0 < len(waiting(found.store)) < ROWS
    found.store.close()


def test_a_store_that_breaks_while_another_is_saved_into_it_counts_what_that_had(tmp_path: Path) -> None:
    filled(tmp_path)
    break_outbox(tmp_path, 2900)
    store = opened(tmp_path).store
    assert store.salvage()
    assert store.salvage()
    had = len(waiting(store))
    assert 0 < had < ROWS
    store.close()
    break_outbox(tmp_path, 500)
    store = opened(tmp_path).store
    saved(store)
    assert gaps_of(store)["telemetry"].damaged == ROWS - len(waiting(store)) > ROWS - had
    store.close()


def test_a_disk_without_room_keeps_all_but_readings(tmp_path: Path) -> None:
    filled(tmp_path)
    break_outbox(tmp_path, 700)
    store = opened(tmp_path, free=0).store
    saved(store)
    gap = gaps_of(store)["telemetry"]
    assert (gap.dropped, gap.damaged + gap.for_room) == (ROWS, ROWS)
    assert gap.damaged < 50
    assert [each.kind for each in store.outbox(after=0, limit=9)][:2] == ["pod_status", "pod_status"]
    assert any(each.kind == "series_gap" for each in store.outbox(after=0, limit=9))
    store.close()


def test_a_disk_that_is_full_is_no_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    filled(tmp_path)
    break_outbox(tmp_path, 700)
    store = opened(tmp_path).store
    full = [StorageFullError("full")]
    real = Salvaging.saved

    def failing(*values: Any, **named: Any) -> Salvage:
        if full:
            raise full.pop()
        return real(*values, **named)

    monkeypatch.setattr(Salvaging, "saved", failing)
    saved(store)
    gap = gaps_of(store)["telemetry"]
    assert gap.dropped + len(waiting(store)) == ROWS
    assert gap.for_room > 0
    store.close()


def test_a_file_that_somebody_took_away_is_lost_whole(tmp_path: Path) -> None:
    filled(tmp_path)
    break_outbox(tmp_path, 700)
    found = opened(tmp_path)
    assert found.set_aside is not None
    found.set_aside.unlink()
    saved(found.store)
    assert gaps_of(found.store)["telemetry"].damaged == ROWS
    assert gaps_of(found.store)["alarm"].damaged == 1
    found.store.close()


def test_a_gap_that_may_not_have_been_told_is_told_again(tmp_path: Path) -> None:
    filled(tmp_path)
    with closing(sqlite3.connect(tmp_path / FILE_NAME)) as connection:
        before = GapReport(
            report_class="event",
            dropped=1,
            size_bytes=1,
            total=7,
            first_seq=1,
            last_seq=1,
            first_wall_ms=0,
            last_wall_ms=0,
        )
        connection.execute("INSERT INTO gaps (class, body) VALUES ('event', ?)", (before.encode(),))
        connection.commit()
    tear(tmp_path, b"pod_status")
    while b"pod_status" in (tmp_path / FILE_NAME).read_bytes():
        tear(tmp_path, b"pod_status")
    suspect(tmp_path, "as an agent leaves it")
    store = opened(tmp_path).store
    saved(store)
    assert gaps_of(store)["event"].total == 7
    told = {each.key for each in store.outbox(after=0, limit=2 * ROWS) if each.kind == GAP}
    assert told == {"alarm", "event", "state", "telemetry"}
    store.close()


def test_progress_is_written_and_read() -> None:
    salvage = Salvage(
        file="f", through=9, after=4, held={"alarm": (1, 2)}, saved=3, unreadable=Lost(1, 2, 3, 4), boots_shift=-5
    )
    assert Salvage.read(salvage.text) == salvage
    assert Salvage.read(replace(salvage, held=None, unreadable=None, done=True).text).held is None


def test_a_long_stretch_that_broke_is_gone_round_in_few_steps(tmp_path: Path) -> None:
    filled(tmp_path)
    for number in range(200, 2600, 10):
        if b"%090d" % number in (tmp_path / FILE_NAME).read_bytes():
            tear(tmp_path, b"%090d" % number)
    with closing(sqlite3.connect(tmp_path / FILE_NAME)) as connection, pytest.raises(sqlite3.DatabaseError):
        connection.execute("SELECT sum(length(body)) FROM outbox NOT INDEXED").fetchone()
    outbox = DamagedOutbox(tmp_path / FILE_NAME)
    after, rows, holes = 0, list[SavedRow](), list[tuple[int, int]]()
    through = 1 << 40
    while after < through:
        stretch = outbox.some(after, through)
        assert stretch.after > after
        after = stretch.after
        rows += stretch.rows
        holes += stretch.holes
    outbox.close()
    (hole,) = [each for each in holes if each[1] - each[0] > 100]
    seen = Counter(row.seq for row in rows)
    assert max(seen.values()) == 1
    assert len(rows) + hole[1] - hole[0] + 1 == ROWS + 2


async def test_a_copy_made_before_all_was_saved_serves_a_store_that_breaks_again(tmp_path: Path) -> None:
    """Objects come back from the copy, and what waited for the cloud from the file that broke first: neither waits
    for the other, and neither brings the other back to where it was."""
    beside = Beside(names=("hold",), is_decision=lambda body: b"stopped" in body)
    directory, copied, clock = tmp_path / "store", tmp_path / FILE, ManualClock()
    filled(directory)
    first = AsyncEdgeStore(opened(directory).store)
    await HeldCopy(copied, "gate-1", first, clock, beside).write()
    first.close()
    break_outbox(directory, 1200)
    with closing(sqlite3.connect(directory / FILE_NAME)) as connection:
        connection.execute("DELETE FROM objects")
        connection.commit()
    broken = opened(directory)
    store = AsyncEdgeStore(broken.store)
    assert await restore(copied, "gate-1", store) is not None
    await store.apply(EdgeBatch(puts=(held("later"),), meta=(("hold", "harvest"),)))
    assert broken.store.salvage(), "some of it is saved, and more is left"
    before = salvage_from(directory)
    assert before is not None
    await HeldCopy(copied, "gate-1", store, clock, beside).write()
    store.close()

    shutil.copy(copied, tmp_path / "early")
    with closing(sqlite3.connect(directory / FILE_NAME)) as connection:
        connection.execute("DELETE FROM objects")
        connection.commit()
    again = opened(directory)
    store = AsyncEdgeStore(again.store)
    found = await restore(tmp_path / "early", "gate-1", store)
    assert found is not None and found.whole
    assert {key.name for key, _ in store.stamps()} == {"c", "later"} and store.meta("hold") == "harvest"
    saved(again.store)
    numbers = waiting(again.store)
    assert numbers == sorted(set(numbers)), "each once, in order"
    lost = set(range(ROWS)) - set(numbers)
    assert 1200 in lost and len(lost) < 50
    assert {key.name for key, _ in store.stamps()} == {"c", "later"}
    store.close()
