"""What one replica answers to another, and to whom."""

from __future__ import annotations

import pytest

from cloudcore.api.authz.defaults import default_bindings, default_roles
from cloudcore.api.ports import Posted, Presented, Replied
from cloudcore.api.replicas import replica_endpoints
from cloudcore.runtime.replicas import GROUP, LENT_PATH, PREFIX, stream_path, traffic_path
from skerry.authz.attributes import Actor, Attributes
from skerry.errors import ForbiddenError, NotFoundError, UnauthenticatedError
from skerry.objects.json import dig, maps_at, strs_at
from skerry.objects.meta import name_of
from skerry.ports import Pipe
from skerry.transport.inside import pipe_pair


class Here:
    def __init__(self) -> None:
        self.asked: list[tuple[str, str, bytes]] = []

    async def carry(self, node: str, kind: str, near: Pipe, params: bytes) -> None:
        self.asked.append((node, kind, params))
        await near.write(b"piece")

    def counted(self, node: str) -> bytes:
        return f"counts of {node}".encode()

    def lent(self) -> bytes:
        return b"lent"


class Door:
    """Knows certificates by their bytes, and lets replicas do what their role says."""

    def __init__(self) -> None:
        self.required: list[Attributes] = []

    async def authenticate(self, presented: Presented) -> Actor:
        if presented.certificate is None:
            raise UnauthenticatedError("who is it?")
        return Actor(name="x", groups=(presented.certificate.decode(),))

    def require(self, attributes: Attributes) -> None:
        self.required.append(attributes)
        if attributes.actor.groups != (GROUP,):
            raise ForbiddenError("no")


async def ask(
    method: str, path: str, *, group: str = GROUP, here: Here | None = None, is_websocket: bool = False
) -> Replied:
    door = Door()
    (endpoint,) = replica_endpoints(door, door, here or Here()).values()
    presented = Presented(certificate=group.encode() if group else None)
    try:
        return await endpoint(
            Posted(
                method=method,
                path=path,
                body=b"{}",
                peer="peer",
                presented=presented,
                is_websocket=is_websocket,
            )
        )
    finally:
        for asked in door.required:
            assert (asked.verb, asked.path) == ("post", path), "one right for all of it"


async def test_a_replica_reads_a_stream_and_counts() -> None:
    here = Here()
    replied = await ask("GET", stream_path("eu-1", "logs"), here=here, is_websocket=True)
    near, far = pipe_pair()
    assert replied.talk is not None
    await replied.talk(b"{}", far)
    assert await near.read() == b"piece"
    assert here.asked == [("eu-1", "logs", b"{}")]
    assert (await ask("POST", traffic_path("eu-1"))).body == b"counts of eu-1"
    assert (await ask("POST", LENT_PATH)).body == b"lent"


@pytest.mark.parametrize(("group", "error"), [("", UnauthenticatedError), ("system:nodes", ForbiddenError)])
async def test_nobody_else_is_answered(group: str, error: type[Exception]) -> None:
    for path in (stream_path("eu-1", "logs"), traffic_path("eu-1"), f"{PREFIX}/nope"):
        with pytest.raises(error):
            await ask("POST", path, group=group)
        with pytest.raises(error):
            await ask("GET", path, group=group, is_websocket=True)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", stream_path("n", "logs")),
        ("POST", stream_path("n", "logs")),
        ("POST", f"{PREFIX}/n"),
        ("POST", f"{PREFIX}/n/streams"),
        ("POST", PREFIX),
    ],
)
async def test_other_questions_are_not_known(method: str, path: str) -> None:
    with pytest.raises(NotFoundError):
        await ask(method, path)


def test_the_role_of_replicas_is_this_and_nothing_else() -> None:
    (role,) = [role for role in default_roles() if name_of(role) == "system:skerry:replica"]
    (rule,) = maps_at(role, "rules")
    assert (strs_at(rule, "nonResourceURLs"), strs_at(rule, "verbs")) == ([f"{PREFIX}/*"], ["post"])
    assert dig(rule, "resources") in (None, [])
    (binding,) = [each for each in default_bindings() if name_of(each) == "system:skerry:replica"]
    assert [subject["name"] for subject in maps_at(binding, "subjects")] == [GROUP]
