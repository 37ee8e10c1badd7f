"""Quantities: `500m`, `1.5Gi`, `12e6`, computed with exactly and written in one form.

A quantity counts in whole nanos (10^-9), which is the finest Kubernetes knows; what is finer is rounded away
from zero, and what is over 2^63-1 is cut off there (apimachinery `pkg/api/resource`). Pure; keeps nothing.
"""

from __future__ import annotations

import re
from decimal import Decimal
from functools import lru_cache
from typing import Final, Literal

from skerry.errors import InvalidError
from skerry.frozen import Frozen

Form = Literal["decimal", "binary", "exponent"]
"""How it was written, and so will be: DecimalSI, BinarySI, DecimalExponent."""

_NANO: Final = 10**9
_MAGNITUDE_MAX: Final = (2**63 - 1) * _NANO
_SHAPE: Final = re.compile(r"([+-]?)(\d+\.?\d*|\.\d+)(Ki|Mi|Gi|Ti|Pi|Ei|[numkMGTPE]|[eE][+-]?\d{1,9}|)", re.ASCII)
_DECIMAL: Final = {"n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_DECIMAL_NAMES: Final = {exponent: name for name, exponent in _DECIMAL.items()}
_BINARY: Final = ("", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei")
_DIGITS_MAX: Final = 100
"""Longer numbers are refused: exact arithmetic on a megabyte of digits is not a service we offer."""
_TEXT_WRONG: Final = "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"


class Quantity(Frozen, kw_only=False):
    """An exact amount and the form it is written in. Compared and ordered by amount (`nano`) by its users."""

    nano: int
    form: Form = "decimal"

    def __add__(self, other: Quantity) -> Quantity:
        return Quantity(self.nano + other.nano, self.form if self.nano else other.form)

    def __sub__(self, other: Quantity) -> Quantity:
        return Quantity(self.nano - other.nano, self.form if self.nano else other.form)

    def __lt__(self, other: Quantity) -> bool:
        return self.nano < other.nano

    def __le__(self, other: Quantity) -> bool:
        return self.nano <= other.nano

    @property
    def units(self) -> int:
        """In whole units, rounded up (`Quantity.Value`)."""
        return -(-self.nano // _NANO)

    @property
    def millis(self) -> int:
        """In thousandths, rounded up (`Quantity.MilliValue`)."""
        return -(-self.nano // 10**6)

    def __str__(self) -> str:
        """Canonical: no fraction digits, the largest suffix that allows it (1000m -> 1, 1024Mi -> 1Gi)."""
        if self.nano == 0:
            return "0"
        if self.form == "binary" and abs(self.nano) >= 1024 * _NANO:
            return _binary(self.nano)
        exponent = _exponent_of(self.nano)
        number = self.nano // 10 ** (exponent + 9)
        if self.form == "exponent":
            return f"{number}e{exponent}" if exponent else str(number)
        return f"{number}{_DECIMAL_NAMES[exponent]}"


def parse_quantity(text: str) -> Quantity:
    """Raises `InvalidError` in apimachinery's words."""
    return _parse(text)


def canonical(value: str | float) -> str:
    """The one form of a quantity as it came in JSON, where plain numbers are allowed too."""
    return str(parse_quantity(value if isinstance(value, str) else _plain(value)))


@lru_cache(maxsize=4096)
def _parse(text: str) -> Quantity:
    found = _SHAPE.fullmatch(text) if len(text) <= _DIGITS_MAX else None
    if found is None:
        raise InvalidError(_TEXT_WRONG)
    sign, digits, suffix = found.groups()
    nano, form = _scaled(Decimal(digits), suffix)
    nano = min(nano, _MAGNITUDE_MAX)
    return Quantity(-nano if sign == "-" else nano, form)


def _scaled(number: Decimal, suffix: str) -> tuple[int, Form]:
    if suffix in _BINARY and suffix:
        return _ceil_nano(number, 0, 1024 ** _BINARY.index(suffix)), "binary"
    if suffix in _DECIMAL:
        return _ceil_nano(number, _DECIMAL[suffix], 1), "decimal"
    return _ceil_nano(number, int(suffix[1:]), 1), "exponent"


def _ceil_nano(number: Decimal, exponent: int, factor: int) -> int:
    """number x 10^exponent x factor in nanos, rounded up; what is beyond the limit anyway is not computed."""
    parts = number.as_tuple()
    digits = int("".join(map(str, parts.digits)))
    assert isinstance(parts.exponent, int), "only finite numbers match the shape"
    power = parts.exponent + exponent + 9
    if digits == 0:
        return 0
    if power > _DIGITS_MAX:
        return _MAGNITUDE_MAX
    if power >= 0:
        return digits * factor * 10**power
    if -power > 2 * _DIGITS_MAX:
        return 1
    return -(-digits * factor // 10**-power)


def _exponent_of(nano: int) -> int:
    """The largest power of 1000, up to 10^18, that divides the amount."""
    exponent = -9
    while exponent < 18 and nano % 1000 == 0:
        nano //= 1000
        exponent += 3
    return exponent


def _binary(nano: int) -> str:
    whole = -(-abs(nano) // _NANO)
    step = 0
    while step < len(_BINARY) - 1 and whole % 1024 == 0:
        whole //= 1024
        step += 1
    return f"{'-' if nano < 0 else ''}{whole}{_BINARY[step]}"


def _plain(value: float) -> str:
    """A JSON number without an exponent that the suffixes could be mistaken for."""
    return str(value) if isinstance(value, int) else format(Decimal(repr(value)), "f")
