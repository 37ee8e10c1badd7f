"""The twins of this gateway, in memory as in the store, and what of them waits to be committed.

The other rooms of the keeper read and change twins here. Everything is committed before anybody hears of it: a
broker's message is acknowledged, a caller of `want` answered, a report sent only after the commit. A crash loses what
was staged and never acknowledged; the twins are read from the store again.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import TypeAlias

from edgecore.store.port import EdgeBatch, NewReport, TwinRow
from edgecore.store.shell import AsyncEdgeStore
from edgecore.twins.desired_log import DesiredLog
from edgecore.twins.pace import Credit, Pace
from edgecore.twins.plan import want
from edgecore.twins.settings import KeeperSettings
from edgecore.twins.stage import META_TOLD_EPOCH, Place, Stage, desired_report, reported_report
from skerry.errors import UnavailableError
from skerry.frozen import Frozen, replace
from skerry.objects.desired import HLC_ZERO, Desired, Hlc, Policy, merge
from skerry.objects.device_desired import desired_revision, with_twins
from skerry.objects.json import JsonObject
from skerry.objects.meta import Key
from skerry.objects.twins import TwinState, decode_state, encode_state
from skerry.ports import Clock
from skerry.waits import until_set

LOG = logging.getLogger(__name__)

Stored: TypeAlias = "Callable[[str, Sequence[int]], None]"
"""These receipts of a driver are for readings that are durable now."""


class Change(Frozen):
    """A write of a desired value on this gateway."""

    place: Place
    uid: str
    """Life of the device."""
    policy: Policy
    make: Callable[[Desired | None, Hlc], Desired]
    """The write, of what is wanted before it and after what else was written. May raise an error of the caller's."""


