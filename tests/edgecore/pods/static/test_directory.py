"""The directory of static pods, over time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from edgecore.pods.static import directory as module
from edgecore.pods.static.directory import StaticPods
from skerry.clocks import ManualClock
from skerry.objects.meta import Key

WEB = "apiVersion: v1\nkind: Pod\nmetadata: {name: NAME}\nspec: {containers: [{name: app, image: 'app:1'}]}\n"


def web(name: str = "web") -> str:
    return WEB.replace("NAME", name)


class Place:
    def __init__(self, tmp_path: Path) -> None:
        self.directory = tmp_path / "pods"
        self.directory.mkdir()
        self.kept = tmp_path / "kept.json"
        self.changes: list[frozenset[Key]] = []

    def write(self, file: str, text: str) -> Path:
        path = self.directory / file
        path.write_text(text)
        path.chmod(0o600)
        return path

    def read(self, directory: Path | None = None) -> StaticPods:
        pods = StaticPods(directory or self.directory, self.kept, node="gate-1", clock=ManualClock())
        pods.listen(self.changes.append)
        return pods


def names(pods: StaticPods) -> list[str]:
    return sorted(key.name for key in pods.pods)


def faults(pods: StaticPods) -> dict[str, str]:
    return {fault.file: fault.why for fault in pods.faults}


async def until(pods: StaticPods, level: Callable[[], bool]) -> None:
    task = asyncio.create_task(pods.run())
    try:
        async with asyncio.timeout(20):
            while not level():
                assert not task.done()
                await asyncio.sleep(0.01)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def test_files_are_read_at_once_but_not_those_that_begin_with_a_dot_and_no_directories(place: Place) -> None:
    place.write("web.yaml", web())
    place.write(".web.yaml.swp", web("hidden"))
    (place.directory / "below").mkdir()
    (place.directory / "below" / "other.yaml").write_text(web("below"))
    (place.directory / "nowhere").symlink_to("missing")
    pods = place.read()
    assert (names(pods), pods.faults) == (["web-gate-1"], ())


def test_a_single_file_will_do_and_a_directory_that_is_not_there_is_empty(place: Place) -> None:
    path = place.write("web.yaml", web())
    assert names(place.read(path)) == ["web-gate-1"]
    assert names(place.read(place.directory / "missing")) == []
    assert names(StaticPods(None, place.kept, node="gate-1", clock=ManualClock())) == []


async def test_what_changes_is_read_and_told(place: Place) -> None:
    path = place.write("web.yaml", web())
    pods = place.read()
    before = next(iter(pods.pods.values())).uid
    place.write("other.json", '{"apiVersion":"v1","kind":"Pod","metadata":{"name":"o"},"spec":{"containers":'
                '[{"name":"a","image":"b"}]}}')  # fmt: skip
    path.write_text(web().replace("app:1", "app:2"))
    await until(pods, lambda: names(pods) == ["o-gate-1", "web-gate-1"] and before != _uid(pods, "web-gate-1"))
    path.unlink()
    await until(pods, lambda: names(pods) == ["o-gate-1"])
    assert {key.name for change in place.changes for key in change} == {"o-gate-1", "web-gate-1"}


def _uid(pods: StaticPods, name: str) -> str:
    return next(pod.uid for key, pod in pods.pods.items() if key.name == name)


async def test_a_file_that_makes_no_sense_any_more_ends_nothing_and_says_so(place: Place) -> None:
    path = place.write("web.yaml", web())
    pods = place.read()
    path.write_text("apiVersion: v1\nkind: Pod\nspec: [")
    await until(pods, lambda: bool(pods.faults))
    assert "what it said before goes on" in faults(pods)["web.yaml"]
    assert names(pods) == ["web-gate-1"]
    again = place.read()
    assert names(again) == ["web-gate-1"], "nor does the next agent, after a power cut in the middle of writing"
    path.write_text(web())
    await until(again, lambda: not again.faults)


def test_of_two_files_with_one_pod_the_first_counts(place: Place) -> None:
    place.write("a.yaml", web())
    place.write("b.yaml", web().replace("app:1", "app:2"))
    pods = place.read()
    assert next(iter(pods.pods.values())).file == "a.yaml"
    assert faults(pods) == {"b.yaml": "metadata.name: the pod default/web-gate-1 is that of a.yaml"}


def test_a_file_that_everybody_may_write_is_not_read(place: Place) -> None:
    place.write("web.yaml", web()).chmod(0o666)
    pods = place.read()
    assert names(pods) == [] and "chmod o-w" in faults(pods)["web.yaml"]


def test_no_more_pods_than_a_node_may_have(place: Place) -> None:
    for number in range(module.FILES_MAX + 1):
        place.write(f"{number:03}.yaml", web(f"p{number}"))
    pods = place.read()
    assert len(pods.pods) == module.FILES_MAX and list(faults(pods)) == [f"{module.FILES_MAX:03}.yaml"]


def test_what_was_kept_and_can_t_be_read_is_forgotten(place: Place) -> None:
    place.write("web.yaml", web())
    place.kept.write_text("{")
    assert names(place.read()) == ["web-gate-1"]
