"""KubeEdge's overriders of an EdgeApplication, and the three of ours."""

from __future__ import annotations

from typing import Any

import pytest

from cloudcore.controllers.edgeapplication.overriders import overridden, read_image
from skerry.errors import InvalidError
from skerry.objects.json import JsonObject, clone


def deployment() -> JsonObject:
    container: JsonObject = {
        "name": "web",
        "image": "registry.local:5000/shop/nginx:1.17",
        "command": ["nginx"],
        "args": ["-g", "daemon off;"],
        "env": [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}],
    }
    init: JsonObject = {"name": "init", "image": "busybox"}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "web", "labels": {"app": "web"}},
        "spec": {"replicas": 1, "template": {"spec": {"initContainers": [init], "containers": [container]}}},
    }


def web(overriders: JsonObject) -> Any:
    return containers(overriders)["web"]


def containers(overriders: JsonObject) -> Any:
    found: Any = overridden(deployment(), overriders)
    spec = found["spec"]["template"]["spec"]
    return {each["name"]: each for each in (*spec["initContainers"], *spec["containers"])}


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("nginx", ("", "nginx", "", "")),
        ("shop/nginx:1", ("", "shop/nginx", "1", "")),
        ("localhost/nginx", ("localhost", "nginx", "", "")),
        ("r.io/a/b:1", ("r.io", "a/b", "1", "")),
        ("r.io:5000/a", ("r.io:5000", "a", "", "")),
        ("r.io/a:1@sha256:00", ("r.io", "a", "1", "sha256:00")),
    ],
)
def test_an_image_is_read_by_its_parts_and_written_as_it_was(text: str, parts: tuple[str, ...]) -> None:
    image = read_image(text)
    assert (image.registry, image.repository, image.tag, image.digest) == parts
    assert image.text == text


def test_replicas_of_what_is_scaled_and_of_nothing_else() -> None:
    found: Any = overridden(deployment(), {"replicas": 4})
    assert found["spec"]["replicas"] == 4
    service: JsonObject = {"kind": "Service", "metadata": {"name": "web"}, "spec": {"ports": []}}
    assert overridden(service, {"replicas": 4}) == service


@pytest.mark.parametrize(
    ("component", "operator", "value", "image"),
    [
        ("Registry", "replace", "eu.example", "eu.example/shop/nginx:1.17"),
        ("Registry", "remove", "", "shop/nginx:1.17"),
        ("Registry", "add", "/mirror", "registry.local:5000/mirror/shop/nginx:1.17"),
        ("Repository", "replace", "arm/nginx", "registry.local:5000/arm/nginx:1.17"),
        ("Repository", "add", "-slim", "registry.local:5000/shop/nginx-slim:1.17"),
        ("Tag", "replace", "1.27", "registry.local:5000/shop/nginx:1.27"),
        ("Tag", "add", "-alpine", "registry.local:5000/shop/nginx:1.17-alpine"),
        ("Tag", "remove", "", "registry.local:5000/shop/nginx"),
    ],
)
def test_parts_of_an_image(component: str, operator: str, value: str, image: str) -> None:
    path = "/spec/template/spec/containers/0/image"
    told: JsonObject = {"component": component, "operator": operator, "value": value, "predicate": {"path": path}}
    found = containers({"imageOverriders": [told]})
    assert found["web"]["image"] == image
    assert found["init"]["image"] == "busybox"


DIGEST = "sha256:" + "ab" * 32


@pytest.mark.parametrize(
    ("image", "operator", "value", "found"),
    [
        (f"r.io/a@{DIGEST}", "replace", "1.2", "r.io/a:1.2"),
        ("r.io/a:1", "replace", DIGEST, f"r.io/a@{DIGEST}"),
        (f"r.io/a:1@{DIGEST}", "replace", "1.2", "r.io/a:1.2"),
        (f"r.io/a:1@{DIGEST}", "add", "-slim", "r.io/a:1-slim"),
        (f"r.io/a@{DIGEST}", "remove", "", "r.io/a"),
    ],
)
def test_an_image_goes_by_its_tag_or_by_its_digest(image: str, operator: str, value: str, found: str) -> None:
    told: JsonObject = {"component": "Tag", "operator": operator, "value": value}
    assert _image_after(image, told) == found


@pytest.mark.parametrize(
    ("component", "operator", "value", "said"),
    [
        ("Tag", "replace", "a/b", "neither a tag nor a digest"),
        ("Tag", "replace", "sha256:12", "neither a tag nor a digest"),
        ("Repository", "remove", "", "would have no repository"),
    ],
)
def test_no_image_comes_of_it_that_can_not_be_pulled(component: str, operator: str, value: str, said: str) -> None:
    told: JsonObject = {"component": component, "operator": operator, "value": value}
    with pytest.raises(InvalidError, match=said):
        _image_after("r.io/a:1", told)


def _image_after(image: str, told: JsonObject) -> Any:
    pod: JsonObject = {"kind": "Pod", "spec": {"containers": [{"name": "c", "image": image}]}}
    found: Any = overridden(pod, {"imageOverriders": [told]})
    return found["spec"]["containers"][0]["image"]


