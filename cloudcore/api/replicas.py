"""What other replicas ask over the API's port: streams and counts of the gateways that are connected to this one.

Only who may (`cloudcore.api.authz.defaults`: the replicas' own group) is answered, and only from this process's
sessions: a replica that is wrong about where a gateway is learns so, and nobody is asked in its place. Keeps nothing.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from typing import Protocol

from cloudcore.api.authz.attributes import Attributes
from cloudcore.api.ports import Authenticator, Endpoint, Gate, Posted, Replied
from cloudcore.runtime.replicas import PREFIX
from skerry.errors import NotFoundError


class NodesHere(Protocol):
    """The gateways that are connected to this replica."""

    def read(self, node: str, kind: str, params: bytes) -> AsyncGenerator[bytes]:
        """What a stream to the node carries. The first step raises as `cloudcore.api.ports.PodLogs` says."""
        ...

    def counted(self, node: str) -> bytes:
        """Bytes on the node's link that were counted here and not yet written down, as JSON."""
        ...


def replica_endpoints(authenticator: Authenticator, gate: Gate, here: NodesHere) -> Mapping[str, Endpoint]:
    """By path."""

    async def answer(posted: Posted) -> Replied:
        actor = await authenticator.authenticate(posted.presented)
        gate.require(Attributes(actor=actor, verb=posted.method.lower(), path=posted.path))
        match (posted.method, *posted.path.removeprefix(f"{PREFIX}/").split("/")):
            case ("POST", node, "streams", kind):
                pieces = here.read(node, kind, posted.body)
                return Replied(status=200, body=b"", media_type="application/octet-stream", pieces=pieces)
            case ("POST", node, "traffic"):
                return Replied(status=200, body=here.counted(node))
            case _:
                raise NotFoundError("the server could not find the requested resource")

    return {PREFIX: answer}
