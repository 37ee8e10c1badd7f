"""What Go's structs tell and OpenAPI does not: protobuf numbers, and which zero values are left out.

A table of facts made by `docs/tools/make_go_fields.py` (which tells its form); loaded once when first asked for
and read-only. A crash leaves nothing.
"""

from __future__ import annotations

import zlib
from functools import lru_cache
from pathlib import Path
from typing import Final, cast

import orjson

from skerry.objects.json import JsonObject

_TABLE: Final = Path(__file__).parent / "data" / "go_fields.json.zlib"


class GoFields:
    """The table, by definition name."""

    def __init__(self, table: dict[str, JsonObject]) -> None:
        self._table = table

    def numbers(self, definition: str) -> dict[int, str]:
        """Protobuf number -> JSON name, embedded structs left out."""
        return {
            int(number): field.removesuffix("?")
            for number, field in self._table.get(definition, {}).items()
            if isinstance(field, str)
        }

    def embedded(self, definition: str) -> dict[int, str]:
        """Protobuf number -> definition of an embedded struct, whose fields are the parent's own in JSON."""
        return {
            int(number): str(field["inline"])
            for number, field in self._table.get(definition, {}).items()
            if isinstance(field, dict)
        }

    def omitted(self, definition: str) -> frozenset[str]:
        """JSON names of fields that Go leaves out when they are zero ("", 0, false, empty)."""
        own = {
            field.removesuffix("?")
            for field in self._table.get(definition, {}).values()
            if isinstance(field, str) and field.endswith("?")
        }
        inner = (self.omitted(struct) for struct in self.embedded(definition).values())
        return frozenset(own.union(*inner))


@lru_cache(maxsize=1)
def go_fields() -> GoFields:
    """The table: about 2 ms at the first call."""
    return GoFields(cast(dict[str, JsonObject], orjson.loads(zlib.decompress(_TABLE.read_bytes()))))
