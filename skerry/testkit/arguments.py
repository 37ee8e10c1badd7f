"""What a test may ask for, checked before anything is started: a slip of the pen is named, and not waited for.

Pure; keeps nothing.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from skerry.errors import InvalidError
from skerry.objects.enrolment import valid_node_name
from skerry.objects.names import label_key_faults, label_value_faults


def check_gateway(name: object, labels: object) -> None:
    """The arguments of `edge`. Raises `InvalidError`."""
    if not isinstance(name, str) or not valid_node_name(name):
        raise InvalidError(
            f"edge({name!r}): a gateway is named as its Node is: lower-case letters, digits, '-' and '.', with a "
            "letter or digit at both ends, 52 characters at most"
        )
    if labels is None:
        return
    if not isinstance(labels, Mapping):
        raise InvalidError(f"edge({name!r}): labels: a dict of texts, not {labels!r}")
    for label, value in labels.items():  # pyright: ignore[reportUnknownVariableType]
        if not isinstance(label, str) or not isinstance(value, str):
            raise InvalidError(f"edge({name!r}): labels: {label!r}: {value!r}: both must be texts")
        for fault in (*label_key_faults(label), *label_value_faults(value)):
            raise InvalidError(f"edge({name!r}): labels: {label}={value}: {fault}")


def checked_seconds(seconds: object, what: str) -> float:
    """A span of time. Raises `InvalidError` naming `what` was called."""
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not math.isfinite(seconds):
        raise InvalidError(f"{what}: seconds as a number, such as 3600 or -0.5, not {seconds!r}")
    return seconds
