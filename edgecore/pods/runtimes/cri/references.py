"""Names of images, and which credentials are for which: pure.

A name is `[REGISTRY/]PATH[:TAG][@DIGEST]`; without a registry it is Docker Hub's, without tag and digest `latest`
(github.com/distribution/reference). Credentials match a name as a kubelet's keyring does: the registry's host with
`*` inside its parts, its port, and the start of the path.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import Final

from edgecore.pods.port import Credentials, ImageMissingError

HUB: Final = "docker.io"
_HUB_HOSTS: Final = frozenset({"index.docker.io", "registry-1.docker.io", "registry.hub.docker.com"})
NAME_MAX: Final = 255

_ALNUM: Final = r"[a-z0-9]+"
_PART: Final = rf"{_ALNUM}(?:(?:\.|_|__|-+){_ALNUM})*"
_HOST: Final = (
    r"(?:(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])"
    r"(?:\.(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9]))*|\[(?:[a-fA-F0-9:]+)\])(?::[0-9]+)?"
)
_REFERENCE: Final = re.compile(
    rf"(?P<name>(?:{_HOST}/)?{_PART}(?:/{_PART})*)(?::(?P<tag>[\w][\w.-]{{0,127}}))?"
    r"(?:@(?P<digest>[A-Za-z][A-Za-z0-9]*(?:[-_+.][A-Za-z][A-Za-z0-9]*)*:[0-9a-fA-F]{32,}))?",
    re.ASCII,
)
_ID: Final = re.compile(r"(?:sha256:)?[a-f0-9]{64}", re.ASCII)


def full_name(image: str) -> str:
    """The name with its registry and tag. Raises `ImageMissingError` (InvalidImageName) in a kubelet's words."""
    found = _REFERENCE.fullmatch(image)
    if found is None or _ID.fullmatch(image):
        fault = "invalid reference format"
        if _ID.fullmatch(image):
            fault = f"invalid repository name ({image}), cannot specify 64-byte hexadecimal strings"
        elif _REFERENCE.fullmatch(image.lower()):
            fault += ": repository name must be lowercase"
        raise ImageMissingError(
            f'Failed to apply default image tag "{image}": couldn\'t parse image name "{image}": {fault}',
            "InvalidImageName",
        )
    name, tag, digest = found["name"], found["tag"], found["digest"]
    first, slash, rest = name.partition("/")
    if not slash or not ("." in first or ":" in first or first == "localhost" or first.lower() != first):
        name = f"{HUB}/{name}" if slash else f"{HUB}/library/{name}"
    elif first == HUB or first in _HUB_HOSTS:
        name = f"{HUB}/{rest}" if "/" in rest else f"{HUB}/library/{rest}"
    if len(name) > NAME_MAX:
        raise ImageMissingError(
            f'Failed to apply default image tag "{image}": couldn\'t parse image name "{image}": '
            f"repository name must not be more than {NAME_MAX} characters",
            "InvalidImageName",
        )
    if tag is None and digest is None:
        return f"{name}:latest"
    return name + (f":{tag}" if tag else "") + (f"@{digest}" if digest else "")


def fitting(image: str, credentials: Sequence[Credentials]) -> tuple[Credentials, ...]:
    """Those for the registry of this full name: who names more of it first."""
    fits = [each for each in credentials if _fits(each.registry, image)]
    return tuple(sorted(fits, key=lambda each: len(_bare(each.registry)), reverse=True))


def _bare(registry: str) -> str:
    """Host, port and path of what may be written as an address, of Docker's own with its version."""
    bare = registry.removeprefix("https://").removeprefix("http://").rstrip("/")
    host, _, path = bare.partition("/")
    if path in ("v1", "v2") or path.startswith(("v1/", "v2/")):
        path = path[3:]
    return "/".join(filter(None, ((HUB if host in _HUB_HOSTS else host), path)))


def _fits(registry: str, image: str) -> bool:
    host, _, path = _bare(registry).partition("/")
    its_host, _, its_path = image.partition("/")
    name, _, port = host.partition(":")
    its_name, _, its_port = its_host.partition(":")
    parts, its_parts = name.split("."), its_name.split(".")
    return (
        len(parts) == len(its_parts)
        and port == its_port
        and all(fnmatchcase(mine, part) for part, mine in zip(parts, its_parts, strict=True))
        and its_path.startswith(path)
    )
