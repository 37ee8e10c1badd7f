"""What tells one exporter from another."""

from __future__ import annotations

from pathlib import Path

import pytest

from cloudcore.dns.exporter import identity_of


def test_an_exporter_is_the_same_in_one_directory_and_another_in_each_other(tmp_path: Path) -> None:
    first, second = tmp_path / "a", tmp_path / "b"
    first.mkdir()
    second.mkdir()
    assert identity_of(first) == identity_of(first) != identity_of(second)
    assert len(identity_of(first)) == 8 and [each.name for each in first.iterdir()] == ["id"]
    (first / "id").write_text("what is, no name")
    assert identity_of(first) == identity_of(first) == (first / "id").read_text()


def test_where_nothing_can_be_kept_there_is_one_for_the_time(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert len(identity_of(tmp_path / "missing")) == 8
    assert "is not written down" in caplog.text
