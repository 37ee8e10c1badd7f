"""Who may use what was pulled with somebody's credentials, over lives of the agent and damaged files."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgecore.pods.port import Credentials
from edgecore.pods.pull_rights import FILE, PullRights, kept
from skerry.frozen import replace

MINE = Credentials(registry="r.io", username="u", password="p-1", secret="shop/pull/u-1")
OTHER = Credentials(registry="r.io", username="other", password="p-2", secret="bank/pull/u-2")


def test_what_was_brought_or_pulled_by_nobody_is_everybodys(tmp_path: Path) -> None:
    rights = PullRights(tmp_path)
    assert rights.may_use("brought", ())
    rights.pulled("public", MINE)
    rights.pulled("public", None)
    rights.pulled("public", OTHER)
    assert rights.may_use("public", ())


def test_it_is_for_who_shows_the_same_credentials_or_secret_alone(tmp_path: Path) -> None:
    PullRights(tmp_path).pulled("app", MINE)
    rights = PullRights(tmp_path)
    assert not rights.may_use("app", ()) and not rights.may_use("app", [OTHER])
    assert rights.may_use("app", [OTHER, MINE])
    assert rights.may_use("app", [replace(MINE, secret="")]), "the same, of another Secret"
    assert rights.may_use("app", [replace(MINE, password="changed")]), "the same Secret, changed since"
    assert not rights.may_use("app", [replace(MINE, password="changed", secret="shop/pull/u-9")])
    assert not rights.may_use("app", [replace(MINE, registry="other.io", secret="")])
    rights.pulled("app", OTHER)
    assert rights.may_use("app", [OTHER]) and rights.may_use("app", [MINE])
    rights.forget("app")
    assert PullRights(tmp_path).may_use("app", ())


def test_no_password_is_in_the_file_and_nobody_else_reads_it(tmp_path: Path) -> None:
    PullRights(tmp_path).pulled("app", MINE)
    held = tmp_path / FILE
    assert held.stat().st_mode & 0o777 == 0o600
    assert b"p-1" not in held.read_bytes() and b"shop/pull/u-1" in held.read_bytes()


@pytest.mark.parametrize("damage", [b"", b"[]", b"{}", b'{"key": "00"}', b'{"key": 1}', b"\xff\xfe"])
def test_a_damaged_file_is_as_none(tmp_path: Path, damage: bytes) -> None:
    (tmp_path / FILE).write_bytes(damage)
    rights = PullRights(tmp_path)
    assert rights.may_use("app", ())
    rights.pulled("app", MINE)
    assert not PullRights(tmp_path).may_use("app", ())


def test_what_is_kept_has_an_end(tmp_path: Path) -> None:
    rights = PullRights(tmp_path, images_max=5, holders_max=8)
    for number in range(9):
        rights.pulled("app", replace(MINE, secret=f"n/s/{number}"))
    assert not rights.may_use("app", [replace(OTHER, secret="n/s/0")])
    assert rights.may_use("app", [replace(OTHER, secret="n/s/8")])
    for number in range(5):
        rights.pulled(f"image-{number}", MINE)
    assert rights.may_use("app", ()) and not rights.may_use("image-0", ())


def test_a_full_disk_costs_another_pull_and_no_pod(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    rights = PullRights(tmp_path / "nowhere")
    kept(rights, "app", MINE)
    kept(None, "app", MINE)
    assert "not written down image=app" in caplog.text
    assert rights.may_use("app", [MINE])
