"""The way to a part of a volume: links inside it are followed, and nothing outside is reached."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from edgecore.pods.runtimes.apart.beneath import LINKS_MAX, STEPS_MAX, beneath


def found(volume: Path, part: str) -> Path:
    """Where it leads."""
    before = len([*Path("/proc/self/fd").iterdir()])
    fd = beneath(str(volume), part)
    try:
        return Path(f"/proc/self/fd/{fd}").readlink()
    finally:
        os.close(fd)
        assert len([*Path("/proc/self/fd").iterdir()]) == before, "nothing is left open"


@pytest.fixture
def volume(tmp_path: Path) -> Path:
    made = tmp_path / "v"
    (made / "releases" / "3" / "conf").mkdir(parents=True)
    (made / "releases" / "3" / "file").touch()
    (made / "current").symlink_to("releases/3")
    (made / "releases" / "latest").symlink_to("../current/./conf")
    (tmp_path / "secret").mkdir()
    return made


def test_links_that_stay_inside_are_followed(volume: Path) -> None:
    release = volume / "releases" / "3"
    assert found(volume, "current") == release
    assert found(volume, "current/file") == release / "file"
    assert found(volume, "releases/latest") == release / "conf"
    assert found(volume, "current/made/below") == release / "made" / "below"
    (volume / "self").symlink_to("releases/..")
    assert found(volume, "self") == volume


@pytest.mark.parametrize(
    "target", ["/", "/etc", "../secret", "releases/../../secret", "current/../../../secret", ".."]
)
def test_what_leads_out_is_refused_and_nothing_is_made_there(volume: Path, target: str) -> None:
    (volume / "out").symlink_to(target)
    for part in ("out", "out/x"):
        with pytest.raises(OSError, match=r"symbolic link.* leads out of the volume") as caught:
            beneath(str(volume), part)
        assert caught.value.errno == errno.EXDEV
    assert list((volume.parent / "secret").iterdir()) == []


def test_links_in_a_circle_and_links_to_nothing_end(volume: Path) -> None:
    (volume / "a").symlink_to("b")
    (volume / "b").symlink_to("a")
    with pytest.raises(OSError, match="too many symbolic links"):
        beneath(str(volume), "a")
    (volume / "nothing").symlink_to("is/there")
    with pytest.raises(FileNotFoundError):
        beneath(str(volume), "nothing")
    assert not (volume / "is").exists(), "nothing is made behind a link"
    assert LINKS_MAX == 40


def test_a_walk_of_too_many_steps_ends(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="more than"):
        beneath(str(tmp_path), "/".join(["a"] * (STEPS_MAX + 1)))
