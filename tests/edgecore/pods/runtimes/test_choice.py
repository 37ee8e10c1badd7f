"""Which runtime runs pods: what was found once stays, and what can't be is said."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgecore.pods.port import SandboxSpec
from edgecore.pods.runtimes.choice import (
    Choice,
    Choosing,
    before,
    check,
    choose,
    clear,
    clear_or_say,
    keep,
    keep_keeper,
    keeper_of,
)
from edgecore.pods.runtimes.fake import FakeRuntime
from skerry.clocks import ManualClock
from skerry.errors import InvalidError
from skerry.frozen import replace

PROCESS = Choice(name="process")


@pytest.fixture
def choosing(tmp_path: Path) -> Iterator[Choosing]:
    """Nothing is there yet."""
    here = Path.cwd()
    os.chdir(tmp_path)  # sockets' names are short
    yield Choosing(
        wanted="auto",
        endpoint="",
        directory=tmp_path,
        sockets=(("containerd", Path("c.sock")), ("cri-o", Path("o.sock"))),
    )
    os.chdir(here)


def listen(path: str) -> None:
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(path)


def test_where_there_is_no_container_runtime_pods_are_processes(choosing: Choosing) -> None:
    assert choose(choosing) == (PROCESS, True)


def test_a_socket_is_found_and_its_runtime_then_kept(choosing: Choosing) -> None:
    listen("o.sock")
    chosen, found = choose(choosing)
    assert (chosen, found) == (Choice(name="cri-o", socket="o.sock"), True)
    keep(choosing.directory, replace(chosen, socket="/run/crio/crio.sock"))
    Path("o.sock").unlink()
    assert choose(choosing) == (Choice(name="cri-o", socket="/run/crio/crio.sock"), False), (
        "it is late, and waited for"
    )


def test_containerd_comes_before_cri_o(choosing: Choosing) -> None:
    listen("o.sock")
    listen("c.sock")
    assert choose(choosing)[0].name == "containerd"


def test_pods_that_are_processes_stay_so(choosing: Choosing) -> None:
    keep(choosing.directory, PROCESS)
    listen("c.sock")
    assert choose(choosing) == (PROCESS, False)


def test_a_gateway_that_ran_pods_before_there_was_a_choice_goes_on(choosing: Choosing) -> None:
    (choosing.directory / "containers" / "uid-1").mkdir(parents=True)
    listen("c.sock")
    assert choose(choosing) == (PROCESS, False)


def test_a_choice_that_is_damaged_is_made_anew(choosing: Choosing) -> None:
    (choosing.directory / "runtime").write_bytes(b"\xff nonsense")
    assert before(choosing.directory) is None
    assert choose(choosing) == (PROCESS, True)


@pytest.mark.parametrize(
    ("wanted", "endpoint", "name", "path"),
    [
        ("process", "", "process", ""),
        ("containerd", "", "containerd", "c.sock"),
        ("containerd", "unix:///x/y.sock", "containerd", "/x/y.sock"),
        ("cri", "/run/crio/crio.sock", "cri-o", "/run/crio/crio.sock"),
        ("auto", "unix:///k3s/containerd.sock", "containerd", "/k3s/containerd.sock"),
    ],
)
def test_what_is_said_is_taken(choosing: Choosing, wanted: str, endpoint: str, name: str, path: str) -> None:
    keep(choosing.directory, PROCESS)
    assert choose(replace(choosing, wanted=wanted, endpoint=endpoint)) == (Choice(name=name, socket=path), False)


@pytest.mark.parametrize(
    ("wanted", "endpoint", "says"),
    [
        ("process", "unix:///x", "--runtime-endpoint: of no use"),
        ("containerd", "tcp://x:1", "--runtime-endpoint 'tcp://x:1': write unix:///PATH"),
        ("cri", "/" + "x" * 107, "107 bytes at most"),
    ],
)
def test_what_can_not_be_names_the_setting(wanted: str, endpoint: str, says: str) -> None:
    with pytest.raises(InvalidError, match=says):
        check(wanted, endpoint)


def test_cri_without_a_socket_says_where_it_looked(choosing: Choosing) -> None:
    with pytest.raises(InvalidError, match=r"no container runtime at c\.sock, o\.sock; say where"):
        choose(replace(choosing, wanted="cri"))
    keep(choosing.directory, Choice(name="cri-o", socket="/run/crio/crio.sock"))
    assert choose(replace(choosing, wanted="cri"))[0].socket == "/run/crio/crio.sock"


def test_a_socket_is_the_same_however_it_is_named(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "var-run").symlink_to(tmp_path / "run")
    one = Choice(name="containerd", socket=str(tmp_path / "run" / "c.sock"))
    assert one.is_same(Choice(name="cri-o", socket=str(tmp_path / "var-run" / "c.sock")))
    assert not one.is_same(Choice(name="containerd", socket=str(tmp_path / "run" / "other.sock")))
    process = Choice(name="process")
    assert process.is_same(Choice(name="process")) and not process.is_same(one) and not one.is_same(process)


def test_a_gateway_knows_its_containers_however_its_data_is_reached(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "data")
    keep_keeper(tmp_path / "link")
    first = keeper_of(tmp_path / "link")
    assert first == keeper_of(tmp_path / "data") and first.startswith(f"{tmp_path.resolve() / 'data'} ")
    (tmp_path / "data").rename(tmp_path / "moved")
    keep_keeper(tmp_path / "moved")
    assert keeper_of(tmp_path / "moved") == first
    (tmp_path / "data").mkdir()
    keep_keeper(tmp_path / "data")
    assert keeper_of(tmp_path / "data") != first, "another agent, where this one was"


def test_a_gateway_of_before_is_known_by_the_path_that_it_was_given(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "data")
    keep(tmp_path / "data", Choice(name="containerd", socket="/c.sock"))
    assert keeper_of(tmp_path / "link") == str(tmp_path / "link")


async def test_who_moves_leaves_nothing_running_behind(tmp_path: Path) -> None:
    runtime = FakeRuntime(ManualClock())
    for uid in ("a", "b"):
        await runtime.run_sandbox(
            SandboxSpec(pod_uid=uid, pod_name=uid, pod_namespace="d", attempt=0, hostname=uid, log_dir=tmp_path)
        )
    await clear(runtime)
    assert not await runtime.sandboxes()
    runtime.unavailable = "gone"
    assert not await clear_or_say(runtime)
