"""PodStatus as a kubelet writes it."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from edgecore.pods.plan import Waiting
from edgecore.pods.port import ContainerState, SandboxState, User
from edgecore.pods.probes import Health
from edgecore.pods.status import Ending, Picture, pod_status
from skerry.frozen import replace
from skerry.objects.conditions import find_condition
from skerry.objects.json import Json, JsonObject, dig, map_at, maps_at, str_at
from tests.edgecore.pods.pods_of import NOW_MS, container, ended, pod, sandbox, state

GROUND = sandbox()


def status_of(
    *containers: ContainerState,
    the_pod: JsonObject | None = None,
    waiting: Mapping[str, Waiting] | None = None,
    before: JsonObject | None = None,
    now_ms: int = NOW_MS,
    terminating: bool = False,
    ground: SandboxState | None = GROUND,
    health: Mapping[str, Health] | None = None,
    beginning: frozenset[str] = frozenset(),
    ending: Ending | None = None,
    messages: Mapping[str, str] | None = None,
    stillborn: Mapping[str, str] | None = None,
) -> JsonObject:
    return pod_status(
        Picture(
            pod=the_pod or pod(),
            containers=containers,
            sandbox=ground,
            waiting=waiting or {},
            before=before or {},
            runtime="fake",
            address="10.0.0.7",
            start_ms=NOW_MS,
            now_ms=now_ms,
            terminating=terminating,
            unsupported="",
            health=health or {},
            beginning=beginning,
            ending=ending,
            messages=messages or {},
            stillborn=stillborn or {},
        )
    )


def first(status: JsonObject) -> JsonObject:
    return maps_at(status, "containerStatuses")[0]


def truth(status: JsonObject, kind: str) -> str:
    return str_at(find_condition(maps_at(status, "conditions"), kind) or {}, "status")


def test_a_running_pod_is_ready() -> None:
    status = status_of(state())
    assert status["phase"] == "Running"
    kinds = ("PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled")
    assert [truth(status, kind) for kind in kinds] == ["True"] * 5
    assert {str_at(status, field) for field in ("hostIP", "podIP")} == {"10.0.0.7"}
    assert first(status)["state"] == {"running": {"startedAt": "2025-06-15T15:06:40Z"}}
    assert (first(status)["ready"], first(status)["started"], first(status)["restartCount"]) == (True, True, 0)
    assert first(status)["containerID"] == "fake://uid-1.app.0"
    assert status["observedGeneration"] == 1
    assert all(condition["observedGeneration"] == 1 for condition in maps_at(status, "conditions"))


def test_a_pod_has_the_addresses_of_its_sandbox_and_keeps_them_when_it_has_ended() -> None:
    status = status_of(state(), ground=sandbox(addresses=("10.244.1.7", "fd00::7")))
    assert (status["podIP"], status["podIPs"]) == ("10.244.1.7", [{"ip": "10.244.1.7"}, {"ip": "fd00::7"}])
    assert str_at(status, "hostIP") == "10.0.0.7"
    over = status_of(ended(code=0), the_pod=pod(restartPolicy="Never"), before=status, ground=None)
    assert (over["phase"], over["podIPs"]) == ("Succeeded", status["podIPs"])
    assert truth(over, "PodReadyToStartContainers") == "False"


def test_conditions_keep_the_time_of_their_change() -> None:
    old = status_of(state())
    same = status_of(state(), before=old, now_ms=NOW_MS + 60_000)
    assert same == old
    crashed = status_of(ended(), before=old, now_ms=NOW_MS + 60_000)
    ready = find_condition(maps_at(crashed, "conditions"), "Ready") or {}
    assert ready["lastTransitionTime"] == "2025-06-15T15:07:40Z"
    assert (ready["reason"], ready["message"]) == ("ContainersNotReady", "containers with unready status: [app]")


def test_who_waits_for_its_restart_shows_how_it_ended() -> None:
    wait = {"app": Waiting(reason="CrashLoopBackOff", message="back-off 10s")}
    status = status_of(ended(attempt=2, code=3), waiting=wait)
    assert status["phase"] == "Running"
    assert dig(first(status), "state", "waiting", "reason") == "CrashLoopBackOff"
    assert dig(first(status), "lastState", "terminated", "exitCode") == 3
    assert first(status)["restartCount"] == 2


def test_a_restarted_container_shows_its_last_end() -> None:
    status = status_of(ended(attempt=0, code=7), state(attempt=1))
    assert dig(first(status), "lastState", "terminated", "exitCode") == 7
    assert dig(first(status), "state", "running") is not None


def test_a_container_that_can_not_be_made_says_why() -> None:
    wait = {"app": Waiting(reason="CreateContainerConfigError", message='configmap "x" not found')}
    status = status_of(waiting=wait, ground=None)
    assert status["phase"] == "Pending"
    assert "podIP" not in status
    assert dig(first(status), "state", "waiting") == {
        "reason": "CreateContainerConfigError",
        "message": 'configmap "x" not found',
    }
    assert truth(status, "PodReadyToStartContainers") == "False"


@pytest.mark.parametrize(
    ("policy", "codes", "phase"),
    [
        ("Never", (0, 0), "Succeeded"),
        ("Never", (0, 1), "Failed"),
        ("OnFailure", (0, 0), "Succeeded"),
        ("OnFailure", (0, 1), "Running"),
        ("Always", (0, 0), "Running"),
    ],
)
def test_the_phase_of_ended_containers_follows_the_policy(policy: str, codes: tuple[int, int], phase: str) -> None:
    the_pod = pod(container("a"), container("b"), restartPolicy=policy)
    status = status_of(ended("a", code=codes[0]), ended("b", code=codes[1]), the_pod=the_pod)
    assert status["phase"] == phase
    if phase == "Succeeded":
        ready = find_condition(maps_at(status, "conditions"), "Ready") or {}
        assert (ready["status"], ready["reason"]) == ("False", "PodCompleted")


def test_the_phase_of_ended_containers_follows_their_own_policies() -> None:
    once, again = container("a", restartPolicy="Never"), container("b", restartPolicy="OnFailure")
    the_pod = pod(once, again)
    assert status_of(ended("a", code=1), ended("b", code=1), the_pod=the_pod)["phase"] == "Running"
    assert status_of(ended("a", code=1), ended("b", code=0), the_pod=the_pod)["phase"] == "Failed"
    assert status_of(ended("a", code=0), ended("b", code=0), the_pod=the_pod)["phase"] == "Succeeded"
    firm = container("init", restartPolicy="Never")
    assert status_of(ended("init", code=1), the_pod=staged(firm))["phase"] == "Failed"


def test_one_container_that_has_not_begun_keeps_the_pod_pending() -> None:
    the_pod = pod(container("a"), container("b"))
    assert status_of(state("a"), the_pod=the_pod)["phase"] == "Pending"


def test_a_stopped_pod_ends_in_a_last_phase() -> None:
    assert status_of(ended(code=143), terminating=True)["phase"] == "Failed"
    assert status_of(ended(code=0), terminating=True)["phase"] == "Succeeded"
    assert status_of(state(), terminating=True)["phase"] == "Running"


# --- init containers, probes, ends ----------------------------------------------------------------------------------


def staged(*inits: JsonObject, policy: str = "Always") -> JsonObject:
    return pod(container("a"), initContainers=[*inits], restartPolicy=policy)


INIT, SIDE = container("init"), container("side", restartPolicy="Always")


def inits(status: JsonObject) -> list[JsonObject]:
    return maps_at(status, "initContainerStatuses")


def condition(status: JsonObject, kind: str) -> tuple[str, str, str]:
    found = find_condition(maps_at(status, "conditions"), kind) or {}
    return str_at(found, "status"), str_at(found, "reason"), str_at(found, "message")


def test_a_pod_that_is_being_initialized_says_so() -> None:
    status = status_of(state("init"), the_pod=staged(INIT, SIDE))
    assert status["phase"] == "Pending"
    assert dig(first(status), "state", "waiting") == {"reason": "PodInitializing"}
    assert [next(iter(map_at(each, "state"))) for each in inits(status)] == ["running", "waiting"]
    assert [each["ready"] for each in inits(status)] == [False, False]
    told = ("False", "ContainersNotInitialized", "containers with incomplete status: [init side]")
    assert condition(status, "Initialized") == told
    assert condition(status, "Ready")[2] == "containers with unready status: [side a]"


def test_an_init_container_that_has_succeeded_is_ready_and_a_sidecar_counts_as_an_app_does() -> None:
    runs = (ended("init", code=0), state("side"), state("a"))
    status = status_of(*runs, the_pod=staged(INIT, SIDE))
    assert (status["phase"], condition(status, "Initialized")[0]) == ("Running", "True")
    assert [(each["ready"], each["started"]) for each in inits(status)] == [(True, False), (True, True)]
    slow = {"uid-1.side.0": Health(started=True, ready=False)}
    status = status_of(*runs, the_pod=staged(INIT, SIDE), health=slow)
    assert condition(status, "ContainersReady")[2] == "containers with unready status: [side]"


def test_a_pod_stays_initialized_while_a_sidecar_comes_back() -> None:
    status = status_of(ended("side"), state("a"), the_pod=staged(SIDE))
    assert (status["phase"], condition(status, "Initialized")) == ("Running", ("True", "", ""))


@pytest.mark.parametrize(
    ("runs", "policy", "phase"),
    [
        ((ended("init"),), "Never", "Failed"),
        ((ended("init"),), "Always", "Pending"),
        ((ended("init"), state("side")), "Never", "Running"),
        ((ended("init", code=0), state("side"), ended("a", code=0)), "Never", "Running"),
        ((ended("init", code=0), ended("side"), ended("a", code=0)), "Never", "Succeeded"),
        ((ended("init", code=0), ended("side", code=0), ended("a")), "Never", "Failed"),
    ],
)
def test_sidecars_hold_a_pod_and_say_nothing_of_its_success(
    runs: tuple[ContainerState, ...], policy: str, phase: str
) -> None:
    wait = {"a": Waiting(reason="PodInitializing", message="")} if not any(run.name == "a" for run in runs) else {}
    assert status_of(*runs, the_pod=staged(INIT, SIDE, policy=policy), waiting=wait)["phase"] == phase


def test_who_has_not_started_is_not_ready_and_who_runs_its_first_hook_does_not_run_yet() -> None:
    begun = status_of(state(), health={"uid-1.app.0": Health(started=False, ready=False)})
    assert (first(begun)["started"], first(begun)["ready"], begun["phase"]) == (False, False, "Running")
    hooked = status_of(state(), beginning=frozenset({"uid-1.app.0"}))
    assert (dig(first(hooked), "state", "waiting", "reason"), hooked["phase"]) == ("ContainerCreating", "Pending")


def test_who_does_not_survive_its_first_hook_is_told_of_in_a_kubelets_words_and_never_ran() -> None:
    dead = status_of(state(), stillborn={"uid-1.app.0": "exit status 1"})
    assert dig(first(dead), "state") == {"waiting": {"reason": "PostStartHookError", "message": "exit status 1"}}
    assert (first(dead)["ready"], first(dead)["started"], dead["phase"]) == (False, False, "Pending")
    gone = status_of(ended(code=137), stillborn={"uid-1.app.0": "exit status 1"})
    assert dig(first(gone), "state", "terminated", "exitCode") == 137


def test_readiness_gates_are_others_to_open() -> None:
    gated = pod(readinessGates=[{"conditionType": "example.org/open"}])
    said = 'corresponding condition of pod readiness gate "example.org/open" does not exist.'
    assert condition(status_of(state(), the_pod=gated), "Ready") == ("False", "ReadinessGatesNotReady", said)
    assert condition(status_of(state(), the_pod=gated), "ContainersReady")[0] == "True"
    for value, reason in (("False", "ReadinessGatesNotReady"), ("True", "")):
        held: Json = {"conditions": [{"type": "example.org/open", "status": value}]}
        assert condition(status_of(state(), the_pod={**gated, "status": held}), "Ready")[1] == reason


def test_a_pod_that_the_gateway_ended_says_why_once_nothing_of_it_runs() -> None:
    evicted = Ending(reason="Evicted", message="too little memory", disrupted=True)
    ending = status_of(state(), ending=evicted, terminating=True)
    assert (ending["phase"], ending.get("reason")) == ("Running", None), "why is told with what it came to"
    status = status_of(ended(code=0), ending=evicted, terminating=True)
    assert (status["phase"], status["reason"], status["message"]) == ("Failed", "Evicted", "too little memory")
    assert condition(status, "DisruptionTarget") == ("True", "TerminationByKubelet", "too little memory")


def test_last_words_are_told_with_the_end() -> None:
    status = status_of(ended(), messages={"uid-1.app.0": "too hot"})
    assert dig(first(status), "state", "terminated", "message") == "too hot"


def test_an_ephemeral_container_is_told_apart_and_what_it_does_means_nothing_to_the_pod() -> None:
    the_pod = pod(container(), ephemeralContainers=[container("debug")])
    (told,) = maps_at(status_of(state(), the_pod=the_pod), "ephemeralContainerStatuses")
    assert (told["state"], "started" in told) == ({"waiting": {"reason": "ContainerCreating"}}, False)
    running = status_of(state(), state("debug"), the_pod=the_pod)
    (told,) = maps_at(running, "ephemeralContainerStatuses")
    assert (list(map_at(told, "state")), told["ready"], told["restartCount"]) == (["running"], False, 0)
    failed = status_of(state(), ended("debug"), the_pod=the_pod)
    assert (failed["phase"], truth(failed, "Ready")) == ("Running", "True")
    forgotten = status_of(state(), the_pod=the_pod, before=failed)
    assert forgotten["ephemeralContainerStatuses"] == failed["ephemeralContainerStatuses"]
    (lost,) = maps_at(status_of(state(), the_pod=the_pod, before=running), "ephemeralContainerStatuses")
    assert dig(lost, "state", "terminated", "reason") == "ContainerStatusUnknown"
    ending = status_of(
        ended(), state("debug"), the_pod=the_pod, terminating=True, ending=Ending(reason="x", message="")
    )
    assert ending["phase"] == "Running"


def test_what_is_mounted_is_told_as_a_kubelet_tells_it() -> None:
    """RecursiveReadOnlyMounts."""
    mounts: list[Json] = [
        {"name": "v", "mountPath": "/v"},
        {"name": "r", "mountPath": "/r", "readOnly": True, "subPath": "x"},
    ]
    told = first(status_of(the_pod=pod(container(volumeMounts=mounts))))
    assert told["volumeMounts"] == [
        {"name": "v", "mountPath": "/v"},
        {"name": "r", "mountPath": "/r", "readOnly": True, "recursiveReadOnly": "Disabled"},
    ]
    assert "volumeMounts" not in first(status_of(state()))


def test_the_image_is_shown_by_its_whole_name_and_with_who_it_began_as() -> None:
    run = replace(state(), full_image="docker.io/library/app:latest", user=User(uid=1, gid=2, groups=(2, 3)))
    told = first(status_of(run))
    assert told["image"] == "docker.io/library/app:latest"
    assert told["user"] == {"linux": {"uid": 1, "gid": 2, "supplementalGroups": [2, 3]}}
    root = first(status_of(replace(run, user=User(uid=0, gid=0))))
    assert root["user"] == {"linux": {"uid": 0, "gid": 0}}
    assert "user" not in first(status_of(state()))


def test_who_an_ended_container_began_as_stays_told() -> None:
    """After a restart of the agent the runtime says no more."""
    before = status_of(replace(state(), user=User(uid=7, gid=7)))
    again = first(status_of(ended(), before=before))
    assert again["containerID"] == first(before)["containerID"]
    assert again["user"] == {"linux": {"uid": 7, "gid": 7}}
