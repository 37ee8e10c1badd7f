"""The fake runtime keeps the contract that tests above it rely on."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest

from edgecore.pods.port import Runtime
from edgecore.pods.runtimes.fake import FakeRuntime
from skerry.clocks import ManualClock
from tests.contracts.runtime_contract import Programs, RuntimeContract


class TestFake(RuntimeContract):
    @pytest.fixture
    def runtime(self) -> FakeRuntime:
        return FakeRuntime(ManualClock())

    @pytest.fixture
    def again(self, runtime: FakeRuntime) -> Callable[[], Awaitable[Runtime]]:
        async def make() -> Runtime:
            return runtime.restarted()

        return make

    @pytest.fixture
    def programs(self) -> Programs:
        return Programs(
            runs=("run",),
            exits_3=("exit", "3"),
            cannot_start=("cannot",),
            ignores_term=("stubborn",),
            image="app",
            says_hello_and_fails=("say", "hello", "3"),
            repeats=("repeat",),
            hangs=("hang",),
        )
