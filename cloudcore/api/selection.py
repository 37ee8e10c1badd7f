"""Which objects a list, a watch or a deletion of a collection means. Pure but for reading the cache.

Selectors that only look at labels, name or namespace never parse an object; the others look at it as the spoken
version shows it, because that is whose fields they name.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from cloudcore.api.call import Call
from cloudcore.api.conversion import Version
from cloudcore.api.writing import parse
from cloudcore.store.cache import WatchCache
from cloudcore.store.port import Stored
from skerry.frozen import Frozen
from skerry.objects.json import JsonObject
from skerry.objects.meta import Key, labels_of
from skerry.objects.select import EVERYTHING, FieldSelector, FieldTerm, LabelSelector, parse_fields, parse_labels

ANY_FIELDS: Final = FieldSelector()


class Selection(Frozen):
    """What is asked for of one resource."""

    namespace: str = ""
    """"" for all."""
    labels: LabelSelector = EVERYTHING
    places: tuple[FieldTerm, ...] = ()
    """Terms about name and namespace, which the key answers."""
    fields: FieldSelector = ANY_FIELDS
    """Terms that need the object."""

    @property
    def everything(self) -> bool:
        return self.labels.everything and not self.places and not self.fields.terms

    @property
    def by_key(self) -> bool:
        """Does the key alone decide?"""
        return self.labels.everything and not self.fields.terms

    def exact_name(self) -> str | None:
        """The only name that can match, if there is one."""
        return FieldSelector(self.places).exactly("metadata.name")

    def holds_place(self, key: Key) -> bool:
        if self.namespace and key.namespace != self.namespace:
            return False
        return all(
            ((key.name if term.path == "metadata.name" else key.namespace) == term.value) is term.equal
            for term in self.places
        )

    def holds(self, key: Key, obj: JsonObject, version: Version) -> bool:
        """Does an object, as kept, match?"""
        if not self.holds_place(key) or not self.labels.matches(labels_of(obj)):
            return False
        return not self.fields.terms or self.fields.selects(version.speak(obj))

    def of(self, items: Iterable[Stored], cache: WatchCache, version: Version) -> list[Stored]:
        """The stored objects that match, in their order."""
        found = [item for item in items if self.holds_place(item.key)] if self.places or self.namespace else items
        if not self.labels.everything:
            found = [item for item in found if self.labels.matches(cache.facts(item).labels)]
        if self.fields.terms:
            found = [item for item in found if self.fields.selects(version.speak(_parsed(cache, item)))]
        return list(found)


def _parsed(cache: WatchCache, item: Stored) -> JsonObject:
    """Through the cache's memory for what is current; a page of the past is parsed and forgotten."""
    return cache.obj(item) if cache.read(item.key) is item else parse(item.body)


def selection_of(call: Call) -> Selection:
    """The selectors of a request. Raises `BadRequestError` in Kubernetes' words."""
    labels = call.query.text("labelSelector")
    terms: list[FieldTerm] = []
    for text in call.query.fields:
        terms += parse_fields(text, call.kind.selectable).terms
    if call.target.name:
        terms.append(FieldTerm("metadata.name", call.target.name, True))
    places = tuple(term for term in terms if term.path in ("metadata.name", "metadata.namespace"))
    return Selection(
        namespace=call.target.namespace,
        labels=parse_labels(labels) if labels else EVERYTHING,
        places=places,
        fields=FieldSelector(tuple(term for term in terms if term not in places)),
    )
