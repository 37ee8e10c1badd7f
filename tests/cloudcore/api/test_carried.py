"""What gateways carry to the API: as whom it is done, and what is answered."""

from __future__ import annotations

import json

from cloudcore.api.authn import ANONYMOUS
from cloudcore.api.carried import CarriedCalls
from cloudcore.api.metrics import Metrics
from cloudcore.api.paths import Paths
from cloudcore.api.ports import Presented
from skerry.authz.attributes import Actor
from skerry.errors import UnauthenticatedError
from skerry.frozen import replace
from skerry.objects.cloud_calls import CallHead, CloudAnswer
from skerry.objects.enrolment import EnrolRequest, request_body
from skerry.objects.gateway_serving import SERVING_PATH, Served, read_served
from tests.cloudcore.api.conftest import ApiWorld

BOT = Actor(name="system:serviceaccount:default:bot", groups=("system:serviceaccounts",))
PODS = "/api/v1/namespaces/default/configmaps"


class Known:
    """Knows one token, and remembers who was asked about."""

    async def authenticate(self, presented: Presented) -> Actor:
        assert presented.certificate is None
        if not presented.token:
            return ANONYMOUS
        if presented.token != "t":
            raise UnauthenticatedError("invalid bearer token")
        return BOT


async def ask(
    world: ApiWorld, method: str, path: str, body: object = None, **headers: str
) -> tuple[CloudAnswer, dict[str, object]]:
    data = b"" if body is None else json.dumps(body).encode()
    own = headers.pop("own", "") == "yes"
    said = tuple((name.replace("_", "-"), value) for name, value in headers.items())
    head = CallHead(method=method, path=path, headers=said, body_bytes=len(data), own=own)
    parts = replace(world.parts, authenticator=Known())
    answer = await CarriedCalls(parts, Paths(parts, Metrics())).answer("eu-1", head, data)
    return answer, json.loads(answer.body)


def config(name: str) -> dict[str, object]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}}


async def test_it_is_done_as_the_token_says_or_as_the_gateways_own_wish(world: ApiWorld) -> None:
    form = {"content_type": "application/json"}
    answer, made = await ask(world, "POST", PODS, config("a"), authorization="Bearer t", **form)
    assert (answer.code, made["kind"]) == (201, "ConfigMap")
    answer, _ = await ask(world, "POST", PODS, config("b"), own="yes", **form)
    assert answer.code == 201
    assert [each.actor.name for each in world.gate.asked] == [BOT.name, "system:node:eu-1"]
    assert "system:nodes" in world.gate.asked[-1].actor.groups
    answer, said = await ask(world, "POST", PODS, config("c"), authorization="Bearer x", **form)
    assert (answer.code, said["reason"]) == (401, "Unauthorized")
    await ask(world, "POST", PODS, config("d"), authorization="Basic Og==", **form)
    assert world.gate.asked[-1].actor == ANONYMOUS, "what is no token proves nobody, and never the gateway"
    await ask(world, "POST", PODS, config("e"), **form)
    assert world.gate.asked[-1].actor == ANONYMOUS, "nor does nothing"


async def test_errors_and_warnings_are_answers(world: ApiWorld) -> None:
    answer, said = await ask(world, "GET", f"{PODS}/none")
    assert (answer.code, said["reason"], answer.content_type) == (404, "NotFound", "application/json")
    answer, said = await ask(world, "GET", f"{PODS}?watch=true")
    assert answer.code == 400
    assert "no watches" in str(said["message"])
    body = {**config("w"), "spce": {}}
    answer, _ = await ask(world, "POST", PODS, body, content_type="application/json")
    assert [value for name, value in answer.headers if name == "warning"] == ['299 - "unknown field \\"spce\\""']


async def test_discovery_and_schemas_are_told_as_at_the_apis_own_port(world: ApiWorld) -> None:
    answer, said = await ask(world, "GET", "/apis", own="yes")
    assert (answer.code, said["kind"]) == (200, "APIGroupList")
    tag = next(value for name, value in answer.headers if name == "etag")
    head = CallHead(method="GET", path="/apis", headers=(("if-none-match", tag),), own=True)
    again = await CarriedCalls(world.parts, Paths(world.parts, Metrics())).answer("eu-1", head, b"")
    assert (again.code, again.body) == (304, b"")
    answer, said = await ask(world, "GET", "/openapi/v3", own="yes")
    assert answer.code == 200
    answer, said = await ask(world, "DELETE", "/apis", own="yes")
    assert (answer.code, said["reason"]) == (405, "MethodNotAllowed")


async def test_a_gateway_asks_as_itself_for_a_certificate_of_its_own_api(world: ApiWorld) -> None:
    asked: list[tuple[str, str]] = []

    def sign(node: str, csr_pem: str) -> Served:
        asked.append((node, csr_pem))
        return Served(certificate_pem="c", authority_pem="a")

    async def say(*, own: bool, method: str = "POST") -> CloudAnswer:
        body = request_body(EnrolRequest(token="", csr_pem="csr"))
        head = CallHead(method=method, path=SERVING_PATH, body_bytes=len(body), own=own)
        return await CarriedCalls(world.parts, Paths(world.parts, Metrics()), sign).answer("eu-1", head, body)

    answer = await say(own=True)
    assert (answer.code, read_served(json.loads(answer.body))) == (
        201,
        Served(certificate_pem="c", authority_pem="a"),
    )
    assert asked == [("eu-1", "csr")]
    assert (await say(own=True, method="GET")).code == 400
    assert (await say(own=False)).code != 201, "an application on the gateway is not the gateway"
    assert len(asked) == 1
