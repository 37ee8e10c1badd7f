"""Questions about devices, handed on to their gateways."""

from __future__ import annotations

import pytest

from skerry.objects.device_questions import Checkup, Discover, Explain, OfLine, Read
from tests.cloudcore.api.conftest import ApiWorld

DEVICES = "/apis/devices.kubeedge.io/v1beta1/namespaces/default/devices"
SPEC = {"deviceModelRef": {"name": "m"}, "protocol": {"protocolName": "virtual", "configData": {}}}


@pytest.fixture
async def uid(world: ApiWorld) -> str:
    """A device on node n1."""
    made = await world.post(DEVICES, {"metadata": {"name": "plc"}, "spec": {"nodeName": "n1", **SPEC}})
    return str(made["metadata"]["uid"])


async def test_a_question_goes_to_the_gateway_of_the_device_with_the_life_that_is_meant(
    world: ApiWorld, uid: str
) -> None:
    world.gateways.answers["n1"] = {"kind": "DeviceExplanation", "property": "t"}
    assert (await world.get(f"{DEVICES}/plc/explain?property=t&value="))["property"] == "t"
    replied = await world.ask("POST", f"{DEVICES}/plc/read", {"properties": ["t"], "freshMs": 100})
    assert replied.code == 201
    assert (await world.ask("POST", f"{DEVICES}/plc/read")).code == 201
    assert (await world.ask("GET", f"{DEVICES}/plc/line")).code == 200
    assert (await world.ask("GET", f"{DEVICES}/plc/checkup")).code == 200
    assert world.gateways.asked == [
        Explain(namespace="default", device="plc", uid=uid, prop="t", value=""),
        Read(namespace="default", device="plc", uid=uid, props=("t",), fresh_ms=100),
        Read(namespace="default", device="plc", uid=uid, props=()),
        OfLine(namespace="default", device="plc", uid=uid),
        Checkup(namespace="default", device="plc", uid=uid),
    ]


async def test_whoever_may_look_may_ask_why_and_reading_is_a_right_of_its_own(world: ApiWorld, uid: str) -> None:
    world.gate.closed |= {("get", f"devices/{part}") for part in ("explain", "line", "checkup")}
    world.gate.closed |= {("create", "devices/read")}
    looks = tuple(("GET", part, "get") for part in ("explain?property=t", "line", "checkup"))
    asked = (*looks, ("POST", "read", "create"))
    for method, part, verb in asked:
        assert (await world.ask(method, f"{DEVICES}/plc/{part}")).code == 403
        assert (world.gate.asked[-1].verb, world.gate.asked[-1].subresource) == (verb, part.partition("?")[0])
    assert world.gateways.asked == []


@pytest.mark.parametrize(
    ("method", "place", "body", "code", "why"),
    [
        ("GET", "plc/explain", None, 400, "property: required"),
        ("POST", "plc/read", [], 400, "must be an object"),
        ("POST", "plc/read", {"freshMs": "1"}, 400, "freshMs: must be a whole number"),
        ("GET", "absent/explain?property=t", None, 404, "not found"),
        ("GET", "plc/explain?property=t", None, 503, "is not connected"),
        ("GET", "plc/read", None, 405, "does not allow"),
    ],
)
async def test_what_can_t_be_asked_says_why(
    world: ApiWorld, uid: str, method: str, place: str, body: object, code: int, why: str
) -> None:
    replied = await world.ask(method, f"{DEVICES}/{place}", body)
    assert (replied.code, why in replied.message) == (code, True), replied.message


async def test_a_device_on_no_node_has_nobody_to_ask(world: ApiWorld) -> None:
    await world.post(DEVICES, {"metadata": {"name": "spare"}, "spec": SPEC})
    assert "on no node yet" in (await world.ask("GET", f"{DEVICES}/spare/explain?property=t")).message


async def test_what_speaks_on_a_nodes_broker_is_asked_of_its_gateway(world: ApiWorld) -> None:
    await world.post("/api/v1/nodes", {"metadata": {"name": "n1"}})
    world.gateways.answers["n1"] = {"kind": "NodeDiscovery", "devices": []}
    assert (await world.get("/api/v1/nodes/n1/discovery?seconds=3&namespace=plant"))["kind"] == "NodeDiscovery"
    await world.get("/api/v1/nodes/n1/discovery")
    assert world.gateways.asked == [Discover(namespace="plant", seconds=3), Discover(namespace="default")]
    for path, code in (("n1/discovery?seconds=900", 400), ("absent/discovery", 404)):
        assert (await world.ask("GET", f"/api/v1/nodes/{path}")).code == code
    world.gate.closed |= {("get", "nodes/discovery")}
    assert (await world.ask("GET", "/api/v1/nodes/n1/discovery")).code == 403
