"""What a member does about one row."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from cloudcore.federation.apply import Decision, contains, decide, decide_stop, stopped, version_of
from skerry.frozen import replace
from skerry.objects.federation import ROW, MemberObject, Source, Target
from skerry.objects.meta import Key
from skerry.objects.patches import difference, merge_patch

MANIFEST: Any = {
    "apiVersion": "v1",
    "kind": "ConfigMap",
    "metadata": {"name": "x", "namespace": "d", "labels": {"kubefed.io/managed": "true"}},
    "data": {"a": "1", "b": "2"},
}
ROW_OF = MemberObject(
    member="north",
    target=Target(api_version="v1", kind="ConfigMap", namespace="d", name="x"),
    source=Source(key=Key("federatedconfigmaps.types.kubefed.io", "d", "x"), uid="u"),
    revision=7,
    manifest=MANIFEST,
)


def there(**data: str) -> Any:
    made = decide(ROW_OF, None, {}, in_touch=True).obj
    assert made is not None
    return {**made, "data": {**data} if data else made["data"]}


def test_what_is_not_there_is_made_with_our_mark() -> None:
    found = decide(ROW_OF, None, {}, in_touch=True)
    assert found.act == "create"
    assert found.obj is not None
    assert found.obj["metadata"]["annotations"] == {ROW: ROW_OF.name}  # type: ignore[index,call-overload]


def test_what_is_as_it_is_to_be_is_left() -> None:
    assert decide(ROW_OF, there(), MANIFEST, in_touch=True).act == "none"


def test_what_others_added_stays() -> None:
    found = decide(ROW_OF, there(a="1", b="2", c="theirs"), MANIFEST, in_touch=True)
    assert found.act == "none"
    assert not found.drift


def test_what_drifted_is_put_back_in_touch_and_stands_when_cut_off() -> None:
    present = there(a="9", b="2")
    back = decide(ROW_OF, present, MANIFEST, in_touch=True)
    assert back.act == "update"
    assert back.obj is not None
    assert back.obj["data"] == {"a": "1", "b": "2"}
    assert [(each.path, each.found, each.outcome) for each in back.drift] == [("/data/a", '"9"', "Reverted")]
    alone = decide(ROW_OF, present, MANIFEST, in_touch=False)
    assert alone.act == "none"
    assert [each.outcome for each in alone.drift] == ["Kept"]


def test_what_a_secret_was_changed_to_is_not_told() -> None:
    row = replace(ROW_OF, manifest={**MANIFEST, "kind": "Secret"})
    present = {**there(a="9", b="2"), "kind": "Secret"}
    (drifted,) = decide(row, present, row.manifest, in_touch=True).drift
    assert (drifted.path, drifted.found) == ("/data/a", "not shown")


def test_what_somebody_changed_and_the_template_changes_too_is_told() -> None:
    newer = replace(ROW_OF, manifest={**MANIFEST, "data": {"a": "2", "b": "2"}})
    for policy in (newer, replace(newer, drift="Keep")):
        found = decide(policy, there(a="9", b="2"), MANIFEST, in_touch=True)
        assert found.obj is not None
        assert found.obj["data"] == {"a": "2", "b": "2"}
        assert [(each.path, each.found, each.outcome) for each in found.drift] == [("/data/a", '"9"', "Reverted")]
    assert not decide(newer, there(a="2", b="2"), MANIFEST, in_touch=True).drift, "it came to the same"
    assert not decide(newer, there(), MANIFEST, in_touch=True).drift, "nobody had changed it"
    fewer = replace(ROW_OF, manifest={**MANIFEST, "data": {"b": "2"}})
    gone = decide(fewer, there(a="9", b="2"), MANIFEST, in_touch=True)
    assert [(each.path, each.found) for each in gone.drift] == [("/data/a", '"9"')]


def test_kept_drift_stands_until_the_template_changes_that_field() -> None:
    row = replace(ROW_OF, drift="Keep")
    assert decide(row, there(a="9", b="2"), MANIFEST, in_touch=True).act == "none"
    newer = replace(row, manifest={**MANIFEST, "data": {"a": "5", "b": "2"}})
    found = decide(newer, there(a="9", b="2"), MANIFEST, in_touch=True)
    assert found.obj is not None
    assert found.obj["data"] == {"a": "5", "b": "2"}
    other = replace(row, manifest={**MANIFEST, "data": {"a": "1", "b": "3"}})
    found = decide(other, there(a="9", b="2"), MANIFEST, in_touch=True)
    assert found.obj is not None
    assert found.obj["data"] == {"a": "9", "b": "3"}


def test_a_field_that_the_template_lost_goes() -> None:
    row = replace(ROW_OF, manifest={**MANIFEST, "data": {"a": "1"}})
    found = decide(row, there(), MANIFEST, in_touch=True)
    assert found.obj is not None
    assert found.obj["data"] == {"a": "1"}


def test_a_strangers_object_is_taken_over_only_where_that_is_wished() -> None:
    theirs: Any = {**MANIFEST, "metadata": {"name": "x", "namespace": "d"}, "data": {"a": "8"}}
    assert decide(ROW_OF, theirs, {}, in_touch=True).act == "update"
    refused = decide(replace(ROW_OF, adopt=False), theirs, {}, in_touch=True)
    assert (refused.act, refused.code) == ("none", "AlreadyExists")


def test_what_a_member_took_out_of_the_federations_hands_is_left_alone() -> None:
    present = there(a="9")
    present["metadata"] = {**present["metadata"], "labels": {"kubefed.io/managed": "false"}}
    found = decide(ROW_OF, present, MANIFEST, in_touch=True)
    assert (found.act, found.code) == ("none", "ManagedLabelFalse")
    gone = decide(replace(ROW_OF, manifest={}, removal="Delete"), present, MANIFEST, in_touch=True)
    assert (gone.act, gone.removed) == ("none", True), "its own from now on"
    assert decide(replace(ROW_OF, lease_s=60), present, MANIFEST, in_touch=True).act == "update"


def test_a_tombstone_removes_what_is_ours_and_nothing_else() -> None:
    gone = replace(ROW_OF, manifest={}, removal="Delete")
    assert decide(gone, there(), MANIFEST, in_touch=True).act == "delete"
    assert decide(gone, None, MANIFEST, in_touch=True).removed
    stranger = decide(gone, {**MANIFEST}, MANIFEST, in_touch=True)
    assert (stranger.act, stranger.removed) == ("none", True)
    left = decide(replace(gone, removal="Orphan"), there(), MANIFEST, in_touch=True)
    assert left.act == "release"
    assert left.obj is not None
    assert left.obj["metadata"] == {"name": "x", "namespace": "d"}


def test_replicas_that_are_retained_are_the_members_own() -> None:
    manifest: Any = {**MANIFEST, "spec": {"replicas": 3}}
    row = replace(ROW_OF, manifest=manifest, retain=("/spec/replicas",))
    assert decide(row, {**there(), "spec": {"replicas": 8}}, manifest, in_touch=True).act == "none"
    assert decide(row, None, {}, in_touch=True).obj["spec"] == {"replicas": 3}  # type: ignore[index]


JSON = st.recursive(
    st.integers(0, 3) | st.sampled_from(["a", "b"]),
    lambda inner: st.dictionaries(st.sampled_from("xyz"), inner, max_size=3) | st.lists(inner, max_size=2),
    max_leaves=8,
)
OBJECTS = st.dictionaries(st.sampled_from("xyz"), JSON, max_size=3)


@given(before=OBJECTS, after=OBJECTS)
def test_the_difference_leads_from_one_to_the_other(before: Any, after: Any) -> None:
    assert merge_patch(before, difference(before, after)) == after
    assert contains(after, after)


WORKLOAD: Any = {**MANIFEST, "apiVersion": "apps/v1", "kind": "Deployment", "spec": {"replicas": 3}}
LENT = replace(
    ROW_OF,
    target=Target(api_version="apps/v1", kind="Deployment", namespace="d", name="x"),
    manifest=WORKLOAD,
    retain=("/spec/replicas",),
    lease_s=60,
)


def ended(present: Any) -> tuple[Any, Any]:
    """What is there, and what was applied, once its lease has ended."""
    found, idle = decide_stop(LENT, present, WORKLOAD), stopped(LENT)
    assert found.obj is not None
    assert idle is not None
    assert found.obj["spec"] == {"replicas": 0}
    assert decide_stop(LENT, found.obj, idle.manifest).act == "none"
    return found.obj, idle.manifest


def test_replicas_that_are_the_members_own_are_as_they_were_when_it_is_lent_again() -> None:
    made = decide(LENT, None, {}, in_touch=True).obj
    assert made is not None
    idle, applied = ended({**made, "spec": {"replicas": 8}})
    again = decide(LENT, idle, applied, in_touch=True)
    assert (again.act, again.obj) == ("update", {**made, "spec": {"replicas": 8}})
    assert decide(LENT, again.obj, WORKLOAD, in_touch=True).act == "none"


def test_what_was_stopped_with_no_note_of_its_replicas_has_the_templates_again() -> None:
    made = decide(LENT, None, {}, in_touch=True).obj
    assert made is not None
    idle = stopped(LENT)
    assert idle is not None
    again = decide(LENT, {**made, "spec": {"replicas": 0}}, idle.manifest, in_touch=True)
    assert (again.act, again.obj) == ("update", made)


def test_what_its_owner_had_scaled_to_nothing_stays_so_when_it_is_lent_again() -> None:
    made = decide(LENT, None, {}, in_touch=True).obj
    assert made is not None
    idle, applied = ended({**made, "spec": {"replicas": 0}})
    assert decide(LENT, idle, applied, in_touch=True).obj == {**made, "spec": {"replicas": 0}}


def test_a_version_is_told_of_what_was_written_and_of_every_generation() -> None:
    wrote, looked = Decision(act="update"), Decision(act="none")
    config: Any = {"metadata": {"resourceVersion": "9"}}
    assert version_of({}, looked, config) == "rv:9"
    assert version_of({"version": "rv:7"}, looked, config) == "rv:7"
    assert version_of({"version": "rv:7"}, wrote, config) == "rv:9"
    assert version_of({"version": "gen:1"}, looked, {"metadata": {"generation": 2}}) == "gen:2"
    assert version_of({"version": "gen:1"}, Decision(act="none", removed=True), config) == ""


def test_what_somebody_deleted_stays_so_when_cut_off_and_is_made_again_in_touch() -> None:
    alone = decide(ROW_OF, None, MANIFEST, in_touch=False)
    assert (alone.act, alone.removed) == ("none", False)
    assert [(each.path, each.found, each.outcome) for each in alone.drift] == [("", "deleted", "Kept")]
    back = decide(ROW_OF, None, MANIFEST, in_touch=True)
    assert back.act == "create"
    assert [(each.path, each.found, each.outcome) for each in back.drift] == [("", "deleted", "Reverted")]
    keeps = replace(ROW_OF, drift="Keep")
    assert decide(keeps, None, MANIFEST, in_touch=True).act == "create", "where it is its placement says"


def test_what_was_not_applied_yet_is_made_cut_off_as_well() -> None:
    for applied in ({}, {**MANIFEST, "data": {}}):
        found = decide(ROW_OF, None, applied, in_touch=False)
        assert (found.act, found.drift) == ("create", ())


def test_what_it_had_otherwise_is_told_of_an_object_that_becomes_ours() -> None:
    present: Any = {**MANIFEST, "data": {"a": "theirs", "c": "theirs"}}
    found = decide(ROW_OF, present, {}, in_touch=False)
    assert found.obj is not None
    assert found.obj["data"] == {"a": "1", "b": "2", "c": "theirs"}
    assert [(each.path, each.found, each.outcome) for each in found.drift] == [("/data/a", '"theirs"', "Reverted")]
