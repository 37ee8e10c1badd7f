"""Images of a container runtime: looked for, pulled, listed, removed.

The runtime keeps them. A pull waits for its turn, since links of gateways are narrow, and is made once for all that
want the same image at the same time.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence, Set
from pathlib import Path
from typing import Final

from grpclib.const import Status

from edgecore.pods.port import (
    Credentials,
    ImageMissingError,
    ImagesPlace,
    ImageState,
    Pulled,
    PullPolicy,
    TellsPull,
    untold,
)
from edgecore.pods.pull_rights import PullRights, kept
from edgecore.pods.runtimes.cri import messages as cri
from edgecore.pods.runtimes.cri.mapping import auth_config, image_state
from edgecore.pods.runtimes.cri.references import fitting, full_name
from skerry.errors import UnavailableError
from skerry.frozen import replace
from skerry.ports import Clock
from skerry.transport.grpc import Peer, RefusedError

log = logging.getLogger(__name__)

LOOK_S: Final = 20.0
PULL_S: Final = 3600.0
"""For a pull with all its layers. The runtime gives up by itself, and much sooner, when nothing more comes."""
PULLS_MAX: Final = 2
"""At the same time."""
GIVEN_MAX: Final = 100
_UNREACHABLE: Final = (
    "connection refused",
    "no such host",
    "i/o timeout",
    "network is unreachable",
    "no route to host",
    "server misbehaving",
    "temporary failure in name resolution",
    "connection reset",
    "tls handshake timeout",
    "context deadline exceeded",
    "500 internal server error",
    "502 bad gateway",
    "503 service unavailable",
    "504 gateway timeout",
)
"""In what a runtime says when no registry answered; all else is an answer."""


class Images:
    """What a runtime has."""

    def __init__(self, peer: Peer, clock: Clock, rights: PullRights | None = None) -> None:
        """`rights`: who may use what was pulled; None: everybody."""
        self._rights = rights
        self._peer = peer
        self._clock = clock
        self._turns = asyncio.Semaphore(PULLS_MAX)
        self._given: dict[str, ImageState] = {}
        """By id, what `ensure` gave and a container is about to be made of: it was seen a moment ago."""
        self._told: set[str] = set()
        """Images that run as they are since no registry answers: said once."""

    async def of(self, image: str, *, named: str) -> ImageState:
        """One that is here, by its id or name. Raises `ImageMissingError`."""
        found = self._given.pop(image, None) or await self._find(image)
        if found is None:
            raise ImageMissingError(f'image "{named}" is not on this gateway any more')
        return found

    async def ensure(
        self, image: str, policy: PullPolicy, credentials: Sequence[Credentials], tell: TellsPull = untold
    ) -> ImageState:
        """See `Runtime.ensure_image`."""
        found = await self._ensured(image, policy, credentials, tell)
        if len(self._given) >= GIVEN_MAX:
            self._given.clear()
        self._given[found.id] = found
        return found

    async def _ensured(
        self, image: str, policy: PullPolicy, credentials: Sequence[Credentials], tell: TellsPull
    ) -> ImageState:
        """`Always` asks the registry. When none answers and the image is here, that one is taken: a gateway that
        comes up without a link runs what it ran before (docs/decisions/0331)."""
        name = full_name(image)
        found = None if policy == "Always" else await self._find(name)
        if found is not None and self._may_use(found, name, credentials):
            return found
        if policy == "Never":
            why = "is not present" if found is None else "was pulled with credentials that the pod has not, and comes"
            raise ImageMissingError(f'Container image "{image}" {why} with pull policy of Never', "ErrImageNeverPull")
        tell(None)
        wanted_s = self._clock.monotonic_s()
        try:
            async with self._turns:
                found = await self._find(name) if policy == "IfNotPresent" else None
                if found is not None and self._may_use(found, name, credentials):
                    return found  # pulled for another meanwhile
                begun_s = self._clock.monotonic_s()
                used = await self._pull(name, image, fitting(name, credentials))
                now_s = self._clock.monotonic_s()
        except ImageMissingError as error:
            found = await self._find(name) if _is_unreachable(str(error)) else None
            if found is None or not self._may_use(found, name, credentials):
                raise
            if name not in self._told:
                log.warning("image used as it is here, no registry answers image=%s reason=%s", name, error)
                self._told.add(name)
            return found
        self._told.discard(name)
        found = await self._find(name)
        if found is None:
            raise ImageMissingError(f'image "{image}" was removed as soon as it was pulled', "ErrImagePull")
        await asyncio.to_thread(kept, self._rights, found.id, used)
        tell(Pulled(took_s=now_s - begun_s, all_s=now_s - wanted_s))
        return found

    def _may_use(self, found: ImageState, name: str, credentials: Sequence[Credentials]) -> bool:
        return self._rights is None or self._rights.may_use(found.id, fitting(name, credentials))

    async def _pull(self, name: str, image: str, credentials: Sequence[Credentials]) -> Credentials | None:
        """With each of the credentials until one is let in, and with which; without any as nobody."""
        spec = cri.ImageSpec(image=name, user_specified_image=image)
        faults: dict[str, None] = {}
        for each in credentials or [None]:
            auth = None if each is None else auth_config(each)
            try:
                await self._peer.call("PullImage", cri.PullImageRequest(image=spec, auth=auth), timeout_s=PULL_S)
            except RefusedError as error:
                faults[str(error)] = None
            else:
                return each
        message = "; ".join(faults)
        raise ImageMissingError(message if name in message else f'failed to pull image "{name}": {message}')

    async def _find(self, image: str) -> ImageState | None:
        request = cri.ImageStatusRequest(image=cri.ImageSpec(image=image))
        try:
            told = await self._peer.call("ImageStatus", request, timeout_s=LOOK_S)
        except RefusedError as error:
            raise UnavailableError(str(error)) from error
        return None if told.image is None else image_state(told.image)

    async def all(self, pinned: Set[str]) -> Sequence[ImageState]:
        """By id. `pinned`: ids and names of those that are never to go, whatever the runtime says of them."""
        told = await self._peer.call("ListImages", cri.ListImagesRequest(), timeout_s=LOOK_S)
        states = [image_state(each) for each in told.images]
        return sorted(
            (replace(each, pinned=True) if pinned & {each.id, *each.names} else each for each in states),
            key=lambda image: image.id,
        )

    async def remove(self, image_id: str) -> None:
        self._given.pop(image_id, None)
        request = cri.RemoveImageRequest(image=cri.ImageSpec(image=image_id))
        try:
            await self._peer.call("RemoveImage", request, timeout_s=LOOK_S * 6)
        except RefusedError as error:
            if error.status is not Status.NOT_FOUND:
                raise UnavailableError(str(error)) from error
        if self._rights is not None:
            await asyncio.to_thread(self._rights.forget, image_id)

    async def place(self) -> ImagesPlace | None:
        """Where they are; of several file systems the first, as a kubelet does."""
        told = await self._peer.call("ImageFsInfo", cri.ImageFsInfoRequest(), timeout_s=LOOK_S)
        for each in told.image_filesystems:
            if each.fs_id is not None and each.fs_id.mountpoint:
                used_bytes = each.used_bytes.value if each.used_bytes is not None else 0
                return ImagesPlace(directory=Path(each.fs_id.mountpoint), used_bytes=used_bytes)
        return None

    def close(self) -> None:
        self._peer.close()


def _is_unreachable(message: str) -> bool:
    said = message.lower()
    return any(sign in said for sign in _UNREACHABLE)
