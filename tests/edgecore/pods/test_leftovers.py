"""What a power cut left of pods that nobody knows any more."""

from __future__ import annotations

from pathlib import Path

from edgecore.pods.leftovers import remove_leftovers


def test_directories_of_unknown_pods_go_and_all_others_stay(tmp_path: Path) -> None:
    for name in ("pods/known/volumes/v", "pods/lost/volumes/v", "logs/ns_web_known/app", "logs/ns_web_lost/app"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "logs" / "agent.log").touch()
    (tmp_path / "logs" / "somebodys").mkdir()
    mounts = tmp_path / "mounts"
    mounts.write_text("proc /proc proc rw 0 0\n")
    assert remove_leftovers(tmp_path, {"known"}, mounts) == 2
    left = sorted(str(each.relative_to(tmp_path)) for each in tmp_path.glob("*/*"))
    assert left == ["logs/agent.log", "logs/ns_web_known", "logs/somebodys", "pods/known"]


def test_where_something_is_mounted_nothing_is_removed(tmp_path: Path) -> None:
    place = tmp_path / "pods" / "lost" / "volumes" / "a room"
    place.mkdir(parents=True)
    mounts = tmp_path / "mounts"
    mounts.write_text(f"tmpfs {str(place).replace(' ', chr(92) + '040')} tmpfs rw 0 0\n")
    assert remove_leftovers(tmp_path, frozenset(), mounts) == 0
    assert place.is_dir()


def test_a_gateway_without_pods_has_nothing_to_remove(tmp_path: Path) -> None:
    assert remove_leftovers(tmp_path / "new", frozenset()) == 0


def test_what_is_mounted_behind_a_link_of_the_data_directory_stays(tmp_path: Path) -> None:
    place = tmp_path / "disk" / "pods" / "u" / "volumes"
    place.mkdir(parents=True)
    (tmp_path / "data").symlink_to(tmp_path / "disk")
    mounts = tmp_path / "mounts"
    mounts.write_bytes(b"none /media/\xff tmpfs rw 0 0\nnone " + bytes(place.resolve()) + b" ext4 rw 0 0\n")
    assert remove_leftovers(tmp_path / "data", (), mounts) == 0
    assert place.is_dir()
