"""A copy of what the gateway holds, beside the store: a store that is lost while there is no cloud is filled from it.

Damage takes the objects of a store as a whole, and with them what its containers are: they would go on, and nobody
would start them again, probe them or tell of them until the cloud is back. The copy is one file outside the store's
directory, written anew some time after what is held changed: soon where pods came or went, or somebody on the gateway
decided something, else seldom, to spare a flash card. It is used where the store has nothing and never met a cloud.

Kept: `held.copy`, gzip of lines, each of a checksum and JSON: a head, some of `meta`, records of pods that hold a
decision, the objects with their stamps, an end. A crash leaves the file that was there. Of one that is damaged itself
the lines count that are as they were written.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import zlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Final

import msgspec

from edgecore.store.damage import GONE, META_DAMAGE, META_DROPPED, DamageNote
from edgecore.store.port import META_EPOCH, META_KNOWN_MS, EdgeBatch, Held
from edgecore.store.shell import AsyncEdgeStore
from skerry.errors import UnavailableError
from skerry.files import unavailable, write_private
from skerry.frozen import Frozen, replace
from skerry.objects.json import decode_object, encode_object
from skerry.objects.meta import Key, Revision, Stamp
from skerry.objects.times import time_text
from skerry.ports import Clock
from skerry.waits import until_set

log = logging.getLogger(__name__)

FILE: Final = "held.copy"
SOON_S: Final = 1.0
"""After pods came or went, or a decision: what comes with them is in it as well."""
REST_S: Final = 10.0
"""Between two copies of pods that come and go, and after one that could not be written."""
SELDOM_S: Final = 60.0
"""After any other change."""
BYTES_MAX: Final = 16 << 20
"""Of the lines, unpacked: beyond, what comes last is left out."""
FIRST: Final = ("pods", "configmaps", "secrets", "persistentvolumeclaims", "persistentvolumes", "services")
"""What pods need, before all else."""
VERSION: Final = 1
STEP_BYTES: Final = 4096
"""Unpacked at once: what comes before damage is had."""
_GZIP: Final = 31
"""`wbits` of zlib for gzip's form, whose check covers all of it."""


class _Line(msgspec.Struct, omit_defaults=True):
    """One of: the head (`version`), an object (`key`), a record (`pod`), a name of meta, the end (`end`)."""

    version: int = 0
    node: str = ""
    written_ms: int = 0
    key: tuple[str, str, str] | None = None
    stamp: tuple[str, int] | None = None
    pod: str = ""
    meta: str = ""
    value: str = ""
    end: int = 0
    body: msgspec.Raw = msgspec.Raw()


class Beside(Frozen):
    """What is copied beside objects."""

    names: tuple[str, ...]
    """Of `meta`: what somebody on the gateway decided."""
    is_decision: Callable[[bytes], bool]
    """Whether a pod's record says more than what runs."""
    quiet: tuple[str, ...] = ()
    """Of `meta`: what goes along, and is no reason to write a copy, as less of it is as safe."""


class Copy(Frozen):
    """What a copy gives back."""

    written_ms: int
    batch: EdgeBatch
    whole: bool
    """It could be read to its end."""

    @property
    def sentence(self) -> str:
        """For people."""
        part = "" if self.whole else " (the copy is damaged as well: all that can be read of it)"
        return f"{len(self.batch.puts)} objects are as they were copied at {time_text(self.written_ms)}{part}"


