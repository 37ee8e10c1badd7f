"""Looks at the images' disk from time to time, and makes room there: the shell of `image_collection`.

Keeps nothing beyond the agent's life. An image that a crash leaves half removed is removed the next time.
"""

from __future__ import annotations

import asyncio
import logging
import shutil
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Final

from edgecore.pods.image_collection import (
    Acquaintances,
    CollectionSettings,
    Disk,
    collection,
    to_free,
)
from edgecore.pods.port import Runtime
from skerry.errors import UnavailableError
from skerry.ports import Clock

log = logging.getLogger(__name__)

LOOK_S: Final = 300.0
"""A kubelet's."""


def disk_of(directory: Path) -> Disk:
    """Raises `OSError`."""
    usage = shutil.disk_usage(directory)
    return Disk(total=usage.total, free=usage.free)


class ImageCollector:
    """Run `run` in a task group."""

    def __init__(
        self,
        runtime: Runtime,
        clock: Clock,
        settings: CollectionSettings,
        disk: Callable[[Path], Disk] = disk_of,
        mounted: Callable[[], Collection[str]] = tuple,
    ) -> None:
        """`mounted`: names of images that are volumes of pods."""
        self._mounted = mounted
        self._runtime = runtime
        self._clock = clock
        self._settings = settings
        self._disk = disk
        self._known = Acquaintances()
        self._short = False
        """Said already that there was not enough to remove."""
        self._turn = asyncio.Lock()

    async def run(self) -> None:
        """Until cancelled; returns at once where the runtime has no images of its own."""
        if not self._runtime.abilities.images:
            return
        while True:
            try:
                await self.look()
            except (UnavailableError, OSError) as error:
                log.warning("images are not looked at reason=%s", error)
            await asyncio.sleep(LOOK_S)

    async def look(self) -> int:
        """Look once, and make room where there is too little; how many bytes were removed. Raises
        `UnavailableError`, `OSError`."""
        place = await self._runtime.images_place()
        wanted = 0 if place is None else to_free(self._settings, self._disk(place.directory))
        return await self._collect(wanted)

    async def make_room(self) -> int:
        """Remove all that may go, for who knows that the disk is short of room; how many bytes that were."""
        return await self._collect(1 << 62)

    async def _collect(self, wanted: int) -> int:
        async with self._turn:
            now_s = self._clock.monotonic_s()
            images = await self._runtime.images()
            self._known = self._known.met(images, await self._runtime.list(), now_s=now_s, mounted=self._mounted())
            if not wanted:
                self._short = False
                return 0
            chosen = collection(self._settings, images, self._known, wanted_bytes=wanted, now_s=now_s)
            for image in chosen.images:
                name = image.names[0] if image.names else image.id
                log.info("image removed, no container uses it image=%s bytes=%d", name, image.size_bytes)
                await self._runtime.remove_image(image.id)
            if chosen.found_bytes < wanted < 1 << 62 and not self._short:
                log.warning("too little room on the images' disk wanted=%d removed=%d", wanted, chosen.found_bytes)
            self._short = chosen.found_bytes < wanted
            return chosen.found_bytes
