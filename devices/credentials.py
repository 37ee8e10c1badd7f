"""Which files of a gateway a Device may name as a secret that is sent to a server, which it names as well.

Whoever may write Devices in the cloud would else have any file of the gateway sent to any place: those that are meant
for devices lie in one directory, which the gateway's operator names. Keeps nothing.
"""

from __future__ import annotations

from pathlib import Path

from skerry.errors import InvalidError


def refuse_elsewhere(path: str, directory: Path | None, where: str) -> None:
    """Raises `InvalidError` for a file that is not below `directory`, links followed. None: any file will do, as for
    tools that run as who asks."""
    if path and directory is not None and not Path(path).resolve().is_relative_to(directory.resolve()):
        raise InvalidError(
            f"{where}: {path} is not in {directory}: put it there, or name its directory by "
            "edgecore run --device-credentials"
        )
