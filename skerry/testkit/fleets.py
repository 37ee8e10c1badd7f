"""How a fleet is opened: which backends there are, and what each is told. Keeps nothing."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Final, cast

from skerry.errors import InvalidError
from skerry.frozen import Frozen
from skerry.testkit.face import BackendError, Fleet

BACKENDS: Final = {
    "simulated": "skerry.testkit.simulated.fleet",
    "real": "skerry.testkit.real.fleet",
}
"""Where each backend's `open_fleet(options)` is."""


class FleetOptions(Frozen):
    """What a backend is told."""

    directory: Path
    """Everything that is written goes below it."""
    seed: int = 0
    full_time: bool = False
    """On real processes: the product's own heartbeats, and faults as long as they say. Else both are shorter."""
    keep: bool = False
    """Leave the directory, and with it every log, where it is."""


Opener = Callable[[FleetOptions], Fleet]


def open_fleet(backend: str, options: FleetOptions) -> Fleet:
    """Open a fleet: a cloud that runs, and no gateways yet. Raises `BackendError` where the backend can't run."""
    if backend not in BACKENDS:
        raise InvalidError(f"there is no backend {backend!r}: use {' or '.join(BACKENDS)}")
    try:
        module = importlib.import_module(BACKENDS[backend])
    except ModuleNotFoundError as error:
        raise BackendError(
            f"the {backend} backend needs {error.name}, which is not installed: pip install 'skerry[testkit]'"
        ) from error
    return cast("Opener", module.open_fleet)(options)
