"""What a KubeFedConfig that leaves it out has."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from skerry.objects.federation import CORE_GROUP
from skerry.objects.federation_config import default_config
from skerry.objects.json import JsonObject

DEFAULTS: Final[dict[tuple[str, str], Callable[[JsonObject], None]]] = {(CORE_GROUP, "KubeFedConfig"): default_config}
