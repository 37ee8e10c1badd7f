"""What runs on a gateway, read from the process runtime's own files: with the agent alive or dead.

See `edgecore.pods.runtimes.process` for what is kept where. Keeps nothing, and changes nothing.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from pathlib import Path

from edgecore.pods.port import ContainerState
from skerry.frozen import replace
from skerry.objects.json import JsonObject, decode_object, int_at, str_at


def container_states(data: Path) -> list[ContainerState]:
    """Every container of an agent's data directory, exited ones included; by pod, name and attempt."""
    found: list[ContainerState] = []
    for about in data.glob("containers/*/*/about"):
        with contextlib.suppress(OSError, ValueError):
            found.append(_state(about.parent, decode_object(about.read_bytes())))
    return sorted(found, key=lambda state: (state.pod_uid, state.name, state.attempt))


def _state(place: Path, about: JsonObject) -> ContainerState:
    try:
        state = decode_object((place / "state").read_bytes())
    except FileNotFoundError:
        state: JsonObject = {}
    phase = str_at(state, "phase")
    uid, name, attempt = str_at(about, "pod_uid"), str_at(about, "name"), int_at(about, "attempt")
    made = ContainerState(
        id=f"{uid}.{name}.{attempt}",
        sandbox_id=str_at(about, "sandbox"),
        pod_uid=uid,
        name=name,
        attempt=attempt,
        image=str_at(about, "image"),
        image_id=str_at(about, "image_id"),
        phase="created",
        started_ms=int_at(state, "started_ms"),
        finished_ms=int_at(state, "finished_ms"),
        exit_code=int_at(state, "exit_code"),
    )
    if phase == "running":
        return replace(made, phase="running" if _is_held(place / "lock") else "exited")
    return replace(made, phase="exited") if phase == "exited" else made


def _is_held(lock: Path) -> bool:
    """A supervisor holds its lock for as long as it lives."""
    try:
        fd = os.open(lock, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False
