"""Taints follow the Ready condition, and never end what runs."""

from typing import Any

import pytest

from cloudcore.controllers.node.controller import NodeController
from cloudcore.controllers.node.plan import tainted
from tests.cloudcore.worlds import make_world


def node(ready: str, *taints: Any) -> Any:
    spec = {"taints": list(taints)} if taints else {}
    return {"metadata": {"name": "n"}, "spec": spec, "status": {"conditions": [{"type": "Ready", "status": ready}]}}


MINE: Any = {"key": "mine", "effect": "NoExecute"}


@pytest.mark.parametrize(
    ("before", "keys"),
    [
        (node("True"), []),
        (node("False"), ["not-ready"]),
        (node("Unknown", MINE), ["mine", "unreachable"]),
        ({"metadata": {"name": "n"}}, ["not-ready"]),
        (node("Unknown", {"key": "node.kubernetes.io/not-ready", "effect": "NoSchedule"}), ["unreachable"]),
        (node("True", {"key": "node.kubernetes.io/unreachable", "effect": "NoSchedule"}), []),
        (node("True", {"key": "node.kubernetes.io/unreachable", "effect": "NoExecute"}), ["unreachable"]),
    ],
)
def test_a_node_has_the_taint_of_its_state(before, keys):
    after: Any = tainted(before, now_ms=0)
    taints = after.get("spec", {}).get("taints", [])
    assert [taint["key"].removeprefix("node.kubernetes.io/") for taint in taints] == keys
    assert tainted(after, now_ms=5) is after
    added = [taint for taint in taints if "timeAdded" in taint]
    assert all(taint["effect"] == "NoSchedule" for taint in added)


async def test_the_controller_follows_the_condition():
    async with make_world() as world:
        controller = NodeController(world.tools)
        await world.create("nodes", node("Unknown"))
        await world.settle(controller)
        assert world.get("nodes", "n")["spec"]["taints"][0]["key"] == "node.kubernetes.io/unreachable"
        await world.set_status("nodes", "n", conditions=[{"type": "Ready", "status": "True"}])
        await world.settle(controller)
        assert world.get("nodes", "n")["spec"] == {}
