"""What is noted of a write, in its transaction: of a Device, what it changed of what is wanted of it.

Pure; keeps no data. The log is read by `cloudcore.api.verbs.desired_log`.
"""

from __future__ import annotations

from cloudcore.registry.devices import DEVICES
from cloudcore.store.port import Record
from skerry.objects.desired_log import changes, log_series
from skerry.objects.json import JsonObject, encode_object
from skerry.objects.meta import Key


def noted(key: Key, old: JsonObject | None, new: JsonObject, *, now_ms: int) -> tuple[Record, ...]:
    """Rows of the log; none for an object of another kind."""
    if key.resource != DEVICES:
        return ()
    series = log_series(key.namespace, key.name)
    return tuple(Record(series=series, at_ms=now_ms, body=encode_object(entry.body)) for entry in changes(old, new))
