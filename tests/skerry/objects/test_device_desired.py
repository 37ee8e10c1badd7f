"""Desired values in a Device: preconditions, conflicts that a person settles, removals, several at once."""

from __future__ import annotations

import pytest

from skerry.errors import ConflictError, InvalidError
from skerry.frozen import replace
from skerry.objects.desired import Desired, Policy, Vector, merge, write_desired
from skerry.objects.device_desired import (
    IF_MATCH,
    REMOVED,
    REVISION,
    TOMBSTONES_MAX,
    desired_of,
    desired_revision,
    merged_desired,
    record_of,
    stamp_desired,
    tombstones_of,
    with_tombstone_seen,
    with_twins,
)
from skerry.objects.json import JsonObject, clone, ensure_map, map_at, maps_at, str_at
from skerry.objects.meta import annotations_of
from skerry.objects.twins import DeviceName, TwinDesired

NAME = DeviceName(namespace="default", name="boiler", uid="u1")


def device(**wanted: JsonObject | None) -> JsonObject:
    """Properties by name: `desired`, or None."""
    return {
        "metadata": {"name": "boiler", "namespace": "default", "uid": "u1", "generation": 1},
        "spec": {
            "properties": [
                {"name": name, **({} if desired is None else {"desired": desired})}
                for name, desired in wanted.items()
            ]
        },
    }


def write(old: JsonObject | None, new: JsonObject, *, origin: str = "ann", now_ms: int = 1000) -> JsonObject:
    return stamp_desired(old, new, now_ms=now_ms, origin=origin)


def changed(old: JsonObject, prop: str, value: str | None, **metadata: str) -> JsonObject:
    """As a merge patch writes it."""
    new = clone(old)
    entry = next(entry for entry in maps_at(new, "spec", "properties") if entry["name"] == prop)
    if value is None:
        entry.pop("desired", None)
    else:
        entry["desired"] = {"value": value, "metadata": {**map_at(entry, "desired", "metadata"), **metadata}}
    return new


def wanted(obj: JsonObject, prop: str = "t") -> Desired:
    found = desired_of(obj, prop)
    assert found is not None
    return found


def contested(policy: str = "manual") -> JsonObject:
    first = write(None, device(t={"value": "20"}))
    rival = write_desired(None, value="25", side="edge", origin="op", now_ms=9, synced=True, expires_ms=None)
    assert policy == "manual"
    merged = merged_desired(first, TwinDesired(device=NAME, prop="t", desired=rival, policy="manual"))
    return stamp_desired(first, merged, now_ms=2000, origin="hub", merging=True)


def test_a_write_that_expects_another_version_is_refused_with_what_is_there() -> None:
    first = write(None, device(t={"value": "20"}))
    second = write(first, changed(first, "t", "21", ifMatch="1.0"), origin="bob")
    assert wanted(second).ver == Vector(cloud=2)
    with pytest.raises(ConflictError, match=r"'21' is wanted of it, version 2\.0, by bob"):
        write(second, changed(second, "t", "22", ifMatch="1.0"))
    with pytest.raises(ConflictError, match="nothing was ever wanted"):
        write(first, device(t={"value": "20"}, fan={"value": "1", "metadata": {"ifMatch": "1.0"}}))
    shown = map_at(maps_at(second, "spec", "properties")[0], "desired", "metadata")
    assert "ifMatch" not in shown, "a condition is of one write"


def test_a_conflict_shows_both_values_and_a_person_takes_one() -> None:
    held = contested()
    shown = map_at(maps_at(held, "spec", "properties")[0], "desired", "metadata")
    assert (shown["conflict"], shown["conflictValue"], shown["conflictSide"]) == ("waiting", "20", "cloud")
    assert wanted(held).value == "25"
    for side, value in (("cloud", "20"), ("edge", "25"), ("desired", "25")):
        settled = wanted(write(held, changed(held, "t", "25", take=side), origin="eve"))
        assert (settled.value, settled.conflict, settled.waiting, settled.origin) == (value, None, False, "eve")
        assert settled.ver.covers(wanted(held).ver)


def test_what_was_read_of_a_conflict_reads_back_as_it_was() -> None:
    held = contested()
    assert write(held, held) is held
    again = merged_desired(held, TwinDesired(device=NAME, prop="t", desired=wanted(held), policy="manual"))
    assert again is held


