"""Images that no container uses go when their disk is nearly full, as a kubelet's image garbage collection has it.

Pure: what to remove, from what there is. When an image was first seen and last used is only remembered while the
agent runs; so nothing goes in its first minutes, which gives every pod the time to come back.
"""

from __future__ import annotations

from collections.abc import Collection as Names
from collections.abc import Mapping, Sequence
from typing import Final

from edgecore.pods.port import ContainerState, ImageState
from skerry.frozen import Frozen, field

PERCENT: Final = 100


class CollectionSettings(Frozen):
    """A kubelet's imageGCHighThresholdPercent, imageGCLowThresholdPercent and imageMinimumGCAge."""

    high_percent: int = 85
    """So full the disk may be; 100: nothing is ever removed."""
    low_percent: int = 80
    """Down to here images are removed then."""
    age_s_min: float = 120.0
    """Younger ones stay: they may have been pulled for a container that is about to start."""


class Disk(Frozen):
    """What images are on, in bytes."""

    total: int
    free: int


class Acquaintance(Frozen):
    """Of one image, in seconds of the monotonic clock."""

    first_s: float
    used_s: float
    """0.0 for never."""


def _nobody() -> Mapping[str, Acquaintance]:
    return {}


class Acquaintances(Frozen):
    """By image id."""

    by_id: Mapping[str, Acquaintance] = field(default_factory=_nobody)

    def met(
        self,
        images: Sequence[ImageState],
        containers: Sequence[ContainerState],
        *,
        now_s: float,
        mounted: Names[str] = (),
    ) -> Acquaintances:
        """After a look at what there is: exited containers use their image as well, until they are removed.
        `mounted`: names of those that are volumes of pods."""
        names = {state.image_id for state in containers} | {state.image for state in containers} | {*mounted}
        found: dict[str, Acquaintance] = {}
        for image in images:
            known = self.by_id.get(image.id, Acquaintance(first_s=now_s, used_s=0.0))
            used_s = now_s if names & {image.id, *image.names} else known.used_s
            found[image.id] = Acquaintance(first_s=known.first_s, used_s=used_s)
        return Acquaintances(by_id=found)


class Collection(Frozen):
    """What is to go."""

    images: tuple[ImageState, ...] = ()
    """In this order."""
    wanted_bytes: int = 0
    """How much room is to be made; 0 while there is enough."""

    @property
    def found_bytes(self) -> int:
        return sum(image.size_bytes for image in self.images)


def to_free(settings: CollectionSettings, disk: Disk) -> int:
    """Bytes; 0 where the disk is not too full."""
    if settings.high_percent >= PERCENT or disk.total <= 0:
        return 0
    used_percent = PERCENT - disk.free * PERCENT // disk.total
    if used_percent < settings.high_percent:
        return 0
    return max(disk.total * (PERCENT - settings.low_percent) // PERCENT - disk.free, 0)


def collection(
    settings: CollectionSettings,
    images: Sequence[ImageState],
    known: Acquaintances,
    *,
    wanted_bytes: int,
    now_s: float,
) -> Collection:
    """Who was not used for longest goes first, then who was here first, until there is room enough. Pinned ones,
    those in use and the young stay."""
    may_go = [
        image
        for image in images
        if not image.pinned
        and (about := known.by_id.get(image.id)) is not None
        and about.used_s < now_s
        and now_s - about.first_s >= settings.age_s_min
    ]
    may_go.sort(key=lambda image: (known.by_id[image.id].used_s, known.by_id[image.id].first_s, image.id))
    chosen: list[ImageState] = []
    found = 0
    for image in may_go:
        if found >= wanted_bytes:
            break
        chosen.append(image)
        found += image.size_bytes
    return Collection(images=tuple(chosen), wanted_bytes=wanted_bytes)
