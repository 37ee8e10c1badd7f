"""Taints follow the conditions, and never end what runs."""

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


def test_a_node_that_runs_short_has_a_taint_for_each_thing_until_it_has_enough():
    short: Any = node("True", MINE)
    short["status"]["conditions"] += [
        {"type": "MemoryPressure", "status": "True"},
        {"type": "DiskPressure", "status": "False"},
        {"type": "PIDPressure", "status": "True"},
    ]
    after: Any = tainted(short, now_ms=0)
    keys = [taint["key"].removeprefix("node.kubernetes.io/") for taint in after["spec"]["taints"]]
    assert keys == ["mine", "memory-pressure", "pid-pressure"]
    assert tainted(after, now_ms=5) is after
    after["status"] = node("True")["status"]
    relieved: Any = tainted(after, now_ms=5)
    assert relieved["spec"]["taints"] == [MINE]


async def test_the_controller_follows_the_condition():
    async with make_world() as world:
        controller = NodeController(world.tools)
        await world.create("nodes", node("Unknown"))
        await world.settle(controller)
        assert world.get("nodes", "n")["spec"]["taints"][0]["key"] == "node.kubernetes.io/unreachable"
        await world.set_status("nodes", "n", conditions=[{"type": "Ready", "status": "True"}])
        await world.settle(controller)
        assert world.get("nodes", "n")["spec"] == {}
