"""What the keeper leaves on the disk, whenever it ended."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from edgecore.network.ingress.haproxy import CONFIG
from edgecore.network.ingress.keeper import DEFAULT_PEM, IngressKeeper, IngressParts, certificate_fault
from edgecore.network.ingress.settings import IngressSettings
from edgecore.store.memory import MemoryEdgeStore
from edgecore.store.port import EdgeBatch, Held
from edgecore.store.shell import AsyncEdgeStore
from skerry.clocks import SystemClock
from skerry.errors import UnavailableError
from skerry.objects.ingresses import CLASSES, INGRESSES
from skerry.objects.json import encode_object
from skerry.objects.meta import Key, Revision, Stamp
from tests.edgecore.network.conftest import NODE, Known
from tests.edgecore.network.ingress.conftest import CLASS, certificate, haproxy, ingress, path, rule, tls_secret

UNFIT = "192.0.2.256"
"""No address: HAProxy refuses to bind it."""


class Kept:
    """A keeper with its store and its directory."""

    def __init__(self, known: Known, directory: Path, address: str = "127.0.0.1") -> None:
        self.store = AsyncEdgeStore(MemoryEdgeStore(clock=SystemClock(), incarnation="one"))
        self.directory = directory
        parts = IngressParts(
            node=NODE, store=self.store, clock=SystemClock(), directory=directory, addresses=lambda: ("192.0.2.7",)
        )
        self.keeper = IngressKeeper(parts, IngressSettings(address=address), known.directory)

    async def put(self, resource: str, obj: Any) -> None:
        key = Key(resource, "" if resource == CLASSES else "d", obj["metadata"]["name"])
        batch = EdgeBatch(puts=(Held(key=key, stamp=Stamp("u", Revision(1)), body=encode_object(obj)),))
        await self.store.apply(batch)
        self.keeper.committed(batch)

    def keys(self) -> list[str]:
        files = (each for each in self.directory.rglob("*") if each.is_file())
        return sorted(str(each.relative_to(self.directory)) for each in files if b"PRIVATE KEY" in each.read_bytes())


@pytest.fixture
def left(tmp_path: Path) -> Iterator[Path]:
    """As a crash left it: the generation that HAProxy reads, one that nobody reads, files on their way."""
    for name in ("g6", "g7"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "c0.pem").write_bytes(b"-----BEGIN PRIVATE KEY-----")
    (tmp_path / ".default.pem.x1").write_bytes(b"-----BEGIN PRIVATE KEY-----")
    (tmp_path / CONFIG).symlink_to(f"g6/{CONFIG}")
    yield tmp_path


async def test_keys_that_a_crash_left_are_gone_at_the_next_start(left: Path, known: Known) -> None:
    kept = Kept(known, left)
    await kept.keeper.bring_up()
    assert kept.keys() == [DEFAULT_PEM]
    assert not (left / CONFIG).is_symlink()


async def test_tries_that_haproxy_refuses_leave_no_keys(left: Path, known: Known) -> None:
    haproxy()
    kept = Kept(known, left, address=UNFIT)
    await kept.put(CLASSES, CLASS)
    await kept.put("secrets", tls_secret("cert", certificate("a.example")))
    tls = [{"hosts": ["a.example"], "secretName": "cert"}]
    await kept.put(INGRESSES, ingress("one", rule("a.example", path("/", "web")), tls=tls))
    for _ in range(2):
        with pytest.raises(UnavailableError, match="refuses the configuration"):
            await kept.keeper.bring_up()
        assert kept.keys() == [DEFAULT_PEM, "g6/c0.pem"]


def test_certificates_are_judged_without_a_file() -> None:
    good, other = certificate("a.example"), certificate("b.example")
    assert certificate_fault(b"".join(good)) == ""
    assert "key values mismatch" in certificate_fault(good[0] + other[1])
    assert certificate_fault(b"hello") != ""
