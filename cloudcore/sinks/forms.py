"""Rows in the words of those who take them: JSON, InfluxDB's line protocol, Prometheus' remote write. Pure.

Each form says which rows it has no words for; these are counted (`skipped`) and never told as something else.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import struct
from collections import defaultdict
from collections.abc import Sequence
from typing import Final, NamedTuple

from cloudcore.sinks.rows import Row
from skerry.objects.line_protocol import point, quoted
from skerry.wire.fields import FIXED64, VARINT, delimited, tag, varint

LITERAL_MAX: Final = 60_000


class Formed(NamedTuple):
    """What is sent for some rows."""

    body: bytes
    taken: int
    """Rows that are in it; the others have no form here."""


# --- JSON ---


def json_rows(rows: Sequence[Row], *, sink: str, epoch: str) -> Formed:
    """One document for all."""
    document = {"sink": sink, "items": [row.shown(epoch) for row in rows]}
    return Formed(json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode(), len(rows))


def signature(secret: bytes, at_s: int, body: bytes) -> str:
    """`t=SECONDS,v1=HEX`: HMAC-SHA256 over the time, a point and the body, so that a call can't be played again
    later."""
    digest = hmac.new(secret, b"%d." % at_s + body, hashlib.sha256).hexdigest()
    return f"t={at_s},v1={digest}"


# --- InfluxDB ---


def influx_lines(rows: Sequence[Row], *, measurement: str) -> Formed:
    """Numbers are the field `value`, truth `flag`, all else `text`; a reading without a value has none of them.

    Times are nanoseconds, of which the last six digits are of the row's number: of two points of one time InfluxDB
    keeps one, and a history knows milliseconds. A hole has its `gap` as a tag: of those with one tag the largest
    counts, as each later one counts more of the same."""
    lines = [_line(row, measurement) for row in rows]
    return Formed("\n".join(lines).encode() + b"\n", len(lines))


def _line(row: Row, measurement: str) -> str:
    tags = {"namespace": row.namespace, "device": row.device, "property": row.prop, "node": row.node}
    if row.hole:
        tags["gap"] = row.gap
    fields: dict[str, str] = {}
    if row.hole:
        fields["dropped"] = f"{row.hole}i"
        fields["thinned"] = f"{row.thinned}i"
    else:
        if row.value is not None:
            number = row.float
            if row.type == "BOOLEAN" and number is not None:
                fields["flag"] = row.value
            elif number is not None:
                fields["value"] = repr(number)
            else:
                fields["text"] = quoted(row.value)
        fields["quality"] = quoted(row.quality)
        fields["sequence"] = f"{row.seq}i"
        if row.estimated:
            fields["estimated"] = "true"
    return point(measurement, tags, fields, at_ms=row.at_ms, number=row.number)


# --- Prometheus: https://prometheus.io/docs/specs/prw/remote_write_spec/ (1.0) ---


def remote_write(rows: Sequence[Row], *, metric: str) -> Formed:
    """A `WriteRequest`, as snappy. Only numbers and truth are samples, and of one millisecond only the last one."""
    series: defaultdict[tuple[tuple[str, str], ...], dict[int, float]] = defaultdict(dict)
    for row in rows:
        number = row.float
        if number is None:
            continue
        labels = {
            "__name__": metric,
            "device": row.device,
            "namespace": row.namespace,
            "node": row.node,
            "property": row.prop,
        }
        series[tuple(sorted((name, value) for name, value in labels.items() if value))][row.at_ms] = number
    request = b"".join(delimited(1, _series(labels, samples)) for labels, samples in sorted(series.items()))
    return Formed(snappy(request), sum(map(len, series.values())))


def _series(labels: Sequence[tuple[str, str]], samples: dict[int, float]) -> bytes:
    named = b"".join(
        delimited(1, delimited(1, name.encode()) + delimited(2, value.encode())) for name, value in labels
    )
    valued = b"".join(
        delimited(2, tag(1, FIXED64) + struct.pack("<d", number) + tag(2, VARINT) + varint(at_ms))
        for at_ms, number in sorted(samples.items())
    )
    return named + valued


def snappy(data: bytes) -> bytes:
    """The block format (https://github.com/google/snappy/blob/main/format_description.txt) with literals alone:
    every reader takes it, and what goes over a local network is not worth another library."""
    made = bytearray(varint(len(data)))
    for first in range(0, len(data), LITERAL_MAX):
        piece = data[first : first + LITERAL_MAX]
        made += struct.pack("<BH", 61 << 2, len(piece) - 1) + piece
    return bytes(made)