def test_without_a_place_images_of_all_containers_are_meant_and_none_that_begin_first() -> None:
    told: JsonObject = {"component": "Registry", "operator": "replace", "value": "r.eu"}
    found = containers({"imageOverriders": [told]})
    assert [each["image"] for each in found.values()] == ["busybox", "r.eu/shop/nginx:1.17"]


def test_environment() -> None:
    def env(operator: str, *values: tuple[str, str]) -> Any:
        told: JsonObject = {
            "containerName": "web",
            "operator": operator,
            "value": [{"name": name, "value": value} for name, value in values],
        }
        return {each["name"]: each["value"] for each in web({"envOverriders": [told]})["env"]}

    assert env("add", ("C", "3")) == {"A": "1", "B": "2", "C": "3"}
    assert env("add", ("A", "9")) == {"B": "2", "A": "9"}
    assert env("remove", ("A", "")) == {"B": "2"}
    assert env("replace", ("A", "7"), ("X", "0")) == {"A": "7", "B": "2", "X": "0"}
    told: JsonObject = {"containerName": "init", "operator": "replace", "value": [{"name": "X", "value": "0"}]}
    assert containers({"envOverriders": [told]})["init"]["env"] == [{"name": "X", "value": "0"}]


def test_command_arguments_and_resources_of_the_container_that_is_named() -> None:
    found = containers(
        {
            "commandOverriders": [{"containerName": "web", "operator": "add", "value": ["-V"]}],
            "argsOverriders": [{"containerName": "web", "operator": "remove", "value": ["-g"]}],
            "resourcesOverriders": [{"containerName": "web", "value": {"limits": {"memory": "64Mi"}}}],
        }
    )
    assert found["web"]["command"] == ["nginx", "-V"]
    assert found["web"]["args"] == ["daemon off;"]
    assert found["web"]["resources"] == {"limits": {"memory": "64Mi"}}
    assert "command" not in found["init"]


def test_resources_are_merged_by_name_and_a_zero_says_nothing() -> None:
    first: JsonObject = {"requests": {"cpu": "1", "memory": "32Mi"}, "limits": {"cpu": "2"}}
    second: JsonObject = {"requests": {"cpu": "0", "memory": "64Mi"}}
    told: Any = [{"containerName": "web", "value": value} for value in (first, second)]
    assert web({"resourcesOverriders": told})["resources"] == {
        "requests": {"cpu": "1", "memory": "64Mi"},
        "limits": {"cpu": "2"},
    }


def test_labels_annotations_and_a_patch() -> None:
    found: Any = overridden(
        deployment(),
        {
            "labelsOverriders": [{"operator": "replace", "value": {"app": "shop", "other": "no"}}],
            "annotationsOverriders": [{"operator": "add", "value": {"site": "eu"}}],
            "plaintext": [{"path": "/spec/template/spec/hostNetwork", "operator": "add", "value": True}],
        },
    )
    assert found["metadata"] == {"name": "web", "labels": {"app": "shop"}, "annotations": {"site": "eu"}}
    assert found["spec"]["template"]["spec"]["hostNetwork"] is True


def test_a_cron_jobs_pod_is_found() -> None:
    job: JsonObject = {
        "kind": "CronJob",
        "metadata": {"name": "nightly"},
        "spec": {"jobTemplate": {"spec": {"template": {"spec": {"containers": [{"name": "c", "image": "a:1"}]}}}}},
    }
    found: Any = overridden(job, {"imageOverriders": [{"component": "Tag", "operator": "replace", "value": "2"}]})
    assert found["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"][0]["image"] == "a:2"


def test_the_manifest_stays_as_it_is() -> None:
    manifest = deployment()
    before = clone(manifest)
    overridden(manifest, {"replicas": 9, "imageOverriders": [{"component": "Tag", "operator": "remove"}]})
    assert manifest == before


@pytest.mark.parametrize(
    ("overriders", "said"),
    [
        ({"imageOverriders": [{"component": "Host", "operator": "add"}]}, r"imageOverriders\[0\]\.component"),
        ({"imageOverriders": [{"component": "Tag", "operator": "set"}]}, r"imageOverriders\[0\]\.operator"),
        (
            {"imageOverriders": [{"component": "Tag", "operator": "add", "predicate": {"path": "/spec/nothing"}}]},
            r"imageOverriders\[0\]\.predicate\.path: /spec/nothing",
        ),
        ({"envOverriders": [{"containerName": "web", "operator": "x"}]}, r"envOverriders\[0\]\.operator"),
        ({"argsOverriders": [{"containerName": "web", "operator": "replace"}]}, r"argsOverriders\[0\]\.operator"),
        ({"resourcesOverriders": [{"containerName": "web"}]}, r"resourcesOverriders\[0\]\.value"),
        ({"plaintext": [{"path": "/a/b/c", "operator": "replace"}]}, r"plaintext\[0\]: replace /a/b/c"),
    ],
)
def test_what_can_not_be_done_is_told_by_its_place(overriders: JsonObject, said: str) -> None:
    with pytest.raises(InvalidError, match=said):
        overridden(deployment(), overriders)
