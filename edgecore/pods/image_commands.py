"""`edgecore image`: what images a gateway has, and bringing some before a pod asks for them.

Speaks to the container runtime itself, whether an agent runs or not. Keeps nothing.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from edgecore.pods.image_collection import Acquaintances, CollectionSettings, collection
from edgecore.pods.port import Credentials, ImageState, Runtime
from edgecore.pods.pull_secrets import credentials_of_config
from edgecore.pods.runtimes.choice import Choice
from skerry.errors import InvalidError, UnavailableError
from skerry.frozen import Frozen
from skerry.objects.json import read_json

NAMESPACE: Final = "k8s.io"
"""containerd's own for what comes through CRI."""
CONFIG_BYTES_MAX: Final = 1 << 20
UNITS: Final = ("B", "kB", "MB", "GB", "TB")


class ImageRequest(Frozen):
    """What is to be done; nothing: they are listed."""

    load: str = ""
    """File to import."""
    pull: str = ""
    auth_file: str = ""
    prune: bool = False


def check_request(request: ImageRequest) -> None:
    """Raises `InvalidError` naming the setting."""
    if sum(map(bool, (request.load, request.pull, request.prune))) > 1:
        raise InvalidError("--load, --pull and --prune: one at a time")
    if request.auth_file and not request.pull:
        raise InvalidError("--auth-file: of no use without --pull")
    if request.load and not Path(request.load).is_file():
        raise InvalidError(f"--load {request.load}: there is no such file")


async def change_images(request: ImageRequest, runtime: Runtime, choice: Choice) -> str:
    """What to tell. Raises `InvalidError`, `ImageMissingError`, `UnavailableError`."""
    if request.load:
        return await _load(request.load, choice)
    if request.pull:
        made = await runtime.ensure_image(request.pull, "Always", _credentials(request.auth_file))
        return f"{request.pull} is here: {made.id}, {size_text(made.size_bytes)}\n"
    if request.prune:
        return await _prune(runtime)
    return _table(await runtime.images())


def _credentials(path: str) -> Sequence[Credentials]:
    if not path:
        return ()
    try:
        with Path(path).open("rb") as file:
            content = file.read(CONFIG_BYTES_MAX)
    except OSError as error:
        raise InvalidError(f"--auth-file {path}: {error.strerror}") from error
    found = credentials_of_config(read_json(content, f"--auth-file {path}"))
    if not found:
        raise InvalidError(f"--auth-file {path}: no credentials below `auths`, as `docker login` writes them")
    return found


async def _load(archive: str, choice: Choice) -> str:
    """CRI has no import: each runtime has a tool of its own, which comes with it."""
    if choice.name != "containerd":
        raise InvalidError(
            f"--load: {choice.name} takes archives by a tool of its own: "
            f"podman load --input {archive}, or skopeo copy docker-archive:{archive} containers-storage:NAME"
        )
    if shutil.which("ctr") is None:
        raise InvalidError("--load needs ctr, which comes with containerd, on the PATH")
    process = await asyncio.create_subprocess_exec(
        *("ctr", "--address", choice.socket, "--namespace", NAMESPACE, "images", "import", archive),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    told, complaint = await process.communicate()
    if process.returncode:
        said = complaint.decode(errors="replace").strip().removeprefix("ctr: ")
        raise UnavailableError(f"--load {archive}: {said}")
    names = [line.split()[1] for line in told.decode(errors="replace").splitlines() if line.startswith("unpacking ")]
    return "".join(f"{name} is here\n" for name in names) or f"{archive} is imported\n"


async def _prune(runtime: Runtime) -> str:
    images = await runtime.images()
    known = Acquaintances().met(images, (), now_s=0.0).met(images, await runtime.list(), now_s=1.0)
    settings = CollectionSettings(age_s_min=0.0)
    chosen = collection(settings, images, known, wanted_bytes=1 << 62, now_s=1.0)
    for image in chosen.images:
        await runtime.remove_image(image.id)
    lines = [f"removed {', '.join(image.names) or image.id}\n" for image in chosen.images]
    return "".join((*lines, f"{len(lines)} images, {size_text(chosen.found_bytes)}\n"))


def _table(images: Sequence[ImageState]) -> str:
    rows = [
        (name, image.id.removeprefix("sha256:")[:12], size_text(image.size_bytes), "pinned" if image.pinned else "")
        for image in images
        for name in (image.names or ("<none>",))
        if "@" not in name or len(image.names) == 1
    ]
    if not rows:
        return "no images\n"
    rows = [("NAME", "ID", "SIZE", ""), *sorted(rows)]
    widths = [max(len(row[at]) for row in rows) for at in range(3)]
    return "".join(
        "  ".join((*(text.ljust(width) for text, width in zip(row[:3], widths, strict=True)), row[3])).rstrip() + "\n"
        for row in rows
    )


def size_text(count: int) -> str:
    """As people read it: 1.9 MB."""
    number, unit = float(count), UNITS[0]
    for unit in UNITS:
        if number < 1000 or unit == UNITS[-1]:
            break
        number /= 1000
    return f"{number:.0f} {unit}" if unit == UNITS[0] else f"{number:.1f} {unit}"
