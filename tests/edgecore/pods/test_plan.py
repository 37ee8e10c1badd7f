"""What is to be done for a pod."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest

from edgecore.pods.backoff import Backoff, Problem, duration_text, next_problem
from edgecore.pods.plan import (
    Plan,
    Remove,
    RemoveSandbox,
    Seen,
    Start,
    Stop,
    StopSandbox,
    Waiting,
    is_over,
    plan,
)
from edgecore.pods.port import Abilities, ContainerState, SandboxState
from edgecore.pods.probes import Health
from edgecore.pods.refusals import unheeded, unsupported
from skerry.frozen import replace
from skerry.objects.json import Json, JsonObject
from tests.edgecore.pods.pods_of import NOW_MS, container, ended, pod, sandbox, state

BARE = Abilities(pod_network=False, isolation=False, images=False, sub_paths=True)
WITHOUT_PARTS = Abilities(pod_network=False, isolation=False, images=False)
PART: JsonObject = {"name": "v", "mountPath": "/v", "subPath": "x"}


def seen(
    *containers: ContainerState,
    the_pod: JsonObject | None = None,
    backoff: Mapping[str, Backoff] | None = None,
    now_ms: int = NOW_MS,
    terminating: bool = False,
    finished: bool = False,
    sandboxes: Sequence[SandboxState] = (sandbox(),),
    health: Mapping[str, Health] | None = None,
    beginning: frozenset[str] = frozenset(),
    ending_ms: int = 0,
) -> Seen:
    return Seen(
        pod=the_pod or pod(),
        containers=containers,
        sandboxes=sandboxes,
        backoff=backoff or {},
        problems={},
        terminating=terminating,
        grace_s=7,
        finished=finished,
        now_ms=now_ms,
        health=health or {},
        beginning=beginning,
        ending_ms=ending_ms,
    )


def test_a_new_pod_starts_all_its_containers() -> None:
    steps = plan(seen(the_pod=pod(container("a"), container("b"))))
    assert steps.actions == (Start(name="a", attempt=0), Start(name="b", attempt=0))


def test_a_new_pod_needs_a_sandbox_first() -> None:
    steps = plan(seen(sandboxes=()))
    assert (steps.run_sandbox, steps.actions) == (0, ())


def test_when_the_sandbox_is_gone_all_start_again_in_another_without_delay_and_no_crash_is_counted() -> None:
    backoff = {"app": Backoff(delay_s=160, at_ms=NOW_MS)}
    died = ended(attempt=4, code=255)
    dead = sandbox(ready=False)
    steps = plan(seen(died, sandboxes=(dead,), backoff=backoff))
    assert (steps.run_sandbox, steps.actions, steps.waiting) == (1, (), {})
    steps = plan(seen(died, sandboxes=(dead, sandbox(1)), backoff=backoff))
    assert (steps.actions, steps.backoff) == ((Start(name="app", attempt=5),), backoff)
    crashed = ended(attempt=5, sandbox_id="uid-1/1")
    steps = plan(seen(died, crashed, sandboxes=(dead, sandbox(1)), backoff=backoff))
    assert (steps.actions, steps.waiting["app"].reason) == ((), "CrashLoopBackOff")


def test_what_still_runs_in_a_sandbox_that_is_gone_is_stopped_first() -> None:
    for sandboxes in ((sandbox(ready=False),), (sandbox(ready=False), sandbox(1)), ()):
        steps = plan(seen(state(), sandboxes=sandboxes))
        assert steps.run_sandbox is None
        assert steps.actions == (Stop(container_id="uid-1.app.0", name="app", grace_s=7),)


@pytest.mark.parametrize(("policy", "code"), [("Never", 255), ("OnFailure", 0)])
def test_no_sandbox_is_made_for_nobody(policy: str, code: int) -> None:
    over = seen(ended(code=code), the_pod=pod(restartPolicy=policy), sandboxes=(sandbox(ready=False),))
    assert (plan(over).run_sandbox, plan(over).actions) == (None, ())


def test_a_sandbox_goes_when_the_pod_has_ended_and_when_it_is_to_go() -> None:
    stop = (StopSandbox(sandbox_id="uid-1/0"),)
    assert plan(seen(ended(code=0), finished=True)).actions == stop
    assert plan(seen(ended(), terminating=True)).actions == stop
    assert plan(seen(ended(), terminating=True, sandboxes=(sandbox(ready=False),))).actions == ()


def test_old_sandboxes_are_cleared_away_with_the_last_run_in_them() -> None:
    three = (sandbox(ready=False), sandbox(1, ready=False), sandbox(2))
    runs = (ended(attempt=0), ended(attempt=1, sandbox_id="uid-1/1"), state(attempt=2, sandbox_id="uid-1/2"))
    steps = plan(seen(*runs, sandboxes=three))
    assert steps.actions == (Remove(container_id="uid-1.app.0"), RemoveSandbox(sandbox_id="uid-1/0"))


def test_a_running_pod_needs_nothing() -> None:
    steps = plan(seen(state()))
    assert (steps.actions, steps.wake_ms) == ((), None)


@pytest.mark.parametrize(
    ("policy", "code", "starts"),
    [("Always", 0, True), ("Always", 1, True), ("OnFailure", 0, False), ("OnFailure", 1, True), ("Never", 1, False)],
)
def test_the_restart_policy_decides_who_starts_again(policy: str, code: int, *, starts: bool) -> None:
    steps = plan(seen(ended(code=code), the_pod=pod(restartPolicy=policy)))
    assert steps.actions == ((Start(name="app", attempt=1),) if starts else ())


def rules(*codes: int, operator: str = "In") -> list[Json]:
    return [{"action": "Restart", "exitCodes": {"operator": operator, "values": [*codes]}}]


@pytest.mark.parametrize(
    ("of_pod", "of_container", "code", "starts"),
    [
        ("Always", {"restartPolicy": "Never"}, 1, False),
        ("Never", {"restartPolicy": "Always"}, 0, True),
        ("Never", {"restartPolicy": "OnFailure"}, 1, True),
        ("Never", {"restartPolicy": "Never", "restartPolicyRules": rules(42, 43)}, 43, True),
        ("Always", {"restartPolicy": "Never", "restartPolicyRules": rules(42)}, 1, False),
        ("Never", {"restartPolicy": "Never", "restartPolicyRules": rules(1, operator="NotIn")}, 1, False),
        ("Never", {"restartPolicy": "Never", "restartPolicyRules": rules(1, operator="NotIn")}, 0, True),
        ("Never", {"restartPolicy": "OnFailure", "restartPolicyRules": rules(42)}, 0, False),
    ],
)
def test_a_containers_own_policy_goes_before_its_pods_and_its_rules_before_both(
    of_pod: str, of_container: JsonObject, code: int, *, starts: bool
) -> None:
    the_pod = pod(container(**of_container), restartPolicy=of_pod)
    steps = plan(seen(ended(code=code), the_pod=the_pod))
    assert steps.actions == ((Start(name="app", attempt=1),) if starts else ())


def test_an_init_container_that_may_not_fail_ends_its_pod_whatever_the_pods_policy() -> None:
    firm = container("init", restartPolicy="Never", restartPolicyRules=rules(42))
    assert is_over(seen(ended("init", code=1), the_pod=staged(firm)))
    again = seen(ended("init", code=42), the_pod=staged(firm))
    assert not is_over(again) and names(plan(again)) == ["+init"]
    assert names(plan(seen(ended("init", code=0), the_pod=staged(firm)))) == ["+a", "+b"]


def test_restarts_wait_ten_seconds_doubled_up_to_five_minutes() -> None:
    backoff: Mapping[str, Backoff] = {}
    now_ms, delays = NOW_MS, []
    for attempt in range(9):
        crash = ended(attempt=attempt, at_ms=now_ms)
        steps = plan(seen(crash, backoff=backoff, now_ms=now_ms))
        if steps.wake_ms is not None:
            assert steps.actions == ()
            assert steps.waiting["app"].reason == "CrashLoopBackOff"
            assert plan(seen(crash, backoff=backoff, now_ms=steps.wake_ms - 1)).actions == ()
            delays.append((steps.wake_ms - now_ms) // 1000)
            now_ms = steps.wake_ms
            steps = plan(seen(crash, backoff=backoff, now_ms=now_ms))
        assert steps.actions == (Start(name="app", attempt=attempt + 1),)
        backoff = steps.backoff
    assert delays == [10, 20, 40, 80, 160, 300, 300, 300]


def test_after_ten_minutes_of_peace_the_count_begins_again() -> None:
    backoff = {"app": Backoff(delay_s=300, at_ms=NOW_MS - 600_001)}
    steps = plan(seen(ended(at_ms=NOW_MS), backoff=backoff))
    assert steps.actions == (Start(name="app", attempt=1),)
    assert steps.backoff["app"].delay_s == 10


def test_a_clock_that_stepped_back_does_not_hold_a_restart() -> None:
    backoff = {"app": Backoff(delay_s=300, at_ms=NOW_MS)}
    assert plan(seen(ended(at_ms=NOW_MS), backoff=backoff, now_ms=1000)).actions == (Start(name="app", attempt=1),)


def test_the_run_before_the_last_is_kept_and_older_ones_go() -> None:
    steps = plan(seen(ended(attempt=0), ended(attempt=1), state(attempt=2)))
    assert steps.actions == (Remove(container_id="uid-1.app.0"),)


def test_a_pod_that_is_to_go_is_stopped_with_its_grace() -> None:
    steps = plan(seen(state("app"), ended("side"), terminating=True))
    assert steps.actions == (Stop(container_id="uid-1.app.0", name="app", grace_s=7),)


def test_a_finished_pod_starts_nothing_whatever_the_runtime_forgot() -> None:
    for sandboxes in ((), (sandbox(ready=False),)):
        steps = plan(seen(finished=True, sandboxes=sandboxes))
        assert (steps.run_sandbox, steps.actions) == (None, ())


def test_a_problem_is_waited_out_with_its_reason() -> None:
    missing = Problem(reason="ErrImagePull", message="no", retry_ms=NOW_MS + 5)
    steps = plan(replace(seen(), problems={"app": missing}))
    assert (steps.actions, steps.waiting["app"].reason, steps.wake_ms) == ((), "ErrImagePull", NOW_MS + 5)
    assert plan(replace(seen(now_ms=NOW_MS + 5), problems={"app": missing})).actions


def test_an_image_that_is_still_missing_is_backed_off_longer() -> None:
    first = next_problem(None, reason="ErrImagePull", message="no", now_ms=0)
    second = next_problem(first, reason="ErrImagePull", message="no", now_ms=0)
    third = next_problem(second, reason="ErrImagePull", message="no", now_ms=0)
    assert [(problem.reason, problem.retry_ms) for problem in (first, second, third)] == [
        ("ErrImagePull", 10_000),
        ("ImagePullBackOff", 20_000),
        ("ImagePullBackOff", 40_000),
    ]
    other = next_problem(third, reason="CreateContainerConfigError", message="x", now_ms=0)
    assert (other.reason, other.tries) == ("CreateContainerConfigError", 1)


@pytest.mark.parametrize(
    ("the_pod", "named"),
    [
        (
            pod(initContainers=[container(volumeMounts=[PART])], volumes=[{"name": "v", "emptyDir": {}}]),
            "spec.initContainers[0].volumeMounts[0].subPath",
        ),
        (pod(hostUsers=False), "spec.hostUsers"),
        (pod(securityContext={"supplementalGroupsPolicy": "Strict"}), "supplementalGroupsPolicy"),
        (
            pod(container(volumeMounts=[{"name": "v", "mountPath": "/v", "recursiveReadOnly": "Enabled"}])),
            "spec.containers[0].volumeMounts[0].recursiveReadOnly",
        ),
        (pod(container(volumeDevices=[{"name": "v"}])), "spec.containers[0].volumeDevices"),
        (pod(volumes=[{"name": "v", "nfs": {"server": "s", "path": "/"}}]), "spec.volumes[0].nfs"),
        (pod(volumes=[{"name": "v", "emptyDir": {"medium": "HugePages-2Mi"}}]), "emptyDir.medium"),
        (
            pod(volumes=[{"name": "v", "projected": {"sources": [{"podCertificate": {}}]}}]),
            "podCertificate",
        ),
    ],
)
def test_what_is_not_done_here_is_named_by_its_field(the_pod: JsonObject, named: str) -> None:
    assert named in unsupported(the_pod, WITHOUT_PARTS)


def test_an_ordinary_pod_is_supported_and_what_is_not_enforced_is_said() -> None:
    limits = container(resources={"limits": {"cpu": "1"}})
    plain = pod(limits, volumes=[{"name": "v", "emptyDir": {}}])
    assert unsupported(plain, WITHOUT_PARTS) == ""
    parted = pod(container(volumeMounts=[PART]), volumes=[{"name": "v", "emptyDir": {}}])
    assert unsupported(parted, BARE) == ""
    written = pod(container(volumeMounts=[PART]), volumes=[{"name": "v", "configMap": {"name": "c"}}])
    assert unsupported(written, WITHOUT_PARTS) == "", "nobody but the agent writes there"
    assert unheeded(pod(), BARE) == ""
    assert "resources.limits" in unheeded(pod(limits), BARE)
    assert "lifecycle.stopSignal" in unheeded(pod(container(lifecycle={"stopSignal": "SIGUSR1"})), BARE)
    assert unheeded(pod(limits), Abilities(pod_network=True, isolation=True, images=True, limits=True)) == ""


def test_a_pod_with_tokens_is_supported() -> None:
    sources: JsonObject = {"sources": [{"serviceAccountToken": {"path": "token"}}, {"configMap": {"name": "ca"}}]}
    given = pod(volumes=[{"name": "kube-api-access-x1", "projected": sources}])
    assert unsupported(given, BARE) == ""
    assert unheeded(given, BARE) == ""


def test_durations_are_written_as_go_writes_them() -> None:
    assert [duration_text(seconds) for seconds in (10, 80, 300)] == ["10s", "1m20s", "5m0s"]


# --- init containers and sidecars -----------------------------------------------------------------------------------


def names(steps: Plan) -> list[str]:
    """Whom the plan starts (`+`) and stops (`-`)."""
    said = [
        f"+{step.name}" if isinstance(step, Start) else f"-{step.name}" if isinstance(step, Stop) else ""
        for step in steps.actions
    ]
    return [each for each in said if each]


def staged(*inits: JsonObject, policy: str = "Always") -> JsonObject:
    return pod(container("a"), container("b"), initContainers=[*inits], restartPolicy=policy)


INIT, SIDE = container("init"), container("side", restartPolicy="Always")


@pytest.mark.parametrize(
    ("there", "policy", "does"),
    [
        ((), "Always", ["+init"]),
        ((state("init"),), "Always", []),
        ((ended("init", code=1),), "Always", ["+init"]),
        ((ended("init", code=1),), "Never", []),
        ((replace(ended("init", code=0), reason="OOMKilled"),), "OnFailure", ["+init"]),
        ((ended("init", code=0),), "Never", ["+side"]),
        ((ended("init", code=0), state("side")), "Always", ["+a", "+b"]),
        ((ended("init", code=0), ended("side", code=0)), "Never", ["+side"]),
        ((ended("init", code=0), state("side"), state("a"), state("b")), "Always", []),
        ((ended("init", code=0), ended("side"), state("a"), state("b")), "Always", ["+side"]),
        ((state("side"), state("a"), state("b")), "Always", []),
    ],
)
def test_init_containers_come_first_and_sidecars_have_to_start(
    there: tuple[ContainerState, ...], policy: str, does: list[str]
) -> None:
    assert names(plan(seen(*there, the_pod=staged(INIT, SIDE, policy=policy)))) == does


def test_an_init_container_after_a_sidecar_waits_for_its_start_and_not_for_it_to_come_back() -> None:
    the_pod = staged(SIDE, INIT)
    slow = {"uid-1.side.0": Health(started=False, ready=False)}
    assert names(plan(seen(state("side"), the_pod=the_pod, health=slow))) == []
    assert names(plan(seen(state("side"), the_pod=the_pod, beginning=frozenset({"uid-1.side.0"})))) == []
    assert names(plan(seen(state("side"), the_pod=the_pod))) == ["+init"]
    assert names(plan(seen(ended("side"), ended("init", code=0), the_pod=the_pod))) == ["+side", "+a", "+b"]


def test_an_init_container_that_failed_for_good_ends_what_else_runs() -> None:
    failed = seen(state("side"), ended("init"), the_pod=staged(SIDE, INIT, policy="Never"))
    assert is_over(failed)
    assert names(plan(failed)) == ["-side"]


def test_a_new_sandbox_begins_with_the_init_containers_whatever_ran_in_the_old_one() -> None:
    old = (ended("init", code=0), ended("side", code=255), ended("a", code=255), ended("b", code=255))
    grounds = (sandbox(ready=False), sandbox(1))
    assert names(plan(seen(*old, the_pod=staged(INIT, SIDE), sandboxes=grounds))) == ["+init"]
    now = (*old, ended("init", 1, code=0, sandbox_id="uid-1/1"))
    assert names(plan(seen(*now, the_pod=staged(INIT, SIDE), sandboxes=grounds))) == ["+side"]


def test_apps_end_together_and_sidecars_after_them_from_the_last_to_the_first() -> None:
    the_pod = staged(SIDE, container("more", restartPolicy="Always"))
    runs = [state("a"), state("b"), state("more"), state("side")]
    steps = plan(seen(*runs, the_pod=the_pod, terminating=True, ending_ms=NOW_MS))
    assert names(steps) == ["-a", "-b"] and steps.wake_ms == NOW_MS + 7000
    later = seen(state("more"), state("side"), the_pod=the_pod, terminating=True, ending_ms=NOW_MS - 3000)
    assert plan(later).actions == (Stop(container_id="uid-1.more.0", name="more", grace_s=4),)
    assert names(plan(replace(later, containers=(state("side"),)))) == ["-side"]
    late = seen(*runs, the_pod=the_pod, terminating=True, ending_ms=NOW_MS - 8000)
    assert names(plan(late)) == ["-a", "-b", "-more", "-side"], "the grace is over: nobody waits any more"
    assert {step.grace_s for step in plan(late).actions[2:] if isinstance(step, Stop)} == {2.0}


def test_what_is_held_back_ends_no_later_for_a_deletion_with_a_longer_grace() -> None:
    why = Waiting(reason="LeaseEnded", message="")
    going = replace(
        seen(state(), terminating=True, ending_ms=NOW_MS - 60_000), grace_s=3600, held_back=why, unlent_ms=NOW_MS
    )
    assert plan(going).actions == (Stop(container_id="uid-1.app.0", name="app", grace_s=30),)
    quick = replace(going, pod=pod(terminationGracePeriodSeconds=5))
    assert plan(quick).actions == (Stop(container_id="uid-1.app.0", name="app", grace_s=5),)
    sooner = replace(going, grace_s=70)
    assert plan(sooner).wake_ms == NOW_MS + 10_000, "it has ten yet"
    free = replace(going, held_back=None, unlent_ms=None)
    assert plan(free).actions == (Stop(container_id="uid-1.app.0", name="app", grace_s=3600),)


@pytest.mark.parametrize("ending_ms", [0, NOW_MS - 100_000])
@pytest.mark.parametrize(
    "held", [None, Waiting(reason="LeaseEnded", message=""), Waiting(reason="ByHand", message="")]
)
def test_the_grace_of_what_is_not_lent_any_more_counts_from_the_end_of_its_lease(
    held: Waiting | None, ending_ms: int
) -> None:
    """Whoever keeps it from running besides, and however often it is looked at for the first time."""
    if held is None and not ending_ms:
        return
    runs = [state("app"), state("side")]
    the_pod = pod(initContainers=[SIDE])
    late = seen(*runs, the_pod=the_pod, terminating=bool(ending_ms), ending_ms=ending_ms)
    late = replace(late, grace_s=3600 if ending_ms else 30, held_back=held, unlent_ms=NOW_MS - 20_000)
    assert plan(late).actions == (Stop(container_id="uid-1.app.0", name="app", grace_s=10),)
    assert plan(late).wake_ms == NOW_MS + 10_000
    over = replace(late, unlent_ms=NOW_MS - 31_000)
    assert {step.grace_s for step in plan(over).actions if isinstance(step, Stop)} == {2.0}, "it gets a moment"
    assert names(plan(over)) == ["-app", "-side"]
    none = replace(over, pod=pod(initContainers=[SIDE], terminationGracePeriodSeconds=0))
    assert {step.grace_s for step in plan(none).actions if isinstance(step, Stop)} == {0.0}
    early = replace(late, unlent_ms=NOW_MS + 5_000)  # the wall clock was set while it was looked at
    assert {step.grace_s for step in plan(early).actions if isinstance(step, Stop)} == {30.0}


def test_what_runs_in_a_sandbox_that_is_gone_ends_with_its_lease_as_well() -> None:
    stray = replace(seen(state(), sandboxes=(sandbox(1),)), unlent_ms=NOW_MS - 20_000, grace_s=30)
    assert plan(stray).actions == (Stop(container_id="uid-1.app.0", name="app", grace_s=10),)


def test_who_is_unwell_is_ended_with_the_grace_of_the_probe_that_it_failed() -> None:
    sick = {"uid-1.app.0": Health(started=True, ready=False, failed="liveness", grace_s=3)}
    (step,) = plan(seen(state(), health=sick)).actions
    why = "Container app failed liveness probe, will be restarted"
    assert step == Stop(container_id="uid-1.app.0", name="app", grace_s=3, why=why)


def test_who_was_ended_for_a_probe_starts_again_though_it_said_that_all_was_well() -> None:
    sick = {"uid-1.app.0": Health(started=True, ready=False, failed="liveness")}
    the_pod = pod(restartPolicy="OnFailure")
    assert names(plan(seen(ended(code=0), the_pod=the_pod, health=sick))) == ["+app"]
    assert names(plan(seen(ended(code=0), the_pod=the_pod))) == []


def test_apps_after_one_with_a_first_hook_wait_for_it() -> None:
    hooked = container("a", lifecycle={"postStart": {"sleep": {"seconds": 1}}})
    the_pod = pod(hooked, container("b"))
    assert names(plan(seen(the_pod=the_pod))) == ["+a"]
    assert names(plan(seen(state("a"), the_pod=the_pod, beginning=frozenset({"uid-1.a.0"})))) == []
    assert names(plan(seen(state("a"), the_pod=the_pod))) == ["+b"]


def test_a_pod_that_is_over_keeps_its_sandbox_until_that_is_told() -> None:
    over = seen(ended(code=0), the_pod=pod(restartPolicy="Never"))
    assert is_over(over) and plan(over).actions == ()
    assert plan(replace(over, finished=True)).actions == (StopSandbox(sandbox_id="uid-1/0"),)


@pytest.mark.parametrize("policy", ["Always", "OnFailure", "Never"])
def test_another_image_ends_the_container_and_starts_it_anew_without_delay(policy: str) -> None:
    the_pod = pod(container(image="app:2"), restartPolicy=policy)
    (step,) = plan(seen(state(), the_pod=the_pod)).actions
    assert step == Stop(
        container_id="uid-1.app.0", name="app", grace_s=7, why="Container app definition changed, will be restarted"
    )
    waited = {"app": Backoff(delay_s=300, at_ms=NOW_MS)}
    after = plan(seen(ended(code=0), the_pod=the_pod, backoff=waited))
    assert (names(after), after.backoff) == (["+app"], waited)


def test_an_init_container_that_is_done_is_not_run_again_for_another_image() -> None:
    the_pod = staged(container("init", image="app:2"))
    assert names(plan(seen(ended("init", code=0), state("a"), state("b"), the_pod=the_pod))) == []
    assert names(plan(seen(ended("init", code=0), the_pod=the_pod))) == ["+a", "+b"]
    assert names(plan(seen(state("init"), the_pod=the_pod))) == ["-init"]


def debugged(**fields: str) -> JsonObject:
    return pod(container("a"), ephemeralContainers=[{"name": "debug", "image": "app", **fields}])


def test_an_ephemeral_container_starts_beside_those_that_run_and_never_again() -> None:
    start = Start(name="debug", attempt=0)
    assert plan(seen(state("a"), the_pod=debugged())).actions == (start,)
    assert plan(seen(the_pod=debugged())).actions == (Start(name="a", attempt=0), start)
    for run in (state("debug"), ended("debug"), ended("debug", sandbox_id="uid-1/7")):
        assert plan(seen(state("a"), run, the_pod=debugged())).actions == ()
    assert plan(replace(seen(state("a"), the_pod=debugged()), spent=frozenset({"debug"}))).actions == ()


def test_an_ephemeral_container_does_not_wait_for_those_that_begin() -> None:
    the_pod = pod(container("a"), initContainers=[container("i")], ephemeralContainers=[container("debug")])
    assert plan(seen(state("i"), the_pod=the_pod)).actions == (Start(name="debug", attempt=0),)


def test_an_ephemeral_container_holds_no_pod_that_has_ended() -> None:
    the_pod = pod(container("a"), ephemeralContainers=[container("debug")], restartPolicy="Never")
    over = seen(ended("a", code=0), state("debug"), the_pod=the_pod)
    assert is_over(over)
    assert plan(over).actions == (Stop(container_id="uid-1.debug.0", name="debug", grace_s=7),)
    assert plan(seen(state("a"), state("debug"), the_pod=the_pod, terminating=True)).actions == (
        Stop(container_id="uid-1.a.0", name="a", grace_s=7),
        Stop(container_id="uid-1.debug.0", name="debug", grace_s=7),
    )
