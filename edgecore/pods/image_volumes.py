"""Volumes whose files are an image's (`volumes[].image`): which images a container needs for them. Pure.

The runtime mounts them itself, read-only (CRI: Mount.image); nothing of them is below the pod's directory.
(Kubernetes documentation, "Use an Image Volume With a Pod".)
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable

from edgecore.pods.port import ImageMissingError, PullPolicy
from skerry.frozen import Frozen
from skerry.objects.json import JsonObject, map_at, maps_at, str_at


class ImageVolume(Frozen):
    name: str
    image: str
    policy: PullPolicy


def image_volumes(pod: JsonObject, container: JsonObject | None = None) -> tuple[ImageVolume, ...]:
    """Those that the container mounts; None: all of the pod."""
    mounted = {str_at(mount, "name") for mount in maps_at(container, "volumeMounts")}
    return tuple(
        ImageVolume(name=str_at(volume, "name"), image=str_at(source, "reference"), policy=_policy(source))
        for volume in maps_at(pod, "spec", "volumes")
        if str_at(source := map_at(volume, "image"), "reference")
        and (container is None or str_at(volume, "name") in mounted)
    )


def mounted_images(pods: Iterable[JsonObject]) -> frozenset[str]:
    """Whole names of the images that are volumes of these pods: they are in use, though no container runs of them."""
    from edgecore.pods.runtimes.cri.references import full_name  # with a runtime that has images

    found: set[str] = set()
    for volume in (volume for pod in pods for volume in image_volumes(pod)):
        with contextlib.suppress(ImageMissingError):  # nobody pulls what has no name
            name, at, digest = full_name(volume.image).partition("@")
            # A runtime knows one that was pulled by its digest by that alone.
            found.add(name if not at else f"{_without_tag(name)}@{digest}")
    return frozenset(found)


def _without_tag(name: str) -> str:
    before, slash, last = name.rpartition("/")
    return f"{before}{slash}{last.partition(':')[0]}"


def _policy(source: JsonObject) -> PullPolicy:
    match str_at(source, "pullPolicy"):
        case "Always":
            return "Always"
        case "Never":
            return "Never"
        case _:
            return "IfNotPresent"
