"""Single steps of a Deployment, without a world."""

from typing import Any

from cloudcore.controllers.deployment.model import deployment, replica_set
from cloudcore.controllers.deployment.plan import ChangeSet, DropSet, Observed, Plan, plan
from cloudcore.controllers.deployment.status import Made, deadline_in_s, status_of
from skerry.objects.conditions import find_condition
from skerry.objects.json import maps_at
from tests.cloudcore.controllers.workloads import template, web


def each(name: str, image: str, replicas: int, **more: Any) -> Any:
    """A ReplicaSet's view; `more`: available, actual, desired, observed, failure, min_ready."""
    status: Any = {
        "replicas": more.get("actual", replicas),
        "availableReplicas": more.get("available", replicas),
        "observedGeneration": more.get("observed", 1),
    }
    if "failure" in more:
        status["conditions"] = [
            {"type": "ReplicaFailure", "status": "True", "reason": "R", "message": more["failure"]}
        ]
    annotations = {"deployment.kubernetes.io/desired-replicas": str(more["desired"])} if "desired" in more else {}
    obj: Any = {
        "metadata": {
            "name": name,
            "uid": name,
            "generation": 1,
            "creationTimestamp": f"2020-01-01T00:00:{len(name):02}Z",
            "annotations": annotations,
        },
        "spec": {"replicas": replicas, "template": template(image), "minReadySeconds": more.get("min_ready", 0)},
        "status": status,
    }
    return replica_set(obj)


def sizes(planned: Plan) -> dict[str, int]:
    return {found.name: found.replicas for found in planned.sets}


def dropped(planned: Plan) -> list[str]:
    return [action.target.name for action in planned.actions if isinstance(action, DropSet)]


def test_the_time_to_be_ready_reaches_the_new_set_and_no_other():
    sets = [each("new", "v1", 3, desired=3), each("o", "v0", 0)]
    planned = plan(deployment(web(minReadySeconds=7)), Observed(sets=sets))
    changes = {found.target.name: found.min_ready_s for found in planned.actions if isinstance(found, ChangeSet)}
    assert changes == {"new": 7}


def test_only_sets_that_are_empty_and_settled_are_forgotten():
    owner = deployment(web(revisionHistoryLimit=0))
    new = each("new", "v1", 3, desired=3)
    assert dropped(plan(owner, Observed(sets=[new, each("o", "v0", 0)]))) == ["o"]
    assert dropped(plan(owner, Observed(sets=[new, each("o", "v0", 0, observed=0)]))) == []
    assert dropped(plan(owner, Observed(sets=[new, each("o", "v0", 0, actual=1)]))) == []
    unavailable = each("new", "v1", 3, desired=3, available=2)
    assert dropped(plan(owner, Observed(sets=[unavailable, each("o", "v0", 0)]))) == [], "not before it is complete"


def test_a_new_set_that_carries_everything_empties_the_others_when_scaled():
    sets = [each("new", "v1", 3, desired=3), each("o", "v0", 1, desired=2)]
    assert sizes(plan(deployment(web()), Observed(sets=sets))) == {"new": 3, "o": 0}
    hurt = [each("new", "v1", 3, desired=3, available=2), each("o", "v0", 1, desired=2)]
    assert sizes(plan(deployment(web()), Observed(sets=hurt)))["o"] == 1


def test_pods_that_are_not_available_go_first_and_several_sets_shrink_in_one_step():
    sets = [
        each("new", "v1", 1, desired=4),
        each("oldest", "v0", 2, available=0, desired=4),
        each("old", "v00", 2, desired=4),
    ]
    assert sizes(plan(deployment(web(replicas=4)), Observed(sets=sets))) == {"new": 1, "oldest": 0, "old": 2}


def test_a_failing_sets_words_are_repeated_the_new_ones_first():
    sets = [each("o", "v0", 1, failure="old words"), each("new", "v1", 1, failure="new words")]
    owner = deployment(web())
    status = status_of(owner, plan(owner, Observed(sets=sets)), Made(), now_ms=0)
    found: Any = find_condition(maps_at(status, "conditions"), "ReplicaFailure")
    assert (found["status"], found["reason"], found["message"]) == ("True", "R", "new words")


def test_only_the_condition_that_changed_is_stamped_and_the_deadline_counts_from_progress():
    owner = deployment(web())
    planned = plan(owner, Observed(sets=[each("new", "v1", 3, available=0, desired=3)]))
    first: Any = status_of(owner, planned, Made(), now_ms=0)
    later = deployment(web() | {"status": first})
    again = plan(later, Observed(sets=[each("new", "v1", 3, available=1, desired=3)]))
    second: Any = status_of(later, again, Made(), now_ms=60_000)
    stamps = {found["type"]: found["lastUpdateTime"] for found in second["conditions"]}
    assert stamps == {"Available": "1970-01-01T00:00:00Z", "Progressing": "1970-01-01T00:01:00Z"}
    assert deadline_in_s(later, second, now_ms=60_000) == 601
    complete = plan(later, Observed(sets=[each("new", "v1", 3, desired=3)]))
    done = status_of(later, complete, Made(), now_ms=60_000)
    assert deadline_in_s(later, done, now_ms=60_000) is None


def test_a_set_found_without_progress_is_named():
    owner = deployment(web())
    planned = plan(owner, Observed(sets=[each("new", "v1", 3, actual=0, available=0, desired=3)]))
    status = status_of(owner, planned, Made(), now_ms=0)
    found: Any = find_condition(maps_at(status, "conditions"), "Progressing")
    assert (found["status"], found["reason"]) == ("True", "FoundNewReplicaSet")


def test_without_a_deadline_nothing_is_said_of_progress():
    owner = deployment(web(progressDeadlineSeconds=2**31 - 1))
    planned = plan(owner, Observed(sets=[each("new", "v1", 3, desired=3)]))
    status = status_of(owner, planned, Made(), now_ms=0)
    assert find_condition(maps_at(status, "conditions"), "Progressing") is None
