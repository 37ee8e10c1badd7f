"""How a pod's record follows what somebody at the gateway holds back. Pure."""

from __future__ import annotations

from edgecore.pods.events import Happening
from edgecore.pods.holding import kept_of
from edgecore.pods.records import PodRecord
from skerry.frozen import replace
from skerry.objects.json import JsonObject
from skerry.objects.local_changes import EVENTS, UpgradeHold
from skerry.objects.meta import being_deleted, generation_of


def heeded(
    record: PodRecord, pod: JsonObject | None, hold: UpgradeHold | None, *, came: bool, static: bool
) -> tuple[PodRecord, list[Happening]]:
    """The record as it is now, and what there is to tell. While upgrades are held it keeps the pod as it was, if the
    cloud had not ended it before; a stop ends when the cloud changes what was stopped. `came`: it is new here;
    `static`: it is not the cloud's."""
    if hold is None:
        record = replace(record, kept=None)
    elif record.kept is None and pod is not None and not static and not being_deleted(pod):
        record = replace(record, kept=kept_of(pod, came=came))
    stopped = record.stopped
    if stopped is None or pod is None or generation_of(pod) <= stopped.generation:
        return record, []
    text = "the cloud changed the pod: it is not stopped on the gateway any more"
    return replace(record, stopped=None), [Happening(reason=EVENTS["start"], message=text)]
