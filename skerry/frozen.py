"""Frozen: the base of every value that is made once and never changed; see docs/decisions/0320.

    class Claim(Frozen):
        node: str
        seq: int = 0

Keyword-only unless `kw_only=False` is said, slotted, equal and hashed by its fields; `order=True` gives `<`, and
`caches=True` room for a `cached_property`. A field that nobody may read in a log is named in `hidden`. msgspec makes
them in C: a class costs 3 KiB where a dataclass of the same kind costs 16, and an agent has 700 of them. What is
changed in place is a dataclass.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, TypeVar, cast, dataclass_transform

import msgspec
from msgspec import field

__all__ = ["Frozen", "as_dict", "field", "replace"]

T = TypeVar("T")


def replace(value: T, /, **changes: Any) -> T:
    """A copy of a Frozen (or of a dataclass) with some fields changed; TypeError for a field that it has not."""
    if isinstance(value, msgspec.Struct):
        return msgspec.structs.replace(value, **changes)
    return cast("T", dataclasses.replace(cast("Any", value), **changes))


def as_dict(value: Frozen) -> dict[str, Any]:
    """Its fields by name, in order; what they hold is shared, not copied."""
    return msgspec.structs.asdict(cast("Any", value))


if TYPE_CHECKING:

    @dataclass_transform(frozen_default=True, kw_only_default=True, field_specifiers=(field,))
    class Frozen:
        def __init_subclass__(
            cls,
            *,
            kw_only: bool = True,
            order: bool = False,
            eq: bool = True,
            caches: bool = False,
            hidden: tuple[str, ...] = (),
        ) -> None: ...

else:

    class _FrozenType(type(msgspec.Struct)):
        def __new__(cls, name, bases, body, *, caches=False, hidden=(), **options):
            if hidden:
                # What a base hides stays hidden; what tells it to people is inherited with it.
                unseen = frozenset(hidden).union(*(getattr(base, "_hidden", ()) for base in bases))
                body |= {"_hidden": unseen, "__repr__": _telling, "__rich_repr__": _telling_rich}
            return super().__new__(
                cls, name, bases, body, **{"frozen": True, "kw_only": True, "dict": caches, **options}
            )

    class Frozen(msgspec.Struct, metaclass=_FrozenType):
        pass

    def _telling_rich(self):
        """As rich asks, and pytest with it: msgspec's own tells all fields."""
        hidden = type(self)._hidden
        return ((name, getattr(self, name)) for name in self.__struct_fields__ if name not in hidden)

    def _telling(self):
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in _telling_rich(self))})"
