"""The `Objects` port over our own store: every write of users, controllers and gateways passes through here.

Rules, admission and life cycle are pure and live in their own modules; this one reads from the watch cache,
asks them what a write comes to, and commits it, again from the current state when somebody else wrote in
between. A write returns when the cache shows it, so whoever wrote reads what it wrote. Keeps no data but
locks; a crash leaves what the store acknowledged.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from typing import Final

from cloudcore.registry import lifecycle
from cloudcore.registry.admission import STEPS, Request, Step, admitted
from cloudcore.registry.bodies import body_of, copy_of, object_of, same, stamped
from cloudcore.registry.custom import RESOURCE as DEFINITIONS
from cloudcore.registry.desired_log import noted
from cloudcore.registry.port import DeleteOptions, Effect, Pause, Subresource, Transform, WriteOptions, Written
from cloudcore.registry.refusals import already_exists, conflict, invalid, not_found
from cloudcore.registry.rules import Rules
from cloudcore.registry.together import as_one, together
from cloudcore.store.cache import WatchCache
from cloudcore.store.port import (
    ABSENT,
    Advance,
    Basis,
    Batch,
    Delete,
    Place,
    Put,
    Record,
    Store,
    Stored,
    StoredRecord,
    life_of,
)
from skerry.errors import (
    AlreadyExistsError,
    BadRequestError,
    CallerError,
    Cause,
    ConflictError,
    FencedError,
    NotFoundError,
    UnavailableError,
)
from skerry.frozen import Frozen, field
from skerry.objects.json import JsonObject, map_at, str_at
from skerry.objects.meta import Key, Revision, name_of, uid_of
from skerry.objects.scheme import Kind
from skerry.ports import Clock, Ids

log: Final = logging.getLogger(__name__)

_TRIES: Final = 32
"""Times a write starts over because others wrote in between; more means that they never stop."""
_OPTIONS: Final = WriteOptions()
_DELETE_OPTIONS: Final = DeleteOptions()


class _Held(Frozen):
    """An object as a write finds it."""

    obj: JsonObject
    expected: Revision
    """What the store has: a revision, or ABSENT for an object that the same batch creates."""


class _Decision(Frozen):
    """What a write comes to."""

    obj: JsonObject
    write: Put | Delete | None
    """None: nothing changes."""
    created: bool = False
    warnings: tuple[str, ...] = ()
    records: tuple[Record, ...] = ()
    """What is noted of it, in the same transaction."""


class _Outcome(Frozen):
    """What the effects of a report come to."""

    writes: tuple[Put | Delete, ...]
    records: tuple[Record, ...]
    refused: tuple[tuple[Key, CallerError], ...]
    idle: bool
    """Some effect writes nothing, which no commit will check: it has to be decided on what the store has."""


class LocalObjects(Frozen):
    """See the module and `cloudcore.registry.port.Objects`."""

    store: Store
    cache: WatchCache
    rules: Rules
    clock: Clock
    ids: Ids
    steps: tuple[Step, ...] = STEPS
    exclusive: frozenset[str] = frozenset({"services"})
    """Resources written one at a time, here and (by their basis) in all processes: a step of theirs gives out
    something scarce (addresses, ports)."""
    cache_wait_s: float = 10.0
    """How long the cache may take to show a write; it takes microseconds unless the process is starved."""
    fence: Callable[[], Advance | None] = lambda: None
    """What each write carries, so that the store refuses it once another process is to do this work; None: nothing.
    Raises `FencedError` where that is known already."""
    _locks: dict[str, asyncio.Lock] = field(default_factory=dict[str, asyncio.Lock])

    def read(self, key: Key) -> Stored | None:
        return self.cache.read(key)

    def select(self, resource: str, *, namespace: str = "") -> Sequence[Stored]:
        return self.cache.select(resource, namespace=namespace)

    async def create(
        self, kind: Kind, namespace: str, obj: JsonObject, options: WriteOptions = _OPTIONS, /
    ) -> Written:
        return await self._informed(lambda: self._create_named(kind, namespace, obj, options))

    async def _create_named(self, kind: Kind, namespace: str, obj: JsonObject, options: WriteOptions) -> Written:
        obj = self.rules.defaulted(kind, obj)
        lifecycle.check_creatable(kind, namespace, obj)
        given, base = name_of(obj), str_at(obj, "metadata", "generateName")
        for _ in range(1 if given else lifecycle.NAME_TRIES):
            name = given or lifecycle.generated_name(base, self.ids.suffix(lifecycle.SUFFIX_LENGTH))
            try:
                return await self._create(kind, kind.key(namespace, name), obj, options)
            except AlreadyExistsError:
                if given:
                    raise
        raise already_exists(kind, base)

    async def update(
        self,
        kind: Kind,
        key: Key,
        transform: Transform,
        options: WriteOptions = _OPTIONS,
        /,
        *,
        subresource: Subresource = "",
        create_absent: bool = False,
    ) -> Written:
        async def write() -> Written:
            return await self._update(kind, key, transform, options, subresource, create_absent=create_absent)

        return await self._informed(write)

    async def _update(
        self,
        kind: Kind,
        key: Key,
        transform: Transform,
        options: WriteOptions,
        subresource: Subresource,
        *,
        create_absent: bool,
    ) -> Written:
        stored = self.cache.read(key)
        for _ in range(_TRIES):
            if stored is None:
                if not (create_absent and kind.create_on_update and not subresource):
                    raise not_found(kind, key.name)
                try:
                    return await self._create_by_update(kind, key, transform({}), options)
                except AlreadyExistsError:
                    stored = await self.store.get(key)
                    continue
            async with self._turn(kind):
                basis = self._basis(kind, born=False)
                held = _Held(obj=object_of(stored.body), expected=stored.revision)
                decision = self._change(kind, key, held, transform, subresource, options)
                try:
                    return await self._carry_out(decision, stored, basis, dry_run=options.dry_run)
                except FencedError:
                    raise
                except (ConflictError, NotFoundError):
                    await self._see_again(basis)
                    stored = await self.store.get(key)
        raise conflict(kind, key.name)

    async def delete(self, kind: Kind, key: Key, options: DeleteOptions = _DELETE_OPTIONS, /) -> Written:
        return await self._informed(lambda: self._delete(kind, key, options))

    async def _delete(self, kind: Kind, key: Key, options: DeleteOptions) -> Written:
        stored = self.cache.read(key)
        for _ in range(_TRIES):
            if stored is None:
                raise not_found(kind, key.name)
            decision = self._deletion(kind, key, object_of(stored.body), stored.revision, options)
            try:
                return await self._carry_out(decision, stored, None, dry_run=options.dry_run)
            except FencedError:
                raise
            except (ConflictError, NotFoundError):
                stored = await self.store.get(key)
        raise conflict(kind, key.name)

    async def records(
        self,
        series: str,
        *,
        after: Place | None = None,
        since_ms: int = 0,
        limit: int = 1000,
        newest_first: bool = False,
    ) -> Sequence[StoredRecord]:
        return await self.store.records(
            series, after=after, since_ms=since_ms, limit=limit, newest_first=newest_first
        )

    async def arrivals(
        self, series: str, *, after: int = 0, since_ms: int = 0, limit: int = 1000
    ) -> Sequence[StoredRecord]:
        return await self.store.arrivals(series, after=after, since_ms=since_ms, limit=limit)

    async def report(
        self, advance: Advance, effects: Sequence[Effect], records: Sequence[Record], *, pause: Pause | None = None
    ) -> None:
        for turn in range(_TRIES):
            seen = self.cache.revision
            # Only the first time: who takes long meets other writers, and would meet them again and again.
            outcome = await self._outcome_of(effects, cached=turn == 0, pause=pause if turn == 0 else None)
            if turn == 0 and outcome.idle and await self.cache.missed_since(seen, timeout_s=self.cache_wait_s):
                continue
            for key, reason in outcome.refused:
                log.warning("effect refused key=%s reason=%s", key, reason)
            batch = Batch(writes=outcome.writes, advance=advance, records=(*records, *outcome.records))
            try:
                revisions = await self.store.commit(batch)
            except FencedError:
                raise
            except (ConflictError, NotFoundError, AlreadyExistsError):
                continue  # somebody wrote one of the objects in between
            if revisions:
                await self.cache.wait_for(revisions[-1], timeout_s=self.cache_wait_s)
            return
        raise UnavailableError(f"the report of node {advance.node} met other writers {_TRIES} times")

    async def _informed(self, write: Callable[[], Awaitable[Written]]) -> Written:
        """Write; where that is refused while another process has written what the cache does not show yet (the
        object, its namespace, a quota), write once more with all of it seen."""
        seen = self.cache.revision
        try:
            return await write()
        except FencedError:
            raise
        except CallerError:
            if not await self.cache.missed_since(seen, timeout_s=self.cache_wait_s):
                raise
        return await write()

    # Creating

    async def _create(self, kind: Kind, key: Key, obj: JsonObject, options: WriteOptions) -> Written:
        for _ in range(_TRIES):
            async with self._turn(kind):
                basis = self._basis(kind, born=True)
                decision = self._birth(kind, key, obj, options, keep_status=False)
                if options.dry_run and self.cache.read(key) is not None:
                    raise already_exists(kind, key.name)
                try:
                    return await self._carry_out(decision, None, basis, dry_run=options.dry_run)
                except AlreadyExistsError as error:
                    raise already_exists(kind, key.name) from error
                except FencedError:
                    raise
                except ConflictError:
                    await self._see_again(basis)
        raise conflict(kind, key.name)

    async def _create_by_update(self, kind: Kind, key: Key, obj: JsonObject, options: WriteOptions) -> Written:
        if str_at(obj, "metadata", "resourceVersion") or uid_of(obj):
            # The caller means an object that was there once.
            raise not_found(kind, key.name)
        obj = self.rules.defaulted(kind, obj)
        _check_identity(kind, key, obj)
        return await self._create(kind, key, obj, options)

    def _birth(self, kind: Kind, key: Key, obj: JsonObject, options: WriteOptions, *, keep_status: bool) -> _Decision:
        birth = lifecycle.Birth(
            name=key.name, uid=self.ids.uid(), now_ms=self.clock.wall_ms(), keep_status=keep_status
        )
        new = lifecycle.born(kind, key.namespace, obj, birth)
        new = self._admit(kind, key, new, None, "", options)
        causes = self.rules.validate(kind, new, None, "")
        if causes:
            raise invalid(kind, key.name, causes)
        put = Put(key=key, uid=birth.uid, body=body_of(new), expected=ABSENT)
        return _Decision(
            obj=new,
            write=put,
            created=True,
            warnings=self.rules.warnings(kind, new, None),
            records=noted(key, None, new, now_ms=birth.now_ms),
        )

    # Changing

    def _change(
        self,
        kind: Kind,
        key: Key,
        held: _Held,
        transform: Transform,
        subresource: Subresource,
        options: WriteOptions,
    ) -> _Decision:
        old = held.obj
        # A transform that changed `old` itself would make every write look like none.
        wanted = transform(copy_of(old))
        _check_identity(kind, key, wanted)
        _check_meant(kind, key, wanted, old)
        wanted = self.rules.defaulted(kind, wanted)
        new = lifecycle.updated(kind, wanted, old, subresource, now_ms=self.clock.wall_ms())
        new = self._admit(kind, key, new, old, subresource, options)
        new = _with_revision_of(new, old)
        if same(new, old):
            return _Decision(obj=old, write=None, warnings=self.rules.warnings(kind, new, old))
        causes = self.rules.validate(kind, new, old, subresource)
        if causes:
            raise invalid(kind, key.name, causes)
        return _Decision(
            obj=new,
            write=_write_of(key, new, held),
            warnings=self.rules.warnings(kind, new, old),
            records=() if subresource else noted(key, old, new, now_ms=self.clock.wall_ms()),
        )

    def _admit(
        self,
        kind: Kind,
        key: Key,
        new: JsonObject,
        old: JsonObject | None,
        subresource: Subresource,
        options: WriteOptions,
    ) -> JsonObject:
        request = Request(
            kind=kind,
            operation="CREATE" if old is None else "UPDATE",
            key=key,
            obj=new,
            old=old,
            subresource=subresource,
            actor=options.actor,
            suffix=self.ids.suffix(lifecycle.SUFFIX_LENGTH) if kind.resource == "pods" else "",
            now_ms=self.clock.wall_ms(),
            life=life_of(self.store.epoch),
        )
        return self.rules.filled(kind, admitted(self.steps, request, self.cache))

    # Deleting

    def _deletion(
        self, kind: Kind, key: Key, old: JsonObject, revision: Revision, options: DeleteOptions
    ) -> _Decision:
        lifecycle.check_preconditions(kind, old, options)
        request = Request(
            kind=kind,
            operation="DELETE",
            key=key,
            obj=old,
            old=old,
            subresource="",
            actor=options.actor,
            suffix="",
            now_ms=self.clock.wall_ms(),
        )
        admitted(self.steps, request, self.cache)
        deletion = lifecycle.deleted(kind, old, options, now_ms=self.clock.wall_ms())
        if deletion.gone:
            gone = Delete(key=key, expected=revision)
            return _Decision(obj=old, write=gone, warnings=deletion.warnings)
        if same(deletion.obj, old):
            return _Decision(obj=old, write=None, warnings=deletion.warnings)
        put = Put(key=key, uid=uid_of(old), body=body_of(deletion.obj), expected=revision)
        return _Decision(obj=deletion.obj, write=put, warnings=deletion.warnings)

    # Reports of nodes

    async def _outcome_of(self, effects: Sequence[Effect], *, cached: bool, pause: Pause | None) -> _Outcome:
        """What the effects come to, each seeing the ones before it. Without `cached`, from the store itself."""
        held: dict[Key, _Held | None] = {}
        writes: dict[Key, list[Put | Delete]] = {}
        records: list[Record] = []
        refused: list[tuple[Key, CallerError]] = []
        idle = False
        waiting = deque(together(effects))
        while waiting:
            run = waiting.popleft()
            key = run[0].key
            if key not in held:
                stored = self.cache.read(key) if cached else await self.store.get(key)
                held[key] = stored and _Held(obj=object_of(stored.body), expected=stored.revision)
            try:
                decision = self._effect(as_one(run), held[key])
            except CallerError as error:
                if len(run) > 1:
                    waiting.extendleft((each,) for each in reversed(run))
                    continue
                # Sent again it would be refused again, and hold up all that the node has to say after it.
                refused.append((key, error))
                decision = None
            if pause is not None:
                await pause()
            if decision is None or decision.write is None:
                idle = True
                continue
            held[key] = _after(decision, held[key])
            records += decision.records
            _merge(writes.setdefault(key, []), decision.write)
        merged = tuple(write for each in writes.values() for write in each)
        return _Outcome(writes=merged, records=tuple(records), refused=tuple(refused), idle=idle)

    def _effect(self, effect: Effect, held: _Held | None) -> _Decision | None:
        """None: the effect is on an object that is no longer there."""
        kind, key = effect.kind, effect.key
        if held is None:
            if effect.uid:
                return None
            wanted = self.rules.defaulted(kind, effect.transform({}))
            _check_identity(kind, key, wanted)
            return self._birth(kind, key, wanted, _OPTIONS, keep_status=True)
        if effect.uid not in ("", uid_of(held.obj)):
            return None
        decision = self._change(kind, key, held, effect.transform, effect.subresource, _OPTIONS)
        if not effect.gone:
            return decision
        last = lifecycle.without_grace(decision.obj)
        if same(last, decision.obj) and not lifecycle.released(last):
            return decision
        return _Decision(obj=last, write=_write_of(key, last, held))

    # Committing

    async def _carry_out(
        self, decision: _Decision, stored: Stored | None, basis: Basis | None, *, dry_run: bool
    ) -> Written:
        """Commit what was decided on `stored` and `basis`. Raises `ConflictError` when the store has something
        else."""
        gone = isinstance(decision.write, Delete)
        obj = decision.obj
        if decision.write is None and stored is not None and self.store.shared:
            # No commit checks a write of nothing, and another process may have given it something to change.
            current = await self.store.get(stored.key)
            if current is None or current.revision != stored.revision:
                raise ConflictError(f"{stored.key} was changed by another process")
        if decision.write is not None and not dry_run:
            batch = Batch(writes=(decision.write,), advance=self.fence(), basis=basis, records=decision.records)
            (revision,) = await self.store.commit(batch)
            await self.cache.wait_for(revision, timeout_s=self.cache_wait_s)
            obj = stamped(obj, revision)
        return Written(obj=obj, created=decision.created, deleted=gone, warnings=decision.warnings)

    def _basis(self, kind: Kind, *, born: bool) -> Basis | None:
        """What of a kind's writes is decided on more than the object itself: all objects of the kind that something
        scarce is given out to, and a custom kind's definition, of which nothing new is made once it is to go."""
        if kind.stored_as in self.exclusive:
            return Basis(resource=kind.stored_as, revision=self.cache.revision)
        if kind.custom and born:
            return Basis(resource=DEFINITIONS, revision=self.cache.revision)
        return None

    async def _see_again(self, basis: Basis | None) -> None:
        """Where what was decided on may have changed, wait until the cache shows it."""
        if basis is not None:
            await self.cache.wait_for(await self.store.revision(), timeout_s=self.cache_wait_s)

    def _turn(self, kind: Kind) -> AbstractAsyncContextManager[None]:
        if kind.stored_as not in self.exclusive:
            return nullcontext()
        return self._locks.setdefault(kind.stored_as, asyncio.Lock())


