"""The three patch types."""

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skerry.errors import BadRequestError, InvalidError, TooLargeError
from skerry.objects.patches import OpenApiRules, json_patch, merge_patch, strategic_merge_patch

DEFINITIONS: dict[str, Any] = {
    "Pod": {
        "properties": {
            "metadata": {
                "properties": {
                    "labels": {"type": "object", "additionalProperties": {"type": "string"}},
                    "finalizers": {"items": {"type": "string"}, "x-kubernetes-patch-strategy": "merge"},
                }
            },
            "spec": {"allOf": [{"$ref": "#/components/schemas/PodSpec"}]},
            "strategy": {"$ref": "#/definitions/Strategy", "x-kubernetes-patch-strategy": "retainKeys"},
        }
    },
    "Strategy": {"properties": {"type": {}, "rollingUpdate": {"properties": {"maxSurge": {}}}}},
    "PodSpec": {
        "properties": {
            "containers": {
                "items": {"$ref": "#/definitions/Container"},
                "x-kubernetes-patch-merge-key": "name",
                "x-kubernetes-patch-strategy": "merge",
            },
            "args": {"items": {"type": "string"}},
        }
    },
    "Container": {
        "properties": {
            "ports": {
                "items": {},
                "x-kubernetes-patch-merge-key": "containerPort",
                "x-kubernetes-patch-strategy": "merge",
            },
            "command": {"items": {"type": "string"}},
        }
    },
}
RULES = OpenApiRules.of(DEFINITIONS, "Pod")


def containers(*names: str, **more: Any) -> Any:
    return {"spec": {"containers": [{"name": name, **more} for name in names]}}


def names(obj: Any) -> Any:
    return [container["name"] for container in obj["spec"]["containers"]]


def strategic(obj: Any, patch: Any) -> Any:
    before = copy.deepcopy((obj, patch))
    result = strategic_merge_patch(obj, patch, RULES)
    assert (obj, patch) == before, "the input stays as it was"
    return result


# RFC 7386, appendix A


@pytest.mark.parametrize(
    ("obj", "patch", "expected"),
    [
        ({"a": "b"}, {"a": "c"}, {"a": "c"}),
        ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
        ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
        ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
        ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
        ({"a": [1]}, {"a": [2]}, {"a": [2]}),
        ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
        ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
    ],
)
def test_merge_patch_follows_the_rfcs_examples(obj, patch, expected):
    before = copy.deepcopy(obj)
    assert merge_patch(obj, patch) == expected
    assert obj == before


def test_json_patch_carries_out_operations_in_order_and_leaves_its_input():
    obj: Any = {"a": {"b": [1, 3]}}
    patched = json_patch(
        obj,
        [
            {"op": "test", "path": "/a/b/0", "value": 1},
            {"op": "add", "path": "/a/b/1", "value": 2},
            {"op": "add", "path": "/a/b/-", "value": 4},
            {"op": "copy", "from": "/a/b", "path": "/c~1d"},
            {"op": "remove", "path": "/a"},
        ],
    )
    assert patched == {"c/d": [1, 2, 3, 4]}
    assert obj == {"a": {"b": [1, 3]}}


@pytest.mark.parametrize(
    "operation",
    [
        {"op": "test", "path": "/a", "value": 2},
        {"op": "remove", "path": "/missing"},
        {"op": "add", "path": "/missing/b", "value": 1},
        {"op": "add", "path": "/a/b", "value": 1},
        {"op": "replace", "path": "/missing", "value": 1},
        {"op": "replace", "path": "", "value": [1]},
    ],
)
def test_a_json_patch_that_does_not_fit_the_object_is_invalid(operation):
    with pytest.raises(InvalidError, match="the server rejected our request due to an error in our request"):
        json_patch({"a": 1}, [operation])


@pytest.mark.parametrize(
    "operations",
    [
        {},
        "x",
        [1],
        [{"op": "fly", "path": "/a"}],
        [{"op": "remove"}],
        [{"op": "copy", "path": "/a"}],
        [{"op": "add", "path": "a", "value": 1}],
    ],
)
def test_what_is_no_json_patch_is_a_bad_request(operations):
    with pytest.raises(BadRequestError):
        json_patch({"a": 1}, operations)


def test_a_json_patch_is_bounded_in_operations_and_in_what_it_copies():
    many: Any = [{"op": "add", "path": "/a", "value": 1}] * 10_001
    with pytest.raises(TooLargeError):
        json_patch({}, many)
    doubling: Any = [{"op": "copy", "from": "/a", "path": "/a/-"}] * 100
    with pytest.raises(InvalidError):
        json_patch({"a": ["x" * 1000]}, doubling)


def test_lists_merge_by_key_and_a_new_element_comes_first():
    patched = strategic(containers("a", "b", image="1"), containers("c", "b", image="2"))
    assert [(c["name"], c["image"]) for c in patched["spec"]["containers"]] == [("c", "2"), ("a", "1"), ("b", "2")]
    assert names(strategic(containers("a"), containers("z"))) == ["z", "a"]


def test_the_set_element_order_decides_and_the_servers_own_keep_their_place():
    patch: Any = containers("c", image="2")
    patch["spec"]["$setElementOrder/containers"] = [{"name": "c"}, {"name": "a"}]
    assert names(strategic(containers("a", "injected"), patch)) == ["c", "a", "injected"]
    only_order = {"spec": {"$setElementOrder/containers": [{"name": "b"}, {"name": "a"}]}}
    assert names(strategic(containers("a", "b"), only_order)) == ["b", "a"]


