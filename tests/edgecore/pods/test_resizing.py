"""What a gateway agrees to when a pod wishes for other resources."""

from __future__ import annotations

from edgecore.pods.resizing import (
    Change,
    Pending,
    Room,
    allocate,
    asked_by,
    changes,
    requests_of,
    sum_of,
    with_allocation,
)
from skerry.objects.json import Json, JsonObject
from tests.edgecore.pods.pods_of import container, ended, pod, state

ROOM = Room(allocatable={"cpu": 2000, "memory": 1 << 30}, used={"cpu": 500, "memory": 0})


def sized(cpu: str, memory: str = "64Mi", **fields: Json) -> JsonObject:
    requests: JsonObject = {"cpu": cpu, "memory": memory}
    return pod(container("app", resources={"requests": requests, "limits": dict(requests)}, **fields))


def test_a_pod_has_first_what_it_came_with() -> None:
    verdict = allocate(sized("64"), {}, ROOM)
    assert (verdict.pending, verdict.allocated) == (None, asked_by(sized("64")))


def test_a_wish_is_granted_where_there_is_room_for_it() -> None:
    held = asked_by(sized("1"))
    assert allocate(sized("1500m"), held, ROOM).allocated == asked_by(sized("1500m"))
    assert allocate(sized("10m", "1Mi"), held, ROOM).allocated == asked_by(sized("10m", "1Mi"))


def test_a_wish_that_is_too_large_is_infeasible_beside_others_deferred_and_the_pod_keeps_what_it_has() -> None:
    held = asked_by(sized("1"))
    refused = allocate(sized("3"), held, ROOM)
    message = "Node didn't have enough capacity: cpu, requested: 3000, capacity: 2000"
    assert (refused.pending, refused.allocated) == (Pending(reason="Infeasible", message=message), held)
    waits = allocate(sized("2"), held, ROOM)
    message = "Node didn't have enough resource: cpu, requested: 2000, used: 500, capacity: 2000"
    assert (waits.pending, waits.allocated) == (Pending(reason="Deferred", message=message), held)


def test_who_asks_for_less_of_what_is_short_is_granted_it() -> None:
    full = Room(allocatable={"cpu": 100, "memory": 100}, used={"cpu": 100, "memory": 100})
    assert allocate(sized("900m", "1Mi"), asked_by(sized("1")), full).pending is None


def test_the_pod_is_as_it_is_allocated() -> None:
    assert with_allocation(sized("3"), asked_by(sized("1"))) == sized("1")
    assert with_allocation(sized("3"), {}) == sized("3")


def test_running_containers_are_given_it_and_restarted_where_they_want_to_be() -> None:
    run, had = state(), {"uid-1.app.0": asked_by(sized("1"))["app"]}
    change = Change(container_id=run.id, name="app", attempt=0, restart=False)
    assert changes(sized("2"), [run], had) == (change,)
    assert (
        changes(sized("1"), [run], had) == changes(sized("2"), [ended()], had) == changes(sized("2"), [run], {}) == ()
    )
    policy: Json = [{"resourceName": "cpu", "restartPolicy": "RestartContainer"}]
    assert changes(sized("2", resizePolicy=policy), [run], had)[0].restart
    assert not changes(sized("1", "65Mi", resizePolicy=policy), [run], had)[0].restart


def test_a_pod_counts_as_its_largest_moment() -> None:
    def part(name: str, cpu: str, **fields: Json) -> JsonObject:
        return container(name, resources={"requests": {"cpu": cpu}}, **fields)

    inits: Json = [part("side", "1", restartPolicy="Always"), part("init", "5")]
    the_pod = pod(part("a", "1"), part("b", "2"), initContainers=inits, overhead={"cpu": "10m"})
    assert requests_of(the_pod) == {"cpu": 6010, "memory": 0}
    assert sum_of([{"cpu": 1}, {"cpu": 2, "memory": 3}, {}]) == {"cpu": 3, "memory": 3}
