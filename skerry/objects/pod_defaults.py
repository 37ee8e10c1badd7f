"""Defaults of pods and of the pod templates in workloads (`pkg/apis/core/v1/defaults.go`). Pure."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from skerry.objects.json import JsonObject, bool_at, ensure_map, map_at, maps_at, str_at
from skerry.objects.quantity import parse_quantity

TOKEN_VOLUME: Final = "kube-api-access-"  # noqa: S105 - a volume's name
"""How the name of the volume begins that a pod gets for the token of its account."""

FILE_MODE: Final = 0o644
_PROBES: Final = ("livenessProbe", "readinessProbe", "startupProbe")
_QOS_RESOURCES: Final = ("cpu", "memory")


def default_pod(pod: JsonObject) -> None:
    spec = ensure_map(pod, "spec")
    default_pod_spec(spec)
    spec.setdefault("enableServiceLinks", True)
    for container in (*maps_at(spec, "containers"), *maps_at(spec, "initContainers")):
        _request_what_is_limited(container)
    status = ensure_map(pod, "status")
    status.setdefault("phase", "Pending")
    status.setdefault("qosClass", qos_class(spec))


def default_pod_template(template: JsonObject) -> None:
    default_pod_spec(ensure_map(template, "spec"))


def default_pod_spec(spec: JsonObject) -> None:
    """Defaults of a pod's spec, in a pod or a template."""
    spec.setdefault("dnsPolicy", "ClusterFirst")
    spec.setdefault("restartPolicy", "Always")
    spec.setdefault("schedulerName", "default-scheduler")
    spec.setdefault("securityContext", {})
    spec.setdefault("terminationGracePeriodSeconds", 30)
    mirror_service_account(spec)
    host_network = bool_at(spec, "hostNetwork")
    for container in (*maps_at(spec, "containers"), *maps_at(spec, "initContainers")):
        _default_container(container, host_network=host_network)
    for container in maps_at(spec, "ephemeralContainers"):
        _default_container(container, host_network=False)
    for volume in maps_at(spec, "volumes"):
        _default_volume(volume)


def mirror_service_account(spec: JsonObject) -> None:
    """`serviceAccount` is the old name of `serviceAccountName`; both are always served."""
    name = str_at(spec, "serviceAccountName") or str_at(spec, "serviceAccount")
    if name:
        spec["serviceAccountName"] = name
        spec["serviceAccount"] = name


def image_pull_policy(image: str) -> str:
    """Always for what may change under its name: no tag, or `latest`, and no digest."""
    if "@" in image:
        return "IfNotPresent"
    _, colon, tag = image.rpartition("/")[2].partition(":")
    return "IfNotPresent" if colon and tag != "latest" else "Always"


def qos_class(spec: JsonObject) -> str:
    """Guaranteed, Burstable or BestEffort (`pkg/apis/core/v1/helper/qos`), by CPU and memory of all containers."""
    containers = [*maps_at(spec, "containers"), *maps_at(spec, "initContainers")]
    guaranteed, empty = True, True
    for container in containers:
        requests, limits = _amounts(container, "requests"), _amounts(container, "limits")
        empty = empty and not requests and not limits
        guaranteed = guaranteed and len(limits) == len(_QOS_RESOURCES) and (not requests or requests == limits)
    if empty:
        return "BestEffort"
    return "Guaranteed" if guaranteed else "Burstable"


def _amounts(container: JsonObject, which: str) -> dict[str, int]:
    amounts = {name: str_at(container, "resources", which, name) for name in _QOS_RESOURCES}
    nanos = {name: parse_quantity(text).nano for name, text in amounts.items() if text}
    return {name: nano for name, nano in nanos.items() if nano}


def _request_what_is_limited(container: JsonObject) -> None:
    limits = map_at(container, "resources", "limits")
    if limits:
        requests = ensure_map(container, "resources", "requests")
        for name, amount in limits.items():
            requests.setdefault(name, amount)


def _default_container(container: JsonObject, *, host_network: bool) -> None:
    container.setdefault("imagePullPolicy", image_pull_policy(str_at(container, "image")))
    container.setdefault("terminationMessagePath", "/dev/termination-log")
    container.setdefault("terminationMessagePolicy", "File")
    for port in maps_at(container, "ports"):
        port.setdefault("protocol", "TCP")
        if host_network and "containerPort" in port:
            port.setdefault("hostPort", port["containerPort"])
    for variable in maps_at(container, "env"):
        _default_field_ref(map_at(variable, "valueFrom"))
    for name in _PROBES:
        probe = map_at(container, name)
        if probe:
            _default_probe(probe)
    for hook in ("postStart", "preStop"):
        _default_http_get(map_at(container, "lifecycle", hook))


def _default_probe(probe: JsonObject) -> None:
    probe.setdefault("timeoutSeconds", 1)
    probe.setdefault("periodSeconds", 10)
    probe.setdefault("successThreshold", 1)
    probe.setdefault("failureThreshold", 3)
    _default_http_get(probe)
    grpc = map_at(probe, "grpc")
    if grpc:
        grpc.setdefault("service", "")


def _default_http_get(handler: JsonObject) -> None:
    get = map_at(handler, "httpGet")
    if get:
        get.setdefault("path", "/")
        get.setdefault("scheme", "HTTP")


def _default_field_ref(source: JsonObject) -> None:
    field = map_at(source, "fieldRef")
    if field:
        field.setdefault("apiVersion", "v1")
    divided = map_at(source, "resourceFieldRef")
    if divided:
        divided.setdefault("divisor", "0")


def _default_volume(volume: JsonObject) -> None:
    if set(volume) <= {"name"}:
        volume["emptyDir"] = {}
        return
    for source, complete in _VOLUMES.items():
        found = volume.get(source)
        if isinstance(found, dict):
            complete(found)


def _default_files(source: JsonObject) -> None:
    source.setdefault("defaultMode", FILE_MODE)


def _default_downward(source: JsonObject) -> None:
    _default_files(source)
    _default_downward_items(source)


def _default_downward_items(source: JsonObject) -> None:
    for item in maps_at(source, "items"):
        _default_field_ref(item)


def _default_projected(source: JsonObject) -> None:
    _default_files(source)
    for part in maps_at(source, "sources"):
        token = part.get("serviceAccountToken")
        if isinstance(token, dict):
            token.setdefault("expirationSeconds", 3600)
        _default_downward_items(map_at(part, "downwardAPI"))


def _default_host_path(source: JsonObject) -> None:
    source.setdefault("type", "")


def _default_ephemeral(source: JsonObject) -> None:
    ensure_map(source, "volumeClaimTemplate", "spec").setdefault("volumeMode", "Filesystem")


def _default_image(source: JsonObject) -> None:
    source.setdefault("pullPolicy", image_pull_policy(str_at(source, "reference")))


_VOLUMES: Final[dict[str, Callable[[JsonObject], None]]] = {
    "secret": _default_files,
    "configMap": _default_files,
    "downwardAPI": _default_downward,
    "projected": _default_projected,
    "hostPath": _default_host_path,
    "ephemeral": _default_ephemeral,
    "image": _default_image,
}

DEFAULTS: Final[dict[tuple[str, str], Callable[[JsonObject], None]]] = {
    ("", "Pod"): default_pod,
    ("", "PodTemplate"): lambda obj: default_pod_template(ensure_map(obj, "template")),
}
