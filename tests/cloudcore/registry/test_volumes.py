"""Which volume a claim may have."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cloudcore.registry.volumes import (
    Search,
    allows,
    best_volume,
    default_class,
    holding,
    mismatch,
    promised,
)
from skerry.objects.volumes import capacity_of, class_of, request_of
from tests.cloudcore.storage import claim, local_class, on, reference, volume


def name(found: Any) -> str:
    return "" if found is None else found["metadata"]["name"]


def free(name: str, size: str = "1Gi", **spec: Any) -> Any:
    return volume(name, size, phase="Available", **spec)


def test_the_smallest_that_fits_is_taken_and_of_equals_the_one_with_fewest_modes():
    many = free("many", accessModes=["ReadWriteOnce", "ReadWriteMany"])
    assert (
        name(best_volume(claim(), [many, free("big", "5Gi"), free("fits", "2Gi"), free("small", "500Mi")])) == "fits"
    )
    assert name(best_volume(claim(), [many, free("one")])) == "one"
    assert name(best_volume(claim(), [many])) == "many"
    assert best_volume(claim(size="9Gi"), [many]) is None


@pytest.mark.parametrize(
    ("wanted", "had", "taken"),
    [
        ({"storageClassName": "fast"}, {}, ""),
        ({"storageClassName": "fast"}, {"storageClassName": "fast"}, "pv"),
        ({}, {"storageClassName": "fast"}, ""),
        ({"volumeMode": "Block"}, {}, ""),
        ({"volumeMode": "Block"}, {"volumeMode": "Block"}, "pv"),
        ({"accessModes": ["ReadWriteMany"]}, {}, ""),
        ({"selector": {"matchLabels": {"disk": "ssd"}}}, {}, ""),
        ({}, {"claimRef": reference("other")}, ""),
        ({}, {"claimRef": reference("data", "another-life")}, ""),
        ({}, {"claimRef": reference("data")}, "pv"),
    ],
)
def test_a_volume_is_taken_only_where_all_of_it_fits(wanted, had, taken):
    assert name(best_volume(claim(uid="u", **wanted), [free("pv", **had)])) == taken


def test_a_promised_volume_is_taken_before_all_others_whatever_its_class():
    kept = volume("kept", "7Gi", claimRef=reference("data", "u"), storageClassName="odd")
    assert name(best_volume(claim(uid="u"), [free("fits"), kept])) == "kept"
    assert name(best_volume(claim(uid="u"), [free("fits")], Search(promised_only=True))) == ""
    assert name(best_volume(claim(uid="u"), [kept], Search(promised_only=True))) == "kept"


def test_for_a_node_only_what_it_reaches_counts_and_a_promise_out_of_reach_is_a_refusal():
    near, far = free("near", "2Gi", nodeAffinity=on("a")), free("far", nodeAffinity=on("b"))
    reach = Search(reachable=lambda found: found is near)
    assert name(best_volume(claim(), [near, far], reach)) == "near"
    assert best_volume(claim(), [near], Search(taken=frozenset({"near"}))) is None
    kept = volume("kept", claimRef=reference("data"))
    assert best_volume(claim(), [near, kept], reach) is None


def test_released_and_going_volumes_are_nobodys():
    going = free("going")
    going["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    assert best_volume(claim(), [going, volume("old", phase="Released"), volume("new")]) is None


def test_a_mismatch_has_a_name():
    assert mismatch(volume(size="1Mi"), claim()) == "requested PV is too small"
    assert mismatch(volume(storageClassName="x"), claim()) == "storageClassName does not match"
    assert mismatch(volume(volumeMode="Block"), claim()) == "incompatible volumeMode"
    assert mismatch(volume(accessModes=["ReadOnlyMany"]), claim()) == "incompatible accessMode"
    assert mismatch(volume(), claim()) == ""


def test_promises_are_marked_when_the_controller_made_them_and_repeating_them_changes_nothing():
    mine = claim(uid="u")
    by_controller: Any = promised(volume(), mine)
    assert by_controller["spec"]["claimRef"]["uid"] == "u"
    assert by_controller["metadata"]["annotations"] == {"pv.kubernetes.io/bound-by-controller": "yes"}
    assert promised(by_controller, mine) is by_controller
    by_user: Any = promised(volume(claimRef=reference()), mine)
    assert by_user["spec"]["claimRef"]["uid"] == "u"
    assert "annotations" not in by_user["metadata"]
    got: Any = holding(mine, volume())
    assert got["spec"]["volumeName"] == "pv"
    assert set(got["metadata"]["annotations"].values()) == {"yes"}
    assert holding(got, volume()) is got
    asked: Any = holding(claim(volumeName="pv"), volume())
    assert list(asked["metadata"]["annotations"]) == ["pv.kubernetes.io/bind-completed"]


def test_the_newest_default_class_counts():
    old, new = local_class("old", default=True), local_class("new", default=True)
    old["metadata"]["creationTimestamp"] = "2026-01-01T00:00:00Z"
    new["metadata"]["creationTimestamp"] = "2026-02-01T00:00:00Z"
    assert name(default_class([new, old, local_class("no")])) == "new"
    beta = local_class("beta")
    beta["metadata"]["annotations"] = {"storageclass.beta.kubernetes.io/is-default-class": "true"}
    assert name(default_class([beta])) == "beta"
    assert default_class([local_class()]) is None


def test_a_class_may_name_where_it_makes_volumes():
    asked = [{"matchLabelExpressions": [{"key": "zone", "values": ["eu", "us"]}]}]
    assert allows(local_class(allowedTopologies=asked), {"zone": "eu"})
    assert not allows(local_class(allowedTopologies=asked), {"zone": "asia"})
    assert not allows(local_class(allowedTopologies=asked), {})
    assert allows(local_class(), {})


SIZES = st.sampled_from(["1Mi", "500Mi", "1Gi", "1.5Gi", "3G"])
MODES = st.lists(
    st.sampled_from(["ReadWriteOnce", "ReadOnlyMany", "ReadWriteMany"]), min_size=1, max_size=3, unique=True
)


@st.composite
def volumes(draw: st.DrawFn) -> list[Any]:
    return [
        free(
            f"pv{number}",
            draw(SIZES),
            accessModes=draw(MODES),
            storageClassName=draw(st.sampled_from(["", "fast"])),
        )
        for number in range(draw(st.integers(0, 6)))
    ]


@settings(deadline=None)
@given(volumes(), SIZES, MODES, st.sampled_from(["", "fast"]))
def test_what_is_taken_fits_and_nothing_that_fits_is_overlooked(found, size, modes, wanted_class):
    wanted = claim(size=size, accessModes=modes, storageClassName=wanted_class)
    best: Any = best_volume(wanted, found)
    fitting = [each for each in found if not mismatch(each, wanted)]
    assert (best is None) == (not fitting)
    if best is not None:
        assert best in fitting
        assert request_of(wanted) <= capacity_of(best)
        assert class_of(best) == class_of(wanted)
        same_modes = [
            each for each in fitting if len(each["spec"]["accessModes"]) == len(best["spec"]["accessModes"])
        ]
        assert all(capacity_of(best) <= capacity_of(each) for each in same_modes)
