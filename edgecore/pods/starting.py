"""Begins what one pod is to run: its volumes and cgroup, its sandbox, its containers with their postStart hooks.

Keeps in memory why something could not begin and when it is tried again, and which hooks are under way or failed.
After a crash it is tried again at once: all of it is idempotent.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Iterable
from pathlib import Path, PurePosixPath
from typing import Final

from edgecore.pods.about import own_hosts, surroundings, words_mount
from edgecore.pods.asking import Asking, Whom
from edgecore.pods.backoff import Problem, back_off_text, next_problem
from edgecore.pods.claims import KEPT
from edgecore.pods.containers import all_of, container_of, wanted_of
from edgecore.pods.env import ConfigError, Surroundings
from edgecore.pods.events import Happening
from edgecore.pods.handlers import handler_of
from edgecore.pods.image_volumes import image_volumes
from edgecore.pods.name_files import gateway_resolver
from edgecore.pods.names import resolver_of
from edgecore.pods.part_mounts import with_parts
from edgecore.pods.parts import PodParts, log_directory
from edgecore.pods.plan import Plan, Seen, Start, Waiting
from edgecore.pods.port import (
    COULD_NOT_START,
    ContainerSpec,
    ContainerState,
    ImageMissingError,
    ImageMount,
    Mount,
    SandboxSpec,
    SandboxState,
    SeccompProfile,
)
from edgecore.pods.pull_secrets import credentials_of
from edgecore.pods.pulls import Pulls, Wish
from edgecore.pods.refusals import unheeded
from edgecore.pods.specs import Place, container_spec, pull_policy, sandbox_spec, target_of
from edgecore.pods.status import INITIALIZING
from edgecore.pods.volumes import Ways, mounts_of, private_pods, sync_volumes
from skerry.errors import AwaitedError, InvalidError, UnavailableError
from skerry.frozen import replace
from skerry.objects.json import JsonObject, map_at, maps_at, str_at
from skerry.objects.meta import Key

log = logging.getLogger(__name__)

NO_VOLUMES: Final = "ContainerCreating"
"""What a kubelet says of containers whose volumes are not there yet."""
HOOK_S_MAX: Final = 3600.0
"""A postStart hook may wait for what its container begins with; a kubelet waits for ever."""
SECCOMP: Final = "seccomp"
"""Directory of seccomp profiles, in that of the agent."""
_SANDBOX: Final = ""
"""Among the problems: the sandbox's own."""
ANOTHER_SANDBOX: Final = "Pod sandbox changed, it will be killed and re-created."
_IMAGE_EVENTS: Final = {"ErrImageNeverPull": "ErrImageNeverPull", "InvalidImageName": "InspectFailed"}
"""Reasons of events, where no pull failed."""
_MISSING_INPUT: Final = frozenset({NO_VOLUMES, "CreateContainerConfigError"})


