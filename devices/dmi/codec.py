"""DMI's messages as bytes: the Protocol Buffers wire format, from `devices.dmi.messages.SCHEMA`.

Whatever comes in, `decode` returns a message or raises `ProtocolError`; sizes are bounded by whoever reads them from
a socket. Pure. How a table becomes bytes is `skerry.wire.tables`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from devices.dmi.messages import SCHEMA
from skerry.wire import tables
from skerry.wire.fields import Budget
from skerry.wire.tables import Table

FIELDS_MAX: Final = 100_000
"""In one message with all that is in it: a report of some ten thousand properties."""
TABLE: Final = Table(SCHEMA, fields_max=FIELDS_MAX)

encode = TABLE.encode
decode = TABLE.decode


def fields_of(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    """See `skerry.wire.tables.fields_of`."""
    return tables.fields_of(data, Budget(FIELDS_MAX))
