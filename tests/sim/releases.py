"""The machines and the codec of each release that a simulated side may run: the present one, and the first.

`tests/released/v1` is a frozen copy of what was released as 0.1.0; it is never changed. All crosses links as bytes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from skerry.objects.meta import Key
from skerry.sync import cloud, edge
from skerry.sync.ports import View
from skerry.wire import codec
from tests.released.v1 import cloud as cloud_1
from tests.released.v1 import codec as codec_1
from tests.released.v1 import edge as edge_1
from tests.released.v1 import frames as frames_1


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """What a side is made of. `Any`: the classes of two releases have the same shape and another identity."""

    version: int
    codec: Any
    edge: Any
    cloud: Any


RELEASES: Final[dict[int, Release]] = {
    1: Release(version=1, codec=codec_1, edge=edge_1, cloud=cloud_1),
    2: Release(version=2, codec=codec, edge=edge, cloud=cloud),
}
NEWEST: Final = 2


class FirstView:
    """A view whose objects are of the first release's classes."""

    def __init__(self, view: View) -> None:
        self._view = view
        self.stamps = view.stamps
        self.closure = view.closure

    @property
    def revision(self) -> Any:
        return self._view.revision

    def state(self, key: Key) -> Any:
        found = self._view.state(key)
        return found and frames_1.ObjectState(key=found.key, stamp=found.stamp, body=found.body)
