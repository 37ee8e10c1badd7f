"""Images for the containers of one pod: looked for, and pulled beside the worker where that takes long.

A pull over a narrow link takes an hour; meanwhile the pod is to be told as it is, and may be deleted, which ends the
pull. Keeps in memory which pulls are under way. After a crash they begin again; the runtime keeps what came before.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field

from edgecore.pods.events import Happening
from edgecore.pods.port import Credentials, ImageState, Pulled, PullPolicy, Runtime
from skerry.frozen import Frozen


class Wish(Frozen):
    """What one run of a container needs."""

    container: str
    image: str
    policy: PullPolicy
    credentials: Sequence[Credentials]
    volume: str = ""
    """Which of the pod's volumes the image is; "" for the container's own."""

    @property
    def key(self) -> tuple[str, str]:
        return self.container, self.volume


@dataclass(slots=True, kw_only=True, eq=False)
class _Pull:
    wish: Wish
    task: asyncio.Task[None] | None = None
    news: asyncio.Event = field(default_factory=asyncio.Event)
    """It is over, or it takes long."""
    is_long: bool = False
    result: ImageState | Exception | None = None
    pulled: Pulled | None = None


class Pulls:
    """See the module."""

    def __init__(self, runtime: Runtime, happens: Callable[[Happening], None], wake: Callable[[], None]) -> None:
        """`wake`: one that took long is over."""
        self._runtime = runtime
        self._happens = happens
        self._wake = wake
        self._pulls: dict[tuple[str, str], _Pull] = {}

    def keep(self, containers: Collection[str]) -> None:
        """End the pulls for all others."""
        for key in [each for each in self._pulls if each[0] not in containers]:
            self._end(key)

    def _end(self, key: tuple[str, str]) -> None:
        pull = self._pulls.pop(key)
        if pull.task is not None:
            pull.task.cancel()

    async def images(
        self, wishes: Sequence[Wish], tasks: asyncio.TaskGroup, *, quiet: bool, again: bool = False
    ) -> list[tuple[Wish, ImageState | Exception]] | None:
        """None while one of them is pulled; else each with what it came to: `ImageMissingError` and
        `UnavailableError` are to be raised. `quiet`: nobody is told of an image that was here; `again`: nor of a try
        that was told of before."""
        pulls = [self._held(wish) or self._begin(wish, tasks, quiet=again) for wish in wishes]
        for pull in pulls:
            await pull.news.wait()
        if any(pull.result is None for pull in pulls):
            return None
        found: list[tuple[Wish, ImageState | Exception]] = []
        for pull in pulls:
            assert pull.result is not None, "none is under way"
            del self._pulls[pull.wish.key]
            if not isinstance(pull.result, Exception):
                self._tell(pull, pull.result, quiet=quiet)
            found.append((pull.wish, pull.result))
        return found

    def _held(self, wish: Wish) -> _Pull | None:
        held = self._pulls.get(wish.key)
        if held is not None and held.wish.image != wish.image:
            self._end(wish.key)
            return None
        return held

    def _begin(self, wish: Wish, tasks: asyncio.TaskGroup, *, quiet: bool) -> _Pull:
        pull = self._pulls[wish.key] = _Pull(wish=wish)

        def tell(pulled: Pulled | None) -> None:
            pull.pulled = pulled
            if pulled is None and not quiet:
                text = f'Pulling image "{wish.image}"'
                self._happens(Happening(reason="Pulling", message=text, container=wish.container))
            if pulled is None:
                pull.is_long = True
                pull.news.set()

        async def run() -> None:
            try:
                pull.result = await self._runtime.ensure_image(wish.image, wish.policy, wish.credentials, tell)
            except Exception as error:  # it is raised where the image is wanted
                pull.result = error
            pull.news.set()
            if pull.is_long:
                self._wake()

        pull.task = tasks.create_task(run())
        return pull

    def _tell(self, pull: _Pull, state: ImageState, *, quiet: bool) -> None:
        image, pulled = pull.wish.image, pull.pulled
        if pulled is not None:
            took, waiting = _time(pulled.took_s), _time(pulled.all_s)
            text = f'Successfully pulled image "{image}" in {took} ({waiting} including waiting).'
            text += f" Image size: {state.size_bytes} bytes."
        elif quiet and not pull.is_long:
            return
        else:
            text = f'Container image "{image}" already present on machine and can be accessed by the pod'
        self._happens(Happening(reason="Pulled", message=text, container=pull.wish.container))


def _time(seconds: float) -> str:
    """As Go writes a duration of milliseconds: 12ms, 1.5s, 1m2.5s."""
    millis = round(seconds * 1000)
    if millis < 1000:
        return f"{millis}ms"
    minutes, rest = divmod(millis, 60_000)
    text = f"{rest / 1000:.3f}".rstrip("0").rstrip(".")
    return f"{minutes}m{text}s" if minutes else f"{text}s"
