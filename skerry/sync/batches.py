"""How objects become batches and batches frames: closed under reference, cut to size. Pure; keeps nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from skerry.frozen import Frozen
from skerry.objects.meta import Key, Revision
from skerry.sync.hashes import bucket_of
from skerry.sync.ports import SyncSettings, View
from skerry.sync.queue import PushQueue
from skerry.wire.codec import LIST_MAX, size_of
from skerry.wire.frames import Objects, ObjectState, Stamped, Stamps

KEYS_MAX = LIST_MAX // 2
"""Of one frame, with room to spare."""


class Contents(Frozen):
    """What one batch says."""

    puts: tuple[ObjectState, ...]
    deletes: tuple[Key, ...]


def next_contents(queue: PushQueue, view: View, settings: SyncSettings, *, batch_bytes: int) -> Contents:
    """Take the next batch out of the queue, which must not be empty: objects up to `batch_bytes`.

    An object comes with everything it refers to that is also waiting; what is referred to stands first. A key
    that is no longer in the view is a deletion.
    """
    puts: list[ObjectState] = []
    deletes: list[Key] = []
    size = 0
    while len(queue) and size < batch_bytes and len(puts) + len(deletes) < KEYS_MAX:
        group = _group(queue, view)
        group_size = sum(size_of(item) for item in group)
        if puts and size + group_size > settings.group_bytes_max:
            break
        for item in group:
            if size > settings.group_bytes_max:
                break  # the rest of an oversized group stays waiting: what it refers to is sent before it
            queue.take(item.key if isinstance(item, ObjectState) else item)
            size += size_of(item)
            if isinstance(item, ObjectState):
                puts.append(item)
            else:
                deletes.append(item)
    return Contents(puts=tuple(puts), deletes=tuple(deletes))


def _group(queue: PushQueue, view: View) -> list[ObjectState | Key]:
    """The first waiting key and those it needs, as states, or as bare keys where they are gone."""
    first = queue.first()
    keys = [key for key in view.closure(first) if key in queue and key != first]
    return [view.state(key) or key for key in (*dict.fromkeys(keys), first)]


def object_frames(
    batch: int, revision: Revision, contents: Contents, part_bytes: int, secret: Callable[[Key], bool]
) -> Iterator[Objects]:
    """One batch as frames of about `part_bytes`; an object over that, or that is secret, has a frame of its own."""
    puts: list[ObjectState] = []
    size = sum(size_of(key) for key in contents.deletes)
    deletes, alone = contents.deletes, False
    for put in contents.puts:
        full = size + size_of(put) > part_bytes or alone or secret(put.key)
        alone = secret(put.key)
        if (puts or deletes) and full:
            yield Objects(batch=batch, revision=revision, puts=tuple(puts), deletes=deletes, more=True)
            puts, deletes, size = [], (), 0
        puts.append(put)
        size += size_of(put)
    yield Objects(batch=batch, revision=revision, puts=tuple(puts), deletes=deletes, more=False)


def stamp_frames(view: View, buckets: tuple[int, ...], part_bytes: int) -> Iterator[Stamps]:
    """The view's stamps in these buckets as of now, as frames of about `part_bytes`, to be made one by one."""
    chosen = set(buckets)
    told = [Stamped(key=key, stamp=stamp) for key, stamp in view.stamps() if bucket_of(key) in chosen]
    return _stamp_frames(told, view.revision, buckets, part_bytes)


def _stamp_frames(
    told: list[Stamped], revision: Revision, buckets: tuple[int, ...], part_bytes: int
) -> Iterator[Stamps]:
    entries: list[Stamped] = []
    size = 0
    for entry in told:
        if entries and (size + size_of(entry) > part_bytes or len(entries) >= KEYS_MAX):
            yield Stamps(revision=revision, buckets=buckets, entries=tuple(entries), more=True)
            entries, size = [], 0
        entries.append(entry)
        size += size_of(entry)
    yield Stamps(revision=revision, buckets=buckets, entries=tuple(entries), more=False)
