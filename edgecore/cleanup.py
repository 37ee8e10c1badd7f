"""`edgecore cleanup`: takes away what the agent made of this machine and what outlives it, and says what that was.

As `kubeadm reset` and `kube-proxy --cleanup`. What is in the data directory stays, but for HAProxy's files, as the
gateway could be wanted again; pods go where that is asked for. Nothing that is not the agent's is touched.
"""

from __future__ import annotations

import asyncio
import shutil
import socket
from collections.abc import AsyncIterator, Callable
from functools import partial
from pathlib import Path
from typing import Final

from edgecore.config.commands import CleanupSettings
from edgecore.network.claim import Claim
from edgecore.network.ingress.settings import INGRESS
from edgecore.network.remnants import Places, Remnant, aside, remnants
from edgecore.pods.memory_volumes import mounted_below, unmount_below
from edgecore.pods.parts import POD_LOGS
from edgecore.pods.port import Runtime, SandboxState
from skerry.errors import InvalidError, UnavailableError

GRACE_S: Final = 10.0
"""For what runs to end by itself."""

Say = Callable[[str], object]


async def clean_up(settings: CleanupSettings, runtime: Runtime | None, say: Say) -> bool:
    """Whether all of it is gone. `runtime`: whose pods go; None: they stay. Raises `InvalidError` while an agent
    runs."""
    if not settings.dry_run and _answers(settings.socket):
        raise InvalidError(f"an agent runs with --data {settings.data}: stop it first, or use --dry-run")
    claim = Claim(settings.data)
    running = claim.hold()  # nobody begins meanwhile
    if running == claim.data and not settings.dry_run:
        raise InvalidError(f"an agent runs with --data {settings.data}: stop it first, or use --dry-run")
    try:
        places = Places(
            ingress=settings.data / INGRESS, cni=settings.cni_directory, owner=claim.data, running=running
        )
        return await _cleaned_up(settings, places, runtime, say)
    finally:
        claim.release()


async def _cleaned_up(settings: CleanupSettings, places: Places, runtime: Runtime | None, say: Say) -> bool:
    count, done = 0, True
    async for each in _all(settings, places, runtime):
        count += 1
        if each.stays:
            say(f"stays: {each.what}: {each.stays}")
            continue
        if settings.dry_run:
            say(f"would remove: {each.what}")
            continue
        try:
            await each.remove()
        except UnavailableError as error:
            done = False
            say(f"FAILED: {each.what}: {error}")
        else:
            say(f"removed: {each.what}")
    if not count:
        say("nothing is left of an agent here")
    return done


async def _all(settings: CleanupSettings, places: Places, runtime: Runtime | None) -> AsyncIterator[Remnant]:
    if runtime is not None:
        async for each in _pods(runtime, settings.data):
            yield each
    async for each in remnants(places, pods_go=runtime is not None):
        yield each


async def _pods(runtime: Runtime, data: Path) -> AsyncIterator[Remnant]:
    """Before the network: it takes their addresses back with them."""
    sandboxes = await runtime.sandboxes()
    homes = {each.id for each in sandboxes}
    strays = [each for each in await runtime.list() if each.sandbox_id not in homes]
    for sandbox in sandboxes:
        what = f"pod {sandbox.pod_namespace}/{sandbox.pod_name}, {sandbox.pod_uid}"
        yield Remnant(what=what, remove=partial(_end, runtime, sandbox))
    for state in strays:
        what = f"container {state.name} of pod {state.pod_uid}"
        yield Remnant(what=what, remove=partial(_end_one, runtime, state.id))
    for directory in (data / "pods", data / POD_LOGS):
        if _entries(directory):
            what = f"volumes and logs of pods in {directory}"
            yield Remnant(what=what, remove=aside(_forget, directory))


async def _end(runtime: Runtime, sandbox: SandboxState) -> None:
    mine = [each for each in await runtime.list(sandbox.pod_uid) if each.sandbox_id == sandbox.id]
    async with asyncio.TaskGroup() as tasks:
        for each in mine:
            tasks.create_task(runtime.stop(each.id, grace_s=GRACE_S))
    await runtime.stop_sandbox(sandbox.id)
    for each in mine:
        await runtime.remove(each.id)
    await runtime.remove_sandbox(sandbox.id)


async def _end_one(runtime: Runtime, container: str) -> None:
    await runtime.stop(container, grace_s=GRACE_S)
    await runtime.remove(container)


def _entries(directory: Path) -> list[Path]:
    return sorted(directory.iterdir()) if directory.is_dir() else []


def _forget(directory: Path) -> None:
    """One in which something of somebody else's is mounted stays. Raises `UnavailableError`."""
    for pod in _entries(directory):
        unmount_below(pod)
        if mounted_below(pod):
            raise UnavailableError(f"something is mounted below {pod}")
        try:
            shutil.rmtree(pod)
        except OSError as error:
            raise UnavailableError(f"{error.filename}: {error.strerror}") from error


def _answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(5)
        try:
            probe.connect(str(path))
        except OSError:
            return False
        return True
