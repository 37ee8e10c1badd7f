"""The containers of containerd or CRI-O: the runtime port over CRI's gRPC.

What there is, the runtime keeps, and names it by labels: pod, container, attempt. So a restarted agent finds all that
the one before began, whatever it was doing when it ended; a call that was cut is asked again, and finds what it made.
Here is only a memory of what does not change any more, to ask less.
"""

from __future__ import annotations

import asyncio
import math
import os
import re
import signal
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, Final, Literal

from grpclib.const import Status

from edgecore.pods.env import ConfigError
from edgecore.pods.port import (
    Abilities,
    ContainerSpec,
    ContainerState,
    ContainerUsage,
    Credentials,
    ExecResult,
    ExecStream,
    ImagesPlace,
    ImageState,
    PullPolicy,
    Resources,
    RuntimeStatus,
    SandboxSpec,
    SandboxState,
    Streamed,
    TellsPull,
    untold,
)
from edgecore.pods.pull_rights import PullRights
from edgecore.pods.runtimes.cri import messages as cri
from edgecore.pods.runtimes.cri.configuration import cgroup_driver_of, pause_image_of
from edgecore.pods.runtimes.cri.endings import Endings
from edgecore.pods.runtimes.cri.images import Images
from edgecore.pods.runtimes.cri.info import begun_in
from edgecore.pods.runtimes.cri.loopback import connect
from edgecore.pods.runtimes.cri.mapping import (
    CONTAINER_NAME,
    KEEPER,
    POD_UID,
    STDIN,
    STOP_SIGNAL,
    addresses_of,
    container_config,
    container_state,
    container_usage,
    linux_resources,
    mounts_images,
    network_usage,
    non_root_fault,
    sandbox_config,
    sandbox_state,
)
from edgecore.pods.runtimes.cri.network import read_network
from edgecore.pods.runtimes.cri.pids import read_pids
from edgecore.pods.runtimes.cri.schema import IMAGE_CALLS, IMAGES, RUNTIME, RUNTIME_CALLS, TABLE
from edgecore.pods.runtimes.cri.streaming import open_stream
from edgecore.pods.runtimes.visits import RESULT_BYTES_MAX
from skerry.errors import InvalidError, NotFoundError, UnavailableError
from skerry.frozen import Frozen, replace
from skerry.ports import Clock
from skerry.transport.grpc import DeadlineError, Peer, RefusedError
from skerry.waits import until_set

MESSAGE_BYTES_MAX: Final = 16 * 1024 * 1024
"""A kubelet's own limit for what a runtime answers."""
CALL_S: Final = 120.0
"""A kubelet's runtimeRequestTimeout."""
SANDBOX_S: Final = 240.0
"""A kubelet's, for what waits for a pod network."""
ASK_S: Final = 20.0
"""For what only looks."""
SETTLED_MS: Final = 2000
"""A runtime may correct why a container ended for so long: that memory ran out is told apart."""
BLIND_S: Final = 1.0
"""How often what the kernel says nothing of is asked for (a kubelet's own rhythm)."""
LAG_S: Final = 0.05
"""Between looks for whether the runtime has noticed an end as well."""
SIGNALLED_S: Final = 0.1
"""Between looks for whether a container has ended that was sent a signal of its own."""
LAG_S_MAX: Final = 10.0
_TIMED_OUT: Final = re.compile(r"timeout \S+ exceeded|command timed out")
"""What containerd and CRI-O say of a command that took too long, where the status does not."""


class CriSettings(Frozen):
    """Where the runtime is, and whose containers are ours."""

    socket: str
    keeper: str = "edgecore"
    """Value of the label by which they are found again."""
    name: str = "containerd"
    """Of the runtime, until it says itself."""
    rights: PullRights | None = None
    """Who may use what was pulled with credentials; None: everybody."""


