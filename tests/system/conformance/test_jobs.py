"""Jobs: the cases of the suite's `job.go` in which pods reach a status."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.system.conformance.cluster import MERGE, STRATEGIC, Cluster, Obj, eventually, names, revision
from tests.system.conformance.fleet import fleet

pytestmark = pytest.mark.system

INDEX = "batch.kubernetes.io/job-completion-index"
FAILURES = "batch.kubernetes.io/job-index-failure-count"
REACHED = "CompletionsReached"


@pytest.fixture(scope="module", autouse=True)
def nodes(cluster: Cluster) -> Iterator[None]:
    with fleet(cluster, cluster.name("node"), cluster.name("node")):
        yield


def job(
    task: str, name: str, *, parallelism: int = 2, completions: int = 4, restart: str = "Never", **spec: Any
) -> Obj:
    """The suite's NewTestJob; what its containers do is the tag of their image."""
    pod = {
        "restartPolicy": restart,
        "terminationGracePeriodSeconds": 1,
        "containers": [{"name": "c", "image": f"busybox:{task}"}],
    }
    template = {"metadata": {"labels": {"job": name}}, "spec": pod}
    return {
        "metadata": {"name": name},
        "spec": {"parallelism": parallelism, "completions": completions, "template": template, **spec},
    }


class Jobs:
    """batch/v1 of one namespace."""

    def __init__(self, cluster: Cluster, ns: str) -> None:
        self.cluster, self.ns = cluster, ns
        self.path = f"/apis/batch/v1/namespaces/{ns}/jobs"
        self.all_pods = f"/api/v1/namespaces/{ns}/pods"

    def create(self, task: str, name: str, **more: Any) -> Obj:
        return self.cluster.create(self.path, job(task, name, **more))

    def get(self, name: str) -> Obj:
        return self.cluster.get(f"{self.path}/{name}")

    def status(self, name: str) -> Obj:
        return self.get(name)["status"]

    def pods(self, name: str) -> list[Obj]:
        return self.cluster.get(self.all_pods, labelSelector=f"job={name}")["items"]

    def is_true(self, name: str, type_: str, reason: str = "") -> bool:
        conditions = self.status(name).get("conditions", [])
        found = [each for each in conditions if each["type"] == type_ and each["status"] == "True"]
        return bool(found) and reason in ("", found[0]["reason"])

    def until(self, name: str, true: Callable[[Obj], bool], what: str) -> None:
        try:
            eventually(lambda: true(self.status(name)), what, 60)
        except AssertionError:
            raise AssertionError(f"{what}: {json.dumps(self.status(name))}") from None

    def completes(self, name: str, reason: str = REACHED, completions: int = 4) -> None:
        self.until(name, lambda _: self.is_true(name, "SuccessCriteriaMet", reason), f"{name} met its criteria")
        self.until(name, lambda _: self.is_true(name, "Complete", reason), f"{name} is complete")
        status = self.status(name)
        assert status["succeeded"] == completions
        self.is_at_rest(status)

    def fails(self, name: str, reason: str) -> None:
        self.until(name, lambda _: self.is_true(name, "FailureTarget", reason), f"{name} is to fail")
        self.until(name, lambda _: self.is_true(name, "Failed", reason), f"{name} has failed")
        self.is_at_rest(self.status(name))

    def is_at_rest(self, status: Obj) -> None:
        assert (status.get("active", 0), status["ready"], status["terminating"]) == (0, 0, 0)

    def runs(self, name: str, count: int) -> list[Obj]:
        def running() -> list[Obj]:
            return [pod for pod in self.pods(name) if pod["status"]["phase"] == "Running"]

        eventually(lambda: len(running()) == count, f"{count} pods of {name} run", 60)
        return running()

    def change(self, name: str, **spec: Any) -> Obj:
        return self.cluster.update(f"{self.path}/{name}", lambda obj: obj["spec"].update(spec))


@pytest.fixture
def jobs(cluster: Cluster, ns: str) -> Jobs:
    return Jobs(cluster, ns)


def indexes(pods: list[Obj]) -> list[int]:
    return sorted(int(pod["metadata"]["annotations"][INDEX]) for pod in pods if pod["status"]["phase"] == "Succeeded")


def test_run_a_job_to_completion_when_tasks_succeed(jobs: Jobs):
    jobs.create("succeeds", "all-succeed")
    jobs.completes("all-succeed")
    assert [pod["status"]["phase"] for pod in jobs.pods("all-succeed")] == ["Succeeded"] * 4


def test_use_the_pod_failure_policy_on_exit_code_to_fail_the_job_early(jobs: Jobs):
    rule = {"action": "FailJob", "onExitCodes": {"operator": "In", "values": [1]}}
    jobs.create("fails-once", "pod-failure-failjob", podFailurePolicy={"rules": [rule]})
    jobs.fails("pod-failure-failjob", "PodFailurePolicy")


