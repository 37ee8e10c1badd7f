"""What a runtime says of its configuration, in the `info` of its verbose status: JSON in containerd's shape. Pure.

CRI-O says less. What is not said is "", and whoever asks has a default of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import msgspec


def pause_image_of(info: Mapping[str, str]) -> str:
    """The image of sandboxes as containerd's own configuration names it, "" where it does not; CRI-O, and containerd
    since 2.0, tell of it as pinned."""
    try:
        return msgspec.json.decode(info.get("config", "{}"), type=_Config).sandbox_image
    except msgspec.DecodeError:
        return ""


def cgroup_driver_of(info: Mapping[str, str]) -> Literal["", "cgroupfs", "systemd"]:
    """As containerd's configuration has it for its default handler; "" for who shows none."""
    try:
        shown = msgspec.json.decode(info.get("config", "{}"), type=_Config).containerd
    except msgspec.DecodeError:
        return ""
    handler = shown.runtimes.get(shown.default_runtime_name) if shown is not None else None
    if handler is None:
        return ""
    return "systemd" if handler.options is not None and handler.options.systemd_cgroup else "cgroupfs"


class _Options(msgspec.Struct):
    """Of a runtime handler; runc's are told in containerd's own spelling."""

    systemd_cgroup: bool = msgspec.field(default=False, name="SystemdCgroup")


class _Handler(msgspec.Struct):
    options: _Options | None = None


class _Handlers(msgspec.Struct, rename="camel"):
    default_runtime_name: str = "runc"
    runtimes: dict[str, _Handler] = {}


class _Config(msgspec.Struct, rename="camel"):
    """What containerd says of its configuration in the `info` of its status."""

    sandbox_image: str = ""
    containerd: _Handlers | None = None
