"""Client-side apply: what is sent for what was, what is wanted, and what is there."""

from __future__ import annotations

from skerry.cli.threeway import LAST_APPLIED, annotated, last_applied, patch_for
from skerry.objects.json import JsonObject, clone, map_at, str_at


def config(data: JsonObject) -> JsonObject:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "app"}, "data": data}


def deployment(*containers: JsonObject) -> JsonObject:
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "web"},
        "spec": {"template": {"spec": {"containers": list(containers)}}},
    }


def test_applying_the_same_manifest_again_sends_nothing() -> None:
    current = annotated(config({"a": "1"}))
    current["metadata"] = {**map_at(current, "metadata"), "uid": "u", "resourceVersion": "7"}
    assert patch_for(current, annotated(config({"a": "1"})), strategic=True) == {}


def test_a_key_left_out_of_the_new_manifest_is_removed() -> None:
    current = annotated(config({"a": "1", "b": "2"}))
    patch = patch_for(current, annotated(config({"a": "1"})), strategic=True)
    assert patch["data"] == {"b": None}


def test_a_field_that_someone_else_set_is_left_alone() -> None:
    current = annotated(config({"a": "1"}))
    map_at(current, "data")["theirs"] = "x"
    patch = patch_for(current, annotated(config({"a": "2"})), strategic=True)
    assert patch["data"] == {"a": "2"}


def test_defaults_of_the_server_inside_a_keyed_list_are_no_difference() -> None:
    wanted = annotated(deployment({"name": "c", "image": "x"}))
    current = clone(wanted)
    containers = map_at(current, "spec", "template", "spec")
    containers["containers"] = [{"name": "c", "image": "x", "imagePullPolicy": "Always"}]
    assert patch_for(current, wanted, strategic=True) == {}


def test_a_container_left_out_is_deleted_by_its_name() -> None:
    current = annotated(deployment({"name": "c", "image": "x"}, {"name": "old", "image": "y"}))
    patch = patch_for(current, annotated(deployment({"name": "c", "image": "x"})), strategic=True)
    assert map_at(patch, "spec", "template", "spec")["containers"] == [{"name": "old", "$patch": "delete"}]


def test_a_field_of_one_container_left_out_is_removed_from_it_alone() -> None:
    current = annotated(deployment({"name": "c", "image": "x", "workingDir": "/tmp"}))
    patch = patch_for(current, annotated(deployment({"name": "c", "image": "x"})), strategic=True)
    assert map_at(patch, "spec", "template", "spec")["containers"] == [{"name": "c", "workingDir": None}]


def test_custom_objects_get_whole_lists() -> None:
    current = annotated(
        {"apiVersion": "x.io/v1", "kind": "K", "metadata": {"name": "k"}, "spec": {"ports": [{"port": 1}]}}
    )
    wanted = annotated(
        {"apiVersion": "x.io/v1", "kind": "K", "metadata": {"name": "k"}, "spec": {"ports": [{"port": 2}]}}
    )
    assert patch_for(current, wanted, strategic=False)["spec"] == {"ports": [{"port": 2}]}


def test_the_manifest_remembers_itself_without_remembering_its_memory() -> None:
    twice = annotated(annotated(config({"a": "1"})))
    assert last_applied(twice) == config({"a": "1"})
    assert LAST_APPLIED not in str_at(twice, "metadata", "annotations", LAST_APPLIED)


def test_an_annotation_that_is_not_ours_is_no_memory() -> None:
    obj = config({})
    obj["metadata"] = {"name": "app", "annotations": {LAST_APPLIED: "{not json"}}
    assert last_applied(obj) == {}
