"""The pods of this gateway, whoever says that they are to run: the cloud, or files on the gateway.

Keeps nothing. A mirror pod is none of them: it is how the cloud shows one of a file, and what the gateway knows it by
when somebody at the cloud asks for its logs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Protocol

from edgecore.pods.static.manifest import PODS, StaticPod
from edgecore.store.port import Held
from edgecore.store.shell import AsyncEdgeStore
from skerry.frozen import Frozen
from skerry.objects.json import JsonObject, decode_object
from skerry.objects.meta import Key
from skerry.objects.mirror_pods import may_mirror, mirrored_uid


class Files(Protocol):
    """See `edgecore.pods.static.directory.StaticPods`."""

    @property
    def pods(self) -> Mapping[Key, StaticPod]: ...
    def listen(self, changed: Callable[[frozenset[Key]], None]) -> Callable[[], None]: ...


class GatewayPod(Frozen):
    """One as it is here."""

    uid: str
    pod: JsonObject


class GatewayPods:
    """See the module. `files`: None where there are none."""

    def __init__(self, store: AsyncEdgeStore, files: Files | None) -> None:
        self._store = store
        self._files = files

    def wanted(self) -> Iterator[tuple[Key, str]]:
        """Name and uid of every pod that is to run here; those of files first."""
        if self._files is not None:
            for key, static in self._files.pods.items():
                yield key, static.uid
        for held in self._store.list(PODS):
            if not _mirrored(held):
                yield held.key, held.stamp.uid

    def is_static(self, key: Key, uid: str) -> bool:
        """A file says that it is to run."""
        return self._files is not None and (found := self._files.pods.get(key)) is not None and found.uid == uid

    def pod(self, key: Key, uid: str) -> JsonObject | None:
        """As it is wanted; None when it is gone, or its name belongs to another life."""
        if self._files is not None and self.is_static(key, uid):
            return self._files.pods[key].pod
        held = self._store.get(key)
        if held is None or held.stamp.uid != uid or _mirrored(held):
            return None
        return decode_object(held.body)

    def told_uid(self, key: Key, uid: str) -> str:
        """The uid by which the cloud knows it; "" where it does not."""
        held = self._store.get(key)
        if held is None:
            return ""
        return held.stamp.uid if uid == (_mirrored(held) or held.stamp.uid) else ""

    def find(self, key: Key, uid: str = "") -> GatewayPod | None:
        """The pod that somebody means by its name, and perhaps by the uid that the cloud knows."""
        static = self._files.pods.get(key) if self._files is not None else None
        held = self._store.get(key)
        if static is not None and uid in ("", static.uid, self.told_uid(key, static.uid)):
            return GatewayPod(uid=static.uid, pod=static.pod)
        if held is None or uid not in ("", held.stamp.uid) or _mirrored(held):
            return None
        return GatewayPod(uid=held.stamp.uid, pod=decode_object(held.body))


def _mirrored(held: Held) -> str:
    """The uid of the static pod that it shows; "" for no mirror."""
    return mirrored_uid(decode_object(held.body)) if may_mirror(held.body) else ""
