"""What is done for a request over TCP: read here, carried to the cloud in the caller's name, or refused."""

from __future__ import annotations

from typing import Any

import pytest

from edgecore.local_api.access import ANONYMOUS
from edgecore.local_api.answers import Answer
from edgecore.local_api.guard import Asked, Guard, asked_of
from edgecore.local_api.requests import Request, Stream
from skerry.authz.attributes import Actor, Attributes, refusal
from skerry.errors import (
    ForbiddenError,
    NotFoundError,
    UnauthenticatedError,
    UnavailableError,
    UncertainError,
)
from skerry.objects.cloud_calls import CallHead, CloudAnswer

BOT = Actor(name="system:serviceaccount:ns:bot", groups=("system:authenticated",))


class Here:
    """Answers with the path."""

    async def answer(self, request: Request) -> Answer | Stream:
        return Answer(body="/".join(request.parts).encode())


class Roles:
    """Knows one token, and allows what it is told."""

    def __init__(self) -> None:
        self.allowed: set[tuple[str, str]] = set()
        self.asked: list[Attributes] = []

    def actor(self, authorization: str) -> Actor:
        if not authorization:
            return ANONYMOUS
        if authorization != "Bearer t":
            raise UnauthenticatedError("invalid bearer token")
        return BOT

    node = "gate-1"

    def allows(self, attributes: Attributes) -> bool:
        self.asked.append(attributes)
        return (attributes.verb, attributes.path or attributes.full_resource) in self.allowed

    def require(self, attributes: Attributes) -> None:
        if not self.allows(attributes):
            raise refusal(attributes, "")


class Cloud:
    def __init__(self) -> None:
        self.carried: list[tuple[CallHead, bytes]] = []
        self.error: Exception | None = None

    async def ask(self, head: CallHead, body: bytes = b"") -> CloudAnswer:
        self.carried.append((head, body))
        if self.error is not None:
            raise self.error
        return CloudAnswer(code=201, headers=(("content-type", "a/b"), ("warning", "w")), body=b"made")


class Stage:
    def __init__(self) -> None:
        self.roles, self.cloud = Roles(), Cloud()
        here: Any = Here()
        roles: Any = self.roles
        self.guard = Guard(here, roles, self.cloud)

    async def ask(self, method: str, target: str, *, token: str = "t", body: bytes = b"") -> Answer:
        path, _, query = target.partition("?")
        headers = (("authorization", f"Bearer {token}"),) if token else ()
        request = Request(
            method=method,
            parts=tuple(part for part in path.split("/") if part),
            query=dict(pair.split("=") for pair in query.split("&") if pair),
            body=body,
            uid=-1,
            target=target,
            headers=headers,
        )
        answer = await self.guard.answer(request)
        assert isinstance(answer, Answer)
        return answer


@pytest.fixture
def stage() -> Stage:
    return Stage()


@pytest.mark.parametrize(
    ("target", "verb", "resource", "namespace", "name"),
    [
        ("/api/v1/namespaces/ns/pods", "list", "pods", "ns", ""),
        ("/api/v1/pods?watch=true", "watch", "pods", "", ""),
        ("/api/v1/namespaces/ns/pods/p", "get", "pods", "ns", "p"),
        ("/api/v1/namespaces/ns/pods/p/log", "get", "pods/log", "ns", "p"),
        ("/apis/devices.kubeedge.io/v1beta1/namespaces/ns/devices/d/history", "get", "devices/history", "ns", "d"),
        ("/api/v1/nodes/n", "get", "nodes", "", "n"),
    ],
)
async def test_a_read_of_what_is_held_is_answered_here_as_far_as_roles_go(
    stage: Stage, target: str, verb: str, resource: str, namespace: str, name: str
) -> None:
    with pytest.raises(ForbiddenError, match="is forbidden: User"):
        await stage.ask("GET", target)
    stage.roles.allowed.add((verb, resource))
    assert (await stage.ask("GET", target)).body.decode() == target.partition("?")[0].strip("/")
    asked = stage.roles.asked[-1]
    assert (asked.actor, asked.namespace, asked.name) == (BOT, namespace, name)
    assert not stage.cloud.carried


