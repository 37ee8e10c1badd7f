"""A table of registers (CSV) as a model: one row a property, columns by their titles.

Pure. Columns: `name` and `address` are needed; `type` (the register's: int16, float32 ...), `order`, `scale`,
`offset`, `unit`, `access` (R, RW), `minimum`, `maximum`, `bit`, `length` (of strings), `description`, `cycle`
(milliseconds).
"""

from __future__ import annotations

import csv
import io
from typing import Final

from devices.codec import RAW_TYPES
from devices.importers.draft import Draft, scaled, type_of
from devices.plan import parse_address
from skerry.errors import InvalidError
from skerry.objects.json import JsonObject

COLUMNS: Final = (
    *("name", "address", "type", "order", "scale", "offset", "unit", "access"),
    *("minimum", "maximum", "bit", "length", "description", "cycle"),
)
_WRITABLE: Final = frozenset({"rw", "w", "readwrite", "read/write", "r/w"})


def import_csv(text: str) -> list[Draft]:
    """Raises `InvalidError` that names the line and the column."""
    try:
        dialect = csv.Sniffer().sniff(text[:4096], delimiters=",;\t")
    except csv.Error:
        dialect = csv.excel
    reader = csv.DictReader(io.StringIO(text), dialect=dialect)
    try:
        return [_table(reader)]
    except csv.Error as error:
        raise InvalidError(f"line {reader.line_num + 1}: it is no table: {error}") from error


def _table(reader: csv.DictReader[str]) -> Draft:
    titles = {title: title.strip().lower() for title in reader.fieldnames or [] if title}
    if not {"name", "address"} <= {*titles.values()}:
        raise InvalidError(f"the first line must have the columns name and address; it may have {', '.join(COLUMNS)}")
    draft = Draft(name="device")
    draft.notes += [f"column {title!r}: not carried over" for title in titles.values() if title not in COLUMNS]
    for row in reader:
        cells = {titles[title]: (cell or "").strip() for title, cell in row.items() if title in titles}
        if cells.get("name"):
            _row(draft, cells, f"line {reader.line_num}")
    return draft


def _row(draft: Draft, cells: dict[str, str], where: str) -> None:
    try:
        table = parse_address(cells["address"]).table
        numbers = {title: int(cells[title], 0) for title in ("bit", "length", "cycle") if cells.get(title)}
    except InvalidError as error:
        raise InvalidError(f"{where}, address: {error}") from error
    except ValueError as error:
        raise InvalidError(f"{where}: bit, length and cycle are whole numbers") from error
    data: JsonObject = {"address": cells["address"]}
    raw, type_ = cells.get("type", "").lower(), "BOOLEAN"
    if "bit" in numbers:
        data["bit"] = numbers["bit"]
    elif table in ("holding", "input") and raw != "bool":
        if raw not in RAW_TYPES:
            raise InvalidError(f"{where}, type: {raw or '(nothing)'} is not one of {', '.join(RAW_TYPES)}")
        data["dataType"] = raw
        data |= {"limit": numbers["length"]} if "length" in numbers else {}
        data |= {"order": cells["order"].upper()} if cells.get("order") else {}
        type_ = type_of(raw, is_scaled=scaled(data, scale=cells.get("scale"), offset=cells.get("offset")))
    draft.add(
        cells["name"],
        type_,
        data,
        writable=cells.get("access", "").lower() in _WRITABLE,
        unit=cells.get("unit", ""),
        minimum=cells.get("minimum") or None,
        maximum=cells.get("maximum") or None,
        description=cells.get("description", ""),
        cycle_ms=numbers.get("cycle", 0),
    )