def test_use_a_pod_failure_policy_to_ignore_failure_matching_on_exit_code(jobs: Jobs):
    rule = {"action": "Ignore", "onExitCodes": {"operator": "In", "values": [1]}}
    jobs.create(
        "fails-once",
        "fail-pod-ignore",
        parallelism=3,
        completions=3,
        backoffLimit=2,
        completionMode="Indexed",
        podFailurePolicy={"rules": [rule]},
    )
    jobs.completes("fail-pod-ignore", completions=3)


def test_use_a_pod_failure_policy_to_ignore_failure_matching_on_disruption_target_condition(jobs: Jobs):
    rule = {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]}
    name = "evicted-pod-ignore"
    jobs.create(
        "waits-once",
        name,
        parallelism=3,
        completions=3,
        backoffLimit=2,
        completionMode="Indexed",
        podFailurePolicy={"rules": [rule]},
    )
    jobs.until(name, lambda status: status.get("ready") == 3, "all pods are ready")
    for pod in jobs.runs(name, 3):
        one = f"{jobs.all_pods}/{pod['metadata']['name']}"
        eviction = {"metadata": {"name": pod["metadata"]["name"], "namespace": jobs.ns}}
        jobs.cluster.create(f"{one}/eviction", eviction | {"apiVersion": "policy/v1", "kind": "Eviction"})
        jobs.cluster.gone(one)
    jobs.completes(name, completions=3)
    assert jobs.status(name).get("failed", 0) == 0


def test_not_create_pods_when_created_in_suspend_state(jobs: Jobs):
    jobs.create("succeeds", "suspend-true-to-false", suspend=True)
    jobs.until("suspend-true-to-false", lambda _: jobs.is_true("suspend-true-to-false", "Suspended"), "is suspended")
    assert jobs.pods("suspend-true-to-false") == []
    jobs.change("suspend-true-to-false", suspend=False)
    jobs.completes("suspend-true-to-false")


def test_delete_pods_when_suspended(jobs: Jobs):
    jobs.create("waits", "suspend-false-to-true", suspend=False)
    jobs.runs("suspend-false-to-true", 2)
    jobs.change("suspend-false-to-true", suspend=True)
    eventually(lambda: not jobs.pods("suspend-false-to-true"), "all pods are gone")
    assert jobs.is_true("suspend-false-to-true", "Suspended")
    assert "startTime" not in jobs.status("suspend-false-to-true")


def test_recreate_pods_only_after_they_have_failed_if_pod_replacement_policy_is_failed(jobs: Jobs):
    name = "pod-recreate-failed"
    jobs.create("ends-slowly", name, parallelism=1, completions=1, backoffLimit=1, podReplacementPolicy="Failed")
    [pod] = jobs.runs(name, 1)
    jobs.cluster.delete(f"{jobs.all_pods}/{pod['metadata']['name']}", {"gracePeriodSeconds": 30})

    def counts(status: Obj) -> tuple[int, int, int]:
        return status.get("active", 0), status.get("failed", 0), status["terminating"]

    jobs.until(name, lambda status: counts(status) == (0, 0, 1), "it terminates, and is not replaced")
    jobs.until(name, lambda status: counts(status) == (1, 1, 0), "it is replaced once it has failed")


def test_create_pods_for_an_indexed_job_with_completion_indexes_and_specified_hostname(jobs: Jobs):
    jobs.create("succeeds", "indexed-job", completionMode="Indexed")
    jobs.completes("indexed-job")
    pods = jobs.pods("indexed-job")
    assert indexes(pods) == [0, 1, 2, 3]
    for pod in pods:
        index = pod["metadata"]["annotations"][INDEX]
        assert pod["metadata"]["labels"][INDEX] == index
        assert pod["spec"]["hostname"] == f"indexed-job-{index}"


@pytest.mark.parametrize(
    ("task", "completions", "rule", "done"),
    [
        ("succeeds", 2, {"succeededCount": 2}, "0,1"),
        ("fails-odd", 5, {"succeededIndexes": "0"}, "0"),
        ("fails-odd", 5, {"succeededCount": 1}, "0"),
    ],
)
def test_success_policy(jobs: Jobs, task: str, completions: int, rule: Obj, done: str):
    policy = {"rules": [rule]}
    jobs.create(
        task,
        "with-success-policy",
        completions=completions,
        completionMode="Indexed",
        successPolicy=policy,
        backoffLimit=2**31 - 1,
    )
    jobs.completes("with-success-policy", "SuccessPolicy", 2 if done == "0,1" else 1)
    assert jobs.status("with-success-policy")["completedIndexes"] == done


