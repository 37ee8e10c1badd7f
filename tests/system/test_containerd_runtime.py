"""The runtime port on a real containerd: the contract, and what only it has to do."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Generator
from pathlib import Path
from uuid import uuid4

import pytest
import pytest_asyncio

from edgecore.pods.port import ContainerSpec, Runtime
from edgecore.pods.runtimes.cri import messages as cri
from edgecore.pods.runtimes.cri.mapping import container_config, sandbox_config
from edgecore.pods.runtimes.cri.runtime import MESSAGE_BYTES_MAX, CriRuntime, CriSettings
from edgecore.pods.runtimes.cri.schema import RUNTIME, RUNTIME_CALLS, TABLE
from skerry.clocks import SystemClock
from skerry.frozen import replace
from skerry.transport.grpc import Peer
from tests.contracts.runtime_contract import Programs, RuntimeContract, sandbox_of, spec_of
from tests.system.containerd import BUSYBOX_IMAGE, Containerd, containerd_server

pytestmark = pytest.mark.system

NOWHERE = "http://127.0.0.1:9"
PROGRAMS = Programs(
    runs=("sh", "-c", "trap 'exit 143' TERM; sleep 1000 & wait"),
    exits_3=("sh", "-c", "exit 3"),
    cannot_start=("/no/such/command",),
    ignores_term=("sleep", "1000"),
    image=BUSYBOX_IMAGE,
    says_hello_and_fails=("sh", "-c", "echo hello; exit 3"),
    repeats=("cat",),
    hangs=("sleep", "1000"),
)


@pytest.fixture(scope="module")
def containerd() -> Generator[Containerd]:
    with containerd_server(registries={"docker.io": NOWHERE}) as server:
        yield server


@pytest.fixture
def settings(containerd: Containerd) -> CriSettings:
    """Of an agent of its own."""
    return CriSettings(socket=str(containerd.socket), keeper=str(uuid4()))


@pytest_asyncio.fixture
async def runtime(settings: CriSettings) -> AsyncIterator[CriRuntime]:
    made = CriRuntime(settings, SystemClock())
    yield made
    for sandbox in await made.sandboxes():
        await made.stop_sandbox(sandbox.id)
        await made.remove_sandbox(sandbox.id)
    await made.close()


class TestContainerd(RuntimeContract):
    @pytest.fixture
    def runtime(self, runtime: CriRuntime) -> Runtime:
        return runtime

    @pytest.fixture
    def programs(self) -> Programs:
        return PROGRAMS

    @pytest.fixture
    def again(self, settings: CriSettings) -> Callable[[], Awaitable[Runtime]]:
        async def make() -> Runtime:
            return CriRuntime(settings, SystemClock())

        return make


async def test_it_says_who_it_is(runtime: CriRuntime, tmp_path: Path) -> None:
    await runtime.greet()
    assert runtime.name == "containerd"
    assert runtime.version


async def made_and_not_started(settings: CriSettings, runtime: CriRuntime, spec: ContainerSpec) -> str:
    """As by an agent that is killed between the two calls."""
    (spec.sandbox.log_dir / spec.name).mkdir(parents=True, exist_ok=True)
    image = await runtime.ensure_image(spec.image, "IfNotPresent", ())
    request = cri.CreateContainerRequest(
        pod_sandbox_id=spec.sandbox_id,
        config=container_config(spec, image, settings.keeper),
        sandbox_config=sandbox_config(spec.sandbox, settings.keeper),
    )
    peer = Peer(settings.socket, RUNTIME, RUNTIME_CALLS, TABLE, bytes_max=MESSAGE_BYTES_MAX)
    made: cri.ContainerId = await peer.call("CreateContainer", request, timeout_s=60)
    peer.close()
    return made.container_id


async def test_what_was_made_and_not_started_is_no_container_and_the_run_begins(
    runtime: CriRuntime, settings: CriSettings, tmp_path: Path
) -> None:
    spec = await spec_of(runtime, PROGRAMS, tmp_path, PROGRAMS.runs)
    left = await made_and_not_started(settings, runtime, spec)
    assert [*await runtime.list()] == []
    started = await runtime.start(spec)
    assert started.phase == "running" and started.id != left
    assert [each.id for each in await runtime.list()] == [started.id]


async def test_what_was_made_and_not_started_keeps_no_run_from_another_sandbox(
    runtime: CriRuntime, settings: CriSettings, tmp_path: Path
) -> None:
    """A loss of power between making and start: its sandbox is dead at the boot."""
    spec = await spec_of(runtime, PROGRAMS, tmp_path, PROGRAMS.runs)
    await made_and_not_started(settings, runtime, spec)
    await runtime.stop_sandbox(spec.sandbox_id)
    assert [*await runtime.list()] == []
    another = await runtime.run_sandbox(sandbox_of(tmp_path, attempt=1))
    started = await runtime.start(replace(spec, sandbox=sandbox_of(tmp_path, attempt=1), sandbox_id=another.id))
    assert started.phase == "running"
    await runtime.remove_sandbox(spec.sandbox_id)
    assert [each.id for each in await runtime.list()] == [started.id]
