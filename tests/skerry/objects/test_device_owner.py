"""Moves of a device from gateway to gateway, counted by the API server alone."""

from __future__ import annotations

from skerry.objects.device_owner import OWNER, is_outdated, owner_of, stamp_owner
from skerry.objects.json import JsonObject, clone, ensure_map


def device(node: str, **annotations: str) -> JsonObject:
    return {"metadata": {"name": "plc", "annotations": {**annotations}}, "spec": {"nodeName": node}}


def test_each_move_counts_one_and_no_other_write_does() -> None:
    first = stamp_owner(None, device("eu-1"))
    assert owner_of(first) == 1
    edited = clone(first)
    ensure_map(edited, "spec")["more"] = 1
    assert stamp_owner(first, edited) is edited
    nowhere = stamp_owner(first, device("", **{OWNER: "1"}))
    assert owner_of(nowhere) == 1, "to no gateway is no move"
    assert owner_of(stamp_owner(nowhere, device("eu-1"))) == 2, "but from none to one is"


def test_nobody_else_counts() -> None:
    held = stamp_owner(None, device("eu-1"))
    assert owner_of(stamp_owner(held, device("eu-1", **{OWNER: "77"}))) == 1, "a number that somebody wrote"
    assert owner_of(stamp_owner(held, device("eu-1"))) == 1, "and one that kubectl replace left out"
    assert owner_of(stamp_owner(None, device("eu-1", **{OWNER: "77"}))) == 1, "a copy of another device"
    assert stamp_owner(None, device("", **{OWNER: "77"}))["metadata"] == {"name": "plc", "annotations": {}}


def test_a_device_from_before_there_were_numbers_has_none_until_it_moves() -> None:
    old = device("eu-1")
    assert stamp_owner(old, clone(old)) == old
    assert owner_of(stamp_owner(old, device("eu-2"))) == 1


def test_what_is_no_number_is_none() -> None:
    for text in ("", "0", "-1", "x", "1.5", "9" * 20):
        assert owner_of(device("eu-1", **{OWNER: text})) == 0
    assert not is_outdated(0, device("", **{OWNER: "5"})) and not is_outdated(5, device("", **{OWNER: "5"}))
    assert is_outdated(4, device("", **{OWNER: "5"})) and not is_outdated(4, None)
