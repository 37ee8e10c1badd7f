"""What applying a manifest makes of a Device, and what is told of the difference."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from skerry.objects.device_desired import REMOVED, REVISION
from skerry.objects.device_manifests import (
    LAST_APPLIED,
    applied,
    bare,
    changes_between,
    wanted_changes,
)
from skerry.objects.json import Json, JsonObject, dig, maps_at, str_at
from skerry.objects.patches import difference


def device(*properties: JsonObject) -> JsonObject:
    return {
        "apiVersion": "devices.kubeedge.io/v1beta1",
        "kind": "Device",
        "metadata": {"name": "boiler", "namespace": "ns", "resourceVersion": "7", "uid": "u"},
        "spec": {"nodeName": "eu-1", "properties": list(properties)},
        "status": {"state": "online"},
    }


def wanting(value: str, **metadata: Json) -> JsonObject:
    return {"value": value, "metadata": {"ver": "1.0", "hlc": "1.0", "origin": "ann", **metadata}}


def names(obj: JsonObject) -> list[str]:
    return [str_at(entry, "name") for entry in maps_at(obj, "spec", "properties")]


def test_what_is_exported_has_only_what_its_author_said() -> None:
    obj = device(
        {"name": "t", "desired": wanting("64", expires="2030-01-01T00:00:00Z", reason="frost", requested="now")},
        {"name": "fan", "desired": wanting("true", fallback="true")},
    )
    annotations: JsonObject = {LAST_APPLIED: "{}", REVISION: "a", REMOVED: "{}", "own": "x"}
    obj["metadata"] = {"name": "boiler", "namespace": "ns", "uid": "u", "annotations": annotations}
    told = bare(obj)
    assert told["metadata"] == {"name": "boiler", "namespace": "ns", "annotations": {"own": "x"}}
    assert "status" not in told
    assert dig(told, "spec", "properties") == [
        {"name": "t", "desired": {"value": "64", "metadata": {"expires": "2030-01-01T00:00:00Z", "reason": "frost"}}},
        {"name": "fan"},
    ]
    assert dig(obj, "spec", "properties") != dig(told, "spec", "properties"), "it is a copy"


def test_values_and_properties_that_a_manifest_does_not_name_stay() -> None:
    current = device({"name": "t", "desired": wanting("64")}, {"name": "fan", "desired": wanting("true")})
    manifest: JsonObject = {"spec": {"properties": [{"name": "t", "collectCycle": 500}]}}
    after = applied(current, manifest, {})
    assert names(after) == ["t", "fan"]
    assert dig(maps_at(after, "spec", "properties")[0], "desired") == wanting("64")
    assert wanted_changes(current, after) == {}
    assert [change.field for change in changes_between(current, after)] == ["spec.properties[t].collectCycle"]


def test_what_the_manifest_before_said_and_this_one_does_not_is_removed() -> None:
    current = device({"name": "t", "desired": wanting("64")}, {"name": "fan"}, {"name": "own"})
    last: JsonObject = {"spec": {"properties": [{"name": "t", "desired": {"value": "64"}}, {"name": "fan"}]}}
    after = applied(current, {"spec": {"properties": [{"name": "t"}]}}, last)
    assert names(after) == ["t", "own"]
    assert wanted_changes(current, after) == {"t": None}
    assert [(change.sign, change.field) for change in changes_between(current, after)] == [
        ("-", "spec.properties[t].desired.value"),
        ("-", "spec.properties[fan]"),
    ]


def test_the_same_value_keeps_what_the_server_wrote_and_another_leaves_the_terms_of_the_one_before() -> None:
    held = wanting("64", reason="frost", requested="then")
    current = device({"name": "t", "desired": held})
    same = applied(current, {"spec": {"properties": [{"name": "t", "desired": {"value": "64"}}]}}, {})
    assert maps_at(same, "spec", "properties")[0]["desired"] == held
    other = applied(current, {"spec": {"properties": [{"name": "t", "desired": {"value": "65"}}]}}, {})
    assert dig(maps_at(other, "spec", "properties")[0], "desired", "metadata", "reason") is None
    assert wanted_changes(current, other) == {"t": "65"}


def test_the_order_of_the_manifest_counts_only_where_it_says_another() -> None:
    current = device({"name": "own"}, {"name": "a"}, {"name": "b"})
    same: JsonObject = {"spec": {"properties": [{"name": "a"}, {"name": "b"}]}}
    assert names(applied(current, same, {})) == ["own", "a", "b"]
    more: JsonObject = {"spec": {"properties": [{"name": "a"}, {"name": "new"}, {"name": "b"}]}}
    assert names(applied(current, more, {})) == ["a", "new", "b", "own"]
    turned: JsonObject = {"spec": {"properties": [{"name": "b"}, {"name": "a"}]}}
    after = applied(current, turned, {})
    assert names(after) == ["b", "a", "own"]
    assert [change.field for change in changes_between(current, after)] == ["spec.properties (order)"]


_values = st.one_of(st.text(max_size=3), st.integers(), st.booleans())
_objects = st.recursive(
    st.dictionaries(st.sampled_from("abcd"), _values, max_size=3),
    lambda inner: st.dictionaries(st.sampled_from("abcd"), inner | _values, max_size=3),
    max_leaves=8,
)


def _patched(current: Json, patch: Json) -> Json:
    """RFC 7396, section 2."""
    if not isinstance(patch, dict):
        return patch
    out: JsonObject = {**current} if isinstance(current, dict) else {}
    for name, value in patch.items():
        if value is None:
            out.pop(name, None)
        else:
            out[name] = _patched(out.get(name), value)
    return out


@given(_objects, _objects)
def test_a_merge_patch_makes_what_was_wanted(current: JsonObject, wanted: JsonObject) -> None:
    assert _patched(current, difference(current, wanted)) == wanted
    assert difference(wanted, wanted) == {}


_desired = st.fixed_dictionaries({}, optional={"desired": st.builds(wanting, st.sampled_from(["1", "2"]))})
_properties = st.lists(
    st.builds(lambda name, rest: {"name": name, **rest}, st.sampled_from("abcd"), _desired),
    unique_by=lambda entry: entry["name"],
    max_size=4,
)


@given(_properties, _properties, _properties)
def test_a_manifest_that_was_applied_changes_nothing_when_it_is_applied_again(
    current: list[JsonObject], manifest: list[JsonObject], last: list[JsonObject]
) -> None:
    wanted, before = bare(device(*manifest)), bare(device(*last))
    after = applied(device(*current), wanted, before)
    assert applied(after, wanted, wanted) == after
    assert set(names(wanted)) <= set(names(after))
    assert applied(after, bare(after), {}) == after, "what is exported changes nothing"
    assert changes_between(after, applied(after, bare(after), bare(after))) == ()