def test_a_patch_that_contradicts_its_element_order_is_refused():
    patch: Any = containers("c")
    patch["spec"]["$setElementOrder/containers"] = [{"name": "a"}]
    with pytest.raises(BadRequestError):
        strategic(containers("a"), patch)


def test_a_deleted_list_element_stays_deleted_and_a_missing_one_is_no_error():
    patch: Any = {"spec": {"containers": [{"name": "a", "$patch": "delete"}, {"name": "zz", "$patch": "delete"}]}}
    assert names(strategic(containers("a", "b"), patch)) == ["b"]


def test_replace_in_a_list_replaces_the_list():
    patch: Any = {"spec": {"containers": [{"$patch": "replace"}, {"name": "n", "env": {"a": None}}]}}
    assert strategic(containers("a", "b"), patch)["spec"]["containers"] == [{"name": "n", "env": {}}]


def test_replace_and_delete_on_a_map_take_the_whole_map():
    obj: Any = {"metadata": {"labels": {"a": "1", "b": "2"}}}
    assert strategic(obj, {"metadata": {"labels": {"$patch": "replace", "c": "3"}}}) == {
        "metadata": {"labels": {"c": "3"}}
    }
    assert strategic(obj, {"metadata": {"labels": {"$patch": "delete"}}}) == {"metadata": {"labels": {}}}


@pytest.mark.parametrize(
    "patch",
    [
        {"$patch": "explode"},
        {"$patch": "merge"},
        {"spec": {"containers": [{"image": "no key"}]}},
        {"spec": {"containers": ["x"]}},
        {"spec": {"containers": [{"name": "a", "$patch": "merge"}]}},
        {"strategy": {"$retainKeys": ["type"], "other": 1}},
        {"strategy": {"$retainKeys": "type"}},
        {"metadata": {"$deleteFromPrimitiveList/finalizers": "x"}},
    ],
)
def test_a_patch_that_breaks_its_rules_is_a_bad_request(patch):
    with pytest.raises(BadRequestError):
        strategic({**containers("a"), "strategy": {"type": "x"}, "metadata": {"finalizers": ["x"]}}, patch)


def test_retain_keys_clears_what_it_does_not_name():
    obj: Any = {"strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1}}}
    patched = strategic(obj, {"strategy": {"$retainKeys": ["type"], "type": "Recreate"}})
    assert patched == {"strategy": {"type": "Recreate"}}


def test_lists_of_plain_values_merge_as_sets_and_lose_what_is_named():
    obj: Any = {"metadata": {"finalizers": ["x/a", "x/b"]}}
    assert strategic(obj, {"metadata": {"finalizers": ["x/c", "x/a"]}}) == {
        "metadata": {"finalizers": ["x/c", "x/a", "x/b"]}
    }
    assert strategic(obj, {"metadata": {"$deleteFromPrimitiveList/finalizers": ["x/a", "x/q"]}}) == {
        "metadata": {"finalizers": ["x/b"]}
    }


def test_lists_without_a_strategy_are_replaced():
    assert strategic({"spec": {"args": ["a"]}}, {"spec": {"args": ["b"]}}) == {"spec": {"args": ["b"]}}
    assert strategic({"unknown": [1]}, {"unknown": [2]}) == {"unknown": [2]}


def test_null_deletes_and_never_stays_in_what_is_added():
    assert strategic({"metadata": {"labels": {"a": "1"}}}, {"metadata": {"labels": {"a": None}}}) == {
        "metadata": {"labels": {}}
    }
    assert strategic({}, {"metadata": {"labels": {"a": None, "b": "1"}}}) == {"metadata": {"labels": {"b": "1"}}}


def test_maps_of_free_names_and_nulls_inside_lists_are_kept_apart():
    assert strategic({}, {"unknown": [None, {"a": None, "b": [1]}]}) == {"unknown": [None, {"b": [1]}]}
    free: Any = {"additionalProperties": {"$ref": "#/definitions/PodSpec"}}
    assert OpenApiRules(DEFINITIONS, free).field("any").below.field("containers").merge_key == "name"


def test_a_list_that_is_deleted_is_not_put_in_order():
    patch: Any = {"spec": {"containers": None, "$setElementOrder/containers": [{"name": "a"}]}}
    assert strategic(containers("a"), patch) == {"spec": {}}


def test_rules_reach_into_the_elements_of_lists():
    obj: Any = {"spec": {"containers": [{"name": "a", "ports": [{"containerPort": 80}], "command": ["x"]}]}}
    patch: Any = {"spec": {"containers": [{"name": "a", "ports": [{"containerPort": 81}], "command": ["y"]}]}}
    [container] = strategic(obj, patch)["spec"]["containers"]
    assert container["ports"] == [{"containerPort": 81}, {"containerPort": 80}]
    assert container["command"] == ["y"]


plain: Any = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=8,
)
maps: Any = st.dictionaries(st.sampled_from("abc"), plain, max_size=3)


@given(maps, maps)
def test_a_patch_applied_twice_is_applied_once(obj: Any, patch: Any):
    once = merge_patch(obj, patch)
    assert merge_patch(once, patch) == once
    once = strategic_merge_patch(obj, patch, RULES)
    assert strategic_merge_patch(once, patch, RULES) == once