@pytest.mark.parametrize("take", ["cloud", "edge", "both"])
def test_where_there_is_no_conflict_none_can_be_settled(take: str) -> None:
    first = write(None, device(t={"value": "20"}))
    with pytest.raises(InvalidError, match=r"metadata\.take"):
        write(first, changed(first, "t", "20", take=take))


@pytest.mark.parametrize("metadata", [{"onReconnect": "perhaps"}, {"expires": "tomorrow"}])
def test_metadata_that_mean_nothing_are_refused(metadata: JsonObject) -> None:
    with pytest.raises(InvalidError):
        write(None, device(t={"value": "20", "metadata": metadata}))


def test_a_removal_leaves_a_tombstone_that_only_the_gateway_takes_away() -> None:
    first = write(None, device(t={"value": "20"}))
    removed = write(first, changed(first, "t", None), origin="bob")
    tombstone = record_of(removed, "t")
    assert desired_of(removed, "t") is None
    assert tombstone is not None and tombstone.removed and tombstone.ver == Vector(cloud=2)
    bare = clone(removed)
    ensure_map(bare, "metadata").pop("annotations")
    assert record_of(write(removed, bare), "t") == tombstone, "kubectl replace does not take it away"
    assert record_of(write(removed, with_tombstone_seen(removed, "t", tombstone.ver)), "t") == tombstone
    gone = stamp_desired(
        removed, with_tombstone_seen(removed, "t", tombstone.ver), now_ms=1, origin="hub", merging=True
    )
    assert record_of(gone, "t") is None and tombstones_of(gone) == {}
    back = wanted(write(gone, changed(gone, "t", "30")))
    assert back.ver != tombstone.ver and back.ver.covers(tombstone.ver), "newer than all that was removed"


def test_a_property_that_is_taken_away_leaves_one_too() -> None:
    first = write(None, device(t={"value": "20"}, fan={"value": "1"}))
    assert set(tombstones_of(write(first, device(t={"value": "20"})))) == {"fan"}


def test_a_removal_on_the_gateway_is_merged_into_the_device() -> None:
    first = write(None, device(t={"value": "20"}))
    gone = replace(
        write_desired(
            wanted(first), value="", side="edge", origin="op", now_ms=5, synced=True, expires_ms=None, removed=True
        )
    )
    report = TwinDesired(device=NAME, prop="t", desired=gone, policy="newest")
    merged = stamp_desired(first, merged_desired(first, report), now_ms=9, origin="hub", merging=True)
    assert record_of(merged, "t") == gone


def test_what_nobody_wrote_here_is_numbered_anew_in_a_device_that_is_made_from_a_copy() -> None:
    first = write(None, device(t={"value": "20"}))
    third = write(first, changed(first, "t", "22"))
    removed = write(third, changed(third, "t", None))
    copied = write(None, removed)
    assert tombstones_of(copied) == {}
    assert wanted(write(None, third)).ver == Vector(cloud=1)


def test_nobody_but_the_hub_decides_versions() -> None:
    first = write(None, device(t={"value": "20"}))
    forged = wanted(write(first, changed(first, "t", "99", ver="70.0", origin="somebody", side="edge")))
    assert (forged.ver, forged.origin, forged.side) == (Vector(cloud=2), "ann", "cloud")


def test_values_of_one_write_are_in_the_order_of_the_properties() -> None:
    several = write(None, device(b={"value": "1"}, a={"value": "2"}, c={"value": "3"}))
    assert sorted(("a", "b", "c"), key=lambda prop: wanted(several, prop).hlc) == ["b", "a", "c"]


def test_the_revision_of_what_is_wanted_changes_with_any_of_it_and_with_nothing_else() -> None:
    first = write(None, device(t={"value": "20"}, fan=None))
    status: JsonObject = {**first, "status": {"state": "online"}}
    assert desired_revision(first) == desired_revision(status)
    seen = {desired_revision(first)}
    for obj in (changed(first, "t", "21"), changed(first, "t", None), changed(first, "fan", "1")):
        seen.add(desired_revision(write(first, obj)))
    assert len(seen) == 4


