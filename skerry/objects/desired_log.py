"""The log of what was wanted of a device: who wanted what instead of what, when, and what became of it. Pure.

One entry for each change of a desired value that is stored, from whichever side it came, and one for each answer of
the gateway. The cloud keeps them as records (`cloudcore.store.port.Record`), bounded as all records are, a gateway in
a ring beside its twins (`edgecore.twins.desired_log`); both in the transaction of the change itself. Keeps no data.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from skerry.errors import BadRequestError
from skerry.frozen import Frozen
from skerry.objects.desired import Desired, desired_json
from skerry.objects.device_desired import desired_revision, record_of, tombstones_of
from skerry.objects.json import Json, JsonObject, bool_at, maps_at, str_at
from skerry.objects.meta import uid_of
from skerry.objects.twins import Ack, TwinReported

LIMIT: Final = 100
LIMIT_MAX: Final = 1000
"""Items in one answer."""
_NUMBER: Final = re.compile(r"\d{1,9}")
FINAL_ANSWERS: Final = frozenset({"applied", "verified", "refused", "failed", "expired"})


class Entry(Frozen):
    """One row of the log, as stored."""

    prop: str
    body: JsonObject


def log_series(namespace: str, device: str) -> str:
    """Name of the series. No property's history has a colon before its first slash."""
    return f"desired:{namespace}/{device}"


def changes(old: JsonObject | None, new: JsonObject) -> Iterator[Entry]:
    """What a write of a Device changed of what is wanted of it, in the order in which it was wanted."""
    names = dict.fromkeys(
        str_at(entry, "name") for obj in (old, new) if obj is not None for entry in maps_at(obj, "spec", "properties")
    )
    found: list[tuple[Desired, Entry]] = []
    for prop in [*names, *(name for name in tombstones_of(new) if name not in names)]:
        before = None if old is None else record_of(old, prop)
        after = record_of(new, prop)
        if after is None or after == before:
            continue  # a tombstone that the gateway has seen
        body = change_body(prop, before, after, revision=desired_revision(new), uid=uid_of(new))
        found.append((after, Entry(prop=prop, body=body)))
    yield from (entry for _, entry in sorted(found, key=lambda pair: pair[0].hlc))


def change_body(prop: str, before: Desired | None, after: Desired, *, revision: str, uid: str) -> JsonObject:
    """An entry for one change of what is wanted of a property."""
    return {
        "prop": prop,
        "before": _wanted(before),
        "desired": desired_json(after),
        "revision": revision,
        "uid": uid,
    }


def answer_body(prop: str, ack: Ack, *, uid: str) -> JsonObject:
    """An entry for what became of one."""
    return {
        "prop": prop,
        "ack": {"for": str(ack.for_ver), "state": ack.state, "reason": ack.reason},
        "uid": uid,
    }


def _wanted(desired: Desired | None) -> Json:
    return None if desired is None or desired.removed else desired.value


def answer(told: TwinReported, status: JsonObject | None) -> Entry | None:
    """What became of a desired value, where the DeviceStatus does not tell it yet."""
    if told.ack is None or told.ack.state not in FINAL_ANSWERS:
        return None
    for twin in maps_at(status, "status", "twins"):
        if str_at(twin, "propertyName") == told.prop:
            known = [str_at(twin, "reported", "metadata", name) for name in ("ackFor", "ackState", "ackReason")]
            if known == [str(told.ack.for_ver), told.ack.state, told.ack.reason]:
                return None
    return Entry(prop=told.prop, body=answer_body(told.prop, told.ack, uid=told.device.uid))


def log_limit(text: str) -> int:
    """How many items are asked for. Raises `BadRequestError`."""
    if text and not _NUMBER.fullmatch(text):
        raise BadRequestError(f"limit: must be a whole number, not {text!r}")
    return min(int(text or LIMIT) or LIMIT, LIMIT_MAX)


def desired_log(
    namespace: str, device: str, rows: list[tuple[int, str, JsonObject]], *, prop: str, limit: int
) -> JsonObject:
    """`DesiredLog`: at most `limit` items of `rows` (the newest first), of one property where it is named."""
    wanted = [item for item in shown(rows) if prop in ("", item["property"])]
    items: list[Json] = [*wanted[:limit]]
    return {
        "kind": "DesiredLog",
        "apiVersion": "skerry.dev/v1",
        "metadata": {"name": device, "namespace": namespace},
        "items": items,
    }


def shown(rows: list[tuple[int, str, JsonObject]]) -> list[JsonObject]:
    """Rows (number, time, body), the newest first, as items of the log: each change with the answer to it that came
    last."""
    answers: dict[tuple[str, str, str], JsonObject] = {}
    items: list[JsonObject] = []
    for number, time, body in rows:
        prop, uid = str_at(body, "prop"), str_at(body, "uid")
        if "ack" in body:
            state = {name: str_at(body, "ack", name) for name in ("state", "reason")}
            answers.setdefault((uid, prop, str_at(body, "ack", "for")), {**state, "time": time})
            continue
        version = str_at(body, "desired", "ver")
        item: JsonObject = {
            "number": number,
            "time": time,
            "property": prop,
            "before": body.get("before"),
            "value": None if bool_at(body, "desired", "removed") else str_at(body, "desired", "value"),
            "version": version,
            "by": str_at(body, "desired", "origin"),
            "side": str_at(body, "desired", "side"),
            "revision": str_at(body, "revision"),
            "uid": uid,
        }
        rivals = maps_at(body, "desired", "rivals")
        if rivals:
            item["rivals"] = [{name: rival.get(name) for name in ("value", "origin", "side")} for rival in rivals]
        if (answered := answers.get((uid, prop, version))) is not None:
            item["answer"] = answered
        items.append(item)
    return items
