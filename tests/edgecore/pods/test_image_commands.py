"""`edgecore image`, on a runtime in memory; with a real one in tests/system."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from edgecore.pods.image_commands import ImageRequest, change_images, check_request, size_text
from edgecore.pods.runtimes.choice import Choice
from edgecore.pods.runtimes.fake import FakeRuntime
from skerry.clocks import ManualClock
from skerry.errors import InvalidError

CONTAINERD = Choice(name="containerd", socket="/c.sock")


async def test_images_are_pulled_listed_and_removed() -> None:
    runtime = FakeRuntime(ManualClock())
    runtime.image_bytes = 1_900_000
    assert await change_images(ImageRequest(), runtime, CONTAINERD) == "no images\n"
    assert (
        await change_images(ImageRequest(pull="app:1"), runtime, CONTAINERD) == "app:1 is here: fake:app:1, 1.9 MB\n"
    )
    assert await change_images(ImageRequest(), runtime, CONTAINERD) == (
        "NAME   ID          SIZE\napp:1  fake:app:1  1.9 MB\n"
    )
    assert await change_images(ImageRequest(prune=True), runtime, CONTAINERD) == ("removed app:1\n1 images, 1.9 MB\n")
    assert not await runtime.images()


async def test_another_runtime_than_containerd_has_a_tool_of_its_own_for_archives(tmp_path: Path) -> None:
    choice = Choice(name="cri-o", socket="/o.sock")
    with pytest.raises(InvalidError, match="podman load --input"):
        await change_images(ImageRequest(load="x.tar"), FakeRuntime(ManualClock()), choice)


@pytest.mark.parametrize("content", ["", "{}", '{"auths": {"r.io": {}}}'])
async def test_a_file_without_credentials_is_named(content: str, tmp_path: Path) -> None:
    file = tmp_path / "config.json"
    file.write_text(content)
    with pytest.raises(InvalidError, match=f"auth-file {file}"):
        await change_images(ImageRequest(pull="a", auth_file=str(file)), FakeRuntime(ManualClock()), CONTAINERD)


async def test_credentials_of_a_file_are_used(tmp_path: Path) -> None:
    file = tmp_path / "config.json"
    file.write_text(json.dumps({"auths": {"r.io": {"username": "u", "password": "p"}}}))
    told = await change_images(
        ImageRequest(pull="r.io/a", auth_file=str(file)), FakeRuntime(ManualClock()), CONTAINERD
    )
    assert "r.io/a is here" in told


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        (ImageRequest(pull="a", prune=True), "one at a time"),
        (ImageRequest(auth_file="x"), "--auth-file: of no use"),
        (ImageRequest(load="/no/such.tar"), "there is no such file"),
    ],
)
def test_what_can_not_be_asked_is_refused(asked: ImageRequest, says: str) -> None:
    with pytest.raises(InvalidError, match=says):
        check_request(asked)


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (2_500_000_000, "2.5 GB"), (10**16, "10000.0 TB")],
)
def test_sizes_are_told_as_people_read_them(count: int, text: str) -> None:
    assert size_text(count) == text
