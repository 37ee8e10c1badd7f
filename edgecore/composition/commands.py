"""The commands beside `run` that reach for what runs the pods. A running agent does without this module."""

from __future__ import annotations

from collections.abc import Callable

from edgecore.cleanup import clean_up
from edgecore.composition.runtimes import cri_runtime
from edgecore.config.commands import CleanupSettings, ImageSettings
from edgecore.pods.image_commands import change_images, check_request
from edgecore.pods.port import Runtime
from edgecore.pods.runtimes.choice import Choosing, before, choose
from skerry.clocks import SystemClock
from skerry.errors import InvalidError


async def changed_images(settings: ImageSettings) -> str:
    """What `edgecore image` tells. Raises `InvalidError`, `UnavailableError`."""
    request = settings.request()
    check_request(request)
    wanted = "cri" if settings.runtime_endpoint or before(settings.data) is None else "auto"
    chosen, _ = choose(Choosing(wanted=wanted, endpoint=settings.runtime_endpoint, directory=settings.data))
    if chosen.is_process:
        raise InvalidError("the pods of this gateway are processes: their images are directories below DATA/images")
    runtime = cri_runtime(chosen, settings.data, SystemClock())
    try:
        await runtime.greet()
        return await change_images(request, runtime, chosen)
    finally:
        await runtime.close()


async def cleaned_up(settings: CleanupSettings, say: Callable[[str], object]) -> bool:
    """What `edgecore cleanup` does; whether all of it worked. Raises `InvalidError`, `UnavailableError`."""
    runtime = await _runtime_to_clean(settings) if settings.pods else None
    try:
        return await clean_up(settings, runtime, say)
    finally:
        if runtime is not None:
            await runtime.close()


async def _runtime_to_clean(settings: CleanupSettings) -> Runtime:
    """The one that ran pods here the last time. Raises `InvalidError`, `UnavailableError`."""
    known = before(settings.data)
    if settings.runtime_endpoint:
        known, _ = choose(Choosing(wanted="cri", endpoint=settings.runtime_endpoint, directory=settings.data))
    if known is None:
        raise InvalidError(f"--pods: no agent has run pods with --data {settings.data}")
    if known.is_process:
        from edgecore.pods.runtimes.process import ProcessRuntime, ProcessSettings

        directory = settings.data / "containers"
        return ProcessRuntime(ProcessSettings(directory=directory, images=settings.data / "images"), SystemClock())
    runtime = cri_runtime(known, settings.data, SystemClock())
    try:
        await runtime.greet()
    except BaseException:
        await runtime.close()
        raise
    return runtime
