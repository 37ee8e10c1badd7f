from __future__ import annotations

from pathlib import Path

from edgecore.pods.parts import log_directory

UID = "38dc9ff7-4234-472d-92fe-b3011015c654"


def test_logs_are_where_a_kubelet_has_them() -> None:
    found = log_directory(Path("/data"), namespace="shop", name="web.1", uid=UID)
    assert found == Path(f"/data/logs/shop_web.1_{UID}")


def test_of_a_name_that_is_too_long_for_a_file_there_is_as_much_as_fits(tmp_path: Path) -> None:
    found = log_directory(tmp_path, namespace="n" * 63, name="a" * 253, uid=UID)
    found.mkdir(parents=True)
    assert len(found.name) == 255 and found.name.rpartition("_")[2] == UID
    other = log_directory(tmp_path, namespace="n" * 63, name="a" * 252 + "b", uid=UID[::-1])
    assert other != found
