"""What a write does to the log, decided without touching a disk.

Every form of the store asks here whether a write is allowed over what is there now, and what row the log gets
for it, so that optimistic concurrency means the same in memory and in a database. Pure: it keeps no data.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from cloudcore.store.port import ABSENT, Basis, Change, Delete, Put, Standing, Stored, with_revision, without_revision
from skerry.errors import AlreadyExistsError, ConflictError, GoneError, NotFoundError
from skerry.frozen import Frozen
from skerry.objects.meta import Key, Revision


class Row(Frozen):
    """One row of the log, complete enough to tell the state before it at any later time."""

    revision: Revision
    key: Key
    uid: str
    before: Stored | None
    """The object as it was, with its own revision; None: it was not there."""
    after: bytes | None
    """The object as served from this revision on; None: it was deleted."""
    final: bytes | None = None
    """The last state of a deleted object where the deleter gave one, stamped with this revision."""

    @property
    def change(self) -> Change:
        """The row as watchers see it."""
        return Change(
            revision=self.revision,
            key=self.key,
            uid=self.uid,
            before=self._last_state() if self.after is None else (self.before.body if self.before else None),
            after=self.after,
        )

    @property
    def stored(self) -> Stored | None:
        """What is current once the row is there."""
        if self.after is None:
            return None
        return Stored(key=self.key, uid=self.uid, revision=self.revision, body=self.after)

    def _last_state(self) -> bytes:
        assert self.before is not None, "only what was there is deleted"
        return self.final or with_revision(without_revision(self.before.body), self.revision)


def rows_of(writes: Sequence[Put | Delete], current: Callable[[Key], Stored | None], newest: Revision) -> list[Row]:
    """The rows of a whole batch after revision `newest`; a later write of the batch sees the earlier ones.

    Raises what `row_of` raises for the first write that is not allowed: then none is.
    """
    changed: dict[Key, Stored | None] = {}
    rows: list[Row] = []
    for write in writes:
        before = changed[write.key] if write.key in changed else current(write.key)
        row = row_of(write, before, Revision(newest + len(rows) + 1))
        changed[write.key] = row.stored
        rows.append(row)
    return rows


def row_of(write: Put | Delete, current: Stored | None, revision: Revision) -> Row:
    """The row that `write` adds over `current` at `revision`.

    Raises `AlreadyExistsError`, `NotFoundError` or `ConflictError` where the write expected something else.
    """
    _check(write, current)
    if isinstance(write, Delete):
        assert current is not None
        final = None if write.body is None else with_revision(write.body, revision)
        return Row(revision=revision, key=write.key, uid=current.uid, before=current, after=None, final=final)
    if current is not None and current.uid != write.uid:
        raise ConflictError(f"{write.key} is another object (uid {current.uid}, not {write.uid})")
    after = with_revision(write.body, revision)
    return Row(revision=revision, key=write.key, uid=write.uid, before=current, after=after)


def _check(write: Put | Delete, current: Stored | None) -> None:
    expected = write.expected
    if current is None:
        if isinstance(write, Delete) or expected not in (None, ABSENT):
            raise NotFoundError(f"{write.key} not found")
    elif expected == ABSENT:
        raise AlreadyExistsError(f"{write.key} already exists")
    elif expected is not None and expected != current.revision:
        raise ConflictError(f"{write.key} is at revision {current.revision}, not {expected}")


def check_standing(standing: Standing, current: Stored | None) -> None:
    """The object must be so still. Raises `ConflictError`."""
    revision = ABSENT if current is None else current.revision
    if revision != standing.revision:
        raise ConflictError(f"{standing.key} is at revision {revision}, not {standing.revision}")


def check_basis(basis: Basis, changed: Revision) -> None:
    """What the batch was decided on must be so still; `changed` is when its resource was written last, as far as that
    is known. Raises `ConflictError`."""
    if changed > basis.revision:
        raise ConflictError(f"{basis.resource} changed at revision {changed}, after {basis.revision}")


def check_kept(asked: Revision, compacted: Revision) -> None:
    """History from `asked` on must still be there. Raises `GoneError`."""
    if asked < compacted:
        raise GoneError(f"too old resource version: {asked} ({compacted})", compacted=compacted)
