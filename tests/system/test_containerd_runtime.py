"""The runtime port on a real containerd: the contract, and what only it has to do."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Generator
from pathlib import Path
from uuid import uuid4

import pytest
import pytest_asyncio

from edgecore.pods.port import Runtime
from edgecore.pods.runtimes.cri.runtime import CriRuntime, CriSettings
from skerry.clocks import SystemClock
from tests.contracts.runtime_contract import Programs, RuntimeContract
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
