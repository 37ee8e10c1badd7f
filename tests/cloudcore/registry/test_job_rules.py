"""What Jobs and CronJobs may say, and what may become of them, in Kubernetes' words."""

from __future__ import annotations

from typing import Any

import pytest

from cloudcore.registry.builtin import KindRules
from cloudcore.registry.custom import CustomKinds
from cloudcore.registry.job_selectors import with_selector
from cloudcore.registry.kinds import builtin_kinds, builtin_scheme

KINDS = {kind.kind: kind for kind in reversed(builtin_kinds())}
RULES = KindRules(CustomKinds(builtin_scheme()))


def spec_of(**fields: Any) -> Any:
    containers = [{"name": "c", "image": "i"}]
    return {"template": {"spec": {"containers": containers, "restartPolicy": "Never"}}, **fields}


def job(spec: Any, *, name: str = "sum", status: Any = None) -> Any:
    made: Any = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name, "namespace": "ns", "uid": "u1"}}
    done = with_selector(RULES.defaulted(KINDS["Job"], {**made, "spec": spec}))
    return done if status is None else {**done, "status": status}


def faults(obj: Any, old: Any = None, *, subresource: Any = "") -> list[str]:
    causes = RULES.validate(KINDS[obj["kind"]], obj, old, subresource)
    return [f"{cause.field}: {cause.message}" for cause in causes]


def failing(*rules: Any, **fields: Any) -> Any:
    return spec_of(podFailurePolicy={"rules": list(rules)}, **fields)


def codes(*values: int, operator: str = "In", action: str = "FailJob") -> Any:
    return {"action": action, "onExitCodes": {"operator": operator, "values": list(values)}}


def succeeding(*rules: Any) -> Any:
    return spec_of(completionMode="Indexed", completions=4, successPolicy={"rules": list(rules)})


INDEXED: Any = {"completionMode": "Indexed", "completions": 4}
AT = "spec.podFailurePolicy.rules[0]"
MET = "spec.successPolicy.rules[0]"

