"""A taint of NoExecute sends pods away that do not bear it; a node's silence does not."""

from typing import Any

import pytest

from cloudcore.controllers.tainted.controller import TaintedController
from cloudcore.runtime.informer import INDEXES
from cloudcore.store.cache import following
from cloudcore.store.memory import MemoryState, MemoryStore
from cloudcore.store.port import Batch, Put
from skerry.errors import ConflictError, InvalidError, SkerryError, UnavailableError
from skerry.objects.conditions import condition_of
from skerry.objects.meta import Revision
from tests.cloudcore.worlds import World, make_world

TAINT: Any = {"key": "k", "value": "v", "effect": "NoExecute"}


def node(name: str = "n", *taints: Any) -> Any:
    return {"metadata": {"name": name}, "spec": {"taints": list(taints)}}


def pod(name: str, *tolerations: Any, **annotations: str) -> Any:
    spec = {"nodeName": "n", "tolerations": list(tolerations), "containers": [{"name": "c", "image": "i"}]}
    notes = {key.replace("_", "/"): value for key, value in annotations.items()}
    return {"metadata": {"name": name, "annotations": notes}, "spec": spec}


def bears(seconds: int | None = None) -> Any:
    made: Any = {"key": "k", "operator": "Exists", "effect": "NoExecute"}
    return made if seconds is None else {**made, "tolerationSeconds": seconds}


def there(world: World) -> list[str]:
    return [each["metadata"]["name"] for each in world.all("pods") if "deletionTimestamp" not in each["metadata"]]


async def test_who_does_not_bear_it_goes_at_once_and_is_told_of():
    async with make_world() as world:
        controller = TaintedController(world.tools)
        await world.create("nodes", node())
        await world.create("nodes", node("other"))
        await world.create("pods", pod("stays", bears()))
        await world.create("pods", pod("goes"))
        elsewhere = pod("elsewhere")
        elsewhere["spec"]["nodeName"] = "other"
        await world.create("pods", elsewhere)
        await world.create("pods", pod("mirror", **{"kubernetes.io_config.mirror": "x"}))
        await world.settle(controller)
        assert len(there(world)) == 4
        await world.set_spec("nodes", "n", taints=[TAINT])
        await world.settle(controller)
        assert there(world) == ["elsewhere", "mirror", "stays"]
        assert [each["message"] for each in world.events("TaintManagerEviction")] == [
            "Marking for deletion Pod d/goes"
        ]
        told = condition_of(world.get("pods", "goes"), "DisruptionTarget") or {}
        assert told["reason"] == "DeletionByTaintManager"
        assert condition_of(world.get("pods", "stays"), "DisruptionTarget") is None
        await world.create("pods", pod("comes"))
        await world.settle(controller)
        assert "comes" not in there(world)


async def test_who_bears_it_for_a_while_has_that_while_and_no_longer():
    async with make_world() as world:
        controller = TaintedController(world.tools)
        await world.create("nodes", node("n", TAINT))
        await world.create("pods", pod("a", bears(60)))
        await world.settle(controller)
        assert world.later["a"] == 60.0
        world.clock.advance(50.0)
        await world.set_spec("nodes", "n", taints=[TAINT, {**TAINT, "key": "k", "value": "w"}])  # not from the start
        await world.settle(controller)
        assert world.later["a"] == 10.0 and there(world) == ["a"]
        world.clock.advance(10.0)
        assert await controller.reconcile(world.key("pods", "a")) is None
        assert there(world) == []


async def test_a_taint_that_is_taken_back_in_time_has_done_nothing():
    async with make_world() as world:
        controller = TaintedController(world.tools)
        await world.create("nodes", node("n", TAINT))
        await world.create("pods", pod("a", bears(60)))
        await world.settle(controller)
        await world.set_spec("nodes", "n", taints=[])
        await world.settle(controller)
        world.clock.advance(100.0)
        assert await controller.reconcile(world.key("pods", "a")) is None
        assert there(world) == ["a"]
        assert world.events("TaintManagerEviction")[0]["message"] == "Cancelling deletion of Pod d/a"


async def test_a_silent_node_sends_nobody_away():
    async with make_world() as world:
        controller = TaintedController(world.tools)
        silent = [
            {"key": f"node.kubernetes.io/{name}", "effect": "NoExecute"} for name in ("unreachable", "not-ready")
        ]
        await world.create("nodes", node("n", *silent, {**TAINT, "effect": "NoSchedule"}))
        await world.create("pods", pod("a"))
        await world.settle(controller)
        assert there(world) == ["a"]


class Refusing(MemoryStore):
    """Takes no write of a pod while `fault` is there."""

    fault: type[SkerryError] | None = None

    async def commit(self, batch: Batch) -> tuple[Revision, ...]:
        if self.fault is not None and any(write.key.resource == "pods" for write in batch.writes):
            raise self.fault("not now")
        return await super().commit(batch)


@pytest.mark.parametrize("fault", [UnavailableError, ConflictError])
async def test_a_deletion_that_failed_is_tried_again_without_another_while_and_is_told_once(fault: type[SkerryError]):
    store = Refusing(MemoryState(epoch="e1"))
    async with following(store, indexes=INDEXES) as cache:
        world = World(store, cache, (), real_rules=False)
        controller = TaintedController(world.tools)
        await world.create("nodes", node("n", TAINT))
        await world.create("pods", pod("a", bears(60)))
        await world.settle(controller)
        world.clock.advance(60.0)
        store.fault = fault
        for _ in range(2):
            with pytest.raises(fault):
                await controller.reconcile(world.key("pods", "a"))
        assert there(world) == ["a"]
        store.fault = None
        assert await controller.reconcile(world.key("pods", "a")) is None
        assert there(world) == []
        assert [each["count"] for each in world.events("TaintManagerEviction")] == [1]


class Judging(MemoryStore):
    """Takes no pod with a word of why it ends."""

    async def commit(self, batch: Batch) -> tuple[Revision, ...]:
        if any(isinstance(write, Put) and b"DisruptionTarget" in write.body for write in batch.writes):
            raise InvalidError("metadata.labels: of an older release")
        return await super().commit(batch)


async def test_a_pod_that_would_be_refused_today_goes_without_a_word_of_why():
    store = Judging(MemoryState(epoch="e1"))
    async with following(store, indexes=INDEXES) as cache:
        world = World(store, cache, (), real_rules=False)
        await world.create("nodes", node("n", TAINT))
        await world.create("pods", pod("a"))
        await world.settle(TaintedController(world.tools))
        assert there(world) == []
