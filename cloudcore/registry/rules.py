"""The rules of each kind, as the registry asks for them: what the writer left out, and what is wrong.

A port between the writing path (`objects.py`) and the knowledge of kinds (schemas, defaults, validation,
CustomResourceDefinitions). Implementations are pure: they keep no data of their own and a crash leaves nothing.
None of the methods changes the object it is given; each returns a new one or the same one where nothing changed.
"""

from __future__ import annotations

from typing import Protocol

from cloudcore.registry.port import Subresource
from skerry.errors import Cause
from skerry.objects.json import JsonObject
from skerry.objects.scheme import Kind


class Rules(Protocol):
    """What is known of kinds. The registry calls `defaulted`, admission, `filled`, `validate`, in this order."""

    def defaulted(self, kind: Kind, obj: JsonObject) -> JsonObject:
        """The object with unknown fields pruned and every default set, quantities in canonical form.

        Idempotent. Raises `BadRequestError` when a field has a type that the kind's schema does not allow.
        """
        ...

    def filled(self, kind: Kind, obj: JsonObject) -> JsonObject:
        """The object with the fields that responses must carry present, empty where unset (Go never omits them)."""
        ...

    def validate(
        self, kind: Kind, obj: JsonObject, old: JsonObject | None, subresource: Subresource
    ) -> tuple[Cause, ...]:
        """What is wrong with writing `obj` (over `old`; None: a creation), in the order users should read it."""
        ...

    def warnings(self, kind: Kind, obj: JsonObject, old: JsonObject | None) -> tuple[str, ...]:
        """What is allowed and yet not what the writer may think: texts for Warning headers."""
        ...
