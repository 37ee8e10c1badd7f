"""Jobs and CronJobs with a real cloud, a real gateway and kubectl: links cut, powers cut, and each run counted once.

What runs writes a line into a book of its own, so that a run which was made twice shows.
"""

from __future__ import annotations

import json
import shutil
import signal
import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.system.containerd import BUSYBOX_IMAGE, Containerd, containerd_server
from tests.system.real_fleet import RealFleet, real_fleet, until

pytestmark = [
    pytest.mark.system,
    pytest.mark.long,
    pytest.mark.timeout(300),
    pytest.mark.skipif(shutil.which("kubectl") is None, reason="needs kubectl"),
]
BOOK = "/skerry-book"
AS_PROCESSES = pytest.mark.parametrize("site", ["process"], indirect=True)
"""Where it is the cloud's doing, whatever runs the pods."""


@dataclass
class Site:
    """A fleet of one gateway, and a directory of it that its pods see as /skerry-book."""

    fleet: RealFleet
    book: Path
    image: str
    names: Iterator[str] = field(default_factory=lambda: (f"job-{number}" for number in range(100)))

    def kubectl(self, *arguments: str, stdin: str = "") -> str:
        return self.fleet.cloud.kubectl(*arguments, stdin=stdin)

    def make(self, script: str, **spec: Any) -> str:
        """A Job whose pods run that; its name."""
        name = next(self.names)
        container = {
            "name": "c",
            "image": self.image,
            "imagePullPolicy": "IfNotPresent",
            "command": ["sh", "-c", script],
            "volumeMounts": [{"name": "book", "mountPath": BOOK}],
        }
        pod = {
            "restartPolicy": spec.pop("restart", "Never"),
            "automountServiceAccountToken": False,
            "terminationGracePeriodSeconds": 2,
            "containers": [container],
            "volumes": [{"name": "book", "hostPath": {"path": str(self.book)}}],
        }
        job = {
            "apiVersion": "batch/v1",
            "kind": "Job",
            "metadata": {"name": name},
            "spec": {"template": {"spec": pod}, **spec},
        }
        self.kubectl("create", "-f", "-", stdin=json.dumps(job))
        return name

    @property
    def where(self) -> str:
        """The book, as pods know it: a plain process sees the gateway's own files."""
        return BOOK if self.image != "sh" else str(self.book)

    def writing(self, name: str) -> str:
        """A script that waits to be let go, and writes a line before it ends."""
        return f"while ! test -e {self.where}/{name}.go; do sleep 0.1; done; echo ran >> {self.where}/{name}"

    def once(self, name: str, first: str) -> str:
        """A script that does this the first time, for each index, and ends well from then on."""
        mark = f"{self.where}/{name}-$JOB_COMPLETION_INDEX"
        return f"if test -e {mark}; then exit 0; fi; touch {mark}; {first}"

    def let_go(self, name: str) -> None:
        (self.book / f"{name}.go").touch()

    def lines(self, name: str) -> list[str]:
        path = self.book / name
        return path.read_text().split() if path.exists() else []

    def get(self, kind: str, *arguments: str) -> Any:
        return json.loads(self.kubectl("get", kind, *arguments, "-o", "json"))

    def status(self, name: str) -> Any:
        return self.get("job", name).get("status", {})

    def pods(self, name: str) -> list[Any]:
        return self.get("pods", "-l", f"job-name={name}")["items"]

    def phases(self, name: str) -> list[str]:
        return sorted(pod["status"]["phase"] for pod in self.pods(name))

    def is_true(self, name: str, type_: str) -> bool:
        return any(
            one["type"] == type_ and one["status"] == "True" for one in self.status(name).get("conditions", [])
        )

    def until(self, level: Callable[[], object], what: str) -> None:
        until(level, what, deadline_s=90)

    def runs(self, name: str, count: int = 1) -> None:
        self.until(lambda: self.phases(name).count("Running") == count, f"{count} pods of {name} run")

    def completes(self, name: str) -> None:
        self.kubectl("wait", "--for=condition=complete", f"job/{name}", "--timeout=90s")

    # What is done to it

    def cut(self) -> None:
        """The cloud is gone."""
        self.fleet.cloud.stop(signal.SIGKILL)

    def power_cut(self) -> None:
        """The gateway, too, with all that ran on it; and it starts again, alone."""
        self.fleet.edge.stop(signal.SIGKILL)
        self.fleet.edge.end_containers()
        self.fleet.edge.start()

    def mend(self) -> None:
        self.fleet.start_cloud()
        self.until(lambda: self.fleet.ready() == "True", "the node is ready")


