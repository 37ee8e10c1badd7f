"""Replicas that share a CA: who may join, what the database gives away, and what a rotation on one does to others."""

from __future__ import annotations

import base64
import os
from pathlib import Path

import pytest

from cloudcore.pki.directory import (
    Pki,
    new_material,
    open_pki,
    retire,
    retire_token_key,
    rotate,
    rotate_token_keys,
)
from cloudcore.pki.serving import now_of
from cloudcore.pki.shared import SECRET, read_cluster_key, seal, shared_pki, unseal
from cloudcore.pki.token_keys import is_newer
from cloudcore.store.memory import MemoryState, MemoryStore
from cloudcore.store.port import Stored
from skerry.clocks import ManualClock, SeededIds
from skerry.errors import InvalidError, UnavailableError
from skerry.objects.json import decode_object, str_map_at
from skerry.objects.meta import Key

KEY = bytes(range(32))
OTHER_KEY = bytes(32)
CLOCK = ManualClock()


class Cloud:
    """One database, and replicas by the names of their directories."""

    def __init__(self, folder: Path) -> None:
        self.store: MemoryStore = MemoryStore(MemoryState(epoch="e"))
        self.folder = folder

    async def start(self, replica: str, key: bytes | None = KEY) -> Pki:
        return await shared_pki(self.store, self.folder / replica, key, clock=CLOCK, ids=SeededIds(1))

    async def secret(self) -> dict[str, bytes]:
        stored = await self.store.get(SECRET)
        assert stored is not None
        return {
            name: base64.b64decode(value) for name, value in str_map_at(decode_object(stored.body), "data").items()
        }


@pytest.fixture
def cloud(tmp_path: Path) -> Cloud:
    return Cloud(tmp_path)


def ids(pki: Pki) -> list[str]:
    return [authority.id for authority in pki.authorities]


async def test_a_second_replica_needs_the_database_and_the_key(cloud: Cloud) -> None:
    first, second = await cloud.start("a"), await cloud.start("b")
    assert second.authority.pem == first.authority.pem
    assert second.token_keys.pem == first.token_keys.pem
    assert ids(await cloud.start("b")) == ids(first)
    with pytest.raises(InvalidError, match="give this replica the --cluster-key"):
        await cloud.start("c", None)
    with pytest.raises(InvalidError, match="sealed with another key"):
        await cloud.start("c", OTHER_KEY)
    assert not (cloud.folder / "c").exists()


async def test_a_replica_with_the_wrong_key_does_not_start_on_its_own_files_either(cloud: Cloud) -> None:
    await cloud.start("a")
    with pytest.raises(InvalidError, match="sealed with another key"):
        await cloud.start("a", OTHER_KEY)


async def test_the_database_alone_gives_no_key_away(cloud: Cloud) -> None:
    await cloud.start("a")
    secret = await cloud.secret()
    assert secret.keys() == {"ca.crt", "sealed"}
    assert b"PRIVATE" not in secret["ca.crt"] + secret["sealed"]


async def test_a_cloud_without_a_cluster_key_is_joined_with_copied_files(cloud: Cloud) -> None:
    first = await cloud.start("a", None)
    assert (await cloud.secret()).keys() == {"ca.crt"}
    with pytest.raises(InvalidError, match="its keys are not in the database yet"):
        await cloud.start("b")
    os.renames(cloud.folder / "a", cloud.folder / "b")
    assert ids(await cloud.start("b", None)) == ids(first)


async def test_a_cluster_key_given_later_seals_what_is_there(cloud: Cloud) -> None:
    first = await cloud.start("a", None)
    await cloud.start("a")
    assert ids(await cloud.start("b")) == ids(first)


async def test_a_replica_of_another_cloud_is_refused_and_left_as_it_is(cloud: Cloud) -> None:
    await cloud.start("a")
    other = open_pki(cloud.folder / "b", now=now_of(CLOCK))
    with pytest.raises(InvalidError, match="is of another cloud"):
        await cloud.start("b")
    assert ids(open_pki(cloud.folder / "b", now=None)) == ids(other)


async def test_a_cloud_that_was_there_before_the_database_brings_its_own(cloud: Cloud) -> None:
    before = open_pki(cloud.folder / "a", now=now_of(CLOCK))
    assert ids(await cloud.start("a")) == ids(before)
    assert ids(await cloud.start("b")) == ids(before)


class RacingStore(MemoryStore):
    """Another replica starts between the first look of this one and its write."""

    rival: Cloud | None = None
    found: Pki | None = None

    async def get(self, key: Key) -> Stored | None:
        stored = await super().get(key)
        rival, self.rival = self.rival, None
        if rival is not None:
            self.found = await rival.start("a")
        return stored


async def test_of_two_that_start_at_once_one_makes_the_ca(cloud: Cloud) -> None:
    racing = cloud.store = RacingStore(MemoryState(epoch="e"))
    racing.rival = cloud
    second = await cloud.start("b")
    assert racing.found is not None
    assert ids(second) == ids(racing.found)


