"""CronJobs: the cases of the suite's `cronjob.go`. They take minutes each, so all of them are waited for at once."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.system.conformance.cluster import Cluster, Obj, eventually, names
from tests.system.conformance.fleet import fleet

pytestmark = [pytest.mark.system, pytest.mark.long, pytest.mark.timeout(400)]

EVERY_MINUTE = "*/1 * * * ?"
WAIT_S = 200.0


@pytest.fixture(scope="module", autouse=True)
def nodes(cluster: Cluster) -> Iterator[None]:
    with fleet(cluster, cluster.name("node")):
        yield


def cron_job(name: str, task: str, **spec: Any) -> Obj:
    pod = {
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": 1,
        "containers": [{"name": "c", "image": f"busybox:{task}"}],
    }
    template = {"spec": {"parallelism": 1, "completions": 1, "template": {"spec": pod}}}
    return {"metadata": {"name": name}, "spec": {"schedule": EVERY_MINUTE, "jobTemplate": template, **spec}}


class Crons:
    def __init__(self, cluster: Cluster, ns: str) -> None:
        self.cluster, self.ns = cluster, ns
        self.path = f"/apis/batch/v1/namespaces/{ns}/cronjobs"
        self.jobs_path = f"/apis/batch/v1/namespaces/{ns}/jobs"

    def create(self, name: str, task: str = "waits", **spec: Any) -> None:
        self.cluster.create(self.path, cron_job(name, task, **spec))

    def active(self, name: str) -> list[str]:
        return [each["name"] for each in self.cluster.get(f"{self.path}/{name}").get("status", {}).get("active", [])]

    def jobs(self, name: str) -> list[Obj]:
        items = self.cluster.get(self.jobs_path)["items"]
        return [job for job in items if job["metadata"]["ownerReferences"][0]["name"] == name]

    def ended(self, name: str, type_: str) -> list[str]:
        return [
            job["metadata"]["name"]
            for job in self.jobs(name)
            if any(each["type"] == type_ and each["status"] == "True" for each in job["status"].get("conditions", []))
        ]

    def warnings(self, name: str) -> list[str]:
        events = self.cluster.get(f"/api/v1/namespaces/{self.ns}/events")["items"]
        mine = [each for each in events if each["involvedObject"]["name"] == name]
        return [each["reason"] for each in mine if each["type"] == "Warning"]

    def until(self, true: Any, what: str) -> None:
        eventually(true, what, WAIT_S)


def test_cron_jobs_over_two_minutes(cluster: Cluster, ns: str):
    crons = Crons(cluster, ns)
    crons.create("concurrent", concurrencyPolicy="Allow")
    crons.create("suspended", suspend=True)
    crons.create("forbid", concurrencyPolicy="Forbid")
    crons.create("replace", concurrencyPolicy="Replace")
    crons.create("removed")
    crons.create("succeeds", "succeeds", successfulJobsHistoryLimit=1)
    crons.create("fails", "fails", failedJobsHistoryLimit=1)
    for job in ("fails",):
        template = cluster.get(f"{crons.path}/{job}")["spec"]["jobTemplate"]
        template["spec"]["backoffLimit"] = 0
        cluster.patch(f"{crons.path}/{job}", {"spec": {"jobTemplate": template}})
    crons.create("zoned", timeZone="America/New_York")
    long_ago = cron_job("missed", "waits")
    cluster.create(crons.path, long_ago)
    cluster.ok(
        "PATCH",
        f"{crons.path}/missed/status",
        {"status": {"lastScheduleTime": "2020-01-01T00:00:00Z"}},
        media="application/merge-patch+json",
    )
    crons.until(lambda: len(crons.active("missed")) == 1, "after more than 100 missed schedules one begins")
    assert "TooManyMissedTimes" in crons.warnings("missed")
    crons.until(lambda: len(crons.active("replace")) == 1, "the first of replace runs")
    [replaced] = crons.active("replace")
    crons.until(lambda: len(crons.active("removed")) == 1, "the first of removed runs")
    [removed] = crons.active("removed")
    cluster.delete(f"{crons.jobs_path}/{removed}", {"propagationPolicy": "Background"})
    crons.until(lambda: removed not in crons.active("removed"), "it is no more in the list")
    crons.until(lambda: len(crons.active("concurrent")) >= 2, "two run at once")
    crons.until(lambda: replaced not in names(cluster.get(crons.jobs_path)), "it was replaced")
    crons.until(lambda: len(crons.active("replace")) == 1, "by one")
    assert len(crons.active("forbid")) == len(crons.jobs("forbid")) == 1
    assert len(crons.active("zoned")) >= 1
    assert crons.jobs("suspended") == []
    seen: set[str] = set()

    def two_came(name: str, type_: str) -> bool:
        seen.update(crons.ended(name, type_))
        return len({each for each in seen if each.startswith(name)}) >= 2 and len(crons.jobs(name)) == 1

    crons.until(lambda: two_came("succeeds", "Complete"), "one that succeeded is kept")
    crons.until(lambda: two_came("fails", "Failed"), "one that failed is kept")
    assert cluster.get(f"{crons.path}/succeeds")["status"]["lastSuccessfulTime"]
    time.sleep(1)
    for name in ("concurrent", "succeeds", "forbid", "replace"):
        assert not {"UnexpectedJob", "FailedCreate"} & set(crons.warnings(name))
    cluster.delete(crons.path)
    crons.until(lambda: not cluster.get(crons.jobs_path)["items"], "their Jobs go with them")
