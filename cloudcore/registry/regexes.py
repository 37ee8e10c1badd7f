"""Patterns of schemas, matched in time that grows with the text and not with the pattern's cunning.

Definitions come from anybody who may write them, and values from anybody who may write their objects; Python's own
`re` can be made to run for ever by the two together. Go's RE2 can't, and neither can Rust's `regex`, which speaks
nearly the same language and comes with jsonschema-rs. Keeps compiled patterns, to save time.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Protocol

from skerry.frozen import Frozen

_SIZE_MAX = 1024 * 1024
"""Bytes that one compiled pattern may take: `a{1000}{1000}` is refused instead of built."""


class _Validator(Protocol):
    def is_valid(self, instance: str) -> bool: ...


class Pattern(Frozen, kw_only=False):
    """A compiled pattern."""

    _validator: _Validator

    def found_in(self, text: str) -> bool:
        """Does the pattern match somewhere in the text? (JSON Schema anchors nothing.)"""
        return self._validator.is_valid(text)


@lru_cache(maxsize=1024)
def compiled(pattern: str) -> Pattern:
    """Raises `ValueError` that says why the pattern is none."""
    import jsonschema_rs  # 10 ms, and only for those who have patterns

    try:
        validator = jsonschema_rs.validator_for(
            {"type": "string", "pattern": pattern}, pattern_options=jsonschema_rs.RegexOptions(size_limit=_SIZE_MAX)
        )
    except (jsonschema_rs.ValidationError, ValueError) as error:
        raise ValueError(f"{pattern} is not a regular expression of the RE2 family, or too large") from error
    return Pattern(validator)
