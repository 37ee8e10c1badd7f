"""What `image` means to the process runtime: a directory of this gateway, or a command that is on it.

Keeps nothing. docs/reference/process-runtime.md is the same for people.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Final, cast

from edgecore.pods.port import ContainerSpec, ImageMissingError
from skerry.errors import InvalidError
from skerry.frozen import Frozen
from skerry.objects.json import Json, str_at, str_map_at, strs_at

MANIFEST: Final = "skerry-image.json"
SEARCH_PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
"""PATH of a container whose image and pod say nothing; the agent's own environment is not passed on."""


class Image(Frozen):
    """An image as found."""

    id: str
    """`directory:/…` or `command:/…`."""
    entrypoint: tuple[str, ...]
    cmd: tuple[str, ...]
    env: tuple[tuple[str, str], ...]
    workdir: str


class Execution(Frozen):
    """What is executed in the end."""

    image_id: str
    argv: tuple[str, ...]
    env: tuple[tuple[str, str], ...]
    cwd: str


def find_image(images: Path, name: str) -> Image:
    """Raises `ImageMissingError`; `InvalidError` for a manifest that can't be understood."""
    for candidate in _directories(images, name):
        if candidate.is_dir():
            return _directory_image(candidate)
    command = _command(name)
    if command:
        return Image(id=f"command:{command}", entrypoint=(command,), cmd=(), env=(), workdir="/")
    place = images / name.lstrip("/")
    raise ImageMissingError(f'image "{name}" is not on this gateway: no directory {place}, no command of that name')


def _directories(images: Path, name: str) -> list[Path]:
    """`app:1.2` is `images/app:1.2`; without a tag, or with `latest`, also the other spelling."""
    parts = name.split("/")
    if not name or any(part in ("", ".", "..") for part in parts):
        return []
    plain, colon, tag = parts[-1].partition(":")
    names = [parts[-1]]
    if not colon:
        names.append(f"{plain}:latest")
    elif tag == "latest":
        names.append(plain)
    return [images.joinpath(*parts[:-1], last) for last in names]


def _command(name: str) -> str | None:
    """An absolute path, or a bare name (a tag is ignored) on the gateway's search path. Never a name with a
    registry or folder: `vendor/app` must not run whatever `app` there is."""
    if name.startswith("/"):
        return shutil.which(name)
    plain = name.partition("@")[0].partition(":")[0]
    return shutil.which(plain, path=SEARCH_PATH) if plain and "/" not in name else None


def _directory_image(directory: Path) -> Image:
    path = directory / MANIFEST
    if not path.exists():
        return Image(id=f"directory:{directory}", entrypoint=(), cmd=(), env=(), workdir=str(directory))
    try:
        loaded: Json = cast(Json, json.loads(path.read_bytes()))
    except (OSError, ValueError) as error:
        raise InvalidError(f"{path}: {error}") from error
    if not isinstance(loaded, dict):
        raise InvalidError(f"{path}: one JSON object is wanted")
    for name in loaded:
        if name not in ("entrypoint", "cmd", "env", "workdir"):
            raise InvalidError(f"{path}: unknown field {name!r}; entrypoint, cmd, env and workdir are known")
    return Image(
        id=f"directory:{directory}",
        entrypoint=tuple(strs_at(loaded, "entrypoint")),
        cmd=tuple(strs_at(loaded, "cmd")),
        env=tuple(str_map_at(loaded, "env").items()),
        workdir=str(directory / str_at(loaded, "workdir")),
    )


def execution(image: Image, spec: ContainerSpec) -> Execution:
    """Command and arguments as Kubernetes combines them with an image's: `command` replaces both of the image's,
    `args` only its cmd. A command that starts with `./` is in the image's directory.

    Raises `InvalidError` when there is nothing to execute.
    """
    argv = spec.command + spec.args if spec.command else image.entrypoint + (spec.args or image.cmd)
    if not argv:
        raise InvalidError(f'image "{spec.image}" names no entrypoint, and the container gives no command')
    directory = image.id.removeprefix("directory:") if image.id.startswith("directory:") else ""
    if directory and argv[0].startswith("./"):
        argv = (str(Path(directory) / argv[0]), *argv[1:])
    path = f"{directory}/bin:{SEARCH_PATH}" if directory and (Path(directory) / "bin").is_dir() else SEARCH_PATH
    env = {"PATH": path, "HOSTNAME": spec.sandbox.hostname, "HOME": "/"} | dict(image.env) | dict(spec.env)
    return Execution(image_id=image.id, argv=argv, env=tuple(env.items()), cwd=spec.working_dir or image.workdir)