REFUSED: list[tuple[Any, str]] = [
    (spec_of(parallelism=-1), "spec.parallelism: Invalid value: -1: must be greater than or equal to 0"),
    (spec_of(backoffLimit=-1), "spec.backoffLimit: Invalid value: -1: must be greater than or equal to 0"),
    (
        {"template": {"spec": {"containers": [{"name": "c", "image": "i"}]}}},
        'spec.template.spec.restartPolicy: Required value: valid values: "OnFailure", "Never"',
    ),
    (
        spec_of(completionMode="Odd"),
        'spec.completionMode: Unsupported value: "Odd": supported values: "NonIndexed", "Indexed"',
    ),
    (
        spec_of(completionMode="Indexed", parallelism=2),
        "spec.completions: Required value: when completion mode is Indexed",
    ),
    (
        spec_of(**INDEXED, parallelism=100_001),
        (
            "spec.parallelism: Invalid value: 100001: "
            "must be less than or equal to 100000 when completion mode is Indexed"
        ),
    ),
    (
        spec_of(backoffLimitPerIndex=1),
        "spec.backoffLimitPerIndex: Invalid value: 1: requires indexed completion mode",
    ),
    (
        spec_of(**INDEXED, maxFailedIndexes=1),
        "spec.backoffLimitPerIndex: Required value: when maxFailedIndexes is specified",
    ),
    (
        spec_of(**INDEXED, backoffLimitPerIndex=1, maxFailedIndexes=5),
        "spec.maxFailedIndexes: Invalid value: 5: must be less than or equal to completions",
    ),
    (
        spec_of(completionMode="Indexed", completions=100_001, backoffLimitPerIndex=1),
        "spec.maxFailedIndexes: Required value: must be specified when completions is above 100000",
    ),
    (
        spec_of(podReplacementPolicy="Odd"),
        'spec.podReplacementPolicy: Unsupported value: "Odd": supported values: "Failed", "TerminatingOrFailed"',
    ),
    (
        failing(codes(1), podReplacementPolicy="TerminatingOrFailed"),
        'spec.podReplacementPolicy: Unsupported value: "TerminatingOrFailed": supported values: "Failed"',
    ),
    (failing(codes(0)), f"{AT}.onExitCodes.values[0]: Invalid value: 0: must not be 0 for the In operator"),
    (failing(codes(2, 1)), f"{AT}.onExitCodes.values: Invalid value: [2,1]: must be ordered"),
    (failing(codes(1, 1)), f"{AT}.onExitCodes.values[1]: Duplicate value: 1"),
    (failing(codes()), f"{AT}.onExitCodes.values: Invalid value: []: at least one value is required"),
    (
        failing(codes(1, operator="Near")),
        f'{AT}.onExitCodes.operator: Unsupported value: "Near": supported values: "In", "NotIn"',
    ),
    (
        failing(codes(1, action="FailIndex")),
        f'{AT}.action: Invalid value: "FailIndex": requires the backoffLimitPerIndex to be set',
    ),
    (
        failing({"action": "Ignore"}),
        f"{AT}: Invalid value: specifying one of OnExitCodes and OnPodConditions is required",
    ),
    (
        failing({**codes(1), "onPodConditions": [{"type": "X", "status": "True"}]}),
        f"{AT}: Invalid value: specifying both OnExitCodes and OnPodConditions is not supported",
    ),
    (
        failing({"action": "Ignore", "onPodConditions": [{"type": "X", "status": "Yes"}]}),
        f'{AT}.onPodConditions[0].status: Unsupported value: "Yes": supported values: "False", "True", "Unknown"',
    ),
    (
        failing({"action": "FailJob", "onExitCodes": {"containerName": "z", "operator": "In", "values": [1]}}),
        (
            f'{AT}.onExitCodes.containerName: Invalid value: "z": '
            "must be one of the container or initContainer names in the pod template"
        ),
    ),
    (
        spec_of(successPolicy={"rules": [{"succeededCount": 1}]}),
        'spec.successPolicy: Invalid value: {"rules":[{"succeededCount":1}]}: requires indexed completion mode',
    ),
    (
        succeeding(),
        (
            "spec.successPolicy.rules: Required value: "
            "at least one rules must be specified when the successPolicy is specified"
        ),
    ),
    (succeeding({}), f"{MET}: Required value: at least one of succeededCount or succeededIndexes must be specified"),
    (
        succeeding({"succeededCount": 5}),
        (
            f"{MET}.succeededCount: Invalid value: 5: must be less than or equal to 4 "
            "(the number of specified completions)"
        ),
    ),
    (
        succeeding({"succeededIndexes": "1-2", "succeededCount": 3}),
        (
            f"{MET}.succeededCount: Invalid value: 3: must be less than or equal to 2 "
            "(the number of indexes in the specified succeededIndexes field)"
        ),
    ),
    (
        succeeding({"succeededIndexes": "3,1"}),
        (
            f'{MET}.succeededIndexes: Invalid value: "3,1": '
            "error parsing succeededIndexes: non-increasing order, previous: 3, current: 1"
        ),
    ),
    (
        succeeding({"succeededIndexes": "1-4"}),
        f'{MET}.succeededIndexes: Invalid value: "1-4": error parsing succeededIndexes: too large index: "4"',
    ),
    (
        spec_of(managedBy="me"),
        'spec.managedBy: Invalid value: "me": must be a domain-prefixed path (such as "acme.io/foo")',
    ),
    (
        spec_of(manualSelector=True),
        "spec.selector: Required value",
    ),
    (
        spec_of(manualSelector=True, selector={"matchLabels": {"a": "b"}}),
        "spec.template.metadata.labels: Invalid value: null: `selector` does not match template `labels`",
    ),
]


@pytest.mark.parametrize(("spec", "fault"), REFUSED, ids=[fault[:60] for _, fault in REFUSED])
def test_a_job_that_makes_no_sense_is_refused(spec: Any, fault: str) -> None:
    found = faults(job(spec))
    assert fault.replace("null", "{}") in found, found


def test_labels_that_contradict_the_generated_ones_are_refused() -> None:
    spec = spec_of()
    spec["template"]["metadata"] = {"labels": {"job-name": "other"}}
    assert "spec.template.metadata.labels[job-name]: Invalid value: \"other\": must be 'sum'" in faults(job(spec))
    spec = spec_of(selector={"matchLabels": {"a": "b"}})
    found = faults(job(spec))
    assert any("`selector` not auto-generated" in fault for fault in found)
    assert any("`selector` does not match template `labels`" in fault for fault in found)


def test_the_hostname_of_the_last_index_has_to_be_one() -> None:
    assert any("will not able to create pod" in fault for fault in faults(job(spec_of(**INDEXED), name="a" * 62)))
    assert faults(job(spec_of(**INDEXED), name="a" * 61)) == []


