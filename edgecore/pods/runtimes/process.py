"""Containers as supervised process groups: the runtime that needs nothing installed.

Each container has a directory `DIR/POD_UID/NAME.ATTEMPT` and a supervisor process of its own (`supervisor.py`) that
outlives the agent: it reaps, logs, stops and writes down how the container ended. A pod's sandbox is a file beside
them, `.sandbox.ATTEMPT`: nothing of it runs, and it is ready until the machine is booted anew. This side starts
supervisors and reads what they wrote; it keeps nothing else, so a restarted agent knows all that the one before knew,
and how containers ended meanwhile. A pid is never trusted alone: a supervisor lives exactly as long as it holds its
lock.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Final, Literal

from edgecore.pods.cgroup_plan import changed, limits_of_container
from edgecore.pods.cgroup_tree import CgroupTree
from edgecore.pods.port import (
    Abilities,
    ContainerSpec,
    ContainerState,
    ContainerUsage,
    Credentials,
    ExecResult,
    ExecStream,
    ImageMissingError,
    ImagesPlace,
    ImageState,
    Mount,
    PullPolicy,
    Resources,
    RuntimeStatus,
    SandboxSpec,
    SandboxState,
    Streamed,
    TellsPull,
    untold,
)
from edgecore.pods.runtimes.followed import FollowedLog
from edgecore.pods.runtimes.images import Execution, execution, find_image
from edgecore.pods.runtimes.process_usage import used_below
from edgecore.pods.runtimes.visits import NOT_RUNNING, Visit, forward, request_of, result_of
from skerry.errors import InvalidError, NotFoundError, StorageFullError, UnavailableError
from skerry.files import unavailable, write_private
from skerry.frozen import Frozen, as_dict
from skerry.objects.json import (
    JsonObject,
    decode_object,
    encode_object,
    int_at,
    map_at,
    str_at,
    str_map_at,
    strs_at,
    to_json,
)
from skerry.ports import Clock

_HERE: Final = str(Path(__file__).parent / "apart")
PROGRAM: Final = f"import sys; sys.path[:0] = [{_HERE!r}]; import supervisor; supervisor.main(sys.argv[1:])"
"""Imported, not run as a script: so that Python uses the compiled form."""
START_S_MAX: Final = 30.0
"""Two starts of a small Python program, on a gateway that is busy booting."""
STOP_EXTRA_S: Final = 20.0
"""Beyond the grace: SIGKILL has been sent by then; only a process stuck in the kernel takes longer."""
NOTICE_BYTES: Final = 65536
SANDBOX: Final = ".sandbox."


class ProcessSettings(Frozen):
    """Where containers are kept, images looked for, and how much of their logs."""

    directory: Path
    images: Path
    log_bytes: int = 10 << 20
    """A kubelet's default: containerLogMaxSize."""
    cgroups: CgroupTree | None = None
    """Where what containers may use is limited; None: it is not."""
    log_files: int = 5
    """A kubelet's default: containerLogMaxFiles."""


