"""What Kubernetes fills in where a writer said nothing, a room of functions by kind.

Every function takes a decoded object of its own (zero values already left out, as Go decodes) and completes it
in place; running it twice changes nothing. Values and their order are those of `SetDefaults_*` and the
strategies' `PrepareForCreate` in Kubernetes 1.36. Pure; keeps nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from cloudcore.registry.defaults import cluster, commands, federation, services, workloads
from skerry.objects import pod_defaults
from skerry.objects.json import JsonObject

DEFAULTS: Final[Mapping[tuple[str, str], Callable[[JsonObject], None]]] = {
    **pod_defaults.DEFAULTS,
    **workloads.DEFAULTS,
    **services.DEFAULTS,
    **cluster.DEFAULTS,
    **commands.DEFAULTS,
    **federation.DEFAULTS,
}
"""(group, kind) -> completes an object of that kind, whatever its version."""
