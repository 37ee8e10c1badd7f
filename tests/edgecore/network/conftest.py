"""Services and pods as the gateway's network sees them."""

from __future__ import annotations

from typing import Any

import pytest

from edgecore.network.directory import SLICES, Directory
from skerry.objects.json import JsonObject
from skerry.objects.meta import Key

NODE = "n1"


def service(name: str, address: str = "10.96.0.7", **spec: Any) -> JsonObject:
    made: dict[str, Any] = {
        "clusterIP": address,
        "clusterIPs": [address],
        "ipFamilies": ["IPv4"],
        "ports": [{"name": "http", "port": 80, "targetPort": 8080, "protocol": "TCP"}],
        **spec,
    }
    return {"metadata": {"name": name, "namespace": "d"}, "spec": made}


def headless(name: str, **spec: Any) -> JsonObject:
    return service(name, "None", **spec)


def pod(name: str, address: str, *, ready: bool = True, labels: dict[str, str] | None = None, **spec: Any) -> Any:
    return {
        "metadata": {"name": name, "namespace": "d", "uid": f"u-{name}", "labels": labels or {"app": "web"}},
        "spec": {"nodeName": NODE, "containers": [], **spec},
        "status": status(address, ready=ready),
    }


def status(address: str, *, ready: bool) -> Any:
    condition = {"type": "Ready", "status": "True" if ready else "False"}
    return {"phase": "Running", "podIP": address, "podIPs": [{"ip": address}], "conditions": [condition]}


def slice_of(service: str, *endpoints: Any, family: str = "IPv4") -> Any:
    return {
        "metadata": {"namespace": "d", "labels": {"kubernetes.io/service-name": service}},
        "addressType": family,
        "endpoints": [*endpoints],
        "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}],
    }


def endpoint(address: str, node: str = "n2", **more: Any) -> Any:
    conditions = {"ready": True, "serving": True, "terminating": False}
    return {"addresses": [address], "nodeName": node, "conditions": conditions, **more}


class Known:
    """A directory, filled by hand."""

    def __init__(self) -> None:
        self.directory = Directory(NODE)
        self.directory.put(Key("nodes", "", NODE), {"metadata": {"name": NODE}})

    def put(self, *objects: Any) -> None:
        for number, obj in enumerate(objects):
            resource = SLICES if "endpoints" in obj else "pods" if "nodeName" in obj["spec"] else "services"
            name = obj["metadata"].get("name", f"slice-{number}")
            self.directory.put(Key(resource, "d", name), obj)


@pytest.fixture
def known() -> Known:
    return Known()
