from __future__ import annotations

from pathlib import Path

import pytest

from skerry.errors import UnavailableError
from skerry.files import write_private


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path: Path):
    path = tmp_path / "file"
    write_private(path, b"one")
    write_private(path, b"two")
    assert (path.read_bytes(), path.stat().st_mode & 0o777, list(tmp_path.iterdir())) == (b"two", 0o600, [path])
    with pytest.raises(UnavailableError):
        write_private(tmp_path / "none" / "file", b"x")