async def test_whatever_else_goes_to_the_cloud_in_the_callers_name(stage: Stage) -> None:
    for method, target in (
        ("POST", "/api/v1/namespaces/ns/configmaps?dryRun=All"),
        ("DELETE", "/api/v1/namespaces/ns/pods/p"),
        ("GET", "/apis/apps/v1/namespaces/ns/deployments/d"),
    ):
        answer = await stage.ask(method, target, body=b"x")
        assert (answer.code, answer.content_type, answer.headers) == (201, "a/b", (("warning", "w"),))
        head, body = stage.cloud.carried[-1]
        assert (head.method, head.path, head.own, body) == (method, target, False, b"x")
        assert head.header("authorization") == "Bearer t"


async def test_nobody_asks_the_cloud_as_the_gateway(stage: Stage) -> None:
    for method, target in (("POST", "/api/v1/namespaces/ns/pods"), ("GET", "/apis/apps/v1/deployments")):
        with pytest.raises(UnauthenticatedError):
            await stage.ask(method, target, token="")
        with pytest.raises(UnauthenticatedError):
            await stage.ask(method, target, token="other")
    assert not stage.cloud.carried


async def test_without_a_link_it_is_refused_with_the_reason_and_doubt_is_said(stage: Stage) -> None:
    stage.cloud.error = UnavailableError("the cloud can't be reached now (waiting)")
    with pytest.raises(UnavailableError, match=r"only the cloud can do this, and .* \(waiting\)") as caught:
        await stage.ask("POST", "/api/v1/namespaces/ns/pods")
    assert not isinstance(caught.value, UncertainError)
    stage.cloud.error = UncertainError("the link is lost")
    with pytest.raises(UncertainError, match="not known whether it was done"):
        await stage.ask("POST", "/api/v1/namespaces/ns/pods")
    with pytest.raises(UnavailableError, match="carries no watches"):
        await stage.ask("GET", "/apis/apps/v1/deployments?watch=true")


async def test_paths_that_are_no_objects(stage: Stage) -> None:
    stage.roles.allowed |= {("get", "/version"), ("get", "/healthz"), ("get", "/api"), ("get", "/skerry/status")}
    assert (await stage.ask("GET", "/version", token="")).body == b"version"
    assert (await stage.ask("GET", "/healthz", token="")).body == b"healthz"
    assert (await stage.ask("GET", "/api")).body == b"api"
    stage.roles.allowed |= {("get", "/apis/apps/v1"), ("get", "/apis/rules.kubeedge.io/v1")}
    assert (await stage.ask("GET", "/apis/rules.kubeedge.io/v1")).body == b"apis/rules.kubeedge.io/v1"
    assert (await stage.ask("GET", "/apis/apps/v1")).body == b"made", "of what is not here the cloud tells"
    with pytest.raises(NotFoundError):
        await stage.ask("GET", "/skerry/status")  # the agent itself is for its unix socket
    with pytest.raises(UnauthenticatedError):
        await stage.ask("GET", "/apis", token="")


@pytest.mark.parametrize(
    ("path", "asked"),
    [
        ("api/v1/namespaces/ns", Asked("", "v1", "namespaces", "ns", "ns")),
        ("api/v1/namespaces/ns/status", Asked("", "v1", "namespaces", "ns", "ns", "status")),
        ("api/v1/namespaces", Asked("", "v1", "namespaces")),
        ("apis/g/v2/things/t/scale", Asked("g", "v2", "things", "", "t", "scale")),
        ("api/v1", None),
        ("apis/g/v1", None),
        ("version", None),
    ],
)
def test_what_a_path_names(path: str, asked: Asked | None) -> None:
    assert asked_of(tuple(path.split("/"))) == asked


@pytest.mark.parametrize(
    ("target", "resource"),
    [
        ("/metrics", "nodes/metrics"),
        ("/metrics/cadvisor", "nodes/metrics"),
        ("/stats/summary", "nodes/stats"),
        ("/pods", "nodes/pods"),
        ("/pods", "nodes/proxy"),
    ],
)
async def test_a_kubelets_own_paths_ask_for_the_part_of_the_node_that_a_kubelets_do(
    stage: Stage, target: str, resource: str
) -> None:
    with pytest.raises(UnauthenticatedError):
        await stage.ask("GET", target, token="")
    stage.roles.allowed.add(("get", "pods"))
    with pytest.raises(ForbiddenError):
        await stage.ask("GET", target)
    stage.roles.allowed.add(("get", resource))
    assert (await stage.ask("GET", target)).body.decode() == target.strip("/")
    assert stage.roles.asked[-1].name == "gate-1"