def test_what_a_job_says_is_kept_and_generated() -> None:
    made = job(spec_of())
    labels = {"controller-uid": "u1", "batch.kubernetes.io/controller-uid": "u1"}
    labels |= {"job-name": "sum", "batch.kubernetes.io/job-name": "sum"}
    assert made["spec"]["template"]["metadata"]["labels"] == labels
    assert made["spec"]["selector"] == {"matchLabels": {"batch.kubernetes.io/controller-uid": "u1"}}
    assert made["metadata"]["labels"] == labels
    assert faults(made) == []
    own = spec_of(manualSelector=True, selector={"matchLabels": {"a": "b"}})
    own["template"]["metadata"] = {"labels": {"a": "b"}}
    assert job(own)["spec"]["selector"] == {"matchLabels": {"a": "b"}}
    assert faults(job(own)) == []


def test_what_may_surprise_is_said() -> None:
    dotted = job(spec_of(), name="a.b")
    [said] = RULES.warnings(KINDS["Job"], dotted, None)
    assert said.startswith("metadata.name: this is used in Pod names and hostnames, which can result in surprising")
    assert RULES.warnings(KINDS["Job"], dotted, dotted) == ()
    assert RULES.warnings(KINDS["CronJob"], cron(name="a.b"), None) == (said,)
    large = job(spec_of(completionMode="Indexed", completions=100_001, parallelism=10_001))
    assert "might not be able to track completedIndexes" in RULES.warnings(KINDS["Job"], large, None)[0]
    assert RULES.warnings(KINDS["Job"], large, large) == ()


def changed(old: Any, **fields: Any) -> Any:
    return {**old, "spec": {**old["spec"], **fields}}


def with_pod(old: Any, **fields: Any) -> Any:
    template = old["spec"]["template"]
    return changed(old, template={**template, "spec": {**template["spec"], **fields}})


def test_what_may_change_of_a_job() -> None:
    old = job(spec_of(completions=3))
    assert faults(changed(old, parallelism=2, suspend=True, activeDeadlineSeconds=5), old) == []
    assert faults(changed(old, completions=4), old) == ["spec.completions: Invalid value: 4: field is immutable"]
    assert any("spec.completionMode" in each for each in faults(changed(old, completionMode="Indexed"), old))
    assert any("spec.template" in each for each in faults(with_pod(old, nodeSelector={"a": "b"}), old))
    indexed = job(spec_of(**INDEXED))
    assert faults(changed(indexed, completions=2, parallelism=2), indexed) == []
    tandem = "spec.completions: Invalid value: 2: can only be modified in tandem with spec.parallelism"
    assert faults(changed(indexed, completions=2), indexed) == [tandem]


@pytest.mark.parametrize(
    ("status", "may"),
    [
        ({}, True),
        ({"startTime": "2026-01-01T00:00:00Z"}, False),
        ({"startTime": "2026-01-01T00:00:00Z", "conditions": [{"type": "Suspended", "status": "True"}]}, True),
        ({"active": 1}, False),
    ],
)
def test_where_pods_go_may_change_while_a_job_is_suspended(status: Any, *, may: bool) -> None:
    old = job(spec_of(suspend=True), status=status)
    containers = [{**old["spec"]["template"]["spec"]["containers"][0], "resources": {"requests": {"cpu": "1"}}}]
    term = {"matchExpressions": [{"key": "zone", "operator": "In", "values": ["a"]}]}
    affinity = {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [term]}}}
    for new in (
        with_pod(old, nodeSelector={"zone": "a"}),
        with_pod(old, tolerations=[{"key": "k", "operator": "Exists"}], affinity=affinity),
        with_pod(old, containers=containers),
    ):
        assert (faults(new, old) == []) == may
        assert faults({**new, "spec": {**new["spec"], "suspend": False}}, old) == faults(new, old)
    image = [{**containers[0], "image": "other"}]
    assert any("spec.template" in each for each in faults(with_pod(old, containers=image), old))


TRUE = {"status": "True"}
FINISHED: Any = {
    "startTime": "2026-01-01T00:00:00Z",
    "completionTime": "2026-01-01T00:00:09Z",
    "conditions": [{"type": "SuccessCriteriaMet", **TRUE}, {"type": "Complete", **TRUE}],
    "succeeded": 1,
}
RUNNING: Any = {"startTime": "2026-01-01T00:00:00Z", "active": 1, "failed": 2}


