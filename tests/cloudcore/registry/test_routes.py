"""Rules are checked against their endpoints when they are written, with the field and what to write instead."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from cloudcore.registry.admission import STEPS
from cloudcore.registry.routes import fitting_rules
from skerry.errors import InvalidError
from skerry.objects.json import JsonObject
from skerry.objects.rules import ENDPOINTS, MESSAGES, RULES
from tests.cloudcore.worlds import World, make_world

EXAMPLES = Path(__file__).parents[3] / "examples" / "09-kubeedge-rules"


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with make_world(*STEPS, fitting_rules, real_rules=True) as made:
        await made.create("namespaces", {"metadata": {"name": "d"}})
        yield made


async def endpoints(world: World) -> None:
    await world.create(ENDPOINTS, endpoint("r", "rest"))
    await world.create(ENDPOINTS, endpoint("e", "eventbus"))
    await world.create(ENDPOINTS, endpoint("s", "servicebus", service_port="8080"))


def endpoint(name: str, type_: str, **properties: str) -> JsonObject:
    return {"metadata": {"name": name}, "spec": {"ruleEndpointType": type_, "properties": {**properties}}}


def rule(source: str, said: dict[str, str], target: str, where: dict[str, str], *, name: str = "x") -> JsonObject:
    return {
        "metadata": {"name": name},
        "spec": {
            "source": source,
            "sourceResource": {**said},
            "target": target,
            "targetResource": {**where},
        },
    }


UP = rule("e", {"topic": "t", "node_name": "eu-1"}, "r", {"resource": "http://a.example/b"})
DOWN = rule("r", {"path": "/orders"}, "e", {"topic": "orders"})


@pytest.mark.parametrize("order", ["endpoints.yaml rules.yaml", "rules.yaml endpoints.yaml"])
async def test_published_shapes_are_taken_in_any_order(world: World, order: str) -> None:
    for name in order.split():
        for obj in yaml.safe_load_all((EXAMPLES / name).read_text()):
            await world.create(RULES if obj["kind"] == "Rule" else ENDPOINTS, obj)
    assert world.names(RULES) == ["batches-up", "line-status", "next-order", "recipes-down"]


async def test_a_status_that_kubeedges_client_sends_along_is_let_go(world: World) -> None:
    made = await world.create(RULES, UP | {"status": {"successMessages": 0, "failMessages": 0, "errors": None}})
    assert "status" not in made


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        (rule("e", {"topic": "t"}, "r", {"resource": "http://a"}), "spec.sourceResource[node_name]"),
        (rule("e", {"node_name": "eu-1"}, "r", {"resource": "http://a"}), "spec.sourceResource[topic]"),
        (
            rule("e", {"topic": "a+", "node_name": "eu-1"}, "r", {"resource": "http://a"}),
            "spec.sourceResource[topic]",
        ),
        (
            rule("e", {"topic": "t", "node_name": "EU"}, "r", {"resource": "http://a"}),
            "spec.sourceResource[node_name]",
        ),
        (rule("e", {"topic": "t", "node_name": "eu-1"}, "r", {"topic": "t"}), "spec.targetResource[resource]"),
        (rule("e", {"topic": "t", "node_name": "eu-1"}, "r", {"resource": "a.com"}), "spec.targetResource[resource]"),
        (rule("e", {"topic": "t", "node_name": "eu-1"}, "r", {"resource": "http://[a"}), "spec.targetResource"),
        (rule("e", {"topic": "t", "node_name": "eu-1"}, "e", {"topic": "u"}), "spec.target"),
        (rule("r", {"url": "x"}, "e", {"topic": "u"}), "spec.sourceResource[path]"),
        (rule("r", {"path": "/"}, "e", {"topic": "u"}), "spec.sourceResource[path]"),
        (rule("r", {"path": "/a"}, "e", {"topic": "u/#"}), "spec.targetResource[topic]"),
        (rule("r", {"path": "/a"}, "s", {"resource": "u"}), "spec.targetResource[path]"),
        (rule("s", {"target_url": "http://a"}, "r", {"resource": "http://b"}), "spec.sourceResource[node_name]"),
        (rule("", {"path": "/a"}, "e", {"topic": "u"}), "spec.source"),
        (rule("r", {}, "e", {"topic": "u"}), "spec.sourceResource"),
    ],
)
async def test_what_does_not_fit_is_refused_by_its_field(world: World, wrong: JsonObject, field: str) -> None:
    await endpoints(world)
    with pytest.raises(InvalidError) as caught:
        await world.create(RULES, wrong)
    assert field in str(caught.value)


async def test_a_rule_that_misses_a_part_of_its_spec_is_refused(world: World) -> None:
    with pytest.raises(InvalidError, match=r"spec\.targetResource: Required"):
        await world.create(
            RULES, {"metadata": {"name": "x"}, "spec": {"source": "r", "sourceResource": {"path": "a"}}}
        )


@pytest.mark.parametrize(("first", "field"), [(UP, "topic"), (DOWN, "path")])
async def test_two_rules_with_one_source_are_refused(world: World, first: Any, field: str) -> None:
    await endpoints(world)
    await world.create(RULES, first)
    again = {**first, "metadata": {"name": "y"}}
    with pytest.raises(InvalidError, match=rf"{field}.*rule d/x has the same source"):
        await world.create(RULES, again)
    await world.create(RULES, again, "default") if world.get("namespaces", "default") else None


async def test_a_rule_can_be_changed_and_is_checked_again(world: World) -> None:
    await endpoints(world)
    await world.create(RULES, UP)
    changed = await world.set_spec(RULES, "x", targetResource={"resource": "https://b.example"})
    assert changed["metadata"]["generation"] == 2
    with pytest.raises(InvalidError, match="targetResource"):
        await world.set_spec(RULES, "x", targetResource={"resource": "nowhere"})


async def test_labels_of_a_rule_can_be_written_when_its_endpoint_does_not_fit_any_more(world: World) -> None:
    await endpoints(world)
    await world.create(RULES, UP)
    await world.set_spec(ENDPOINTS, "r", ruleEndpointType="eventbus")

    def labelled(obj: Any) -> Any:
        return {**obj, "metadata": {**obj["metadata"], "labels": {"a": "b"}}}

    assert (await world.update(RULES, "x", labelled))["metadata"]["labels"] == {"a": "b"}


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        (endpoint("a", "mqtt"), "spec.ruleEndpointType"),
        (endpoint("a", "servicebus"), "spec.properties[service_port]"),
        (endpoint("a", "servicebus", service_port="http"), "spec.properties[service_port]"),
        (endpoint("a", "servicebus", service_port="65536"), "spec.properties[service_port]"),
        (endpoint("a", "rest", ca="x"), "spec.properties[ca]"),
        (endpoint("a", "rest", insecure_skip_verify="yes"), "spec.properties[insecure_skip_verify]"),
    ],
)
async def test_endpoints_that_make_no_sense_are_refused(world: World, wrong: JsonObject, field: str) -> None:
    with pytest.raises(InvalidError) as caught:
        await world.create(ENDPOINTS, wrong)
    assert field in str(caught.value)


async def test_of_a_message_only_whether_it_is_tried_again_can_be_changed(world: World) -> None:
    spec: JsonObject = {"rule": "x", "nodeName": "eu-1", "topic": "d/t", "payload": "1", "order": 1}
    await world.create(MESSAGES, {"metadata": {"name": "m"}, "spec": spec})
    await world.set_spec(MESSAGES, "m", redeliver=True)
    with pytest.raises(InvalidError, match=r"spec\.payload: Forbidden"):
        await world.set_spec(MESSAGES, "m", payload="2")
