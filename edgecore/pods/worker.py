"""The worker of one pod: looks, plans, acts, tells; again whenever something may have changed.

What it keeps is in the edge store (`PodRecord`) and with the runtime. A crash at any point is followed by another
look: starting is idempotent by (pod, container, attempt), and what was told is compared, not assumed.
"""

from __future__ import annotations

import asyncio
import logging
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from edgecore.pods.claims import KEPT
from edgecore.pods.env import ConfigError, NodeFacts, Surroundings, Tokens, command_of, environment, no_tokens
from edgecore.pods.events import Happening, event_body, event_object
from edgecore.pods.plan import (
    Plan,
    Problem,
    Remove,
    RemoveSandbox,
    Seen,
    Start,
    Stop,
    StopSandbox,
    Waiting,
    next_problem,
    plan,
    restarts_of,
    runs_of,
    unheeded,
    unsupported,
)
from edgecore.pods.port import (
    COULD_NOT_START,
    ContainerSpec,
    ImageMissingError,
    Namespaces,
    PullPolicy,
    Runtime,
    SandboxSpec,
    Security,
)
from edgecore.pods.pull_secrets import credentials_of
from edgecore.pods.records import PodRecord
from edgecore.pods.status import Picture, pod_status
from edgecore.pods.volumes import mounts_of, private_pods, sync_volumes
from edgecore.store.port import META_EPOCH, EdgeBatch, NewReport
from edgecore.store.shell import AsyncEdgeStore
from skerry.errors import InvalidError, UnavailableError
from skerry.frozen import Frozen, replace
from skerry.objects.json import JsonObject, bool_at, decode_object, dig, int_at, maps_at, str_at
from skerry.objects.meta import Key, being_deleted, name_of, namespace_of, uid_of
from skerry.objects.reports import POD_STATUS, PodStatusReport
from skerry.objects.volumes import VOLUMES
from skerry.ports import Clock, Ids

log = logging.getLogger(__name__)

GRACE_S: Final = 30.0
"""Kubernetes' default terminationGracePeriodSeconds."""
LOOK_AGAIN_S: Final = 30.0
"""A runtime may be silent about a change."""
FAILED_AGAIN_S: Final = 5.0
"""After the store or the runtime did not answer."""
SOON_S: Final = 0.05
NO_VOLUMES: Final = "ContainerCreating"
"""What a kubelet says of containers whose volumes are not there yet."""
FINAL: Final = frozenset({"Succeeded", "Failed"})
_CLUSTER_WIDE: Final = frozenset({"nodes", VOLUMES})


class PodParts(Frozen):
    """What workers are made of."""

    store: AsyncEdgeStore
    runtime: Runtime
    clock: Clock
    ids: Ids
    node: NodeFacts
    directory: Path
    """Volumes are below `pods/UID`, logs below `logs`."""
    root: Path = Path("/")
    """Where the paths of hostPath volumes begin."""
    tokens: Tokens = no_tokens
    """Of ServiceAccounts, for projected volumes."""


def log_directory(directory: Path, *, namespace: str, name: str, uid: str) -> Path:
    """Where a pod's logs are, as a kubelet names it."""
    return directory / "logs" / f"{namespace}_{name}_{uid}"