class Ledger:
    """Everything runs on one event loop."""

    def __init__(
        self,
        store: AsyncEdgeStore,
        *,
        clock: Clock,
        settings: KeeperSettings,
        stored: Stored,
        body_of: Callable[[Key], JsonObject | None],
    ) -> None:
        """`body_of` gives the Device as it is known here."""
        self._store = store
        self._clock = clock
        self._settings = settings
        self._stored = stored
        self.twins: dict[Place, TwinState] = {
            (row.device, row.prop): decode_state(row.body) for row in store.twins() if row.is_twin
        }
        self._body_of = body_of
        self.log = DesiredLog(store.twins(), self.twins, self._revision)
        self.stage = Stage()
        self.pace = Pace(settings.tell_s, settings.tell_credit)
        self.epoch = store.meta(META_TOLD_EPOCH) or ""
        """Of the cloud that was told everything."""
        self.wish = asyncio.Event()
        """There may be something to carry out."""
        self.watchers: set[asyncio.Event] = set()
        """Set after every commit."""
        self._syncs = Credit(settings.group_s, settings.group_credit)
        self._commit = asyncio.Lock()
        self._staged = asyncio.Event()
        self._urgent = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()
        for place, state in self.twins.items():
            if state.untold:
                self.twins[place] = replace(state, untold=False)
                self.pace.moved(place)

    def revision(self, device: Key) -> str:
        """Of all that is wanted of a device, as `if_match` expects it."""
        return self._revision(device, {})

    def _revision(self, device: Key, changed: Mapping[Place, TwinState]) -> str:
        known = self._body_of(device)
        if known is None:
            return ""
        states = {place: state for place, state in self.twins.items() if place[0] == device}
        states |= {place: state for place, state in changed.items() if place[0] == device}
        wanted = {place[1]: state.desired for place, state in states.items() if state.desired is not None}
        return desired_revision(with_twins(known, wanted))

    # --- changing twins -----------------------------------------------------------------------------------

    def answered(self, place: Place, state: TwinState) -> None:
        """Keep a twin whose answer to what is wanted changed, and tell the cloud without delay."""
        if self.twins.get(place) == state:
            return
        self.twins[place] = state
        self.stage.rows.add(place)
        self.stage.told.add(place)
        self.stage.answered.append((place, state))
        self.hurry()

    async def want(self, changes: Sequence[Change], check: Callable[[], None]) -> Sequence[Desired]:
        """Commit desired values together, and only then take them for true. `check`, and what makes them, may refuse:
        then nothing is written. Raises what they raise, and what the store raises."""
        written: list[Desired] = []
        await _to_the_end(self._want(changes, check, written))
        return written

    async def _want(self, changes: Sequence[Change], check: Callable[[], None], written: list[Desired]) -> None:
        async with self._commit:
            check()
            rows: list[TwinRow] = []
            reports: list[NewReport] = []
            states: dict[Place, TwinState] = {}
            last = HLC_ZERO
            for change in changes:
                (device, prop), before = change.place, self._state(change)
                desired = change.make(before.desired, last)
                last = desired.hlc
                written.append(desired)
                after = states[change.place] = want(before, desired, self._clock.wall_ms())
                rows.append(TwinRow(device=device, prop=prop, body=encode_state(after)))
                reports += [desired_report(device, prop, after, change.policy), reported_report(device, prop, after)]
            answered, self.stage.answered = self.stage.answered, []
            noted = self.log.note(states, answered, now_ms=self._clock.wall_ms())
            try:
                await self._store.apply(EdgeBatch(twins=(*rows, *noted.rows), reports=tuple(reports)))
            except UnavailableError:
                self.stage.answered[:0] = answered
                raise
            self.log.keep(noted)
            for change, desired in zip(changes, written, strict=True):
                self._take_for_true(change, desired)
            self._staged.set()
        self.notify()
        self.wish.set()

    def _state(self, change: Change) -> TwinState:
        return self.twins.get(change.place) or TwinState(uid=change.uid)

    def _take_for_true(self, change: Change, desired: Desired) -> None:
        """While the disk was at work readings may have come, and even another desired value from the cloud."""
        now = self._state(change)
        merged = merge(now.desired, desired, change.policy)
        assert merged is not None, "this one is there"
        self.twins[change.place] = want(now, merged, self._clock.wall_ms())
        self.stage.rows.add(change.place)
        if merged != desired:
            self.stage.wanted[change.place] = change.policy
            self.stage.told.add(change.place)

    def staged(self) -> None:
        """Something was staged: it is committed with what else comes meanwhile."""
        self._staged.set()
        if len(self.stage.receipts) >= self._settings.group_receipts:
            self._urgent.set()
        rows = max(len(self.stage.telemetry), len(self.stage.pushes))
        if rows >= self._settings.group_rows:
            self._urgent.set()
        if rows >= self._settings.staged_rows_max:
            self._room.clear()

    def hurry(self) -> None:
        """Something was staged that can't wait for company."""
        self._staged.set()
        self._urgent.set()

    async def has_room(self) -> None:
        """Wait until there is room for more readings."""
        await self._room.wait()

    # --- committing ---------------------------------------------------------------------------------------

    async def commit_always(self) -> None:
        """Commit what is staged, until cancelled."""
        refused = ""
        while True:
            await self._something_to_commit()
            try:
                await self._flush()
            except UnavailableError as error:
                if str(error) != refused:
                    LOG.warning("twins_not_saved reason=%r rows=%d", str(error), len(self.stage.rows))
                refused = str(error)
                await asyncio.sleep(self._settings.store_retry_s)
            else:
                if refused:
                    LOG.info("twins_saved_again")
                refused = ""

    async def finish(self) -> None:
        """Commit the last, and what was to be told later."""
        if not (self.stage or self.pace.pending):
            return
        try:
            await self._flush(last=True)
        except UnavailableError as error:
            LOG.warning("twins_not_saved_at_stop reason=%r rows=%d", str(error), len(self.stage.rows))

    async def _something_to_commit(self) -> None:
        """Something is staged, and there is credit for a commit; or a device's turn to be told has come."""
        if await until_set(self._staged, within_s=self._in_s(self.pace.due_s())) and await until_set(
            self._urgent, within_s=self._in_s(self._syncs.due_s())
        ):
            return  # what can't wait costs no credit
        self._syncs.spend(self._clock.monotonic_s())

    def _in_s(self, at_s: float | None) -> float | None:
        return None if at_s is None else max(0.0, at_s - self._clock.monotonic_s())

    async def _flush(self, *, last: bool = False) -> None:
        """Commit what is staged, and with the `last` what was to be told later. Raises what the store raises; then
        everything stays staged."""
        await _to_the_end(self._flush_now(last=last))

    def _tell_in_turn(self, now_s: float) -> None:
        due = self.pace.take(now_s, self.stage.told)
        self.stage.told |= due
        self.stage.rows |= due

    async def _flush_now(self, *, last: bool) -> None:
        async with self._commit:
            self._tell_in_turn(float("inf") if last else self._clock.monotonic_s())
            stage, self.stage = self.stage, Stage()
            self._staged.clear()
            self._urgent.clear()
            try:
                batch = stage.batch(self.twins.get, self.pace.pending)
                states = {place: state for place in stage.rows if (state := self.twins.get(place)) is not None}
                noted = self.log.note(states, stage.answered, now_ms=self._clock.wall_ms())
                batch = replace(batch, twins=(*batch.twins, *noted.rows))
                if batch != EdgeBatch():
                    await self._store.apply(batch)
                self.log.keep(noted)
            except UnavailableError:
                self.stage.put_back(stage)
                self._staged.set()
                raise
        self._room.set()
        by_driver: dict[str, list[int]] = {}
        for name, receipt in stage.receipts:
            by_driver.setdefault(name, []).append(receipt)
        for name, receipts in by_driver.items():
            self._stored(name, receipts)
        self.notify()

    def notify(self) -> None:
        """Wake whoever waits for a twin."""
        for watcher in self.watchers:
            watcher.set()


async def _to_the_end(work: Coroutine[None, None, None]) -> None:
    """Run to its end even when the caller is cancelled meanwhile: a commit can't be stopped halfway, and one that
    happened without our noting it would be made twice."""
    task = asyncio.create_task(work)
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait({task})
        raise