async def test_a_rotation_on_one_replica_reaches_the_others_at_their_next_start(cloud: Cloud) -> None:
    await cloud.start("a")
    await cloud.start("b")
    rotated = rotate(cloud.folder / "a", now=now_of(CLOCK))
    assert ids(await cloud.start("a")) == ids(rotated)
    assert ids(await cloud.start("b")) == ids(rotated)
    assert ids(await cloud.start("c")) == ids(rotated)
    retired = retire(cloud.folder / "b", rotated.former[0].id)
    for replica in "bac":
        assert ids(await cloud.start(replica)) == ids(retired) == ids(rotated)[:1]


async def test_of_two_rotations_at_once_the_one_that_comes_too_late_is_dropped_and_said(
    cloud: Cloud, caplog: pytest.LogCaptureFixture
) -> None:
    await cloud.start("a")
    await cloud.start("b")
    first = rotate(cloud.folder / "a", now=now_of(CLOCK))
    late = rotate(cloud.folder / "b", now=now_of(CLOCK))
    assert ids(await cloud.start("a")) == ids(first)
    assert not caplog.records
    assert ids(await cloud.start("b")) == ids(first)
    (record,) = caplog.records
    assert f"dropped={late.authority.id} signs={first.authority.id}" in record.getMessage()
    caplog.clear()
    assert ids(await cloud.start("b")) == ids(first)
    assert not caplog.records


async def test_without_a_key_a_replica_that_missed_a_rotation_says_what_to_copy(cloud: Cloud) -> None:
    await cloud.start("a", None)
    (cloud.folder / "b").mkdir()
    (cloud.folder / "b" / "pki").mkdir()
    for name in ("ca.crt", "ca.key", "sa.key"):
        (cloud.folder / "b" / "pki" / name).write_bytes((cloud.folder / "a" / "pki" / name).read_bytes())
    rotate(cloud.folder / "a", now=now_of(CLOCK))
    await cloud.start("a", None)
    with pytest.raises(InvalidError, match=r"changed on another replica: .*copy DIR/pki"):
        await cloud.start("b", None)


@pytest.mark.parametrize(
    ("one", "other", "newer"),
    [
        ("ba", "a", True),
        ("a", "ba", False),
        ("b", "ba", True),
        ("ba", "b", False),
        ("cba", "ba", True),
        ("a", "a", False),
    ],
)
def test_which_of_two_is_the_newer(one: str, other: str, newer: bool) -> None:
    assert is_newer(list(one), list(other)) is newer


def test_a_changed_bundle_or_box_is_noticed() -> None:
    material, stranger = new_material(now=now_of(CLOCK)), new_material(now=now_of(CLOCK))
    sealed = seal(material, KEY, b"n" * 12)
    assert unseal(sealed, KEY).authority.pem == material.authority.pem
    for changed in (
        type(sealed)(bundle_pem=stranger.authority.pem, box=sealed.box),
        type(sealed)(bundle_pem=sealed.bundle_pem, box=sealed.box[:-1]),
    ):
        with pytest.raises(InvalidError):
            unseal(changed, KEY)


def test_a_key_file_is_32_bytes_that_only_its_owner_reads(tmp_path: Path) -> None:
    path = tmp_path / "key"
    with pytest.raises(UnavailableError, match="No such file"):
        read_cluster_key(path)
    path.write_bytes(base64.b64encode(KEY) + b"\n")
    path.chmod(0o644)
    with pytest.raises(InvalidError, match="chmod 600"):
        read_cluster_key(path)
    path.chmod(0o640)
    assert read_cluster_key(path) == KEY
    path.write_bytes(b"short")
    with pytest.raises(InvalidError, match="32 random bytes as base64"):
        read_cluster_key(path)


async def test_a_new_key_of_tokens_reaches_the_other_replicas_too(cloud: Cloud) -> None:
    await cloud.start("a")
    await cloud.start("b")
    keys = rotate_token_keys(cloud.folder / "a", "RS256")
    assert (await cloud.start("a")).token_keys.ids == keys.ids
    assert (await cloud.start("b")).token_keys.ids == keys.ids
    assert (await cloud.start("c")).token_keys.pem == keys.pem
    retired = retire_token_key(cloud.folder / "b", keys.ids[1])
    for replica in "bac":
        assert (await cloud.start(replica)).token_keys.ids == retired.ids == keys.ids[:1]


async def test_an_authority_and_a_key_of_tokens_changed_on_two_replicas_are_both_kept(cloud: Cloud) -> None:
    await cloud.start("a")
    await cloud.start("b")
    authority = rotate(cloud.folder / "a", now=now_of(CLOCK))
    keys = rotate_token_keys(cloud.folder / "b", "ES256")
    for replica in "aba":
        await cloud.start(replica)
    found = await cloud.start("c")
    assert ids(found) == ids(authority)
    assert found.token_keys.ids == keys.ids
    assert (await cloud.start("b")).token_keys.ids == keys.ids