def test_a_reason_stays_where_a_gateway_writes_as_only_the_cloud_keeps_it() -> None:
    spec: JsonObject = {"properties": [{"name": "s", "desired": {"value": "50", "metadata": {"reason": "frost"}}}]}
    held = stamp_desired(None, {"metadata": {"name": "a"}, "spec": spec}, now_ms=1000, origin="ann")
    for value in ("61", "50"):
        wanted = write_desired(
            desired_of(held, "s"), value=value, side="edge", origin="l", now_ms=2000, synced=True, expires_ms=None
        )
        held = with_twins(held, {"s": wanted})
        (entry,) = maps_at(held, "spec", "properties")
        assert (str_at(entry, "desired", "value"), str_at(entry, "desired", "metadata", "reason")) == (value, "frost")


def test_tombstones_are_bounded_and_what_a_hand_broke_is_none() -> None:
    many: dict[str, JsonObject | None] = {f"p{number:04}": {"value": "1"} for number in range(TOMBSTONES_MAX + 9)}
    removed = write(write(None, device(**many)), device())
    assert len(tombstones_of(removed)) == TOMBSTONES_MAX
    broken = clone(removed)
    ensure_map(broken, "metadata", "annotations")[REMOVED] = "{"
    assert tombstones_of(broken) == {}


def test_a_write_may_expect_a_revision_of_all_that_is_wanted() -> None:
    first = write(None, device(t={"value": "20"}, fan=None))
    revision = annotations_of(first)[REVISION]
    assert revision == desired_revision(first)

    def expecting(obj: JsonObject, expected: str) -> JsonObject:
        out = clone(obj)
        ensure_map(out, "metadata", "annotations")[IF_MATCH] = expected
        return out

    second = write(first, expecting(changed(first, "fan", "1"), revision))
    assert IF_MATCH not in annotations_of(second) and annotations_of(second)[REVISION] == desired_revision(second)
    with pytest.raises(ConflictError, match=f"at revision {desired_revision(second)}"):
        write(second, expecting(changed(second, "fan", "0"), revision))


def test_what_a_gateway_holds_shows_where_it_is_newer_than_the_device() -> None:
    first = write(None, device(t={"value": "20"}))
    mine = write_desired(wanted(first), value="9", side="edge", origin="op", now_ms=5, synced=True, expires_ms=None)
    shown = with_twins(first, {"t": mine})
    assert wanted(shown) == mine and annotations_of(shown)[REVISION] == desired_revision(shown)
    later = write(shown, changed(shown, "t", "30"))
    assert wanted(with_twins(later, {"t": mine})).value == "30"


@pytest.mark.parametrize("removed", [False, True])
def test_what_another_policy_settles_otherwise_stands_as_it_was_written_and_is_no_new_write(removed: bool) -> None:
    first = write(None, device(t={"value": "20"}))
    rival = write_desired(
        None, value="" if removed else "25", side="edge", origin="op", now_ms=9, synced=True, expires_ms=None,
        removed=removed,
    )  # fmt: skip

    def settled(obj: JsonObject, policy: Policy) -> JsonObject:
        report = TwinDesired(device=NAME, prop="t", desired=rival, policy=policy)
        return stamp_desired(obj, merged_desired(obj, report), now_ms=9, origin="hub", merging=True)

    by_cloud = settled(first, "cloud")
    assert wanted(by_cloud).value == "20" and wanted(by_cloud).rivals == (rival,)
    # The gateway has the model with another policy meanwhile, and settles the same two writes by that.
    mine = merge(rival, wanted(by_cloud), "edge")
    assert mine is not None and mine.ver == wanted(by_cloud).ver
    report = TwinDesired(device=NAME, prop="t", desired=mine, policy="edge")
    by_edge = stamp_desired(by_cloud, merged_desired(by_cloud, report), now_ms=10, origin="hub", merging=True)
    assert record_of(by_edge, "t") == mine
    # And back: a value that a removal had won against.
    back = merge(wanted(by_cloud), mine, "cloud")
    assert back is not None
    report = TwinDesired(device=NAME, prop="t", desired=back, policy="cloud")
    again = stamp_desired(by_edge, merged_desired(by_edge, report), now_ms=11, origin="hub", merging=True)
    assert record_of(again, "t") == wanted(by_cloud)
