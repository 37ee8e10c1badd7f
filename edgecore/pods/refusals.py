"""What a pod asks for and this gateway does not do: pure.

What would change the meaning of the pod if it were left out keeps it from starting (`unsupported`); what it runs
without is told in an event (`unheeded`).
"""

from __future__ import annotations

from typing import Final

from edgecore.pods.containers import wanted_of
from edgecore.pods.port import Abilities
from edgecore.pods.volumes import leads_into_the_writable
from skerry.objects.json import JsonObject, bool_at, int_at, map_at, maps_at, str_at

_VOLUME_TYPES: Final = frozenset(
    ("configMap", "secret", "emptyDir", "ephemeral", "hostPath", "persistentVolumeClaim", "projected", "downwardAPI")
)
_NO_IMAGES: Final = (
    "image: this gateway's runtime can't mount images (containerd can from 2.1 on, CRI-O from 1.31): "
    "copy what is needed into an emptyDir with an init container of that image"
)


_PROJECTED: Final = ("configMap", "secret", "downwardAPI", "serviceAccountToken", "clusterTrustBundle")


def unsupported(pod: JsonObject, abilities: Abilities) -> str:
    """The first thing that a pod asks for and this gateway does not do, "" for none.

    Only what would change the meaning of the pod if it were left out; the rest is in `unheeded`.
    """
    strict = str_at(pod, "spec", "securityContext", "supplementalGroupsPolicy") == "Strict"
    if strict and not abilities.strict_groups:
        return "spec.securityContext.supplementalGroupsPolicy: this gateway's runtime can't do Strict: say Merge"
    if map_at(pod, "spec").get("hostUsers") is False:
        return "spec.hostUsers: this gateway has no user namespaces: leave it out, or say true"
    lists = (
        ("containers", maps_at(pod, "spec", "containers")),
        ("initContainers", maps_at(pod, "spec", "initContainers")),
    )
    for at, container in (
        (f"spec.{name}[{index}]", each) for name, all_of_it in lists for index, each in enumerate(all_of_it)
    ):
        for number, mount in enumerate(maps_at(container, "volumeMounts")):
            if not (abilities.sub_paths or abilities.isolation) and leads_into_the_writable(pod, mount):
                return f"{at}.volumeMounts[{number}].subPath: this gateway's runtime mounts such volumes as a whole"
            if str_at(mount, "recursiveReadOnly") == "Enabled":
                where = f"{at}.volumeMounts[{number}].recursiveReadOnly"
                return f"{where}: this gateway can't promise it for what is mounted below: say IfPossible"
        if container.get("volumeDevices"):
            return f"{at}.volumeDevices: this gateway has no block volumes"
    for index, volume in enumerate(maps_at(pod, "spec", "volumes")):
        fault = _unsupported_volume(volume, abilities)
        if fault:
            return f"spec.volumes[{index}].{fault}"
    return ""


def _unsupported_volume(volume: JsonObject, abilities: Abilities) -> str:
    kinds = [name for name in volume if name != "name" and volume[name] is not None]
    for kind in kinds:
        if kind == "image":
            return "" if abilities.image_volumes else _NO_IMAGES
        if kind not in _VOLUME_TYPES:
            return f"{kind}: this gateway has {', '.join(sorted(_VOLUME_TYPES))} volumes"
    medium = str_at(volume, "emptyDir", "medium")
    if medium not in ("", "Memory"):
        return f"emptyDir.medium: {medium} is not known here (only Memory, and the disk by default)"
    for number, source in enumerate(maps_at(volume, "projected", "sources")):
        for kind in source:
            if kind not in _PROJECTED:
                return f"projected.sources[{number}].{kind}: this gateway projects {', '.join(_PROJECTED)}"
    return ""


def unheeded(pod: JsonObject, abilities: Abilities) -> str:
    """What a pod asks for and runs without, for an event; "" for nothing."""
    found: dict[str, None] = {}
    for container in (one.spec for one in wanted_of(pod)):
        limits = map_at(container, "resources", "limits")
        if not abilities.limits and ("cpu" in limits or "memory" in limits):
            found["resources.limits"] = None
        if str_at(container, "lifecycle", "stopSignal") and not abilities.stop_signals:
            found["lifecycle.stopSignal (SIGTERM is sent)"] = None
        if not abilities.isolation:
            found |= dict.fromkeys(_without_isolation(container))
    if not abilities.pod_network:
        if any(int_at(port, "hostPort") for one in wanted_of(pod) for port in maps_at(one.spec, "ports")):
            found["hostPort (a container listens on the gateway's own ports)"] = None
        if map_at(pod, "spec", "dnsConfig"):
            found["dnsConfig"] = None
    if not abilities.isolation and maps_at(pod, "spec", "securityContext", "sysctls"):
        found["securityContext.sysctls"] = None
    return "not enforced by this gateway: " + ", ".join(found) if found else ""


def _without_isolation(container: JsonObject) -> list[str]:
    found: list[str] = []
    context = map_at(container, "securityContext")
    if bool_at(context, "readOnlyRootFilesystem"):
        found.append("securityContext.readOnlyRootFilesystem")
    found += [f"securityContext.{name}" for name in ("capabilities", "seccompProfile") if context.get(name)]
    return found
