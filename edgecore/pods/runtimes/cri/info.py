"""What containerd and CRI-O say of a container beyond CRI: the JSON in the `info` of a verbose status. Pure."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from edgecore.pods.port import User
from skerry.frozen import Frozen


class _User(msgspec.Struct):
    uid: int = 0
    gid: int = 0
    additionalGids: tuple[int, ...] = ()  # noqa: N815 - the OCI's word


class _Process(msgspec.Struct):
    user: _User | None = None


class _Spec(msgspec.Struct):
    """The OCI's runtime-spec."""

    process: _Process | None = None


class _Info(msgspec.Struct):
    pid: int = 0
    runtimeSpec: _Spec | None = None  # noqa: N815 - the runtimes' word


class Begun(Frozen):
    """The first process of a container."""

    pid: int = 0
    """0 for none."""
    user: User | None = None


def begun_in(info: Mapping[str, str]) -> Begun:
    """As far as it is said."""
    text = info.get("info", "")
    try:
        said = msgspec.json.decode(text, type=_Info) if text else _Info()
    except msgspec.DecodeError:
        return Begun()
    process = None if said.runtimeSpec is None else said.runtimeSpec.process
    if process is None or process.user is None:
        return Begun(pid=said.pid)
    user = process.user
    return Begun(pid=said.pid, user=User(uid=user.uid, gid=user.gid, groups=user.additionalGids))
