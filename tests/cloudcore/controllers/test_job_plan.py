"""What a Job's controller decides, whatever it meets."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloudcore.controllers.job.backoff import Record, recalled
from cloudcore.controllers.job.indexes import parse_indexes
from cloudcore.controllers.job.model import INDEX, TRACKING, JobPod, read_job, read_pod
from cloudcore.controllers.job.plan import Step, plan
from cloudcore.controllers.job.policies import match_failure, match_success
from cloudcore.controllers.job.status import counted, settled

NOW_MS = 1_790_000_000_000
PHASES = ("Pending", "Running", "Succeeded", "Failed")


def job_obj(spec: Any, status: Any = None) -> Any:
    metadata = {"name": "j", "namespace": "d", "uid": "u", "creationTimestamp": "2026-01-01T00:00:00Z"}
    return {"metadata": metadata, "spec": spec, "status": status or {}}


def pod_obj(number: int, phase: str, *, index: int | None = None, tracked: bool = True, going: bool = False) -> Any:
    metadata: Any = {
        "name": f"p{number}",
        "namespace": "d",
        "uid": f"u{number}",
        "creationTimestamp": "2026-01-01T00:00:00Z",
        "annotations": {} if index is None else {INDEX: str(index)},
        "finalizers": [TRACKING] if tracked else [],
    }
    if going:
        metadata |= {"deletionTimestamp": "2026-01-01T00:00:30Z", "deletionGracePeriodSeconds": 30}
    return {"metadata": metadata, "spec": {"nodeName": "n1"}, "status": {"phase": phase}}


@st.composite
def situations(draw: st.DrawFn) -> tuple[Any, list[Any]]:
    indexed = draw(st.booleans())
    completions = draw(st.integers(0, 6))
    spec: Any = {"completions": completions, "parallelism": draw(st.integers(0, 4)), "backoffLimit": 1000}
    status: Any = {"startTime": "2026-01-01T00:00:00Z"}
    if indexed:
        spec["completionMode"] = "Indexed"
        done = draw(st.sets(st.integers(0, 5)))
        status |= {"completedIndexes": ",".join(str(index) for index in sorted(done))}
        status |= {"succeeded": len([index for index in done if index < completions])}
        if draw(st.booleans()):
            spec["backoffLimitPerIndex"] = draw(st.integers(0, 2))
    else:
        status["succeeded"] = draw(st.integers(0, 6))
        if draw(st.booleans()):
            del spec["completions"]
    if draw(st.booleans()):
        spec["podReplacementPolicy"] = "Failed"
    spec["suspend"] = draw(st.integers(0, 4)) == 0
    pods = [
        pod_obj(
            number,
            draw(st.sampled_from(PHASES)),
            index=draw(st.integers(0, 7)) if indexed and draw(st.integers(0, 9)) else None,
            tracked=draw(st.integers(0, 3)) > 0,
            going=draw(st.integers(0, 3)) == 0,
        )
        for number in range(draw(st.integers(0, 7)))
    ]
    return job_obj(spec, status), pods


def planned(obj: Any, pods: list[Any]) -> tuple[list[JobPod], Step]:
    job = read_job(obj)
    read = [read_pod(job, pod) for pod in pods]
    return read, plan(job, read, Record(), now_ms=NOW_MS)


@given(situations())
def test_never_too_many_run_and_no_index_twice(situation: tuple[Any, list[Any]]) -> None:
    obj, raw = situation
    job = read_job(obj)
    pods, step = planned(obj, raw)
    active = [pod for pod in pods if pod.active]
    assert sum(bool(part) for part in (step.end, step.drop, step.make)) <= 1
    if step.make:
        assert not job.suspended
        assert len(active) + len(step.make) <= job.parallelism
        if job.completions is not None:
            assert len(active) + len(step.make) + step.tally.succeeded <= job.completions
        going = [pod for pod in pods if pod.terminating]
        if job.only_failed:
            assert len(active) + len(going) + len(step.make) <= job.parallelism
    if job.indexed:
        made = [new.index for new in step.make]
        assert len(set(made)) == len(made)
        for index in made:
            assert index is not None and index < (job.completions or 0)
            assert index not in step.tally.done
            assert index not in {pod.index for pod in active}
        kept = [pod.index for pod in active if pod not in step.drop and pod not in step.end]
        assert len(set(kept)) == len(kept) or step.ending is not None


@given(situations())
def test_what_is_written_down_is_what_is_let_go(situation: tuple[Any, list[Any]]) -> None:
    """Each pod whose finalizer goes has its uid, or its index, in the status first; and is counted once after."""
    obj, raw = situation
    job = read_job(obj)
    pods, step = planned(obj, raw)
    count = counted(job, pods, step, now_ms=NOW_MS)
    uncounted: Any = count.status["uncountedTerminatedPods"]
    written = [*uncounted.get("succeeded", []), *uncounted.get("failed", [])]
    assert len(set(written)) == len(written)
    assert set(written) <= {pod.uid for pod in count.release}
    for pod in count.release:
        assert pod.tracked
        if pod.phase == "Succeeded" and job.has_index(pod):
            if job.indexed:
                assert pod.index is not None and pod.index in step.tally.done
            else:
                assert pod.uid in uncounted["succeeded"]
        elif pod.phase == "Failed" and job.has_index(pod):
            assert pod.uid in uncounted["failed"]
    released = {pod.uid for pod in count.release}
    after = [
        {**one, "metadata": {**one["metadata"], "finalizers": []}} if one["metadata"]["uid"] in released else one
        for one in raw
    ]
    told = read_job({**obj, "status": count.status})
    status: Any = settled(told, [read_pod(told, one) for one in after], step, now_ms=NOW_MS)[0]
    assert status["uncountedTerminatedPods"] == {}
    before = 0 if job.indexed else job.succeeded
    grown = len(uncounted.get("succeeded", []))
    assert job.indexed or status.get("succeeded", 0) == before + grown
    assert status.get("failed", 0) == len(uncounted.get("failed", []))


@given(situations())
def test_a_pass_after_a_pass_that_crashed_before_its_end_counts_the_same(situation: tuple[Any, list[Any]]) -> None:
    obj, raw = situation
    job = read_job(obj)
    pods, step = planned(obj, raw)
    first = counted(job, pods, step, now_ms=NOW_MS)
    again = read_job({**obj, "status": first.status})
    second = counted(again, pods, plan(again, pods, Record(), now_ms=NOW_MS), now_ms=NOW_MS)
    assert second.status["uncountedTerminatedPods"] == first.status["uncountedTerminatedPods"]
    assert second.status.get("succeeded") == first.status.get("succeeded")
    assert {pod.uid for pod in second.release} >= {pod.uid for pod in first.release}


@pytest.mark.parametrize(("failures", "wait_s"), [(0, 0), (1, 10), (2, 20), (3, 40), (6, 320), (7, 600), (900, 600)])
def test_the_wait_doubles_up_to_ten_minutes(failures: int, wait_s: int) -> None:
    record = Record(failures=failures, last_failure_ms=NOW_MS)
    assert record.left_ms(now_ms=NOW_MS) == wait_s * 1000
    assert record.left_ms(now_ms=NOW_MS - 3_600_000) <= wait_s * 1000
    assert record.left_ms(now_ms=NOW_MS + 600_000) == 0


@pytest.mark.parametrize("limited", [False, True])
def test_a_clock_that_is_put_back_costs_one_while(limited: bool) -> None:
    spec: Any = {"completions": 1, "parallelism": 1, "completionMode": "Indexed"} | (
        {"backoffLimitPerIndex": 3} if limited else {}
    )
    job = read_job(job_obj(spec))
    pods = [read_pod(job, pod_obj(1, "Failed", index=0, tracked=limited))]
    hour_ms = 3_600_000
    record = Record(failures=1, last_failure_ms=NOW_MS + hour_ms, seen_ms={"u1": NOW_MS + hour_ms} if limited else {})
    step = plan(job, pods, record, now_ms=NOW_MS)
    assert (step.make, step.again_ms) == ((), NOW_MS + 10_000)
    step = plan(job, pods, step.record, now_ms=NOW_MS + 10_000)
    assert [pod.index for pod in step.make] == [0]


def ended(number: int, phase: str, second: int, *, tracked: bool = False) -> Any:
    pod = pod_obj(number, phase, tracked=tracked)
    terminated = {"exitCode": int(phase == "Failed"), "finishedAt": f"2026-01-01T00:00:{second:02}Z"}
    pod["status"]["containerStatuses"] = [{"name": "c", "state": {"terminated": terminated}}]
    return pod


def test_only_failures_after_the_last_success_count() -> None:
    job = read_job(job_obj({}))
    pods = [ended(1, "Failed", 1), ended(2, "Succeeded", 2), ended(3, "Failed", 3), ended(4, "Failed", 4)]
    record = recalled([read_pod(job, pod) for pod in pods], now_ms=NOW_MS)
    assert record.failures == 2
    assert record.with_ends([read_pod(job, ended(5, "Succeeded", 9))], [], now_ms=NOW_MS).failures == 0
    assert record.with_ends([], [read_pod(job, ended(5, "Failed", 9))], now_ms=NOW_MS).failures == 3


def test_conditions_of_pods_are_matched_by_the_first_rule_that_fits() -> None:
    rules: Any = [
        {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
        {"action": "FailJob", "onExitCodes": {"containerName": "c", "operator": "NotIn", "values": [1, 2]}},
    ]
    pod = ended(1, "Failed", 1)
    assert match_failure(rules, pod).action == ""
    pod["status"]["containerStatuses"][0]["state"]["terminated"]["exitCode"] = 3
    assert match_failure(rules, pod).action == "FailJob"
    pod["status"]["conditions"] = [{"type": "DisruptionTarget", "status": "True"}]
    assert not match_failure(rules, pod).counts
    assert match_failure(None, pod).counts


@pytest.mark.parametrize(
    ("rule", "done", "met"),
    [
        ({"succeededCount": 2}, "0", False),
        ({"succeededCount": 2}, "0,3", True),
        ({"succeededIndexes": "0-2"}, "0,2", False),
        ({"succeededIndexes": "0-2"}, "0-2,4", True),
        ({"succeededIndexes": "0-2", "succeededCount": 1}, "2", True),
        ({"succeededIndexes": "0-2", "succeededCount": 1}, "3,4", False),
        ({"succeededCount": 0}, "", False),
    ],
)
def test_a_success_policy_asks_for_indexes_or_a_number_of_them(rule: Any, done: str, met: bool) -> None:
    said = match_success([{"succeededCount": 99}, rule], 5, parse_indexes(done, 5))
    assert said == ("Matched rules at index 1" if met else "")


@pytest.mark.parametrize("mode", ["NonIndexed", "Indexed", "limited"])
def test_a_pod_that_counted_as_failed_is_not_done_when_it_tells_that_it_ended_well(mode: str) -> None:
    """It was going, so it counted; then the controller crashed before it let go of it, and its gateway told."""
    spec: Any = {"completions": 1, "parallelism": 1, "backoffLimit": 6}
    if mode != "NonIndexed":
        spec["completionMode"] = "Indexed"
    if mode == "limited":
        spec["backoffLimitPerIndex"] = 0
    index = None if mode == "NonIndexed" else 0
    obj = job_obj(spec, {"startTime": "2026-01-01T00:00:00Z"})
    pods, step = planned(obj, [pod_obj(1, "Running", index=index, going=True)])
    told: Any = counted(read_job(obj), pods, step, now_ms=NOW_MS).status
    assert told["uncountedTerminatedPods"] == {"failed": ["u1"]}
    again = job_obj(spec, told)
    pods, step = planned(again, [pod_obj(1, "Succeeded", index=index, going=True)])
    count = counted(read_job(again), pods, step, now_ms=NOW_MS)
    assert step.tally.succeeded == 0
    assert step.ending is None or not step.ending.succeeds
    assert count.status["uncountedTerminatedPods"] == {"failed": ["u1"]}
    assert "completedIndexes" not in count.status
    assert [pod.uid for pod in count.release] == ["u1"]


SOME: st.SearchStrategy[set[int]] = st.sets(st.integers(0, 5))


@given(SOME, SOME, st.lists(st.tuples(st.sampled_from(PHASES), st.integers(0, 5), st.booleans()), max_size=8))
def test_no_index_is_done_and_failed(done: set[int], lost: set[int], pods: list[tuple[str, int, bool]]) -> None:
    """The API refuses such a status, for ever."""
    spec: Any = {"completions": 6, "parallelism": 6, "completionMode": "Indexed", "backoffLimitPerIndex": 0}
    told = {
        "completedIndexes": ",".join(str(index) for index in sorted(done - lost)),
        "failedIndexes": ",".join(str(index) for index in sorted(lost)),
    }
    raw = [pod_obj(number, phase, index=index, going=going) for number, (phase, index, going) in enumerate(pods)]
    tally = planned(job_obj(spec, told), raw)[1].tally
    assert tally.done.common(tally.failed_indexes) == 0