class ProcessRuntime:
    """See `Runtime`."""

    def __init__(self, settings: ProcessSettings, clock: Clock) -> None:
        self._settings = settings
        self._clock = clock
        self._directory = settings.directory.absolute()
        self._directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._starting: set[str] = set()
        """Ids whose supervisor may not hold its lock yet."""
        self._boot_id = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        self._fifo = self._directory / "changes.fifo"
        if not self._fifo.is_fifo():
            os.mkfifo(self._fifo, 0o600)
        # Held for reading and writing: so it never ends when the last supervisor closes it.
        self._fifo_fd = os.open(self._fifo, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        self._changed: dict[str, None] = {}
        self._news = asyncio.Event()
        asyncio.get_running_loop().add_reader(self._fifo_fd, self._hear)

    @property
    def name(self) -> str:
        return "process"

    @property
    def version(self) -> str:
        return "1"

    @property
    def abilities(self) -> Abilities:
        return Abilities(
            pod_network=False,
            isolation=False,
            images=False,
            rotates_logs=True,
            limits=self._settings.cgroups is not None,
            sub_paths=True,
        )

    @property
    def cgroup_driver(self) -> Literal["", "cgroupfs", "systemd"]:
        return ""

    def _hear(self) -> None:
        with contextlib.suppress(BlockingIOError):
            for uid in os.read(self._fifo_fd, NOTICE_BYTES).decode(errors="replace").split():
                self._changed[uid] = None
        self._news.set()

    async def changes(self) -> AsyncIterator[str]:
        while True:
            await self._news.wait()
            self._news.clear()
            while self._changed:
                uid = next(iter(self._changed))
                del self._changed[uid]
                yield uid

    async def close(self) -> None:
        asyncio.get_running_loop().remove_reader(self._fifo_fd)
        os.close(self._fifo_fd)

    def _pods(self, pod_uid: str) -> list[Path]:
        return [self._directory / pod_uid] if pod_uid else sorted(self._directory.iterdir())

    async def sandboxes(self, pod_uid: str = "") -> Sequence[SandboxState]:
        files = [file for pod in self._pods(pod_uid) if pod.is_dir() for file in pod.glob(f"{SANDBOX}*")]
        found = [self._sandbox(file) for file in files if file.name.removeprefix(SANDBOX).isdecimal()]
        return sorted(found, key=lambda state: (state.pod_uid, state.attempt))

    def _sandbox(self, file: Path) -> SandboxState:
        about = decode_object(file.read_bytes())
        uid, attempt = file.parent.name, int(file.name.removeprefix(SANDBOX))
        return SandboxState(
            id=f"{uid}/{attempt}",
            pod_uid=uid,
            pod_name=str_at(about, "pod_name"),
            pod_namespace=str_at(about, "pod_namespace"),
            attempt=attempt,
            ready=str_at(about, "boot_id") == self._boot_id,
            addresses=(),
            created_ms=int_at(about, "created_ms"),
        )

    def _file(self, sandbox_id: str) -> Path:
        uid, attempt = sandbox_id.rsplit("/", 1)
        return self._directory / uid / f"{SANDBOX}{attempt}"

    async def run_sandbox(self, spec: SandboxSpec) -> SandboxState:
        file = self._file(f"{spec.pod_uid}/{spec.attempt}")
        if not file.exists():
            about: JsonObject = {
                "pod_name": spec.pod_name,
                "pod_namespace": spec.pod_namespace,
                "boot_id": self._boot_id,
                "created_ms": self._clock.wall_ms(),
            }
            try:
                file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            except OSError as error:
                raise unavailable(file.parent, error) from error
            write_private(file, encode_object(about))
        return self._sandbox(file)

    async def stop_sandbox(self, sandbox_id: str) -> None:
        file = self._file(sandbox_id)
        if not file.exists() or not self._sandbox(file).ready:
            return
        for state in await self.list(file.parent.name):
            if state.sandbox_id == sandbox_id and state.phase != "exited":
                await self.stop(state.id, grace_s=0)
        write_private(file, encode_object({**decode_object(file.read_bytes()), "boot_id": ""}))
        self._changed[file.parent.name] = None
        self._news.set()

    async def remove_sandbox(self, sandbox_id: str) -> None:
        file = self._file(sandbox_id)
        if not file.exists():
            return
        assert not self._sandbox(file).ready, "only a stopped sandbox is removed"
        for state in await self.list(file.parent.name):
            if state.sandbox_id == sandbox_id:
                await self.remove(state.id)
        file.unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # others of the pod are still there
            file.parent.rmdir()

    async def ensure_image(
        self, image: str, policy: PullPolicy, credentials: Sequence[Credentials], tell: TellsPull = untold
    ) -> ImageState:
        """Nothing is fetched: it is here, or it is missing."""
        try:
            found = find_image(self._settings.images, image)
        except ImageMissingError as error:
            raise ImageMissingError(
                str(error), "ErrImageNeverPull" if policy == "Never" else "ErrImagePull"
            ) from error
        return ImageState(id=found.id, names=(image,), size_bytes=0)

    async def images(self) -> Sequence[ImageState]:
        return ()

    async def remove_image(self, image_id: str) -> None:
        """There are none of the runtime's own."""

    async def images_place(self) -> ImagesPlace | None:
        return None

    async def status(self) -> RuntimeStatus:
        return RuntimeStatus(ready=True, network_ready=True)

    async def list(self, pod_uid: str = "") -> Sequence[ContainerState]:
        places = self._pods(pod_uid)
        found = [self._state(place) for pod in places if pod.is_dir() for place in pod.iterdir() if _is_one(place)]
        return sorted(found, key=lambda state: (state.pod_uid, state.name, state.attempt))

    async def start(self, spec: ContainerSpec) -> ContainerState:
        container = f"{spec.sandbox.pod_uid}.{spec.name}.{spec.attempt}"
        place = self._place(container)
        if place.exists():
            state = self._state(place)
            if state.phase != "exited" or state.started_ms:
                return state
            shutil.rmtree(place)  # the agent ended before its supervisor began
        _check_ids(spec)
        file = self._file(spec.sandbox_id)
        if not file.exists() or not self._sandbox(file).ready:
            raise UnavailableError(f"sandbox {spec.sandbox_id} of container {spec.name} is not ready")
        run = execution(find_image(self._settings.images, spec.image), spec)
        self._starting.add(container)
        try:
            self._write(place, spec, run)
            await self._launch(place)
        except OSError as error:
            shutil.rmtree(place, ignore_errors=True)
            kind = StorageFullError if error.errno == 28 else UnavailableError
            raise kind(f"starting container {spec.name}: {error}") from error
        finally:
            self._starting.discard(container)
        if not (place / "state").exists():
            complaint = (place / "supervisor.err").read_text(errors="replace")[-400:].strip()
            shutil.rmtree(place, ignore_errors=True)
            raise UnavailableError(f"starting container {spec.name}: its supervisor ended: {complaint}")
        return self._state(place)

    def _write(self, place: Path, spec: ContainerSpec, run: Execution) -> None:
        """The container's directory, whole or not at all."""
        log = spec.sandbox.log_dir.absolute() / spec.name / f"{spec.attempt}.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        fields = [
            ("pod_uid", spec.sandbox.pod_uid),
            ("fifo", str(self._fifo)),
            ("log", str(log)),
            ("log_bytes", str(self._settings.log_bytes)),
            ("log_files", str(self._settings.log_files)),
            ("cwd", run.cwd),
            *(("argv", arg) for arg in run.argv),
            *(("env", f"{name}={value}") for name, value in run.env),
            *(("mount", _mount_line(mount)) for mount in spec.mounts),
        ]
        user, group = spec.security.run_as_user, spec.security.run_as_group
        fields += [("uid", str(user))] if user is not None else []
        fields += [("gid", str(group))] if group is not None else []
        steps = self._cgroup(spec)
        if steps and self._settings.cgroups is not None:
            fields += [("cgroup", str(each)) for each in self._settings.cgroups.places(steps)]
        fields.append(("oom_score_adj", str(spec.resources.oom_score_adj)))
        fields += [("group", str(each)) for each in spec.security.supplemental_groups]
        fields += [("no_new_privileges", "1")] if spec.security.no_new_privileges else []
        if any("\0" in value for _, value in fields):
            raise InvalidError(f"container {spec.name}: a NUL character in command, args or env")
        about: JsonObject = {
            "pod_uid": spec.sandbox.pod_uid,
            "sandbox": spec.sandbox_id,
            "name": spec.name,
            "attempt": spec.attempt,
            "image": spec.image,
            "image_id": run.image_id,
            "created_ms": self._clock.wall_ms(),
            "labels": to_json(dict(spec.labels)),
            "cgroup": [*steps],
            "resources": to_json(as_dict(spec.resources)),
        }
        new = place.with_name(f".{place.name}.new")
        shutil.rmtree(new, ignore_errors=True)
        new.mkdir(parents=True, mode=0o700)
        (new / "spec").write_bytes(b"".join(f"{name}\0{value}\0".encode() for name, value in fields))
        (new / "spec").chmod(0o600)
        (new / "about").write_bytes(encode_object(about))
        new.rename(place)

    def _cgroup(self, spec: ContainerSpec) -> tuple[str, ...]:
        """Of the container, made anew; () where there is none. Raises `OSError`."""
        cgroups, parent = self._settings.cgroups, spec.sandbox.cgroup_parent
        if cgroups is None or not parent:
            return ()
        steps = (*(part for part in parent.split("/") if part), f"{spec.name}.{spec.attempt}")
        cgroups.make(steps, limits_of_container(spec.resources))
        return steps

    async def _launch(self, place: Path) -> None:
        """Returns when the supervisor has started the container, or has ended."""
        told, tell = os.pipe()
        try:
            with (place / "supervisor.err").open("wb") as complaints:
                launcher = subprocess.Popen(  # noqa: ASYNC220 - returns after exec; its end is waited for below
                    [sys.executable, "-I", "-S", "-c", PROGRAM, "launch", str(place), str(tell), PROGRAM],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=complaints,
                    pass_fds=(tell,),
                    env={},
                    cwd="/",
                )
        finally:
            os.close(tell)
        try:
            async with asyncio.timeout(START_S_MAX):
                await _end_of(told)
        except TimeoutError:
            raise UnavailableError(f"the supervisor in {place} did not start within {START_S_MAX:.0f} s") from None
        finally:
            os.close(told)
            launcher.poll()
        launcher.wait()  # ended long ago: it forks and leaves before the pipe can close

    async def stop(self, container_id: str, *, grace_s: float) -> None:
        place = self._place(container_id)
        if not place.exists():
            return
        new = place / "stop.new"
        new.write_text(str(grace_s))
        new.rename(place / "stop")
        pause_s, give_up = 0.01, self._clock.monotonic_s() + grace_s + STOP_EXTRA_S
        signalled = False
        while place.exists() and self._state(place).phase != "exited":
            if not signalled:
                signalled = _signal_supervisor(place)
            if self._clock.monotonic_s() > give_up:
                raise UnavailableError(f"container {container_id} does not end: a process of it hangs in the kernel")
            await asyncio.sleep(pause_s)
            pause_s = min(pause_s * 1.5, 0.2)

    async def remove(self, container_id: str) -> None:
        place = self._place(container_id)
        if not place.exists():
            return
        assert self._state(place).phase == "exited", "only an exited container is removed"
        shutil.rmtree(place)
        with contextlib.suppress(OSError):  # others of the pod are still there
            place.parent.rmdir()

    async def update(self, container_id: str, resources: Resources) -> None:
        place, _ = self._running(container_id)
        cgroups = self._settings.cgroups
        about = decode_object((place / "about").read_bytes())
        steps = strs_at(about, "cgroup")
        if cgroups is None or not steps:
            raise InvalidError("the limits of containers are not enforced by this gateway's runtime")
        wanted = changed(_resources(map_at(about, "resources")), resources)
        try:
            cgroups.make(steps, limits_of_container(wanted))
        except OSError as error:
            raise InvalidError(f"the kernel refuses these limits: {error}") from error
        write_private(place / "about", encode_object({**about, "resources": to_json(as_dict(wanted))}))

    async def reopen_log(self, container_id: str) -> None:
        self._running(container_id)
        raise InvalidError("this runtime rotates the logs of its containers itself")

    def _running(self, container_id: str) -> tuple[Path, JsonObject]:
        """Its place and state. Raises `NotFoundError`."""
        place = self._place(container_id)
        state = _read_state(place)
        if str_at(state, "phase") != "running" or not _lives(place):
            raise NotFoundError(NOT_RUNNING)
        return place, state

    async def run_in(self, container_id: str, argv: Sequence[str], *, timeout_s: float) -> ExecResult:
        async with asyncio.timeout(timeout_s):
            visit = await self._visit(container_id, argv, Streamed())
        return await result_of(visit, timeout_s)

    async def exec(self, container_id: str, argv: Sequence[str], how: Streamed) -> ExecStream:
        return await self._visit(container_id, argv, how)

    async def _visit(self, container_id: str, argv: Sequence[str], how: Streamed) -> Visit:
        place, state = self._running(container_id)
        request = request_of(argv, pid=int_at(state, "pid"), pid_start=int_at(state, "pid_start"), tty=how.tty)
        return await Visit.begin(place, request, how)

    async def attach(self, container_id: str, how: Streamed) -> ExecStream:
        place, _ = self._running(container_id)
        if how.stdin:
            raise InvalidError("containers of the process runtime have no standard input: use exec")
        return FollowedLog(_log_of(place), lambda: _lives(place), how)

    async def forward(self, sandbox_id: str, port: int) -> ExecStream:
        return await forward(port)

    async def usage(self) -> Sequence[ContainerUsage]:
        supervisors = {
            state: int_at(_read_state(self._place(state.id)), "supervisor")
            for state in await self.list()
            if state.phase == "running"
        }
        found = used_below(supervisors.values())
        return [
            ContainerUsage(
                pod_uid=state.pod_uid,
                name=state.name,
                at_ms=self._clock.wall_ms(),
                cpu_ns=found[pid].cpu_ns,
                memory_working_set_bytes=found[pid].memory_bytes,
                memory_usage_bytes=found[pid].memory_bytes,
                memory_rss_bytes=found[pid].memory_bytes,
                pids=found[pid].pids,
            )
            for state, pid in supervisors.items()
            if pid in found
        ]

    def _place(self, container: str) -> Path:
        pod_uid, name, attempt = container.rsplit(".", 2)
        return self._directory / pod_uid / f"{name}.{attempt}"

    def _state(self, place: Path) -> ContainerState:
        about = decode_object((place / "about").read_bytes())
        container = f"{str_at(about, 'pod_uid')}.{str_at(about, 'name')}.{int_at(about, 'attempt')}"
        state = _read_state(place)
        if container not in self._starting and str_at(state, "phase") != "exited" and not _lives(place):
            state = self._settle(place, _read_state(place))
        return _container(container, about, state)

    def _settle(self, place: Path, state: JsonObject) -> JsonObject:
        """Its supervisor is gone. What it wrote last, or what is then to be said of the container."""
        if str_at(state, "phase") == "exited":
            return state
        settled: JsonObject = {**state, "phase": "exited", "finished_ms": self._clock.wall_ms()}
        if not state:
            settled |= {
                "exit_code": 128,
                "reason": "ContainerCannotRun",
                "message": "the agent ended before it began",
            }
        elif str_at(state, "boot_id") != self._boot_id:
            settled |= {"exit_code": 255, "reason": "Unknown", "message": "the gateway was restarted while it ran"}
        else:
            _kill_session(int_at(state, "pid"), int_at(state, "pid_start"))
            settled |= {
                "exit_code": 137,
                "signal": 9,
                "reason": "ContainerStatusUnknown",
                "message": "its supervisor was killed, and it was killed with it",
            }
        new = place / "state.settled"
        new.write_bytes(encode_object(settled))
        new.rename(place / "state")
        return settled


