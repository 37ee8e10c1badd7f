"""Workloads that an older release took, and that would be refused now: they can be labelled, and let go."""

from __future__ import annotations

from typing import Any

import pytest

from cloudcore.registry import lifecycle
from cloudcore.registry.builtin import KindRules
from cloudcore.registry.custom import CustomKinds
from cloudcore.registry.kinds import builtin_kinds, builtin_scheme

KINDS = {kind.kind: kind for kind in reversed(builtin_kinds())}
RULES = KindRules(CustomKinds(builtin_scheme()))
POD: Any = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c"}]}}
SELECTOR: Any = {"matchLabels": {"a": "b"}}
VERSIONS = {"Job": "batch/v1", "CronJob": "batch/v1", "ReplicationController": "v1"}
SPECS: dict[str, Any] = {
    "Job": {"template": POD, "selector": {"matchExpressions": [{"key": "a", "operator": "in"}]}},
    "CronJob": {"schedule": "* * * * *", "jobTemplate": {"spec": {"template": POD, "manualSelector": True}}},
    "ReplicationController": {"template": POD, "selector": {"a": "c"}},
    "DaemonSet": {"template": POD, "selector": SELECTOR, "updateStrategy": {"type": "Never"}},
    "StatefulSet": {"template": POD, "selector": SELECTOR, "podManagementPolicy": "Odd"},
    "Deployment": {"template": POD, "selector": SELECTOR, "minReadySeconds": -1},
    "ReplicaSet": {"template": POD, "selector": SELECTOR, "minReadySeconds": -1},
}


def stored(kind: str, spec: Any = None) -> Any:
    """As it was taken, without a check."""
    metadata: Any = {
        "name": "old",
        "namespace": "ns",
        "uid": "u1",
        "resourceVersion": "7",
        "finalizers": ["foregroundDeletion"],
    }
    version = VERSIONS.get(kind, "apps/v1")
    obj: Any = {"apiVersion": version, "kind": kind, "metadata": {**metadata}, "spec": spec or SPECS[kind]}
    return RULES.filled(KINDS[kind], RULES.defaulted(KINDS[kind], obj))


def written(old: Any, **metadata: Any) -> Any:
    kind = KINDS[old["kind"]]
    wanted = RULES.defaulted(kind, {**old, "metadata": {**old["metadata"], **metadata}})
    return RULES.filled(kind, lifecycle.updated(kind, wanted, old, "", now_ms=0))


def faults(obj: Any, old: Any) -> list[str]:
    return [f"{cause.field}: {cause.message}" for cause in RULES.validate(KINDS[obj["kind"]], obj, old, "")]


@pytest.mark.parametrize("kind", sorted(SPECS))
def test_a_spec_that_stays_is_not_judged_anew(kind: str) -> None:
    old = stored(kind)
    assert faults(old, None) != []
    assert faults(written(old, finalizers=[]), old) == []
    assert faults(written(old, labels={"team": "a"}), old) == []
    changed = written(old)
    changed["spec"] |= {"schedule": "never"} if kind == "CronJob" else {"more": 3}
    assert faults(changed, old) != []


def test_a_default_that_an_older_release_did_not_know_is_no_change() -> None:
    old = stored("Job")
    del old["spec"]["podReplacementPolicy"]
    assert faults(written(old, finalizers=[]), old) == []


def test_a_job_without_a_selector_that_goes_needs_none() -> None:
    old = stored("Job", {"template": POD})
    old["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    gone = written(old, finalizers=[])
    assert "selector" not in gone["spec"]
    assert faults(gone, old) == []


def test_a_cron_job_with_a_template_of_before_can_be_suspended() -> None:
    old = stored("CronJob")
    now = written(old)
    now["spec"]["suspend"] = True
    assert faults(now, old) == []


def test_a_cron_jobs_failure_policy_has_the_defaults_of_a_jobs() -> None:
    pod = {"spec": {"containers": [{"name": "c", "image": "i"}], "restartPolicy": "Never"}}
    rule = {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget"}]}
    job = {"template": pod, "podFailurePolicy": {"rules": [rule]}}
    made = stored("CronJob", {"schedule": "* * * * *", "jobTemplate": {"spec": job}})
    [filled] = made["spec"]["jobTemplate"]["spec"]["podFailurePolicy"]["rules"]
    assert filled["onPodConditions"] == [{"type": "DisruptionTarget", "status": "True"}]
    assert faults(made, None) == []
