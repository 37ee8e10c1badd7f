"""Holding a device: its polls and writes pause, for a reason, at somebody's word, until somebody's word or a time.

Pure; keeps no data. In the cloud a hold is in annotations of the Device: who holds writes the reason (and until
when), the API server adds who and since when. A gateway has a hold of its own beside it, for those who stand before
the device, who may also release what the cloud holds.
"""

from __future__ import annotations

from typing import Final

from skerry.errors import BadRequestError, InvalidError
from skerry.frozen import Frozen
from skerry.objects.json import JsonObject, clone, ensure_map, int_at, map_at, str_at
from skerry.objects.meta import annotations_of
from skerry.objects.times import parse_time, time_text

HOLD: Final = "twin.skerry.dev/hold"
"""Annotation: why the device is held. Absent: it is not."""
HOLD_UNTIL: Final = "twin.skerry.dev/hold-until"
"""Annotation: RFC 3339; absent: until it is released."""
HOLD_BY: Final = "twin.skerry.dev/hold-by"
HOLD_SINCE: Final = "twin.skerry.dev/hold-since"
"""Annotations that the API server writes."""
REASON_LENGTH_MAX: Final = 512


class Holding(Frozen):
    """A device is held."""

    reason: str
    by: str
    since_ms: int
    until_ms: int | None
    """None: until it is released."""

    def is_over(self, now_ms: int) -> bool:
        return self.until_ms is not None and self.until_ms <= now_ms

    def __str__(self) -> str:
        until = "it is released" if self.until_ms is None else time_text(self.until_ms)
        return f"held by {self.by} until {until}: {self.reason}"


class LocalHold(Frozen):
    """What was said of holding a device on its gateway."""

    uid: str
    """Life of the device."""
    holding: Holding | None = None
    released: Holding | None = None
    """The cloud's hold that was released here; a newer one counts."""


def check_hold(reason: str, until_ms: int | None, *, now_ms: int) -> None:
    """Raises `InvalidError` for a hold without a reason, or one that is over already."""
    if not reason.strip() or len(reason) > REASON_LENGTH_MAX:
        raise InvalidError(f"a hold has a reason of at most {REASON_LENGTH_MAX} characters")
    if until_ms is not None and until_ms <= now_ms:
        raise InvalidError(f"a hold until {time_text(until_ms)} would be over already")


def holding_of(device: JsonObject) -> Holding | None:
    """The hold that a Device tells of, over or not."""
    annotations = annotations_of(device)
    if not (reason := annotations.get(HOLD, "")):
        return None
    return Holding(
        reason=reason,
        by=annotations.get(HOLD_BY, ""),
        since_ms=_ms(annotations.get(HOLD_SINCE, "")) or 0,
        until_ms=_ms(annotations.get(HOLD_UNTIL, "")),
    )


def effective(cloud: Holding | None, local: LocalHold | None, *, now_ms: int | None) -> Holding | None:
    """The hold in force: the gateway's own before the cloud's. `now_ms` None: nobody knows the time, and no hold
    ends by it."""
    own = local.holding if local is not None else None
    if own is not None and not (now_ms is not None and own.is_over(now_ms)):
        return own
    if cloud is None or (now_ms is not None and cloud.is_over(now_ms)):
        return None
    return None if local is not None and local.released == cloud else cloud


def with_holding(device: JsonObject, holding: Holding | None) -> JsonObject:
    """The Device with this hold and no other."""
    annotations = annotations_of(device)
    wanted = {} if holding is None else _shown(holding)
    if {name: annotations[name] for name in _NAMES if name in annotations} == wanted:
        return device
    device = clone(device)
    kept = ensure_map(device, "metadata", "annotations")
    for name in _NAMES:
        kept.pop(name, None)
    kept.update(wanted)
    return device


def stamp_hold(old: JsonObject | None, new: JsonObject, *, now_ms: int, origin: str) -> JsonObject:
    """Say who holds a device, and since when, where a write holds it or changes that. Raises `InvalidError`."""
    annotations = annotations_of(new)
    if not any(name in annotations for name in _NAMES):
        return new
    reason, until = annotations.get(HOLD, ""), annotations.get(HOLD_UNTIL, "")
    if HOLD not in annotations:
        return with_holding(new, None)
    before = holding_of(old) if old is not None else None
    until_ms = _ms(until)
    if until and until_ms is None:
        raise InvalidError(
            f"metadata.annotations[{HOLD_UNTIL}]: {until!r} is not a time such as 2026-01-31T12:00:00Z"
        )
    if before is not None and (before.reason, before.until_ms) == (reason, until_ms):
        return with_holding(new, before)
    try:
        check_hold(reason, until_ms, now_ms=now_ms)
    except InvalidError as error:
        raise InvalidError(f"metadata.annotations[{HOLD}]: {error}") from error
    since_ms = now_ms // 1000 * 1000  # as it reads back
    return with_holding(new, Holding(reason=reason, by=origin, since_ms=since_ms, until_ms=until_ms))


_NAMES: Final = (HOLD, HOLD_UNTIL, HOLD_BY, HOLD_SINCE)


def _shown(holding: Holding) -> dict[str, str]:
    shown = {HOLD: holding.reason, HOLD_BY: holding.by, HOLD_SINCE: time_text(holding.since_ms)}
    return shown if holding.until_ms is None else shown | {HOLD_UNTIL: time_text(holding.until_ms)}


def _ms(text: str) -> int | None:
    try:
        return parse_time(text) if text else None
    except BadRequestError:
        return None


def local_hold_json(local: LocalHold) -> JsonObject:
    out: JsonObject = {"uid": local.uid}
    for name, holding in (("holding", local.holding), ("released", local.released)):
        if holding is not None:
            out[name] = {
                "reason": holding.reason,
                "by": holding.by,
                "since": holding.since_ms,
                **({} if holding.until_ms is None else {"until": holding.until_ms}),
            }
    return out


def local_hold_from(data: JsonObject) -> LocalHold:
    """Inverse of `local_hold_json`."""
    return LocalHold(
        uid=str_at(data, "uid"),
        holding=_holding_from(map_at(data, "holding")),
        released=_holding_from(map_at(data, "released")),
    )


def _holding_from(data: JsonObject) -> Holding | None:
    if not data:
        return None
    return Holding(
        reason=str_at(data, "reason"),
        by=str_at(data, "by"),
        since_ms=int_at(data, "since"),
        until_ms=int_at(data, "until") if "until" in data else None,
    )
