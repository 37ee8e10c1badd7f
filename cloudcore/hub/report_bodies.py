"""What a report carries, read strictly: a gateway's and a region's alike. Pure."""

from __future__ import annotations

import orjson

from skerry.errors import ProtocolError
from skerry.objects.json import Json, JsonObject
from skerry.sync.effects import DatedReport


def body_of(dated: DatedReport) -> JsonObject:
    """Nesting without end, numbers that aren't any and halves of characters are refused here, before they come to a
    place that can't write them. Raises `ProtocolError`."""
    try:
        value: Json = orjson.loads(dated.report.body)
    except orjson.JSONDecodeError as error:
        raise ProtocolError(f"{dated.report.kind}: the body is not JSON") from error
    if not isinstance(value, dict):
        raise ProtocolError(f"{dated.report.kind}: the body is not an object")
    return value


def storable(*names: str) -> None:
    """PostgreSQL has no text with a NUL; a row that can't be written would fail everybody's in its transaction."""
    if any("\0" in name for name in names):
        raise ProtocolError("a name with a NUL")
