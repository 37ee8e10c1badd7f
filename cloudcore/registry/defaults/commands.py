"""What a Command that leaves it out has."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from skerry.objects.commands import EXPIRES_S, GROUP, TIMEOUT_S, TTL_S
from skerry.objects.json import JsonObject, map_at


def default_command(obj: JsonObject) -> None:
    spec = map_at(obj, "spec")
    if not spec:
        return
    spec.setdefault("expiresAfterSeconds", EXPIRES_S)
    spec.setdefault("timeoutSeconds", TIMEOUT_S)
    spec.setdefault("ttlSecondsAfterFinished", TTL_S)


DEFAULTS: Final[dict[tuple[str, str], Callable[[JsonObject], None]]] = {(GROUP, "Command"): default_command}
