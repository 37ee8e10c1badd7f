"""What other replicas ask over the API's port: streams and counts of the gateways that are connected to this one.

Only who may (`cloudcore.api.authz.defaults`: the replicas' own group) is answered, and only from this process's
sessions: a replica that is wrong about where a gateway is learns so, and nobody is asked in its place. Keeps nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from cloudcore.api.ports import Authenticator, Endpoint, Gate, Posted, Replied
from cloudcore.runtime.replicas import PREFIX
from skerry.authz.attributes import Attributes
from skerry.errors import NotFoundError
from skerry.ports import Pipe


class NodesHere(Protocol):
    """The gateways that are connected to this replica."""

    async def carry(self, node: str, kind: str, near: Pipe, params: bytes) -> None:
        """Carry between whoever asked and a stream to the node, until it ends. Raises what it ended with, and
        `UnavailableError` when the node is not connected here."""
        ...

    def counted(self, node: str) -> bytes:
        """Bytes on the node's link that were counted here and not yet written down, as JSON."""
        ...

    def lent(self) -> bytes:
        """How long ago the global cloud was asked last what it answered this replica, as JSON: null in it where this
        one does not know."""
        ...


def replica_endpoints(authenticator: Authenticator, gate: Gate, here: NodesHere) -> Mapping[str, Endpoint]:
    """By path."""

    async def answer(posted: Posted) -> Replied:
        actor = await authenticator.authenticate(posted.presented)
        gate.require(Attributes(actor=actor, verb="post", path=posted.path))
        match (posted.method, *posted.path.removeprefix(f"{PREFIX}/").split("/")):
            case ("GET", node, "streams", kind) if posted.is_websocket:

                async def talk(params: bytes, near: Pipe) -> None:
                    await here.carry(node, kind, near, params)

                return Replied(status=101, body=b"", talk=talk)
            case ("POST", node, "traffic"):
                return Replied(status=200, body=here.counted(node))
            case ("POST", "-", "lent"):
                return Replied(status=200, body=here.lent())
            case _:
                raise NotFoundError("the server could not find the requested resource")

    return {PREFIX: answer}
