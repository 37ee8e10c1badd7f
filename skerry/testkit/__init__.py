"""The test kit: a pytest plugin with which users test what their own apps and devices do when the link dies.

Importing this costs nothing: it is loaded in every pytest run of an environment that has Skerry. The names below are
found when they are first asked for. `docs/testkit/README.md` is the way in.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from skerry.testkit.face import (
        ApplyError,
        BackendError,
        Broker,
        Cloud,
        ContainerView,
        Edge,
        EdgeClock,
        FaultView,
        Fleet,
        LinkFaults,
        Plc,
        PodView,
        ReadingView,
        TwinView,
        UnsupportedError,
    )
    from skerry.testkit.fleets import FleetOptions, open_fleet
    from skerry.testkit.waiting import Patience

__all__ = [
    "ApplyError",
    "BackendError",
    "Broker",
    "Cloud",
    "ContainerView",
    "Edge",
    "EdgeClock",
    "FaultView",
    "Fleet",
    "FleetOptions",
    "LinkFaults",
    "Patience",
    "Plc",
    "PodView",
    "ReadingView",
    "TwinView",
    "UnsupportedError",
    "open_fleet",
]

_HOMES: Final = {"FleetOptions": "fleets", "open_fleet": "fleets", "Patience": "waiting"}


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    home = importlib.import_module(f"{__name__}.{_HOMES.get(name, 'face')}")
    return getattr(home, name)