@pytest.fixture(scope="module")
def containerd() -> Generator[Containerd]:
    with containerd_server() as server:
        yield server


@pytest.fixture(scope="module", params=["process", "containerd"])
def site(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    base = tmp_path_factory.mktemp("jobs")
    (base / "book").mkdir()
    with real_fleet(base) as fleet:
        image = "sh"
        if request.param == "containerd":
            server: Containerd = request.getfixturevalue("containerd")
            image = BUSYBOX_IMAGE
            fleet.edge.environ = {
                "SKERRY_RUNTIME": "containerd",
                "SKERRY_RUNTIME_ENDPOINT": server.endpoint,
                "SKERRY_CGROUP_ROOT": server.cgroup_root,
            }
        fleet.edge.start()
        made = Site(fleet, base / "book", image)
        made.until(lambda: fleet.ready() == "True", "the node is ready")
        yield made


def test_what_people_type_works(site: Site) -> None:
    site.kubectl("create", "job", "hello", f"--image={site.image}", "--", "sh", "-c", "echo hello")
    site.completes("hello")
    assert site.kubectl("logs", "job/hello") == "hello\n"
    [line] = site.kubectl("get", "jobs", "--no-headers", "--field-selector", "metadata.name=hello").splitlines()
    assert line.split()[1:3] == ["Complete", "1/1"]
    said = site.kubectl("describe", "job", "hello")
    assert "1 Succeeded / 0 Failed" in said
    assert "Job completed" in said
    site.kubectl(
        "create", "cronjob", "tick", f"--image={site.image}", "--schedule=0 0 1 1 *", "--", "sh", "-c", "echo tock"
    )
    assert site.kubectl("get", "cronjobs", "--no-headers").split()[:2] == ["tick", "0"]
    site.kubectl("create", "job", "now", "--from=cronjob/tick")
    site.completes("now")
    assert site.kubectl("logs", "job/now") == "tock\n"
    site.kubectl("delete", "cronjob/tick", "job/hello")  # the other goes with its CronJob
    site.until(lambda: not site.get("jobs")["items"], "no Job is left")
    site.until(lambda: not site.get("pods")["items"], "their pods are gone")


def test_each_index_knows_itself(site: Site) -> None:
    script = f"echo $JOB_COMPLETION_INDEX >> {site.where}/indexes"
    name = site.make(script, completionMode="Indexed", completions=3, parallelism=2)
    site.completes(name)
    assert sorted(site.lines("indexes")) == ["0", "1", "2"]
    assert site.status(name)["completedIndexes"] == "0-2"


def on_exit(action: str, *codes: int) -> Any:
    return {"rules": [{"action": action, "onExitCodes": {"operator": "In", "values": list(codes)}}]}


def test_the_suites_cases_of_real_pods(site: Site) -> None:
    """The eight of `job.go` that Kubernetes' conformance has of these, begun at once."""
    indexed: Any = {"completionMode": "Indexed", "parallelism": 2}
    odd = "exit $((JOB_COMPLETION_INDEX % 2))"
    disrupted = [{"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]}]
    early = site.make(site.once("early", "exit 1"), parallelism=1, podFailurePolicy=on_exit("FailJob", 1))
    locally = site.make(site.once("locally", "exit 1"), completions=2, restart="OnFailure")
    evicted = site.make(
        site.once("evicted", "while :; do sleep 0.2; done"),
        **{**indexed, "parallelism": 3},
        completions=3,
        backoffLimit=2,
        podFailurePolicy={"rules": disrupted},
    )
    each = site.make(odd, **indexed, completions=4, backoffLimitPerIndex=1)
    by_index = site.make(
        odd, **indexed, completions=2, backoffLimitPerIndex=1, podFailurePolicy=on_exit("FailIndex", 1)
    )
    most = site.make(
        "exit 1", completionMode="Indexed", completions=4, parallelism=1, backoffLimitPerIndex=0, maxFailedIndexes=0
    )
    never = 2**31 - 1
    some, few = (
        site.make(odd, **indexed, completions=5, backoffLimit=never, successPolicy={"rules": [rule]})
        for rule in ({"succeededIndexes": "0"}, {"succeededCount": 1})
    )
    site.runs(evicted, 3)
    for pod in site.pods(evicted):
        meta = pod["metadata"]
        body: Any = {
            "apiVersion": "policy/v1",
            "kind": "Eviction",
            "metadata": {"name": meta["name"], "namespace": "default"},
        }
        site.fleet.create(f"/api/v1/namespaces/default/pods/{meta['name']}/eviction", body)
    ends = {
        early: ("Failed", "PodFailurePolicy"),
        locally: ("Complete", "CompletionsReached"),
        evicted: ("Complete", "CompletionsReached"),
        each: ("Failed", "FailedIndexes"),
        by_index: ("Failed", "FailedIndexes"),
        most: ("Failed", "MaxFailedIndexesExceeded"),
        some: ("Complete", "SuccessPolicy"),
        few: ("Complete", "SuccessPolicy"),
    }
    for name, (type_, _) in ends.items():
        site.kubectl("wait", f"--for=condition={type_.lower()}", f"job/{name}", "--timeout=120s")
    status = {name: site.status(name) for name in ends}
    for name, (type_, reason) in ends.items():
        assert reason in {one["reason"] for one in status[name]["conditions"] if one["type"] == type_}, status[name]
        assert (status[name].get("active", 0), status[name]["terminating"]) == (0, 0)
    assert (status[evicted]["succeeded"], status[evicted].get("failed", 0)) == (3, 0)
    assert (status[locally]["succeeded"], status[locally].get("failed", 0)) == (2, 0)
    assert (status[each]["failedIndexes"], status[each]["completedIndexes"]) == ("1,3", "0,2")
    assert (status[each]["failed"], status[each]["succeeded"]) == (4, 2)
    assert (status[by_index]["failedIndexes"], status[by_index]["failed"]) == ("1", 1)
    assert (status[most]["failedIndexes"], status[most]["failed"]) == ("0", 1)
    assert status[some]["completedIndexes"] == status[few]["completedIndexes"] == "0"


def test_what_ended_while_the_link_was_cut_counts_and_does_not_run_again(site: Site) -> None:
    """Over a power cut of the gateway, and a new start of the cloud, which had not heard of it."""
    name = site.make(site.writing("offline"))
    site.runs(name)
    site.cut()
    site.let_go("offline")
    site.until(lambda: site.lines("offline"), "it has run")
    [pod] = site.fleet.edge.api.request("GET", f"/api/v1/pods?labelSelector=job-name={name}").obj["items"]  # type: ignore[misc]
    local = f"/api/v1/namespaces/default/pods/{pod['metadata']['name']}"  # type: ignore[index]

    def phase() -> Any:
        told: Any = site.fleet.edge.api.request("GET", local).obj
        return told["status"]["phase"]

    site.until(lambda: phase() == "Succeeded", "the gateway knows")
    site.power_cut()
    assert phase() == "Succeeded"
    site.mend()
    site.completes(name)
    assert site.phases(name) == ["Succeeded"]
    assert site.lines("offline") == ["ran"]
    assert site.status(name)["succeeded"] == 1


@AS_PROCESSES
def test_a_silent_gateway_fails_nothing_and_is_replaced_by_nobody(site: Site) -> None:
    name = site.make(site.writing("silent"))
    site.runs(name)
    [pod] = site.pods(name)
    site.fleet.edge.stop(signal.SIGKILL)
    site.until(lambda: site.fleet.ready() != "True", "the gateway is silent")
    site.let_go("silent")
    site.until(lambda: site.lines("silent"), "it has run")
    time.sleep(1)
    assert [each["metadata"]["uid"] for each in site.pods(name)] == [pod["metadata"]["uid"]]
    assert (site.status(name)["active"], site.status(name).get("failed", 0)) == (1, 0)
    site.fleet.edge.start()
    site.completes(name)
    assert site.lines("silent") == ["ran"]


@AS_PROCESSES
def test_a_deadline_that_passes_while_the_link_is_cut_ends_the_job_when_the_gateway_has_ended_it(site: Site) -> None:
    name = site.make("while :; do sleep 0.2; done", activeDeadlineSeconds=4)
    site.runs(name)
    site.fleet.edge.stop(signal.SIGKILL)
    site.until(lambda: site.is_true(name, "FailureTarget"), "it is to fail")
    assert site.status(name)["terminating"] == 1
    assert not site.is_true(name, "Failed")
    site.fleet.edge.start()
    site.kubectl("wait", "--for=condition=failed", f"job/{name}", "--timeout=90s")
    assert site.pods(name) == []


@AS_PROCESSES
def test_a_failure_is_tried_again_and_then_the_job_fails(site: Site) -> None:
    name = site.make("exit 3", backoffLimit=1)
    site.kubectl("wait", "--for=condition=failed", f"job/{name}", "--timeout=90s")
    assert site.phases(name) == ["Failed", "Failed"]
    reasons = {each["type"]: each["reason"] for each in site.status(name)["conditions"]}
    assert reasons["Failed"] == "BackoffLimitExceeded"


@AS_PROCESSES
def test_a_suspended_job_goes_on_with_other_pods(site: Site) -> None:
    name = site.make(site.writing("suspended"))
    site.runs(name)
    site.kubectl("patch", "job", name, "-p", '{"spec":{"suspend":true}}')
    site.until(lambda: not site.pods(name), "its pod has ended")
    site.kubectl("patch", "job", name, "-p", '{"spec":{"suspend":false}}')
    site.let_go("suspended")
    site.completes(name)
    assert site.lines("suspended") == ["ran"]
    assert site.status(name).get("failed", 0) == 0


def test_every_index_runs_once_while_cloud_and_gateway_are_killed(site: Site) -> None:
    script = f"sleep 0.5; echo $JOB_COMPLETION_INDEX >> {site.where}/killed"
    name = site.make(script, completionMode="Indexed", completions=8, parallelism=2, restart="Never")
    for _ in range(4):
        time.sleep(1.2)
        site.cut()
        site.fleet.edge.stop(signal.SIGKILL)
        site.fleet.edge.start()
        site.mend()
    site.completes(name)
    assert sorted(site.lines("killed")) == [str(index) for index in range(8)]
    assert site.status(name)["completedIndexes"] == "0-7"
    for pod in site.pods(name):
        if pod["status"]["phase"] == "Failed":
            # containerd gives up a start whose caller dies: the pod fails and never ran, as with a kubelet.
            ended = pod["status"]["containerStatuses"][0]["state"]["terminated"]
            assert ended["reason"] == "StartError", ended


@AS_PROCESSES
def test_a_job_that_has_ended_goes_after_its_while(site: Site) -> None:
    name = site.make("exit 0", ttlSecondsAfterFinished=2)
    site.kubectl("wait", "--for=delete", f"job/{name}", "--timeout=60s")
    assert site.pods(name) == []