def _resources(kept: JsonObject) -> Resources:
    return Resources(
        cpu_shares=int_at(kept, "cpu_shares"),
        cpu_quota_us=int_at(kept, "cpu_quota_us"),
        cpu_period_us=int_at(kept, "cpu_period_us"),
        memory_bytes=int_at(kept, "memory_bytes"),
        oom_score_adj=int_at(kept, "oom_score_adj"),
    )


def _mount_line(mount: Mount) -> str:
    way = "ro" if mount.read_only else "rw"
    return f"{mount.host_path.absolute()}\n{mount.container_path}\n{way}\n{mount.sub_path}"


def _is_one(place: Path) -> bool:
    return not place.name.startswith(".") and (place / "about").exists()


def _check_ids(spec: ContainerSpec) -> None:
    user = spec.security.run_as_user
    if spec.security.run_as_non_root and (os.geteuid() if user is None else user) == 0:
        raise InvalidError(f"container {spec.name}: it has runAsNonRoot and would run as root")
    if os.geteuid() == 0:
        return
    for field, wanted, own in (
        ("runAsUser", spec.security.run_as_user, os.geteuid()),
        ("runAsGroup", spec.security.run_as_group, os.getegid()),
    ):
        if wanted is not None and wanted != own:
            raise InvalidError(f"container {spec.name}: {field} {wanted} needs an agent that runs as root")