class PodWorker:
    """See the module. `run` returns when nothing of the pod is left and the cloud has forgotten it."""

    def __init__(self, parts: PodParts, pod: Key, uid: str, record: PodRecord | None) -> None:
        self._parts = parts
        self._key = pod
        self._uid = uid
        self._record = record
        self._saved = record
        self._wake = asyncio.Event()
        self._problems: dict[str, Problem] = {}
        """By container; of the sandbox, by ""."""
        self._stopping: dict[str, float] = {}
        """Grace of the stops under way, by container."""
        self._happened: list[Happening] = []
        self._told_backoff: set[str] = set()
        self._last: JsonObject | None = None
        self._failure = ""
        self._restarts: dict[str, int] = {}
        """Runs that somebody asked to be ended, by container: what follows them starts without delay."""

    def restart(self, attempts: Mapping[str, int]) -> None:
        """End these runs, and start the containers again."""
        self._restarts |= attempts
        self._wake.set()

    def move(self, node: NodeFacts) -> None:
        """The node is another now, in its address."""
        self._parts = replace(self._parts, node=node)
        self._wake.set()

    def poke(self, *, retry: bool = False) -> None:
        """Something may have changed; `retry`: a ConfigMap or Secret that was missing may be there now."""
        if retry:
            self._problems = {
                name: replace(problem, retry_ms=0) if problem.reason in _MISSING_INPUT else problem
                for name, problem in self._problems.items()
            }
        self._wake.set()

    async def run(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            while True:
                self._wake.clear()
                wait_s = await self._attempt(tasks)
                if wait_s is None:
                    return
                try:
                    async with asyncio.timeout(wait_s):
                        await self._wake.wait()
                except TimeoutError:
                    continue

    async def _attempt(self, tasks: asyncio.TaskGroup) -> float | None:
        """One round; seconds until the next, None for never."""
        try:
            wait_s = await self._step(tasks)
        except (UnavailableError, OSError) as error:
            self._note(str(error))
            return FAILED_AGAIN_S
        except Exception as error:
            # The root of this worker: a fault in one pod must not end the others, nor this one for good.
            if str(error) != self._failure:
                log.exception("pod worker failed pod=%s/%s", self._key.namespace, self._key.name)
            self._failure = str(error)
            return LOOK_AGAIN_S
        self._note("")
        return wait_s

    def _note(self, failure: str) -> None:
        """Said once, not at every retry."""
        if failure and failure != self._failure:
            log.warning("pod waits pod=%s/%s reason=%s", self._key.namespace, self._key.name, failure)
        self._failure = failure

    async def _step(self, tasks: asyncio.TaskGroup) -> float | None:
        pod = self._pod()
        seen = await self._see(pod)
        if pod is None and not seen.containers and not seen.sandboxes:
            await self._forget()
            return None
        refusal = unsupported(seen.pod)
        seen = self._without_delays(seen)
        steps = plan(seen)
        if steps.run_sandbox is not None and not refusal:
            if await self._run_sandbox(seen, steps.run_sandbox):
                seen = self._without_delays(await self._see(pod))
                steps = plan(seen)
            else:
                steps = replace(steps, waiting=self._waiting_for_a_sandbox(seen))
        if self._restarts and not seen.terminating:
            steps = replace(steps, actions=(*steps.actions, *restarts_of(seen, self._restarts)))
        if refusal:
            steps = replace(steps, actions=tuple(step for step in steps.actions if not isinstance(step, Start)))
        await self._act(seen, steps, tasks)
        runtime = self._parts.runtime
        now = replace(
            seen,
            containers=await runtime.list(self._uid),
            sandboxes=await runtime.sandboxes(self._uid),
        )
        over = await self._tell(now, steps, refusal)
        if pod is None and over:
            await self._forget()
            return None
        return self._patience_s(steps)

    def _without_delays(self, seen: Seen) -> Seen:
        """A restart that was asked for is no crash: the run after it waits for nothing."""
        for name, attempt in list(self._restarts.items()):
            runs = runs_of(seen.containers, name)
            if runs and runs[-1].attempt > attempt:
                del self._restarts[name]
        free = self._restarts.keys()
        if not free:
            return seen
        self._problems = {name: problem for name, problem in self._problems.items() if name not in free}
        backoff = {name: wait for name, wait in seen.backoff.items() if name not in free}
        return replace(seen, backoff=backoff, problems=self._problems)

    def _patience_s(self, steps: Plan) -> float:
        wakes = [problem.retry_ms for problem in self._problems.values()]
        if steps.wake_ms is not None:
            wakes.append(steps.wake_ms)
        if not wakes:
            return LOOK_AGAIN_S
        return min(max((min(wakes) - self._parts.clock.wall_ms()) / 1000, SOON_S), LOOK_AGAIN_S)

    def _pod(self) -> JsonObject | None:
        """The pod as this gateway has it; None when it is gone, or its name now belongs to another life."""
        held = self._parts.store.get(self._key)
        if held is None or held.stamp.uid != self._uid:
            return None
        self._last = decode_object(held.body)
        return self._last

    async def _see(self, pod: JsonObject | None) -> Seen:
        now_ms = self._parts.clock.wall_ms()
        if self._record is None or (self._record.gone and pod is not None and not being_deleted(pod)):
            # (Told gone and yet wanted: the cloud was restored to before the pod's deletion. It begins anew, as it
            # would if this gateway had forgotten it already.)
            self._record = PodRecord(
                namespace=self._key.namespace,
                name=self._key.name,
                start_ms=now_ms,
                grace_s=grace_of(pod),
                backoff={},
                status={},
                gone=False,
            )
        if pod is not None:
            self._record = replace(self._record, grace_s=grace_of(pod))
        shown = pod or self._last or _remembered(self._key, self._uid)
        told = str_at(self._record.status, "phase") or str_at(shown, "status", "phase")
        return Seen(
            pod=shown,
            containers=await self._parts.runtime.list(self._uid),
            sandboxes=await self._parts.runtime.sandboxes(self._uid),
            backoff=self._record.backoff,
            problems=self._problems,
            terminating=pod is None or being_deleted(pod),
            grace_s=self._record.grace_s,
            finished=told in FINAL,
            now_ms=now_ms,
        )

    async def _act(self, seen: Seen, steps: Plan, tasks: asyncio.TaskGroup) -> None:
        assert self._record is not None
        self._tell_of_waits(steps)
        starts = [step for step in steps.actions if isinstance(step, Start)]
        if starts or (not seen.terminating and seen.containers):
            places = self._volumes(seen)
            if starts and places is not None:
                sandbox = seen.sandbox
                assert sandbox is not None, "the plan starts nothing without one"
                for step in starts:
                    await self._start(seen, step, self._sandbox_spec(seen.pod, sandbox.attempt), places)
        # Only now: a delay counts from a start that was tried.
        self._record = replace(self._record, backoff=steps.backoff)
        for step in steps.actions:
            match step:
                case Start():
                    continue
                case Stop():
                    self._stop(step, tasks)
                case Remove():
                    await self._parts.runtime.remove(step.container_id)
                case StopSandbox():
                    await self._parts.runtime.stop_sandbox(step.sandbox_id)
                case RemoveSandbox():
                    await self._parts.runtime.remove_sandbox(step.sandbox_id)

    async def _run_sandbox(self, seen: Seen, attempt: int) -> bool:
        """False where it can't be had: it is tried again later."""
        problem = self._problems.get(_SANDBOX)
        if problem is not None and seen.now_ms < problem.retry_ms:
            return False
        if self._volumes(seen) is None:
            return False
        try:
            await self._parts.runtime.run_sandbox(self._sandbox_spec(seen.pod, attempt))
        except (InvalidError, UnavailableError) as error:
            message = f"Failed to create pod sandbox: {error}"
            self._fail(seen, _SANDBOX, NO_VOLUMES, message, event="FailedCreatePodSandBox")
            return False
        self._problems.pop(_SANDBOX, None)
        return True

    def _waiting_for_a_sandbox(self, seen: Seen) -> dict[str, Waiting]:
        problem = self._problems.get(_SANDBOX)
        names = [str_at(one, "name") for one in maps_at(seen.pod, "spec", "containers")]
        return {name: Waiting(reason=problem.reason, message=problem.message) for name in names} if problem else {}

    def _sandbox_spec(self, pod: JsonObject, attempt: int) -> SandboxSpec:
        spec = _map(pod, "spec")
        return SandboxSpec(
            pod_uid=self._uid,
            pod_name=self._key.name,
            pod_namespace=self._key.namespace,
            attempt=attempt,
            hostname=str_at(spec, "hostname") or self._key.name,
            namespaces=Namespaces(
                host_network=bool_at(spec, "hostNetwork"),
                host_pid=bool_at(spec, "hostPID"),
                host_ipc=bool_at(spec, "hostIPC"),
                share_process=bool_at(spec, "shareProcessNamespace"),
            ),
            log_dir=self._logs(),
        )

    def _tell_of_waits(self, steps: Plan) -> None:
        crashed = {name for name, wait in steps.waiting.items() if wait.reason == "CrashLoopBackOff"}
        for name in sorted(crashed - self._told_backoff):
            wait = steps.waiting[name]
            self._happened.append(Happening(reason="BackOff", message=wait.message, container=name, warning=True))
        self._told_backoff = crashed

    def _around(self, pod: JsonObject) -> Surroundings:
        def find(resource: str, name: str) -> JsonObject | None:
            namespace = "" if resource in _CLUSTER_WIDE else self._key.namespace
            held = self._parts.store.get(Key(resource, namespace, name))
            return decode_object(held.body) if held is not None else None

        return Surroundings(pod=pod, node=self._parts.node, find=find, tokens=self._parts.tokens)

    def _volumes(self, seen: Seen) -> dict[str, Path] | None:
        """The pod's volumes, up to date; None when some can't be made: then no container starts."""
        try:
            everybodys = self._parts.directory / "pods"
            if not everybodys.is_dir():  # somebody took it away
                private_pods(self._parts.directory)
            places = sync_volumes(
                everybodys / self._uid,
                self._around(seen.pod),
                kept=self._parts.directory / KEPT,
                root=self._parts.root,
            )
        except (ConfigError, OSError, UnavailableError) as error:
            for container in maps_at(seen.pod, "spec", "containers"):
                self._fail(seen, str_at(container, "name"), NO_VOLUMES, str(error), event="FailedMount")
            return None
        self._problems = {name: was for name, was in self._problems.items() if was.reason != NO_VOLUMES}
        return places

    async def _start(self, seen: Seen, step: Start, sandbox: SandboxSpec, places: dict[str, Path]) -> None:
        runtime, container = self._parts.runtime, _container(seen.pod, step.name)
        try:
            credentials = credentials_of(seen.pod, self._around(seen.pod).find)
            image = await runtime.ensure_image(str_at(container, "image"), _pull_policy(container), credentials)
            state = await runtime.start(self._spec(seen, step, sandbox, image.id, places))
        except ConfigError as error:
            self._fail(seen, step.name, "CreateContainerConfigError", str(error))
        except ImageMissingError as error:
            self._fail(seen, step.name, error.reason, str(error))
        except InvalidError as error:
            self._fail(seen, step.name, "CreateContainerError", str(error))
        except UnavailableError as error:
            self._fail(seen, step.name, "RunContainerError", str(error))
        else:
            self._problems.pop(step.name, None)
            self._tell_of_unheeded(seen.pod, step)
            if state.reason in COULD_NOT_START:
                self._happened.append(
                    Happening(reason="Failed", message=f"Error: {state.message}", container=step.name, warning=True)
                )
            else:
                self._happened.append(
                    Happening(reason="Started", message=f"Started container {step.name}", container=step.name)
                )

    def _tell_of_unheeded(self, pod: JsonObject, step: Start) -> None:
        """Once a pod: with the first run of its first container."""
        left_out = unheeded(pod)
        if left_out and step == Start(name=str_at(maps_at(pod, "spec", "containers")[0], "name"), attempt=0):
            self._happened.append(Happening(reason="NotEnforced", message=left_out, warning=True))

    def _fail(self, seen: Seen, name: str, reason: str, message: str, *, event: str = "Failed") -> None:
        before = self._problems.get(name)
        self._problems[name] = next_problem(before, reason=reason, message=message, now_ms=seen.now_ms)
        if before is None or message not in before.message:
            what = Happening(reason=event, message=message, container="" if event != "Failed" else name, warning=True)
            if what not in self._happened:
                self._happened.append(what)

    def _spec(
        self, seen: Seen, step: Start, sandbox: SandboxSpec, image_id: str, places: dict[str, Path]
    ) -> ContainerSpec:
        assert seen.sandbox is not None, "the plan starts nothing without one"
        pod, container = seen.pod, _container(seen.pod, step.name)
        env = environment(container, self._around(pod))
        command, args = command_of(container, env)
        return ContainerSpec(
            sandbox=sandbox,
            sandbox_id=seen.sandbox.id,
            name=step.name,
            attempt=step.attempt,
            image=str_at(container, "image"),
            image_id=image_id,
            namespaces=sandbox.namespaces,
            command=command,
            args=args,
            env=env,
            working_dir=str_at(container, "workingDir"),
            mounts=mounts_of(container, pod, places),
            security=Security(
                run_as_user=_identity(pod, container, "runAsUser"),
                run_as_group=_identity(pod, container, "runAsGroup"),
            ),
        )

    def _logs(self) -> Path:
        return log_directory(self._parts.directory, namespace=self._key.namespace, name=self._key.name, uid=self._uid)

    def _stop(self, step: Stop, tasks: asyncio.TaskGroup) -> None:
        """Beside the worker, which must still hear of a shorter grace."""
        if self._stopping.get(step.container_id, float("inf")) <= step.grace_s:
            return
        if step.container_id not in self._stopping:
            self._happened.append(
                Happening(reason="Killing", message=f"Stopping container {step.name}", container=step.name)
            )
        self._stopping[step.container_id] = step.grace_s
        tasks.create_task(self._stopped(step))

    async def _stopped(self, step: Stop) -> None:
        try:
            await self._parts.runtime.stop(step.container_id, grace_s=step.grace_s)
        except (UnavailableError, OSError) as error:
            self._note(str(error))
            await asyncio.sleep(FAILED_AGAIN_S)
        if self._stopping.get(step.container_id) == step.grace_s:
            del self._stopping[step.container_id]
        self._wake.set()

    async def _tell(self, seen: Seen, steps: Plan, refusal: str) -> bool:
        """Write down what is new and what the cloud is to hear, in one transaction; then clear away what is over.
        True when nothing of the pod is left."""
        assert self._record is not None
        ended = all(state.phase == "exited" for state in seen.containers)
        over = seen.terminating and ended and not any(each.ready for each in seen.sandboxes)
        address = self._parts.node.address
        if seen.finished:  # where it was
            address = str_at(self._record.status, "hostIP", default=address)
        status = pod_status(
            Picture(
                pod=seen.pod,
                containers=seen.containers,
                sandbox=seen.sandbox,
                waiting=self._waits(seen, steps, refusal),
                before=self._record.status or _map(seen.pod, "status"),
                runtime=self._parts.runtime.name,
                address=address,
                start_ms=self._record.start_ms,
                now_ms=self._parts.clock.wall_ms(),
                terminating=seen.terminating,
                unsupported=refusal,
            )
        )
        if over and self._record.gone:
            status = self._record.status  # its containers have been cleared away since
        self._record = replace(self._record, status=status, gone=over)
        await self._save(seen.pod)
        if over:
            for state in seen.containers:
                await self._parts.runtime.remove(state.id)
            for sandbox in seen.sandboxes:
                await self._parts.runtime.remove_sandbox(sandbox.id)
            self._clear()
        return over

    def _waits(self, seen: Seen, steps: Plan, refusal: str) -> dict[str, Waiting]:
        if refusal:
            names = [str_at(one, "name") for one in maps_at(seen.pod, "spec", "containers")]
            return {name: Waiting(reason="Unsupported", message=refusal) for name in names}
        running = {state.name for state in seen.containers if state.phase == "running"}
        waits = {
            name: Waiting(reason=problem.reason, message=problem.message)
            for name, problem in self._problems.items()
            if name != _SANDBOX
        }
        return {name: wait for name, wait in (dict(steps.waiting) | waits).items() if name not in running}

    async def _save(self, pod: JsonObject) -> None:
        assert self._record is not None
        before = self._saved
        now = self._record = replace(self._record, epoch=self._parts.store.meta(META_EPOCH) or "")
        reports: list[NewReport] = []
        if self._pod() is not None and (before is None or _told(before) != _told(now)):
            told = PodStatusReport(
                namespace=self._key.namespace, name=self._key.name, uid=self._uid, status=now.status, gone=now.gone
            )
            reports.append(NewReport(report_class="state", kind=POD_STATUS, key=self._uid, body=told.encode()))
        happened, self._happened = self._happened, []
        reports += [self._event(pod, what) for what in happened]
        if not reports and now == before:
            return
        try:
            await self._parts.store.apply(EdgeBatch(reports=tuple(reports), pods=((self._uid, now.encode()),)))
        except BaseException:
            self._happened = happened + self._happened
            raise
        self._saved = now

    def _event(self, pod: JsonObject, what: Happening) -> NewReport:
        event = event_object(
            pod,
            what,
            node=self._parts.node.name,
            suffix=self._parts.ids.token_hex(8),
            now_ms=self._parts.clock.wall_ms(),
        )
        kind, body = event_body(event)
        return NewReport(report_class="event", kind=kind, key="", body=body)

    def _clear(self) -> None:
        """Volumes and logs: nothing of the pod stays on the disk."""
        shutil.rmtree(self._parts.directory / "pods" / self._uid, ignore_errors=True)
        shutil.rmtree(self._logs(), ignore_errors=True)

    async def _forget(self) -> None:
        self._clear()
        await self._parts.store.apply(EdgeBatch(pods=((self._uid, None),)))


def _told(record: PodRecord) -> tuple[JsonObject, bool, str]:
    """What the cloud is to know, and which cloud."""
    return record.status, record.gone, record.epoch


_SANDBOX: Final = ""
"""Among the problems: the sandbox's own."""
_MISSING_INPUT: Final = frozenset({NO_VOLUMES, "CreateContainerConfigError"})


def grace_of(pod: JsonObject | None) -> float:
    """Seconds between SIGTERM and SIGKILL: of the deletion when there is one, else of the spec."""
    for path in (("metadata", "deletionGracePeriodSeconds"), ("spec", "terminationGracePeriodSeconds")):
        if pod is not None and isinstance(dig(pod, *path), int):
            return float(int_at(pod, *path))
    return GRACE_S


def _container(pod: JsonObject, name: str) -> JsonObject:
    return next(one for one in maps_at(pod, "spec", "containers") if str_at(one, "name") == name)


def _pull_policy(container: JsonObject) -> PullPolicy:
    match str_at(container, "imagePullPolicy"):
        case "Always":
            return "Always"
        case "Never":
            return "Never"
        case _:
            return "IfNotPresent"


def _identity(pod: JsonObject, container: JsonObject, field: str) -> int | None:
    for holder in (container, _map(pod, "spec")):
        value = dig(holder, "securityContext", field)
        if isinstance(value, int):
            return value
    return None


def _map(obj: JsonObject, name: str) -> JsonObject:
    value = obj.get(name)
    return value if isinstance(value, dict) else {}


def _remembered(key: Key, uid: str) -> JsonObject:
    """A pod of which only its containers are left."""
    pod: JsonObject = {"metadata": {"name": key.name, "namespace": key.namespace, "uid": uid}, "spec": {}}
    assert (name_of(pod), namespace_of(pod), uid_of(pod)) == (key.name, key.namespace, uid)
    return pod