class HeldCopy:
    """Writes it. Run `run` in a task group."""

    def __init__(self, path: Path, node: str, store: AsyncEdgeStore, clock: Clock, beside: Beside) -> None:
        self._path = path
        self._node = node
        self._store = store
        self._clock = clock
        self._beside = beside
        self._changed = asyncio.Event()
        self._urgent = asyncio.Event()
        self._pods: frozenset[str] = frozenset()
        """Uids of the pods in the copy."""
        self._decided: frozenset[str] = frozenset()
        """Those whose record is in it."""
        self._written = b""
        """By which it is known whether something is new."""
        self._failed = False
        self._is_writing = False
        self._told_of_pods = False
        """Pods came or went since it was written."""
        self._decision = asyncio.Event()
        """Somebody decided something."""

    async def run(self, *, soon_s: float = SOON_S, seldom_s: float = SELDOM_S) -> None:
        stop = self._store.listen(self._committed)
        self._changed.set()
        try:
            while True:
                await self._changed.wait()
                await until_set(self._urgent, within_s=seldom_s)
                await asyncio.sleep(soon_s)
                rests, self._told_of_pods = self._told_of_pods, False
                for event in (self._changed, self._urgent, self._decision):
                    event.clear()
                self._is_writing = True
                try:
                    is_written = await self.write()
                finally:
                    self._is_writing = False
                if not is_written:
                    self._changed.set()
                if not is_written or rests:
                    await self._rest(seldom_s)
        finally:
            stop()

    async def _rest(self, seldom_s: float) -> None:
        """Pods may come and go all the time: a card is spared then, unless somebody decides something."""
        await until_set(self._decision, within_s=min(REST_S, seldom_s))

    async def write(self) -> bool:
        """Write it, where something is new; False where something stands in the way, which is said once."""
        try:
            await asyncio.to_thread(self._write)
        except UnavailableError as error:
            if not self._failed:
                log.warning("what the gateway holds is not copied reason=%s", error)
            self._failed = True
            return False
        self._failed = False
        return True

    def _committed(self, batch: EdgeBatch) -> None:
        decided = [(uid, body is not None and self._beside.is_decision(body)) for uid, body in batch.pods]
        of_pods = any(put.key.resource == "pods" and put.stamp.uid not in self._pods for put in batch.puts) or any(
            key.resource == "pods" for key in batch.deletes
        )
        # (While it is written, what is in it is not known yet.)
        is_decision = any(name in self._beside.names for name, _ in batch.meta) or any(
            self._is_writing or (uid in self._decided) != now for uid, now in decided
        )
        self._told_of_pods = self._told_of_pods or of_pods
        if is_decision:
            self._decision.set()
        is_urgent = of_pods or is_decision
        if is_urgent:
            self._urgent.set()
        if is_urgent or batch.puts or batch.deletes or any(now for _, now in decided):
            self._changed.set()

    def _write(self) -> None:
        if is_empty(self._store):
            return  # what it held may be in the copy
        stamps = sorted(self._store.stamps(), key=_order)
        records = [(uid, body) for uid, body in self._store.pods() if self._beside.is_decision(body)]
        metas = [(name, self._store.meta(name) or "") for name in self._beside.names]
        mark = _mark(stamps, records, metas)
        if mark != self._written or not self._path.exists():
            along = [(name, self._store.meta(name) or "") for name in (META_KNOWN_MS, *self._beside.quiet)]
            held = (found for key, _ in stamps if (found := self._store.get(key)) is not None)
            head = _Line(version=VERSION, node=self._node, written_ms=self._clock.wall_ms())
            write_private(self._path, _packed(head, held, records, [*metas, *along]))
            self._written = mark
        self._pods = frozenset(stamp.uid for key, stamp in stamps if key.resource == "pods")
        self._decided = frozenset(uid for uid, _ in records)


def is_empty(store: AsyncEdgeStore) -> bool:
    """It holds nothing, and no cloud said that there is nothing to hold."""
    return not store.meta(META_EPOCH) and next(iter(store.stamps()), None) is None


async def restore(path: Path, node: str, store: AsyncEdgeStore) -> Copy | None:
    """Fill a store that is empty from the copy, in one transaction with what is to be told of that; and give one that
    dropped what it could not read the objects that it lacks. None where there is nothing to do, or nothing to do it
    with. Raises `UnavailableError`."""
    if is_empty(store):
        copy = read(path, node)
        if copy is None:
            return None
        note = DamageNote.read(store.meta(META_DAMAGE) or "") or DamageNote(damage=GONE)
        told = (META_DAMAGE, replace(note, copied=copy.sentence).text)
        await store.apply(replace(copy.batch, meta=(*copy.batch.meta, told)))
        return copy
    if not store.meta(META_DROPPED):
        return None
    copy = _lacking(read(path, node), store)
    batch = EdgeBatch() if copy is None else copy.batch
    await store.apply(replace(batch, meta=((META_DROPPED, ""),)))
    return copy


def _lacking(copy: Copy | None, store: AsyncEdgeStore) -> Copy | None:
    """What it has that the store does not; None for nothing."""
    puts = () if copy is None else tuple(put for put in copy.batch.puts if store.get(put.key) is None)
    if copy is None or not puts:
        return None
    uids = {put.stamp.uid for put in puts}
    records = tuple((uid, body) for uid, body in copy.batch.pods if uid in uids)
    return replace(copy, batch=EdgeBatch(puts=puts, pods=records))