class Starting:
    """See the module."""

    def __init__(
        self,
        parts: PodParts,
        pod: Key,
        uid: str,
        asking: Asking,
        happens: Callable[[Happening], None],
        wake: Callable[[], None],
    ) -> None:
        """`wake`: a hook is over."""
        self.parts = parts
        """The node in it may become another."""
        self._key = pod
        self._uid = uid
        self._asking = asking
        self._happens = happens
        self._wake = wake
        self.problems: dict[str, Problem] = {}
        """By container; of the sandbox, by ""."""
        self.beginning: set[str] = set()
        """Ids of containers whose postStart hook is under way."""
        self.stillborn: dict[str, str] = {}
        """Why the postStart hooks failed of those that did not survive it, by id."""
        self.pulls = Pulls(parts.runtime, happens, wake)

    @property
    def directory(self) -> Path:
        return self.parts.directory / "pods" / self._uid

    @property
    def logs(self) -> Path:
        key = self._key
        return log_directory(self.parts.directory, namespace=key.namespace, name=key.name, uid=self._uid)

    # --- what went wrong ---

    def retry_inputs(self) -> None:
        """A ConfigMap or Secret that was missing may be there now."""
        self.problems = {
            name: replace(problem, retry_ms=0) if problem.reason in _MISSING_INPUT else problem
            for name, problem in self.problems.items()
        }

    def bury(self, known: Collection[str]) -> None:
        """Forget containers that are none of these."""
        self.stillborn = {name: why for name, why in self.stillborn.items() if name in known}

    def forgive(self, names: Iterable[str]) -> None:
        """Whatever went wrong with these is tried again at once."""
        self.problems = {name: problem for name, problem in self.problems.items() if name not in names}

    def waits(self, seen: Seen, steps: Plan, refusal: str) -> dict[str, Waiting]:
        """What each container waits for that does not run."""
        if refusal:
            return {one.name: Waiting(reason="Unsupported", message=refusal) for one in all_of(seen.pod)}
        running = {state.name for state in seen.containers if state.phase == "running"}
        waits = {name: _waiting(seen.pod, each) for name, each in self.problems.items() if name != _SANDBOX}
        return {name: wait for name, wait in (dict(steps.waiting) | waits).items() if name not in running}

    def waits_for_sandbox(self, seen: Seen) -> dict[str, Waiting]:
        problem = self.problems.get(_SANDBOX)
        if problem is None:
            return {}
        waits = _waiting(seen.pod, problem)
        return {one.name: waits for one in all_of(seen.pod)}

    def _fail(self, seen: Seen, name: str, reason: str, message: str, *, event: str = "Failed") -> None:
        before = self.problems.get(name)
        self.problems[name] = next_problem(before, reason=reason, message=message, now_ms=seen.now_ms)
        if before is not None and message in before.message:
            return
        if event == "Failed":
            self._happens(Happening(reason=event, message=f"Error: {message}", container=name, warning=True))
        else:
            self._happens(Happening(reason=event, message=message, warning=True))

    def _fail_image(self, seen: Seen, name: str, image: str, error: ImageMissingError) -> None:
        """Told as a kubelet does: why, what it means for the container, and once, that it is tried less often."""
        before, message = self.problems.get(name), str(error)
        now = next_problem(before, reason=error.reason, message=message, now_ms=seen.now_ms, what=image)
        self.problems[name] = now
        if before is not None and before.reason == now.reason and message in before.message:
            return
        why = Happening(reason="Failed", message=f'Failed to pull image "{image}": {message}', warning=True)
        if error.reason in _IMAGE_EVENTS:
            why = Happening(reason=_IMAGE_EVENTS[error.reason], message=message, warning=True)
        elif before is not None and now.reason != error.reason:
            why = Happening(reason="BackOff", message=back_off_text(image))
        self._happens(replace(why, container=name))
        self._happens(Happening(reason="Failed", message=f"Error: {now.reason}", container=name, warning=True))

    # --- what is there before containers ---

    def volumes(self, seen: Seen) -> dict[str, Path] | None:
        """The pod's volumes, up to date; None when some can't be made: then no container starts."""
        try:
            everybodys = self.parts.directory / "pods"
            if not everybodys.is_dir():  # somebody took it away
                private_pods(self.parts.directory)
            ways = Ways(kept=self.parts.directory / KEPT, root=self.parts.root, off_disk=self.parts.off_disk)
            places = sync_volumes(self.directory, self._around(seen), ways)
        except AwaitedError:
            return None  # whoever asked wakes the pod
        except (ConfigError, OSError, UnavailableError) as error:
            for one in all_of(seen.pod):
                self._fail(seen, one.name, NO_VOLUMES, str(error), event="FailedMount")
            return None
        self.problems = {name: was for name, was in self.problems.items() if was.reason != NO_VOLUMES}
        return places

    def _around(self, seen: Seen) -> Surroundings:
        return surroundings(seen.pod, seen.sandbox, self.parts, self._key.namespace)

    async def run_sandbox(self, seen: Seen, attempt: int, hold: Callable[[], None]) -> SandboxState | None:
        """None where it can't be had: it is tried again later. `hold` makes the pod's cgroup, or raises `OSError`."""
        problem = self.problems.get(_SANDBOX)
        if problem is not None and not problem.is_over(seen.now_ms):
            return None
        if self.volumes(seen) is None:
            return None
        try:
            hold()
            made = await self.parts.runtime.run_sandbox(self._sandbox_spec(seen, attempt))
        except (InvalidError, UnavailableError, OSError) as error:
            message = f"Failed to create pod sandbox: {error}"
            self._fail(seen, _SANDBOX, NO_VOLUMES, message, event="FailedCreatePodSandBox")
            return None
        self.problems.pop(_SANDBOX, None)
        if attempt == 0:
            self._tell_of_names(seen.pod)
        else:
            self._happens(Happening(reason="SandboxChanged", message=ANOTHER_SANDBOX))
        return made

    def _sandbox_spec(self, seen: Seen, attempt: int) -> SandboxSpec:
        gateway = gateway_resolver(self.parts.root)
        spec = sandbox_spec(seen.pod, self.parts.node, gateway, attempt=attempt, log_dir=self.logs)
        spec = replace(spec, seccomp=self._at_home(spec.seccomp))
        cgroups = self.parts.cgroups
        return spec if cgroups is None else replace(spec, cgroup_parent=cgroups.parent_of(seen.pod))

    def _tell_of_names(self, pod: JsonObject) -> None:
        """Once a pod: what its resolv.conf has no room for."""
        if not self.parts.runtime.abilities.pod_network:
            return
        node, gateway = self.parts.node, gateway_resolver(self.parts.root)
        omitted = resolver_of(pod, gateway, servers=node.cluster_dns, domain=node.cluster_domain).omitted()
        if omitted:
            self._happens(Happening(reason="DNSConfigForming", message=omitted, warning=True))

    # --- containers ---

    async def start(self, seen: Seen, step: Start, places: dict[str, Path], tasks: asyncio.TaskGroup) -> bool:
        """Start a container in the pod's sandbox; what keeps it from that is kept, and told. False where its image
        is pulled yet."""
        container = container_of(seen.pod, step.name)
        image = str_at(container, "image")
        try:
            again = step.name in self.problems
            wishes = self._wishes(seen, container)
            pulled = await self.pulls.images(wishes, tasks, quiet=again or step.attempt > 0, again=again)
            if pulled is None:
                return False
            images: dict[str, ImageMount] = {}
            for wish, found in pulled:
                image = wish.image
                if isinstance(found, Exception):
                    raise found
                images[wish.volume] = ImageMount(id=found.id, name=image)
            state = await self.parts.runtime.start(self._spec(seen, step, container, places, images))
        except ConfigError as error:
            self._fail(seen, step.name, "CreateContainerConfigError", str(error))
        except ImageMissingError as error:
            self._fail_image(seen, step.name, image, error)
        except InvalidError as error:
            self._fail(seen, step.name, "CreateContainerError", str(error))
        except UnavailableError as error:
            self._fail(seen, step.name, "RunContainerError", str(error))
        else:
            self.problems.pop(step.name, None)
            self._tell_of_unheeded(seen.pod, step)
            self._started(seen, container, state, tasks)
        return True

    def _wishes(self, seen: Seen, container: JsonObject) -> list[Wish]:
        """The container's image, and those that it mounts."""
        name, credentials = str_at(container, "name"), credentials_of(seen.pod, self._around(seen).find)
        own = Wish(
            container=name, image=str_at(container, "image"), policy=pull_policy(container), credentials=credentials
        )
        return [
            own,
            *(
                Wish(container=name, image=each.image, policy=each.policy, credentials=credentials, volume=each.name)
                for each in image_volumes(seen.pod, container)
            ),
        ]

    def _spec(
        self,
        seen: Seen,
        step: Start,
        container: JsonObject,
        places: dict[str, Path],
        images: dict[str, ImageMount],
    ) -> ContainerSpec:
        """`images`: of the volumes that are images; the container's own by "". Raises what keeps the container from
        its start."""
        sandbox = seen.sandbox
        assert sandbox is not None, "the plan starts nothing without one"
        around = self._around(seen)
        place = Place(
            sandbox=self._sandbox_spec(seen, sandbox.attempt),
            sandbox_id=sandbox.id,
            image_id=images[""].id,
            attempt=step.attempt,
            target=target_of(seen.pod, container, seen.containers),
        )
        mounts = (
            *self._parts_of(mounts_of(container, around, places, images), step),
            *own_hosts(seen.pod, sandbox, container, self.parts, self.directory),
            *words_mount(container, step, self.parts, self.directory),
        )
        spec = container_spec(container, around, place, mounts)
        spec = replace(spec, security=replace(spec.security, seccomp=self._at_home(spec.security.seccomp)))
        if self.parts.cgroups is not None:
            unified = self.parts.cgroups.unified_of(container)
            spec = replace(spec, resources=replace(spec.resources, unified=unified))
        return spec

    def _at_home(self, profile: SeccompProfile | None) -> SeccompProfile | None:
        """A profile of the gateway's own lies below its data, as a kubelet's below its root: a runtime would look in
        whatever directory it was started in."""
        if profile is None or profile.kind != "localhost":
            return profile
        path = PurePosixPath(profile.localhost_ref)
        if path.is_absolute() or ".." in path.parts or not profile.localhost_ref:
            raise ConfigError(
                f"seccompProfile.localhostProfile {profile.localhost_ref!r}: write a path below DATA/{SECCOMP}"
            )
        return replace(profile, localhost_ref=str(self.parts.directory / SECCOMP / profile.localhost_ref))

    def _parts_of(self, mounts: tuple[Mount, ...], step: Start) -> tuple[Mount, ...]:
        if self.parts.runtime.abilities.sub_paths:
            return mounts
        return with_parts(mounts, self.directory, step.name, step.attempt)

    def _tell_of_unheeded(self, pod: JsonObject, step: Start) -> None:
        """Once a pod: with the first run of its first container."""
        left_out = unheeded(pod, self.parts.runtime.abilities)
        if left_out and step == Start(name=wanted_of(pod)[0].name, attempt=0):
            self._happens(Happening(reason="NotEnforced", message=left_out, warning=True))

    def _started(self, seen: Seen, container: JsonObject, state: ContainerState, tasks: asyncio.TaskGroup) -> None:
        self._happens(Happening(reason="Created", message="Container created", container=state.name))
        if state.reason in COULD_NOT_START:
            message = f"Error: {state.message}"
            self._happens(Happening(reason="Failed", message=message, container=state.name, warning=True))
            return
        self._happens(Happening(reason="Started", message="Container started", container=state.name))
        hook = map_at(container, "lifecycle", "postStart")
        if hook and state.phase == "running":
            self.beginning.add(state.id)
            tasks.create_task(self._run_first_hook(state, hook, container, self.address(seen)))

    def address(self, seen: Seen) -> str:
        """At which the pod's containers are reached."""
        addresses = seen.sandbox.addresses if seen.sandbox is not None else ()
        return addresses[0] if addresses else self.parts.node.address

    async def _run_first_hook(
        self, state: ContainerState, hook: JsonObject, container: JsonObject, address: str
    ) -> None:
        try:
            whom = Whom(container_id=state.id, address=address)
            failure = await self._asking.hook(handler_of(hook, container), whom, timeout_s=HOOK_S_MAX)
        except InvalidError as error:
            failure = str(error)
        self.beginning.discard(state.id)
        if failure:
            log.info("poststart hook failed container=%s reason=%s", state.id, failure)
            self.stillborn[state.id] = failure
            what = Happening(
                reason="FailedPostStartHook", message="PostStartHook failed", container=state.name, warning=True
            )
            self._happens(what)
        self._wake()


def _waiting(pod: JsonObject, problem: Problem) -> Waiting:
    """Without volumes or a sandbox nothing of the pod has begun, and a kubelet says so of all its containers."""
    begins = problem.reason == NO_VOLUMES and bool(maps_at(pod, "spec", "initContainers"))
    return Waiting(reason=INITIALIZING.reason if begins else problem.reason, message=problem.message)
