"""Which custom kinds this process serves: those whose definition its watch cache shows as established.

Every replica has to know, whoever leads: so it looks for itself, when a request comes and definitions have changed
since. Keeps the revision at which each definition was served last; after a crash all of them are read again.
"""

from __future__ import annotations

from cloudcore.controllers.crd.plan import is_served
from cloudcore.registry.custom import RESOURCE, CustomKinds
from cloudcore.store.cache import WatchCache
from skerry.objects.meta import Revision


class ServedDefinitions:
    """Keeps `CustomKinds` in step with a cache."""

    def __init__(self, custom: CustomKinds, cache: WatchCache) -> None:
        self._custom = custom
        self._cache = cache
        self._changed = Revision(-1)
        self._served: dict[str, Revision] = {}

    def refresh(self) -> None:
        """Serve what is established now, and nothing else; costs a comparison where nothing has changed."""
        changed = self._cache.changed(RESOURCE)
        if changed == self._changed:
            return
        self._changed = changed
        found: dict[str, Revision] = {}
        for stored in self._cache.select(RESOURCE):
            name = stored.key.name
            if self._served.get(name) == stored.revision:
                found[name] = stored.revision
                continue
            crd = self._cache.obj(stored)
            if is_served(crd):
                self._custom.serve(crd)
                found[name] = stored.revision
        for name in set(self._custom.definitions()) - found.keys():
            self._custom.withdraw(name)
        self._served = found