@pytest.mark.parametrize(
    ("before", "after", "fault"),
    [
        (RUNNING, FINISHED | {"failed": 2}, ""),
        (RUNNING, {**RUNNING, "conditions": [{"type": "Custom", **TRUE}]}, ""),
        (RUNNING, {**RUNNING, "failed": 1}, "status.failed: Invalid value: 1: cannot decrease the failed counter"),
        (
            RUNNING,
            {**RUNNING, "startTime": "2026-01-01T00:00:01Z"},
            "status.startTime: Required value: startTime cannot",
        ),
        (RUNNING, {**RUNNING, "ready": 2}, "status.ready: Invalid value: 2: cannot set more ready pods than active"),
        (RUNNING, {**RUNNING, "completedIndexes": "1"}, "cannot set non-empty completedIndexes when non-indexed"),
        (RUNNING, {**RUNNING, "failedIndexes": "1"}, "cannot set non-null failedIndexes"),
        (RUNNING, {**FINISHED, "failed": 2, "active": 1}, "status.active: Invalid value: 1: active>0 is invalid"),
        (RUNNING, {**FINISHED, "failed": 2, "completionTime": ""}, "completionTime is required for Complete jobs"),
        (RUNNING, {**FINISHED, "failed": 2, "startTime": ""}, "startTime is required for finished job"),
        (
            RUNNING,
            {**RUNNING, "active": 0, "conditions": [{"type": "Failed", **TRUE}]},
            "cannot set Failed=True condition without the FailureTarget=true condition",
        ),
        (
            RUNNING,
            {**RUNNING, "uncountedTerminatedPods": {"failed": ["a", "a"]}},
            'status.uncountedTerminatedPods.failed[1]: Duplicate value: "a"',
        ),
        (FINISHED, {**FINISHED, "conditions": []}, "cannot disable the terminal Complete=True condition"),
        (FINISHED, {**FINISHED, "completionTime": "2026-01-01T00:00:10Z"}, "completionTime cannot be mutated"),
    ],
)
def test_a_status_that_others_rely_on_is_judged(before: Any, after: Any, fault: str) -> None:
    old, new = job(spec_of(), status=before), job(spec_of(), status=after)
    found = faults(new, old, subresource="status")
    assert (found == []) if not fault else any(fault in each for each in found), found


def cron(schedule: str = "*/5 * * * *", name: str = "tick", **fields: Any) -> Any:
    spec = {"schedule": schedule, "jobTemplate": {"spec": spec_of()}, **fields}
    made = {"apiVersion": "batch/v1", "kind": "CronJob", "metadata": {"name": name, "namespace": "ns"}, "spec": spec}
    return RULES.defaulted(KINDS["CronJob"], made)


@pytest.mark.parametrize(
    ("obj", "fault"),
    [
        (cron(), ""),
        (cron("@every 1m", timeZone="Europe/Berlin"), ""),
        (cron("0 0 L * *"), 'failed to parse int from L: strconv.Atoi: parsing "L": invalid syntax'),
        (cron("0 0 * * 7"), "end of range (7) above maximum (6): 7"),
        (cron("TZ=UTC 0 0 * * *"), "cannot use TZ or CRON_TZ in schedule, use timeZone field instead"),
        (cron(timeZone=""), "timeZone must be nil or non-empty string"),
        (cron(timeZone="Local"), "timeZone must be an explicit time zone"),
        (cron(timeZone="Mars/Base"), 'spec.timeZone: Invalid value: "Mars/Base": unknown time zone Mars/Base'),
        (cron(timeZone="../../etc/passwd"), "unknown time zone ../../etc/passwd"),
        (cron(name="a" * 53), "must be no more than 52 characters"),
        (
            cron(concurrencyPolicy="Maybe"),
            'Unsupported value: "Maybe": supported values: "Allow", "Forbid", "Replace"',
        ),
        (cron(startingDeadlineSeconds=-1), "must be greater than or equal to 0"),
        (
            cron(jobTemplate={"spec": spec_of(selector={"matchLabels": {"a": "b"}})}),
            "`selector` will be auto-generated",
        ),
        (cron(jobTemplate={"spec": spec_of(manualSelector=True)}), 'supported values: "nil", "false"'),
        (cron(jobTemplate={"spec": spec_of(completions=-1)}), "spec.jobTemplate.spec.completions: Invalid value: -1"),
    ],
)
def test_a_cron_job_that_makes_no_sense_is_refused(obj: Any, fault: str) -> None:
    found = faults(obj)
    assert (found == []) if not fault else any(fault in each for each in found), found


def test_a_cron_job_that_an_older_release_took_may_still_be_changed() -> None:
    old = cron("0 0 * * 7", name="a" * 60)
    assert faults({**old, "spec": {**old["spec"], "suspend": True}}, old) == []
    assert faults({**old, "spec": {**old["spec"], "schedule": "0 0 * * 8"}}, old)
