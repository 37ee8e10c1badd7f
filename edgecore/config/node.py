"""The node by the settings: its labels, what of it pods may use, and what runs them."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from edgecore.config.agent import EdgeSettings
from edgecore.pods.runtimes.choice import check
from skerry.errors import InvalidError
from skerry.objects.names import label_key_faults, label_value_faults, node_may_label
from skerry.objects.quantity import Quantity, parse_quantity

RESERVABLE: Final = ("cpu", "memory", "ephemeral-storage", "pods")


def labels_of(texts: tuple[str, ...]) -> dict[str, str]:
    """NAME=VALUE pairs. Raises `InvalidError` naming the one that is not."""
    labels: dict[str, str] = {}
    for text in texts:
        name, sign, value = text.partition("=")
        if not sign or not name:
            raise InvalidError(f"--label {text!r}: write NAME=VALUE")
        if not node_may_label(name):
            raise InvalidError(
                f"--label {name}: a node may not give itself this label; the cloud does, with `kubectl label node` "
                "or `skerry token create --label`"
            )
        faults = [*label_key_faults(name), *label_value_faults(value)]
        if faults:
            raise InvalidError(f"--label {text!r}: {faults[0]}")
        labels[name] = value
    return labels


def reserved_of(texts: tuple[str, ...]) -> dict[str, str]:
    """Quantity by resource. Raises `InvalidError` naming the one that is none."""
    reserved: dict[str, str] = {}
    for text in texts:
        name, sign, value = text.partition("=")
        if not sign or name not in RESERVABLE:
            raise InvalidError(
                f"--system-reserved {text!r}: write NAME=QUANTITY, NAME one of {', '.join(RESERVABLE)}"
            )
        try:
            quantity = parse_quantity(value)
        except InvalidError as error:
            raise InvalidError(f"--system-reserved {text!r}: {error}") from error
        if quantity < Quantity(0):
            raise InvalidError(f"--system-reserved {text!r}: less than nothing can't be reserved")
        reserved[name] = value
    return reserved


def cgroup_root_of(text: str) -> str:
    """Raises `InvalidError`."""
    parts = text.split("/")[1:]
    if not text.startswith("/") or (text != "/" and any(part in {"", ".", ".."} for part in parts)):
        raise InvalidError(f"--cgroup-root {text!r}: write the path of a cgroup, /NAME or /")
    return text


def static_pods_of(settings: EdgeSettings) -> Path | None:
    """The directory, or a single file; None: there is none. Raises `InvalidError`."""
    if settings.static_pods == "none":
        return None
    if not settings.static_pods.startswith("/"):
        raise InvalidError(f"--static-pods {settings.static_pods!r}: write an absolute path, or none")
    return Path(settings.static_pods)


def check_runtime(settings: EdgeSettings) -> None:
    """What can't be is said at once. Raises `InvalidError`."""
    check(settings.runtime, settings.runtime_endpoint)
    settings.eviction()
    if settings.image_low_percent >= settings.image_high_percent:
        raise InvalidError(
            f"--image-low-percent {settings.image_low_percent}: has to be below --image-high-percent "
            f"{settings.image_high_percent}"
        )
