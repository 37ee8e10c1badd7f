"""How members delete, as an annotation of the federated object says, and rows that keep it."""

from __future__ import annotations

import pytest

from skerry.errors import InvalidError
from skerry.frozen import replace
from skerry.objects.federation import (
    DELETE_OPTION,
    Deletion,
    MemberObject,
    Source,
    Target,
    deletion_of,
    longest_lease_s,
    object_version,
    read_member_object,
    spec_of,
)
from skerry.objects.json import JsonObject
from skerry.objects.meta import Key


def annotated(text: str) -> JsonObject:
    return {"metadata": {"annotations": {DELETE_OPTION: text}}}


def test_options_are_those_of_a_request_to_delete() -> None:
    assert deletion_of({"metadata": {}}) == Deletion()
    assert deletion_of(annotated('{"propagationPolicy":"Orphan"}')) == Deletion(propagation="Orphan")
    assert deletion_of(annotated('{"gracePeriodSeconds":0}')) == Deletion(grace_s=0)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("Orphan", "JSON object"),
        ("[]", "JSON object"),
        ("[" * 100_000, "JSON object"),
        ('{"propagationPolicy":"Later"}', "Background, Foreground, Orphan"),
        ('{"propagationPolicy":{}}', "Background, Foreground, Orphan"),
        ('{"gracePeriodSeconds":-1}', "a number of seconds"),
        ('{"gracePeriodSeconds":true}', "a number of seconds"),
    ],
)
def test_what_is_none_is_told_with_its_annotation(text: str, said: str) -> None:
    with pytest.raises(InvalidError, match=said) as told:
        deletion_of(annotated(text))
    assert str(told.value).startswith(f"metadata.annotations[{DELETE_OPTION}]: ")


def test_a_row_keeps_how_it_is_deleted() -> None:
    row = MemberObject(
        member="north",
        target=Target(api_version="v1", kind="ConfigMap", namespace="d", name="x"),
        source=Source(key=Key("federatedconfigmaps.types.kubefed.io", "d", "x"), uid="u"),
        revision=7,
        manifest={"data": {}},
    )
    for how in (Deletion(), Deletion(propagation="Foreground", grace_s=0), Deletion(propagation="Orphan")):
        kept = replace(row, deletion=how)
        assert read_member_object({"spec": spec_of(kept)}) == kept


def test_a_version_is_of_the_generation_where_there_is_one() -> None:
    assert object_version({"metadata": {"generation": 3, "resourceVersion": "9"}}) == "gen:3"
    assert object_version({"metadata": {"resourceVersion": "9"}}) == "rv:9"


def test_a_lease_counts_when_the_member_says_that_all_goes_by_it() -> None:
    spec: JsonObject = {"revision": 2, "leaseSeconds": 30, "heldLeaseSeconds": 3600}
    assert longest_lease_s({"spec": spec, "status": {"revision": 1}}) == 3600
    assert longest_lease_s({"spec": spec, "status": {"revision": 2, "leasePending": True}}) == 3600
    assert longest_lease_s({"spec": spec, "status": {"revision": 2}}) == 30
    never: JsonObject = {**spec, "heldLeaseSeconds": -1}
    assert longest_lease_s({"spec": never, "status": {"revision": 2, "leasePending": True}}) is None
