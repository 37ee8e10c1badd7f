"""KubeEdge's MQTT topics: which are heard, and which are spoken on.

Pure. As `edge/pkg/eventbus` and `edge/pkg/devicetwin` of KubeEdge 1.12 and later have them, with namespace and name
of a device; older apps leave the namespace out, are understood as well, and answered in their own form.
"""

from __future__ import annotations

from typing import Final, Literal

from skerry.frozen import Frozen

DEVICES: Final = "$hw/events/device"
NODES: Final = "$hw/events/node"

Request = Literal["twin/update", "twin/get", "state/update"]
REQUESTS: Final[tuple[Request, ...]] = ("twin/update", "twin/get", "state/update")

News = Literal[
    "twin/update/result", "twin/get/result", "state/update/result", "twin/update/delta", "twin/update/document",
    "twin/cloud_updated", "twin/edge_updated",
]  # fmt: skip


class DevicePath(Frozen, kw_only=False):
    """How a topic names a device. `namespace` "": it does not, in the form of before KubeEdge 1.12."""

    namespace: str
    name: str

    def topic(self, news: News) -> str:
        """Where something of this device is said."""
        named = f"{self.namespace}/{self.name}" if self.namespace else self.name
        return f"{DEVICES}/{named}/{news}"


class DeviceRequest(Frozen):
    """Somebody wants something of a device."""

    request: Request
    device: DevicePath


class MembershipRequest(Frozen):
    """Somebody wants to know which devices this node has."""


def subscriptions(node: str) -> set[str]:
    """What is heard. (Topics that are only spoken on are left out, which KubeEdge's `twin/+` does not.)"""
    asked = {f"{DEVICES}/{wild}/{request}" for request in REQUESTS for wild in ("+/+", "+")}
    return asked | {membership_topic(node, "get")}


def membership_topic(node: str, what: Literal["get", "get/result", "updated"]) -> str:
    return f"{NODES}/{node}/membership/{what}"


def parse_topic(topic: str, node: str) -> DeviceRequest | MembershipRequest | None:
    """What a message on this topic asks; None for one that asks nothing of us."""
    if topic == membership_topic(node, "get"):
        return MembershipRequest()
    if not topic.startswith(f"{DEVICES}/"):
        return None
    parts = topic.removeprefix(f"{DEVICES}/").split("/")
    if not all(parts) or len(parts) not in (3, 4):
        return None
    asked = f"{parts[-2]}/{parts[-1]}"
    for request in REQUESTS:
        if asked == request:
            namespace = parts[0] if len(parts) == 4 else ""
            return DeviceRequest(request=request, device=DevicePath(namespace, parts[-3]))
    return None
