"""Ports and paths on the command lines of `skerry port-forward` and `skerry cp`."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest

from skerry.cli.copying import Place, place_of, placed, unpack
from skerry.cli.forward import Pair, pair_of
from skerry.errors import BadRequestError
from skerry.objects.json import Json, JsonObject

PORTS: list[Json] = [{"name": "http", "containerPort": 80}]
POD: JsonObject = {"metadata": {"name": "p"}, "spec": {"containers": [{"name": "a", "ports": PORTS}]}}


@pytest.mark.parametrize(
    ("text", "pair"),
    [("80", (80, 80)), ("8080:80", (8080, 80)), (":80", (0, 80)), ("0:http", (0, 80)), ("http", (80, 80))],
)
def test_a_port_here_leads_to_one_of_the_pod(text: str, pair: tuple[int, int]) -> None:
    assert pair_of(text, POD, None) == Pair(local=pair[0], remote=pair[1])


@pytest.mark.parametrize("text", ["", "0", "x:80", "70000:80", "80:nosuch", "80:70000"])
def test_what_is_no_port_is_refused_by_name(text: str) -> None:
    with pytest.raises(BadRequestError):
        pair_of(text, POD, None)


def test_a_port_of_a_service_is_the_one_behind_it() -> None:
    ports: list[Json] = [{"name": "web", "port": 8000, "targetPort": "http"}, {"port": 90}]
    service: JsonObject = {"metadata": {"name": "s"}, "spec": {"ports": ports}}
    assert pair_of("8000", POD, service) == Pair(local=8000, remote=80)
    assert pair_of("1:web", POD, service) == Pair(local=1, remote=80)
    assert pair_of("90", POD, service) == Pair(local=90, remote=90)
    with pytest.raises(BadRequestError, match="it has: 8000, 90"):
        pair_of("80", POD, service)


def test_a_path_with_a_colon_is_in_a_pod_unless_it_begins_as_one_here() -> None:
    assert place_of("a/b") == Place(path="a/b") and place_of("./a:b") == Place(path="./a:b")
    assert place_of("pump:/x") == Place(path="/x", pod="pump")
    assert place_of("ns/pump:x") == Place(path="x", pod="pump", namespace="ns")
    for wrong in ("pump:", "a/b/c:x", "ns/:x"):
        with pytest.raises(BadRequestError):
            place_of(wrong)


def test_what_leads_out_of_the_destination_is_left_out(tmp_path: Path) -> None:
    inside = tmp_path / "inside"
    assert placed("d/a/b", "d", inside) == inside / "a" / "b" and placed("./d", "d", inside) == inside
    for wrong in ("/d/a", "d/../x", "../d", "other/a", "d/a/../../x"):
        assert placed(wrong, "d", inside) is None
    inside.mkdir()
    (inside / "link").symlink_to(tmp_path)
    assert placed("d/link/x", "d", inside) is None


def test_an_archive_is_taken_apart_without_links_and_devices(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as archive:
        for name, kind in (("d", tarfile.DIRTYPE), ("d/link", tarfile.SYMTYPE), ("d/dev", tarfile.CHRTYPE)):
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, "/etc/passwd"
            archive.addfile(member)
        for name in ("d/file", "e/other"):
            member = tarfile.TarInfo(name)
            member.size, member.mode = 5, 0o4755
            archive.addfile(member, io.BytesIO(b"hello"))
    made.seek(0)
    unpack(made, "d", tmp_path / "to")
    assert [path.name for path in (tmp_path / "to").iterdir()] == ["file"]
    assert (tmp_path / "to" / "file").stat().st_mode & 0o7777 == 0o755
    assert capsys.readouterr().err.count("left out") == 3