class CriRuntime:
    """See `Runtime`. The connection is made when it is needed, and again when it broke."""

    def __init__(self, settings: CriSettings, clock: Clock) -> None:
        self._clock = clock
        self._keeper = settings.keeper
        self._peer = Peer(settings.socket, RUNTIME, RUNTIME_CALLS, TABLE, bytes_max=MESSAGE_BYTES_MAX)
        images = Peer(settings.socket, IMAGES, IMAGE_CALLS, TABLE, bytes_max=MESSAGE_BYTES_MAX)
        self._images = Images(images, clock, settings.rights)
        self._name, self._version = settings.name, ""
        self._cgroup_driver: Literal["", "cgroupfs", "systemd"] = ""
        self._strict_groups = False
        self._ended: dict[str, None] = {}
        """Containers and sandboxes whose process has ended, and the runtime may not know yet."""
        self._news = asyncio.Event()
        self._endings = Endings(self._hear)
        self._known: dict[str, ContainerState] = {}
        """What will not change while the container is in this phase."""
        self._addresses: dict[str, tuple[str, ...]] = {}
        """By sandbox: given once."""
        self._pods: dict[str, str] = {}
        """The pod's uid by container or sandbox that is watched."""
        self._processes: dict[str, int] = {}
        """Their first processes: those are theirs as long as their end has not been heard."""
        self._pause_image: str | None = None
        """"" where the runtime does not say which; such ones pin it."""

    @property
    def name(self) -> str:
        return self._name

    @property
    def version(self) -> str:
        return self._version

    @property
    def abilities(self) -> Abilities:
        return Abilities(
            pod_network=True,
            isolation=True,
            images=True,
            limits=True,
            stop_signals=True,
            strict_groups=self._strict_groups,
            image_volumes=mounts_images(self._name, self._version),
        )

    @property
    def cgroup_driver(self) -> Literal["", "cgroupfs", "systemd"]:
        return self._cgroup_driver

    async def greet(self) -> None:
        """Learn who answers. Raises `UnavailableError`."""
        told = await self._ask("Version", cri.VersionRequest(version="v1"), ASK_S)
        self._cgroup_driver = await self._driver()
        features = (await self._status(verbose=False)).features
        self._strict_groups = features is not None and features.supplemental_groups_policy
        self._name, self._version = told.runtime_name or self._name, told.runtime_version

    async def _driver(self) -> Literal["", "cgroupfs", "systemd"]:
        """RuntimeConfig is there since containerd 2.0 and CRI-O 1.28; an older containerd shows its configuration."""
        try:
            told = await self._ask("RuntimeConfig", cri.RuntimeConfigRequest(), ASK_S)
        except RefusedError:
            return cgroup_driver_of((await self._status(verbose=True)).info)
        if told.linux is None:
            return ""
        return "systemd" if told.linux.cgroup_driver == cri.CGROUP_SYSTEMD else "cgroupfs"

    async def _ask(self, name: str, request: object, timeout_s: float = CALL_S) -> Any:
        """Raises `UnavailableError`, `RefusedError`."""
        return await self._peer.call(name, request, timeout_s=timeout_s)

    # --- sandboxes ---

    async def sandboxes(self, pod_uid: str = "") -> Sequence[SandboxState]:
        listed = await self._sandboxes(pod_uid)
        states = [await self._sandbox(each) for each in listed]
        return sorted(states, key=lambda state: (state.pod_uid, state.attempt, state.created_ms))

    async def _sandboxes(self, pod_uid: str = "", sandbox_id: str = "") -> Sequence[cri.PodSandbox]:
        wanted = cri.PodSandboxFilter(id=sandbox_id, label_selector=self._labels(pod_uid))
        return (await self._ask("ListPodSandbox", cri.ListPodSandboxRequest(filter=wanted), ASK_S)).items

    def _labels(self, pod_uid: str) -> dict[str, str]:
        return {KEEPER: self._keeper} | ({POD_UID: pod_uid} if pod_uid else {})

    async def _sandbox(self, listed: cri.PodSandbox) -> SandboxState:
        if listed.state == cri.SANDBOX_READY and listed.id not in self._addresses:
            await self._sandbox_status(listed.id)
        return sandbox_state(listed, self._addresses.get(listed.id, ()))

    async def _sandbox_status(self, sandbox_id: str) -> cri.PodSandboxStatus | None:
        """Of one that is ready its addresses are kept, and its end is listened for. None where there is none."""
        try:
            request = cri.PodSandboxStatusRequest(pod_sandbox_id=sandbox_id, verbose=True)
            told: cri.PodSandboxStatusResponse = await self._ask("PodSandboxStatus", request, ASK_S)
        except RefusedError as error:
            if error.status is not Status.NOT_FOUND:
                raise
            return None
        status = told.status or cri.PodSandboxStatus()
        if status.state == cri.SANDBOX_READY:
            self._addresses[sandbox_id] = addresses_of(status)
            self._watch(sandbox_id, status.labels.get(POD_UID, ""), begun_in(told.info).pid)
        return status

    async def run_sandbox(self, spec: SandboxSpec) -> SandboxState:
        spec.log_dir.mkdir(parents=True, exist_ok=True)
        config = sandbox_config(spec, self._keeper)
        request = cri.RunPodSandboxRequest(config=config, runtime_handler=spec.handler)
        try:
            made = await self._ask("RunPodSandbox", request, SANDBOX_S)
        except RefusedError as error:
            # Its name is taken where it is there already: whoever asks first what there is asks in vain.
            held = [
                each
                for each in await self._sandboxes(spec.pod_uid)
                if each.metadata is not None and each.metadata.attempt == spec.attempt
            ]
            if held:
                return await self._sandbox(max(held, key=lambda each: each.created_at))
            if error.status is Status.INVALID_ARGUMENT:
                raise
            # A pod network that is not there yet, a name that a call before still holds: it may work later.
            raise UnavailableError(str(error)) from error
        told = await self._sandbox_status(made.pod_sandbox_id)
        if told is None:
            raise UnavailableError(f"sandbox {made.pod_sandbox_id} was removed while it was made")
        made_one = cri.PodSandbox(
            id=made.pod_sandbox_id, metadata=config.metadata, state=told.state, created_at=told.created_at
        )
        return sandbox_state(made_one, self._addresses.get(made.pod_sandbox_id, ()))

    async def stop_sandbox(self, sandbox_id: str) -> None:
        await self._unless_gone("StopPodSandbox", cri.SandboxId(pod_sandbox_id=sandbox_id), CALL_S)
        self._forget(sandbox_id)

    async def remove_sandbox(self, sandbox_id: str) -> None:
        await self._unless_gone("RemovePodSandbox", cri.SandboxId(pod_sandbox_id=sandbox_id), CALL_S)
        self._forget(sandbox_id)
        self._addresses.pop(sandbox_id, None)

    async def _unless_gone(self, name: str, request: object, timeout_s: float) -> None:
        """What is not there needs no end."""
        try:
            await self._ask(name, request, timeout_s)
        except RefusedError as error:
            if error.status is Status.NOT_FOUND:
                return
            raise UnavailableError(str(error)) from error

    # --- containers ---

    async def list(self, pod_uid: str = "") -> Sequence[ContainerState]:
        if not self._version:  # it was late
            await self.greet()
        # What was made and not started, by an agent that ended in between, never runs: `start` removes it, or its
        # sandbox takes it along. Told as a container it would be waited for, and no stop would end it.
        listed = [each for each in await self._containers(pod_uid) if each.state != cri.CONTAINER_CREATED]
        found = [state for each in listed if (state := await self._state(each)) is not None]
        if not pod_uid:
            self._known = {state.id: self._known[state.id] for state in found if state.id in self._known}
        return sorted(found, key=lambda state: (state.pod_uid, state.name, state.attempt, state.created_ms))

    async def _containers(self, pod_uid: str = "", container_id: str = "") -> Sequence[cri.Container]:
        wanted = cri.ContainerFilter(id=container_id, label_selector=self._labels(pod_uid))
        return (await self._ask("ListContainers", cri.ListContainersRequest(filter=wanted), ASK_S)).containers

    async def _state(self, listed: cri.Container) -> ContainerState | None:
        """None when it has been removed meanwhile."""
        known = self._known.get(listed.id)
        running = listed.state == cri.CONTAINER_RUNNING
        if known is not None and (known.phase == "running") == running:
            return known
        request = cri.ContainerStatusRequest(
            container_id=listed.id, verbose=running and (known is None or not self._endings.knows(listed.id))
        )
        try:
            told = await self._ask("ContainerStatus", request, ASK_S)
        except RefusedError as error:
            if error.status is Status.NOT_FOUND:
                return None
            raise UnavailableError(str(error)) from error
        if told.status is None:
            raise UnavailableError("the runtime told nothing of a container")
        begun = begun_in(told.info)
        user = begun.user or (known.user if known is not None else None)
        state = replace(container_state(listed, told.status), user=user)
        if state.phase == "running":
            self._watch(state.id, state.pod_uid, begun.pid)
        else:
            self._endings.forget(state.id)
        if state.phase == "running" or (
            state.phase == "exited" and not 0 <= self._clock.wall_ms() - state.finished_ms < SETTLED_MS
        ):
            self._known[state.id] = state
        return state

    async def start(self, spec: ContainerSpec) -> ContainerState:
        image = await self._images.of(spec.image_id or spec.image, named=spec.image)
        if fault := non_root_fault(spec, image):
            raise ConfigError(fault)
        try:
            made = await self._create(spec, image)
        except RefusedError as error:
            # Its name is taken where it is there already: whoever asks first what there is asks in vain.
            held = await self._held(spec)
            if held is not None:
                return held
            if not await self._is_ready(spec.sandbox_id):
                raise UnavailableError(f"sandbox {spec.sandbox_id} is not ready") from error
            try:
                made = await self._create(spec, image)  # what was in the way has been removed
            except RefusedError as again:
                raise InvalidError(str(again)) from again
        try:
            await self._ask("StartContainer", cri.ContainerId(container_id=made))
        except RefusedError as error:
            return await self._unstarted(spec, made, str(error))
        state = await self._state(cri.Container(id=made, pod_sandbox_id=spec.sandbox_id, state=cri.CONTAINER_RUNNING))
        if state is None:
            raise UnavailableError(f"container {made} was removed while it started")
        if state.phase == "exited":  # before it could be watched
            self._pods[made] = spec.sandbox.pod_uid
            self._hear(made)
        return state

    async def _held(self, spec: ContainerSpec) -> ContainerState | None:
        """This run, where it is there already. One of an agent that ended between its making and its start is
        removed."""
        for each in await self._containers(spec.sandbox.pod_uid):
            about = each.metadata or cri.ContainerMetadata()
            if (each.labels.get(CONTAINER_NAME), about.attempt) != (spec.name, spec.attempt):
                continue
            if each.state == cri.CONTAINER_CREATED:
                await self._remove(each.id)
            elif (state := await self._state(each)) is not None:
                return state
        return None

    async def _is_ready(self, sandbox_id: str) -> bool:
        return any(each.state == cri.SANDBOX_READY for each in await self._sandboxes(sandbox_id=sandbox_id))

    async def _create(self, spec: ContainerSpec, image: ImageState) -> str:
        """Raises `UnavailableError`, `RefusedError`."""
        (spec.sandbox.log_dir / spec.name).mkdir(parents=True, exist_ok=True)
        request = cri.CreateContainerRequest(
            pod_sandbox_id=spec.sandbox_id,
            config=container_config(spec, image, self._keeper),
            sandbox_config=sandbox_config(spec.sandbox, self._keeper),
        )
        made: cri.ContainerId = await self._ask("CreateContainer", request)
        return made.container_id

    async def _unstarted(self, spec: ContainerSpec, container_id: str, message: str) -> ContainerState:
        """How a container is that could not be started. Raises `UnavailableError` when its sandbox is at fault."""
        if not await self._is_ready(spec.sandbox_id):
            await self._remove(container_id)
            raise UnavailableError(message)
        listed = await self._containers(spec.sandbox.pod_uid, container_id)
        state = await self._state(listed[0]) if listed else None
        if state is None or state.phase != "exited":
            await self._remove(container_id)
            raise UnavailableError(message)
        return state

    async def stop(self, container_id: str, *, grace_s: float) -> None:
        if grace_s > 0 and await self._signalled(container_id, grace_s):
            grace_s = 0.0
        # Whole seconds: a container that was given some gets no less.
        request = cri.StopContainerRequest(container_id=container_id, timeout=math.ceil(grace_s))
        await self._unless_gone("StopContainer", request, grace_s + CALL_S)

    async def _signalled(self, container_id: str, grace_s: float) -> bool:
        """Send the signal that the container's pod chose, which older runtimes know nothing of, and wait for the end.
        False where it chose none."""
        listed = await self._containers(container_id=container_id)
        chosen = getattr(signal, listed[0].annotations.get(STOP_SIGNAL, ""), None) if listed else None
        if not isinstance(chosen, signal.Signals) or listed[0].state != cri.CONTAINER_RUNNING:
            return False
        request = cri.ContainerStatusRequest(container_id=container_id, verbose=True)
        try:
            pid = begun_in((await self._ask("ContainerStatus", request, ASK_S)).info).pid
            give_up = self._clock.monotonic_s() + grace_s
            if pid:
                os.kill(pid, chosen)
        except (RefusedError, ProcessLookupError):
            return True  # it has ended meanwhile
        while self._clock.monotonic_s() < give_up:
            if not await self._runs(container_id):
                break
            await asyncio.sleep(SIGNALLED_S)
        return True

    async def remove(self, container_id: str) -> None:
        await self._remove(container_id)

    async def _remove(self, container_id: str) -> None:
        await self._unless_gone("RemoveContainer", cri.ContainerId(container_id=container_id), CALL_S)
        self._forget(container_id)
        self._known.pop(container_id, None)

    async def update(self, container_id: str, resources: Resources) -> None:
        request = cri.UpdateContainerResourcesRequest(container_id=container_id, linux=linux_resources(resources))
        await self._of_running("UpdateContainerResources", container_id, request)

    async def reopen_log(self, container_id: str) -> None:
        await self._of_running("ReopenContainerLog", container_id, cri.ContainerId(container_id=container_id))

    async def _of_running(self, name: str, container_id: str, request: object) -> None:
        """Raises `NotFoundError` (it does not run), `InvalidError` (the runtime refuses), `UnavailableError`."""
        # containerd takes what is asked of one that has ended as well, and keeps it for a start that never comes.
        if not await self._runs(container_id):
            raise NotFoundError("the container is not running")
        try:
            await self._ask(name, request)
        except RefusedError as error:
            raise await self._exec_fault(container_id, error) from error

    # --- commands and ports ---

    async def run_in(self, container_id: str, argv: Sequence[str], *, timeout_s: float) -> ExecResult:
        # Whole seconds, and 0 would be for ever.
        request = cri.ExecSyncRequest(
            container_id=container_id, cmd=tuple(argv), timeout=max(math.ceil(timeout_s), 1)
        )
        try:
            done = await self._ask("ExecSync", request, request.timeout + ASK_S)
        except DeadlineError as error:
            raise TimeoutError(str(error)) from error
        except RefusedError as error:
            if _TIMED_OUT.search(str(error)):
                raise TimeoutError(str(error)) from error
            raise await self._exec_fault(container_id, error) from error
        return ExecResult(exit_code=done.exit_code, output=(done.stdout + done.stderr)[:RESULT_BYTES_MAX])

    async def exec(self, container_id: str, argv: Sequence[str], how: Streamed) -> ExecStream:
        request = cri.ExecRequest(
            container_id=container_id,
            cmd=tuple(argv),
            tty=how.tty,
            stdin=how.stdin,
            stdout=how.stdout,
            stderr=how.stderr and not how.tty,  # a runtime refuses both: a terminal has one output
        )
        try:
            told = await self._ask("Exec", request, ASK_S)
        except RefusedError as error:
            raise await self._exec_fault(container_id, error) from error
        return await open_stream(told.url, how)

    async def attach(self, container_id: str, how: Streamed) -> ExecStream:
        listed = await self._containers(container_id=container_id)
        if not listed or listed[0].state != cri.CONTAINER_RUNNING:
            raise NotFoundError("the container is not running")
        if how.stdin and not listed[0].annotations.get(STDIN):
            raise InvalidError("the container has no input: stdin is not set in its spec")
        request = cri.AttachRequest(
            container_id=container_id,
            stdin=how.stdin,
            tty=how.tty,
            stdout=how.stdout,
            stderr=how.stderr and not how.tty,
        )
        try:
            told = await self._ask("Attach", request, ASK_S)
        except RefusedError as error:
            raise await self._exec_fault(container_id, error) from error
        return await open_stream(told.url, how)

    async def _exec_fault(self, container_id: str, error: RefusedError) -> Exception:
        """What to raise: that the container is at fault, or the command."""
        if not await self._runs(container_id):
            return NotFoundError("the container is not running")
        return InvalidError(str(error))

    async def forward(self, sandbox_id: str, port: int) -> ExecStream:
        request = cri.PodSandboxStatusRequest(pod_sandbox_id=sandbox_id, verbose=True)
        try:
            told = await self._ask("PodSandboxStatus", request, ASK_S)
        except RefusedError as error:
            raise UnavailableError(str(error)) from error
        pid = begun_in(told.info).pid
        if not pid:
            raise UnavailableError(f"sandbox {sandbox_id} is not running")
        return await connect(pid, port)

    # --- images ---

    async def ensure_image(
        self, image: str, policy: PullPolicy, credentials: Sequence[Credentials], tell: TellsPull = untold
    ) -> ImageState:
        return await self._images.ensure(image, policy, credentials, tell)

    async def images(self) -> Sequence[ImageState]:
        if self._pause_image is None:
            self._pause_image = pause_image_of((await self._status(verbose=True)).info)
        everybodys = await self._ask("ListContainers", cri.ListContainersRequest(), ASK_S)
        others = [each for each in everybodys.containers if each.labels.get(KEEPER) != self._keeper]
        return await self._images.all({self._pause_image, *(each.image_ref for each in others)})

    async def remove_image(self, image_id: str) -> None:
        await self._images.remove(image_id)

    async def images_place(self) -> ImagesPlace | None:
        return await self._images.place()

    # --- the runtime itself, and what it counts ---

    async def status(self) -> RuntimeStatus:
        told = (await self._status(verbose=False)).status or cri.RuntimeStatus()
        conditions = {each.type: each for each in told.conditions}
        faults = [each for each in told.conditions if each.type in _CONDITIONS and not each.status]
        return RuntimeStatus(
            ready=_holds(conditions, "RuntimeReady"),
            network_ready=_holds(conditions, "NetworkReady"),
            message="; ".join(f"{each.type}=false reason:{each.reason} message:{each.message}" for each in faults),
        )

    async def _status(self, *, verbose: bool) -> cri.StatusResponse:
        told: cri.StatusResponse = await self._ask("Status", cri.StatusRequest(verbose=verbose), ASK_S)
        return told

    async def usage(self) -> Sequence[ContainerUsage]:
        """Of all that run, and of the networks of their pods."""
        running = {each.id for each in await self._containers() if each.state == cri.CONTAINER_RUNNING}
        wanted = cri.ContainerStatsFilter(label_selector=self._labels(""))
        told = await self._ask("ListContainerStats", cri.ListContainerStatsRequest(filter=wanted), ASK_S)
        found = [
            container_usage(
                each, at_ms=self._clock.wall_ms(), pids=read_pids(self._processes.get(each.attributes.id, 0))
            )
            for each in told.stats
            if each.attributes is not None and each.attributes.id in running
        ]
        for sandbox, pid in self._processes.items():
            if sandbox in self._addresses and self._addresses[sandbox] and sandbox in self._pods:
                found.append(network_usage(self._pods[sandbox], read_network(pid), at_ms=self._clock.wall_ms()))
        return sorted(found, key=lambda each: (each.pod_uid, each.name))

    # --- news ---

    def _watch(self, container: str, pod_uid: str, pid: int) -> None:
        self._pods[container] = pod_uid
        self._endings.watch(container, pid)
        if self._endings.hears(container):
            self._processes[container] = pid
        if container in self._endings.blind:
            self._news.set()

    def _hear(self, container: str) -> None:
        self._processes.pop(container, None)
        self._ended[container] = None
        self._news.set()

    def _forget(self, container: str) -> None:
        self._endings.forget(container)
        self._ended.pop(container, None)
        self._pods.pop(container, None)
        self._processes.pop(container, None)

    async def changes(self) -> AsyncIterator[str]:
        while True:
            await until_set(self._news, within_s=BLIND_S if self._endings.blind else None)
            self._news.clear()
            for container in [*self._ended]:
                await self._until_noticed(container)
                if pod_uid := self._pods.pop(container, ""):
                    yield pod_uid
            for pod_uid in await self._ended_unheard():
                yield pod_uid

    async def _until_noticed(self, container: str) -> None:
        """Its process has ended; wait until the runtime knows, so that who looks sees it."""
        self._ended.pop(container, None)
        give_up = self._clock.monotonic_s() + LAG_S_MAX
        while self._clock.monotonic_s() < give_up:
            try:
                if not await self._runs(container):
                    return
            except UnavailableError:
                return  # whoever looks next will wait for the runtime as well
            await asyncio.sleep(LAG_S)

    async def _runs(self, container: str) -> bool:
        if container in self._addresses:
            return await self._is_ready(container)
        return any(each.state == cri.CONTAINER_RUNNING for each in await self._containers(container_id=container))

    async def _ended_unheard(self) -> Sequence[str]:
        """Pods of containers that nothing is heard of, and that have ended."""
        blind = self._endings.blind
        if not blind:
            return ()
        try:
            running = {each.id for each in await self._containers() if each.state == cri.CONTAINER_RUNNING}
            running |= {each.id for each in await self._sandboxes() if each.state == cri.SANDBOX_READY}
        except UnavailableError:
            return ()
        pods: dict[str, None] = {}
        for container in blind - running:
            if pod_uid := self._pods.get(container):
                pods[pod_uid] = None
            self._forget(container)
        return list(pods)

    async def close(self) -> None:
        self._endings.close()
        self._peer.close()
        self._images.close()


_CONDITIONS: Final = ("RuntimeReady", "NetworkReady")


def _holds(conditions: Mapping[str, cri.RuntimeCondition], kind: str) -> bool:
    return kind in conditions and conditions[kind].status
