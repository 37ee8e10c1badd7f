"""The caps on this gateway's link: its own setting, and the annotation `skerry.dev/bandwidth` of its Node.

Both hold, so that neither side can spend what the other has forbidden. The annotation comes with the Node, as
everything does, and holds over restarts and while the link is down. One that makes no sense (the cloud refuses those;
an old cloud may not) changes nothing: the last that was understood is kept in the edge store's `meta`, and stays.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Final

from edgecore.store.port import EdgeBatch
from edgecore.store.shell import AsyncEdgeStore
from skerry.errors import InvalidError, UnavailableError
from skerry.objects.bandwidth import BANDWIDTH, BandwidthPlan, parse_bandwidth, shown_bandwidth
from skerry.objects.json import JsonObject, decode_object
from skerry.objects.meta import Key, annotations_of
from skerry.transport.gate import Gate

LOG: Final = logging.getLogger(__name__)

META_BANDWIDTH: Final = "bandwidth"
"""The last plan of the annotation that was understood; "" for none."""
SETTING: Final = "--bandwidth"


def own_plan(text: str) -> BandwidthPlan | None:
    """The plan of the setting; None for none. Raises `InvalidError`."""
    if not text:
        return None
    plan = parse_bandwidth(text, source=SETTING)
    if plan.limits("down"):
        raise InvalidError(
            f"{SETTING}: a gateway can't limit what comes down; write up RATE here, and limit the cloud with "
            f"kubectl annotate node NAME {BANDWIDTH}='down RATE'"
        )
    return plan


class Caps:
    """Reads the plans for this gateway's gate. Nothing is sent by it."""

    def __init__(self, node: str, own: BandwidthPlan | None, store: AsyncEdgeStore, gate: Gate) -> None:
        self._key = Key("nodes", "", node)
        self._own = own
        self._store = store
        self._gate = gate
        self._text = store.meta(META_BANDWIDTH) or ""
        self._complained = ""
        self._changed = asyncio.Event()
        self._given = self._understood(self._text)
        self.reread()
        self._hold()

    @property
    def peer_is_capped(self) -> bool:
        """The cloud may not send as fast as it can, now or at another hour."""
        return self._given is not None and self._given.limits("down")

    def touches(self, batch: EdgeBatch) -> bool:
        """Whether this write may have changed the annotation."""
        return any(put.key == self._key for put in batch.puts)

    def reread(self) -> bool:
        """See what the Node says; whether that is something else than before."""
        held = self._store.get(self._key)
        if held is None:
            return False  # nothing is known, which is no word to the contrary
        text = annotations_of(decode_object(held.body)).get(BANDWIDTH, "")
        if text == self._text:
            return False
        plan = self._understood(text)
        if plan is None and text:
            return False
        self._text, self._given = text, plan
        self._hold()
        self._changed.set()
        LOG.info("bandwidth plan changed plan=%r", text)
        return True

    async def run(self) -> None:
        """Write down what was understood last, until cancelled."""
        while True:
            await self._changed.wait()
            self._changed.clear()
            try:
                await self._store.apply(EdgeBatch(meta=((META_BANDWIDTH, self._text),)))
            except UnavailableError as error:
                # What holds, holds; and the Node itself is kept, and says it again after a restart.
                LOG.warning("the bandwidth plan is not remembered error=%s", error)

    def shown(self) -> JsonObject:
        """What holds now; empty for no cap."""
        return shown_bandwidth(self._gate.plans, self._gate.wall_ms())

    def _hold(self) -> None:
        self._gate.hold([plan for plan in (self._own, self._given) if plan is not None])

    def _understood(self, text: str) -> BandwidthPlan | None:
        if not text:
            return None
        try:
            plan = parse_bandwidth(text, any_zone=True)
        except InvalidError as error:
            if text != self._complained:
                LOG.warning("bandwidth plan not understood, the one before stays error=%s", error)
                self._complained = text
            return None
        if plan.zone is None:
            LOG.warning("bandwidth plan names a time zone that is not known here; its strictest rates hold: %r", text)
        return plan