async def _end_of(fd: int) -> None:
    """Until the other end of a pipe is closed by all who have it."""
    loop = asyncio.get_running_loop()
    ended = loop.create_future()
    loop.add_reader(fd, lambda: ended.done() or ended.set_result(None))
    try:
        await ended
    finally:
        loop.remove_reader(fd)


def _read_state(place: Path) -> JsonObject:
    try:
        return decode_object((place / "state").read_bytes())
    except FileNotFoundError:
        return {}


def _log_of(place: Path) -> Path:
    """Where a container's log goes."""
    parts = (place / "spec").read_bytes().split(b"\0")
    fields = dict(zip(parts[::2], parts[1::2], strict=False))
    return Path(os.fsdecode(fields[b"log"]))


def _lives(place: Path) -> bool:
    """Does a supervisor hold the lock? It does from before it writes anything until its process ends."""
    try:
        fd = os.open(place / "lock", os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False


def _signal_supervisor(place: Path) -> bool:
    """SIGTERM to it and nobody else: the pid is pinned first, then known to be the one that holds the lock."""
    pid = int_at(_read_state(place), "supervisor")
    if not pid:
        return False
    try:
        pinned = os.pidfd_open(pid)
    except ProcessLookupError:
        return False
    try:
        if not _lives(place):
            return False
        signal.pidfd_send_signal(pinned, signal.SIGTERM)
    except ProcessLookupError:
        return False
    finally:
        os.close(pinned)
    return True


def _kill_session(leader: int, leader_start: int) -> None:
    """SIGKILL to what is left of a container's session. Only processes as young as its leader or younger count:
    the number may have been given to another session since."""
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            fields = (entry / "stat").read_bytes().rpartition(b")")[2].split()
            if int(fields[3]) == leader and int(fields[19]) >= leader_start > 0:
                os.kill(int(entry.name), signal.SIGKILL)
        except (OSError, IndexError):
            continue


def _container(container: str, about: JsonObject, state: JsonObject) -> ContainerState:
    phase = str_at(state, "phase")
    return ContainerState(
        id=container,
        sandbox_id=str_at(about, "sandbox"),
        pod_uid=str_at(about, "pod_uid"),
        name=str_at(about, "name"),
        attempt=int_at(about, "attempt"),
        image=str_at(about, "image"),
        image_id=str_at(about, "image_id"),
        phase="running" if phase == "running" else "exited" if phase == "exited" else "created",
        created_ms=int_at(about, "created_ms"),
        started_ms=int_at(state, "started_ms"),
        finished_ms=int_at(state, "finished_ms"),
        exit_code=int_at(state, "exit_code"),
        signal=int_at(state, "signal"),
        reason=str_at(state, "reason"),
        message=str_at(state, "message"),
        labels=tuple(str_map_at(about, "labels").items()),
    )