def test_execute_all_indexes_despite_some_failing_when_using_backoff_limit_per_index(jobs: Jobs):
    jobs.create("fails-odd", "with-backoff", completionMode="Indexed", backoffLimitPerIndex=1)
    seen: dict[int, set[str]] = {}

    def follow(_: Obj) -> bool:
        for pod in jobs.pods("with-backoff"):
            notes = pod["metadata"]["annotations"]
            seen.setdefault(int(notes[INDEX]), set()).add(notes[FAILURES])
        return jobs.is_true("with-backoff", "Failed")

    jobs.until("with-backoff", follow, "it has failed")
    status = jobs.status("with-backoff")
    assert (status["failedIndexes"], status["completedIndexes"]) == ("1,3", "0,2")
    assert (status["failed"], status["succeeded"]) == (4, 2)
    assert seen == {0: {"0"}, 1: {"0", "1"}, 2: {"0"}, 3: {"0", "1"}}


def test_terminate_job_execution_when_the_number_of_failed_indexes_exceeds_max_failed_indexes(jobs: Jobs):
    jobs.create(
        "fails", "with-max", parallelism=1, completionMode="Indexed", backoffLimitPerIndex=0, maxFailedIndexes=0
    )
    jobs.fails("with-max", "MaxFailedIndexesExceeded")
    assert (jobs.status("with-max")["failedIndexes"], jobs.status("with-max")["failed"]) == ("0", 1)


def test_mark_indexes_as_failed_when_the_fail_index_action_is_matched(jobs: Jobs):
    rule = {"action": "FailIndex", "onExitCodes": {"operator": "In", "values": [1]}}
    jobs.create(
        "fails-odd",
        "matching",
        completions=2,
        completionMode="Indexed",
        backoffLimitPerIndex=1,
        podFailurePolicy={"rules": [rule]},
    )
    jobs.fails("matching", "FailedIndexes")
    status = jobs.status("matching")
    assert (status["failedIndexes"], status["completedIndexes"]) == ("1", "0")
    assert (status["failed"], status["succeeded"]) == (1, 1)


def test_delete_a_job_and_remove_its_pods(jobs: Jobs):
    jobs.create("waits", "foo")
    jobs.runs("foo", 2)
    jobs.cluster.delete(f"{jobs.path}/foo", {"propagationPolicy": "Background"})
    jobs.cluster.gone(f"{jobs.path}/foo")
    eventually(lambda: not jobs.pods("foo"), "its pods are gone")


@pytest.mark.parametrize("restart", ["OnFailure", "Never"])
def test_run_a_job_to_completion_when_tasks_sometimes_fail(jobs: Jobs, restart: str):
    jobs.create("fails-once", "fail-once", restart=restart)
    jobs.completes("fail-once")
    assert jobs.status("fail-once").get("failed", 0) == (0 if restart == "OnFailure" else 1)


def test_fail_when_exceeds_active_deadline(jobs: Jobs):
    jobs.create("waits", "exceed-active-deadline", activeDeadlineSeconds=1)
    jobs.fails("exceed-active-deadline", "DeadlineExceeded")


def test_adopt_matching_orphans_and_release_non_matching_pods(jobs: Jobs):
    made = jobs.create("waits", "adopt-release")
    pod = jobs.runs("adopt-release", 2)[0]
    one = f"{jobs.all_pods}/{pod['metadata']['name']}"
    jobs.cluster.update(one, lambda obj: obj["metadata"].pop("ownerReferences"))

    def owners() -> list[tuple[str, str, str]]:
        references = jobs.cluster.get(one)["metadata"].get("ownerReferences", [])
        return [(each["kind"], each["name"], each["uid"]) for each in references]

    eventually(lambda: owners() == [("Job", "adopt-release", made["metadata"]["uid"])], "it is adopted")
    jobs.cluster.update(one, lambda obj: obj["metadata"].pop("labels"))
    eventually(lambda: owners() == [], "it is released")


def test_fail_to_exceed_backoff_limit(jobs: Jobs):
    jobs.create("fails", "backofflimit", parallelism=1, completions=1, backoffLimit=1)
    jobs.fails("backofflimit", "BackoffLimitExceeded")
    assert [pod["status"]["phase"] for pod in jobs.pods("backofflimit")] == ["Failed", "Failed"]