def forget(directory: Path) -> None:
    """The gateway is another's now. Raises `UnavailableError`."""
    path = directory / FILE
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise unavailable(path, error) from error


def read(path: Path, node: str) -> Copy | None:
    """What can be read of it; None where there is none, or it is of another node or a newer agent. Raises
    `UnavailableError`."""
    try:
        packed = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise unavailable(path, error) from error
    lines = list(_lines(packed))
    head = lines[0] if lines else _Line()
    if head.version != VERSION or head.node != node:
        log.warning("the copy of what the gateway held is of no use path=%s", path)
        return None
    puts = tuple(
        Held(key=Key(*line.key), stamp=Stamp(line.stamp[0], Revision(line.stamp[1])), body=bytes(line.body))
        for line in lines
        if line.key is not None and line.stamp is not None
    )
    whole = lines[-1].end == len(lines) - 1
    there = {put.stamp.uid for put in puts}
    batch = EdgeBatch(
        puts=puts,
        # Of a pod that is lost itself a record would say that it is gone, and what runs of it would be ended.
        pods=tuple((line.pod, bytes(line.body)) for line in lines if line.pod and (whole or line.pod in there)),
        meta=tuple((line.meta, line.value) for line in lines if line.meta and line.value),
    )
    return Copy(written_ms=head.written_ms, batch=batch, whole=whole)


def _order(found: tuple[Key, Stamp]) -> tuple[int, Key]:
    key, _ = found
    return (FIRST.index(key.resource) if key.resource in FIRST else len(FIRST), key)


def _mark(
    stamps: Iterable[tuple[Key, Stamp]], records: Iterable[tuple[str, bytes]], metas: Iterable[tuple[str, str]]
) -> bytes:
    digest = hashlib.blake2b(digest_size=16)
    for part in (*stamps, *records, *metas):
        digest.update(repr(part).encode())
    return digest.digest()


def _packed(
    head: _Line, held: Iterable[Held], records: Iterable[tuple[str, bytes]], metas: Iterable[tuple[str, str]]
) -> bytes:
    packer = zlib.compressobj(1, wbits=_GZIP)
    packed: list[bytes] = []
    count = size = 0
    for line in _all_lines(head, held, records, metas):
        text = _checked(line)
        if size + len(text) > BYTES_MAX:
            log.warning("the copy of what the gateway holds is full: some is left out bytes_max=%d", BYTES_MAX)
            break
        size, count = size + len(text), count + 1
        packed.append(packer.compress(text))
    packed.append(packer.compress(_checked(_Line(end=count))))
    packed.append(packer.flush())
    return b"".join(packed)


def _all_lines(
    head: _Line, held: Iterable[Held], records: Iterable[tuple[str, bytes]], metas: Iterable[tuple[str, str]]
) -> Iterator[_Line]:
    yield head
    for name, value in metas:
        yield _Line(meta=name, value=value)
    for uid, body in records:
        yield _Line(pod=uid, body=_one_line(body))
    for each in held:
        key, stamp = each.key, each.stamp
        yield _Line(
            key=(key.resource, key.namespace, key.name), stamp=(stamp.uid, stamp.revision), body=_one_line(each.body)
        )


def _one_line(body: bytes) -> msgspec.Raw:
    return msgspec.Raw(encode_object(decode_object(body)) if b"\n" in body else body)


def _checked(line: _Line) -> bytes:
    text = msgspec.json.encode(line)
    return b"%08x %s\n" % (zlib.crc32(text), text)


def _lines(packed: bytes) -> Iterator[_Line]:
    """Those that are as they were written."""
    for line in _unpacked(packed).split(b"\n"):
        check, _, text = line.partition(b" ")
        if check != b"%08x" % zlib.crc32(text):
            continue
        try:
            yield msgspec.json.decode(text, type=_Line)
        except msgspec.DecodeError:
            continue


def _unpacked(packed: bytes) -> bytes:
    """As far as it goes."""
    unpacker = zlib.decompressobj(wbits=_GZIP)
    found: list[bytes] = []
    size = 0
    try:
        for start in range(0, len(packed), STEP_BYTES):
            part = unpacker.decompress(packed[start : start + STEP_BYTES])
            size += len(part)
            if size > 2 * BYTES_MAX:
                break
            found.append(part)
    except zlib.error:
        pass
    return b"".join(found)