def _check_identity(kind: Kind, key: Key, wanted: JsonObject) -> None:
    name = name_of(wanted)
    if name != key.name:
        if not name:
            raise BadRequestError("name must be provided")
        raise BadRequestError(f"the name of the object ({name}) does not match the name on the URL ({key.name})")
    lifecycle.check_namespace(kind, key.namespace, wanted)


def _check_meant(kind: Kind, key: Key, wanted: JsonObject, old: JsonObject) -> None:
    """The writer means this life of the object, and this state of it unless any will do."""
    uid = uid_of(wanted)
    if uid and uid != uid_of(old):
        raise lifecycle.uid_conflict(kind, key.name, uid, uid_of(old))
    revision = str_at(wanted, "metadata", "resourceVersion")
    if revision in ("", "0"):
        if kind.unconditional_update:
            return
        message = "Invalid value: 0x0: must be specified for an update"
        cause = Cause(field="metadata.resourceVersion", reason="FieldValueInvalid", message=message)
        raise invalid(kind, key.name, [cause])
    if revision != str_at(old, "metadata", "resourceVersion"):
        raise conflict(kind, key.name)


def _with_revision_of(new: JsonObject, old: JsonObject) -> JsonObject:
    """The new state as it would be read now, for comparing."""
    revision = str_at(old, "metadata", "resourceVersion")
    metadata = {name: value for name, value in map_at(new, "metadata").items() if name != "resourceVersion"}
    return {**new, "metadata": metadata | {"resourceVersion": revision} if revision else metadata}


def _write_of(key: Key, new: JsonObject, held: _Held) -> Put | Delete:
    if lifecycle.released(new):
        return Delete(key=key, expected=held.expected, body=body_of(new))
    return Put(key=key, uid=uid_of(new), body=body_of(new), expected=held.expected)


def _merge(writes: list[Put | Delete], write: Put | Delete) -> None:
    """Add a write to those of one object: of two states in one batch only the last is kept."""
    if writes and isinstance(writes[-1], Put):
        writes.pop()
    if not (isinstance(write, Delete) and write.expected == ABSENT):
        writes.append(write)


def _after(decision: _Decision, held: _Held | None) -> _Held | None:
    if isinstance(decision.write, Delete):
        return None
    return _Held(obj=decision.obj, expected=ABSENT if held is None else held.expected)