def test_apply_changes_to_a_job_status(jobs: Jobs):
    cluster, one = jobs.cluster, f"{jobs.path}/status-changes"
    made = jobs.create("waits", "status-changes")
    jobs.runs("status-changes", 2)
    first, second = "2026-01-01T00:00:00Z", "2026-01-01T00:00:01Z"

    def custom(obj: Obj) -> Obj:
        return next(each for each in obj["status"]["conditions"] if each["type"] == "CustomConditionType")

    condition = {"type": "CustomConditionType", "status": "True", "lastTransitionTime": first}
    patch = {"metadata": {"annotations": {"patchedstatus": "true"}}, "status": {"conditions": [condition]}}
    patched = cluster.ok("PATCH", f"{one}/status", patch, media=MERGE)
    assert custom(patched)["lastTransitionTime"] == first
    assert patched["metadata"]["annotations"]["patchedstatus"] == "true"
    updated = cluster.update(one, lambda obj: custom(obj).update(lastTransitionTime=second), "/status")
    assert custom(updated)["lastTransitionTime"] == second
    assert cluster.get(f"{one}/status")["metadata"]["uid"] == made["metadata"]["uid"]


def test_manage_the_lifecycle_of_a_job(jobs: Jobs):
    cluster, name = jobs.cluster, jobs.cluster.name("e2e")
    labels = {"e2e-job-label": name}
    selector = f"e2e-job-label={name}"
    with cluster.watch(jobs.path, labelSelector=selector) as watch:
        wanted = job("succeeds", name, suspend=True)
        wanted["metadata"]["labels"] = labels
        made = cluster.create(jobs.path, wanted)
        patched = cluster.patch(f"{jobs.path}/{name}", {"metadata": {"labels": {name: "patched"}}}, STRATEGIC)
        assert revision(patched) > revision(made)
        watch.until("MODIFIED", lambda obj: obj["metadata"]["labels"].get(name) == "patched")

        def resume(obj: Obj) -> None:
            obj["spec"]["suspend"] = False
            obj["metadata"].setdefault("annotations", {})["updated"] = "true"

        cluster.update(f"{jobs.path}/{name}", resume)
        watch.until("MODIFIED", lambda obj: obj["metadata"].get("annotations", {}).get("updated") == "true")
        assert names(cluster.get("/apis/batch/v1/jobs", labelSelector=selector)) == [name]
        jobs.completes(name)
        cluster.delete(jobs.path, {"propagationPolicy": "Background"}, labelSelector=selector)
        watch.until("DELETED")
    assert names(cluster.get("/apis/batch/v1/jobs", labelSelector=selector)) == []


def test_update_the_status_ready_field(jobs: Jobs):
    jobs.create("waits", "all-ready", suspend=True)
    jobs.until("all-ready", lambda status: status.get("ready") == 0, "none is ready")
    jobs.change("all-ready", suspend=False)
    jobs.until("all-ready", lambda status: status.get("ready") == 2, "both are ready")
    jobs.change("all-ready", suspend=True)
    jobs.until("all-ready", lambda status: status.get("ready") == 0, "none is ready any more")


def test_delegate_reconciliation_to_external_controller(jobs: Jobs):
    jobs.create("succeeds", "managed-by", managedBy="example.com/custom-job-controller")
    jobs.create("succeeds", "ours", managedBy="kubernetes.io/job-controller")
    jobs.completes("ours")
    assert not jobs.get("managed-by").get("status")
    assert jobs.pods("managed-by") == []


@pytest.mark.parametrize("started", [False, True])
def test_update_pod_resources_of_a_suspended_job(jobs: Jobs, *, started: bool):
    name = "mutable"
    jobs.create("waits", name, parallelism=1, completions=1, suspend=not started)
    if started:
        jobs.runs(name, 1)
        resources = {"requests": {"cpu": "2"}}
        one = f"{jobs.path}/{name}"
        template = jobs.get(name)["spec"]["template"]
        template["spec"]["containers"][0]["resources"] = resources
        refused = jobs.cluster.fails(422, "PATCH", one, {"spec": {"template": template}}, media=MERGE)
        assert "field is immutable" in refused.message
        jobs.change(name, suspend=True)
    jobs.until(name, lambda status: jobs.is_true(name, "Suspended") and not status.get("active"), "is suspended")
    template = jobs.get(name)["spec"]["template"]
    template["spec"]["containers"][0]["resources"] = {"requests": {"cpu": "100m"}}
    jobs.change(name, template=template)
    jobs.change(name, suspend=False)
    eventually(lambda: bool(jobs.runs(name, 1)), "it runs")
    [pod] = [pod for pod in jobs.pods(name) if "deletionTimestamp" not in pod["metadata"]]
    assert pod["spec"]["containers"][0]["resources"]["requests"] == {"cpu": "100m"}


def test_run_a_job_to_completion_with_cpu_requests(jobs: Jobs):
    wanted = job("succeeds", "cpu", parallelism=30, completions=30, backoffLimit=0)
    wanted["spec"]["template"]["spec"]["containers"][0]["resources"] = {"requests": {"cpu": "800m"}}
    jobs.cluster.create(jobs.path, wanted)
    jobs.completes("cpu", completions=30)
