"""What kinds there are. Kinds are data: a row here, a schema, and every verb works on them.

The rows themselves are in `cloudcore.registry.kinds` (built-in) and come from CustomResourceDefinitions; the
edge learns the few it handles from the objects it is sent.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from skerry.frozen import Frozen
from skerry.objects.meta import Key

ALL_VERBS = ("create", "delete", "deletecollection", "get", "list", "patch", "update", "watch")


class Kind(Frozen):
    """One kind in one version, and how the API treats it.

    `storage` names the resource under which objects are kept when two group versions are one storage
    (core and events.k8s.io Events); "" means this kind's own.
    """

    group: str
    version: str
    kind: str
    plural: str
    namespaced: bool
    singular: str = ""
    short_names: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    verbs: tuple[str, ...] = ALL_VERBS
    subresources: frozenset[str] = frozenset()
    """Names of subresources of the object itself: status, scale, and kind-specific ones (binding, log, token)."""
    storage: str = ""
    has_generation: bool = True
    unconditional_update: bool = True
    """An update without resourceVersion overwrites; else it is refused with 422."""
    create_on_update: bool = False
    strategic_patch: bool = True
    """Strategic merge patch is understood (built-in kinds); custom resources answer 415."""
    selectable: tuple[str, ...] = ()
    """Field selectors beyond metadata.name and metadata.namespace, as dotted paths."""
    custom: bool = False
    """Defined by a CustomResourceDefinition."""
    stored_version: str = ""
    """The version in which objects are kept where it is not this one; "" means this one. Reads convert."""
    acted_on: bool = True
    """Something acts on objects of this kind now. Where not, they are kept and served, and writers are told so."""

    @property
    def resource(self) -> str:
        """Group-resource form, as in `Key.resource`: `pods`, `deployments.apps`."""
        return f"{self.plural}.{self.group}" if self.group else self.plural

    @property
    def stored_as(self) -> str:
        """The resource under which the store keeps these objects."""
        return self.storage or self.resource

    @property
    def api_version(self) -> str:
        """`v1`, `apps/v1`."""
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def list_kind(self) -> str:
        return f"{self.kind}List"

    def key(self, namespace: str, name: str) -> Key:
        """Where the store keeps the object of that name."""
        assert bool(namespace) == self.namespaced, f"{self.kind} is {'' if self.namespaced else 'not '}namespaced"
        return Key(self.stored_as, namespace, name)


class Scheme:
    """The kinds served now. Custom kinds come and go; readers take what they need and keep no copy."""

    def __init__(self, kinds: Iterable[Kind] = ()) -> None:
        self._by_path: dict[tuple[str, str, str], Kind] = {}
        self._by_kind: dict[tuple[str, str, str], Kind] = {}
        for kind in kinds:
            self.add(kind)

    def add(self, kind: Kind) -> None:
        """Serve a kind, or serve it as now described."""
        self._by_path[kind.group, kind.version, kind.plural] = kind
        self._by_kind[kind.group, kind.version, kind.kind] = kind

    def remove(self, kind: Kind) -> None:
        self._by_path.pop((kind.group, kind.version, kind.plural), None)
        self._by_kind.pop((kind.group, kind.version, kind.kind), None)

    def at(self, group: str, version: str, plural: str) -> Kind | None:
        """The kind that a URL names."""
        return self._by_path.get((group, version, plural))

    def named(self, group: str, version: str, kind: str) -> Kind | None:
        """The kind that an object's apiVersion and kind name."""
        return self._by_kind.get((group, version, kind))

    def of_resource(self, resource: str) -> Kind | None:
        """Any served version of a group-resource (`deployments.apps`); the first added wins."""
        return next((kind for kind in self._by_path.values() if kind.resource == resource), None)

    def of_stored(self, resource: str) -> Kind | None:
        """Any served kind whose objects the store keeps under that resource (`Key.resource`)."""
        return next((kind for kind in self._by_path.values() if kind.stored_as == resource), None)

    def __iter__(self) -> Iterator[Kind]:
        return iter(tuple(self._by_path.values()))


def split_api_version(api_version: str) -> tuple[str, str]:
    """`apps/v1` -> ("apps", "v1"); `v1` -> ("", "v1")."""
    group, slash, version = api_version.rpartition("/")
    return (group, version) if slash else ("", version)
