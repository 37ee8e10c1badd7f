"""What is done for a request over TCP: read here, carried to the cloud in the caller's name, or refused."""

from __future__ import annotations

from typing import Any

import pytest

from edgecore.local_api.access import ANONYMOUS
from edgecore.local_api.answers import Answer
from edgecore.local_api.guard import Asked, Guard, asked_of
from edgecore.local_api.keeping import KEPT_MAX, KeptWrites, shown, waiting
from edgecore.local_api.requests import Request, Stream
from edgecore.store.memory import MemoryEdgeStore
from edgecore.store.port import EdgeBatch, Held, NewReport
from edgecore.store.shell import AsyncEdgeStore
from skerry.authz.attributes import Actor, Attributes, refusal
from skerry.clocks import ManualClock, SystemIds
from skerry.errors import (
    ForbiddenError,
    NotFoundError,
    TooManyRequestsError,
    UnauthenticatedError,
    UnavailableError,
    UncertainError,
)
from skerry.objects.cloud_calls import CallHead, CloudAnswer
from skerry.objects.json import JsonObject, decode_object, encode_object, str_at
from skerry.objects.kept_writes import WRITTEN_BY, PodAnnotations
from skerry.objects.meta import Key, Revision, Stamp

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
        clock = ManualClock()
        self.store = AsyncEdgeStore(MemoryEdgeStore(incarnation="i", clock=clock))
        self.guard = Guard(here, roles, self.cloud, KeptWrites(self.store, clock, SystemIds()))

    async def ask(
        self, method: str, target: str, *, token: str = "t", body: bytes = b"", content_type: str = ""
    ) -> Answer:
        path, _, query = target.partition("?")
        headers = (("authorization", f"Bearer {token}"),) if token else ()
        headers += (("content-type", content_type),) if content_type else ()
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


# --- writes that wait ---

POD: JsonObject = {"metadata": {"namespace": "ns", "name": "p", "uid": "u1", "annotations": {"a": "1"}}}
MERGE = "application/merge-patch+json"
NO_LINK = UnavailableError("the cloud can't be reached now")


async def offline(stage: Stage, *allowed: tuple[str, str]) -> None:
    stage.roles.allowed |= set(allowed)
    stage.cloud.error = NO_LINK
    held = Held(key=Key("pods", "ns", "p"), stamp=Stamp(uid="u1", revision=Revision(1)), body=encode_object(POD))
    await stage.store.apply(EdgeBatch(puts=(held,)))


def event(**about: str) -> bytes:
    subject: JsonObject = {"kind": "Pod", "name": "p", **about}
    return encode_object({"metadata": {"name": "e1"}, "involvedObject": subject, "reason": "R", "message": "m"})


async def test_an_event_without_a_link_waits_here_with_who_wrote_it(stage: Stage) -> None:
    await offline(stage, ("create", "events"))
    answer = await stage.ask("POST", "/api/v1/namespaces/ns/events", body=event())
    assert answer.code == 201 and "kept on this gateway" in dict(answer.headers)["Warning"]
    (report,) = waiting(stage.store)
    told = decode_object(report.body)
    assert str_at(told, "involvedObject", "uid") == "u1"
    assert shown(report)["by"] == BOT.name and shown(report)["what"] == "R: m"


async def test_annotations_without_a_link_wait_here_and_a_second_write_stands_on_the_first(stage: Stage) -> None:
    await offline(stage, ("patch", "pods"))
    for value in ("2", "3"):
        body = encode_object({"metadata": {"annotations": {"a": value}}})
        answer = await stage.ask("PATCH", "/api/v1/namespaces/ns/pods/p", body=body, content_type=MERGE)
        assert answer.code == 200
        assert str_at(decode_object(answer.body), "metadata", "annotations", "a") == value
    first, second = [PodAnnotations.decode(decode_object(report.body)) for report in waiting(stage.store)]
    assert (first.before, second.before) == ({"a": "1"}, {"a": "2"})
    assert [shown(report)["what"] for report in waiting(stage.store)] == ["a=2", "a=3"]


@pytest.mark.parametrize(
    ("method", "target", "body", "content_type"),
    [
        ("POST", "/api/v1/namespaces/ns/events", event(name="other"), ""),
        ("POST", "/api/v1/namespaces/ns/events", event(kind="Deployment"), ""),
        ("POST", "/api/v1/namespaces/ns/events", event(uid="another"), ""),
        ("POST", "/api/v1/namespaces/ns/events", event(), "application/vnd.kubernetes.protobuf"),
        ("PATCH", "/api/v1/namespaces/ns/pods/p", b'{"metadata":{"labels":{"a":"b"}}}', MERGE),
        ("PATCH", "/api/v1/namespaces/ns/pods/p", b"[]", "application/json-patch+json"),
        ("PATCH", "/api/v1/namespaces/ns/pods/p?dryRun=All", b'{"metadata":{"annotations":{"a":"b"}}}', MERGE),
        ("PATCH", "/api/v1/namespaces/ns/configmaps/c", b'{"metadata":{"annotations":{"a":"b"}}}', MERGE),
        ("DELETE", "/api/v1/namespaces/ns/pods/p", b"", ""),
    ],
)
async def test_every_other_write_is_refused_with_the_reason(
    stage: Stage, method: str, target: str, body: bytes, content_type: str
) -> None:
    await offline(stage, ("create", "events"), ("patch", "pods"), ("patch", "configmaps"), ("delete", "pods"))
    with pytest.raises(UnavailableError, match="only the cloud can do this"):
        await stage.ask(method, target, body=body, content_type=content_type)
    assert not waiting(stage.store)


async def test_what_may_have_been_done_does_not_wait_and_roles_count(stage: Stage) -> None:
    await offline(stage, ("create", "events"))
    stage.cloud.error = UncertainError("the link was lost")
    with pytest.raises(UncertainError):
        await stage.ask("POST", "/api/v1/namespaces/ns/events", body=event())
    stage.cloud.error, stage.roles.allowed = NO_LINK, set()
    with pytest.raises(ForbiddenError):
        await stage.ask("POST", "/api/v1/namespaces/ns/events", body=event())
    assert not waiting(stage.store)


async def test_no_more_wait_than_there_is_room_for(stage: Stage) -> None:
    await offline(stage, ("create", "events"))
    told = encode_object({"metadata": {"annotations": {WRITTEN_BY: "x"}}})
    reports = tuple(NewReport(report_class="event", kind="event", key="", body=told) for _ in range(KEPT_MAX))
    await stage.store.apply(EdgeBatch(reports=reports))
    with pytest.raises(TooManyRequestsError):
        await stage.ask("POST", "/api/v1/namespaces/ns/events", body=event())


async def test_events_are_the_clouds_and_without_it_those_that_were_told_here(stage: Stage) -> None:
    assert (await stage.ask("GET", "/api/v1/namespaces/ns/events")).body == b"made"
    stage.cloud.error = UnavailableError("the link is away")
    with pytest.raises(ForbiddenError):
        await stage.ask("GET", "/api/v1/namespaces/ns/events")
    stage.roles.allowed.add(("list", "events"))
    assert (await stage.ask("GET", "/api/v1/namespaces/ns/events")).body == b"api/v1/namespaces/ns/events"
    with pytest.raises(UnavailableError):
        await stage.ask("GET", "/apis/events.k8s.io/v1/namespaces/ns/events")
