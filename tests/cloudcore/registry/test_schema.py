"""Decoding along shapes: what Go's decoder does to an object, and what it says."""

from __future__ import annotations

from typing import cast

import pytest

from cloudcore.registry.definitions import definitions
from cloudcore.registry.go_fields import go_fields
from cloudcore.registry.schema import Decoded, Shapes, decode
from skerry.errors import BadRequestError
from skerry.objects.json import JsonObject, clone, map_at, maps_at

SHAPES = Shapes(definitions(), go_fields())
DEPLOYMENT = "io.k8s.api.apps.v1.Deployment"

WEB: JsonObject = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "metadata": {"name": "web"},
    "spec": {
        "replicas": 2,
        "selector": {"matchLabels": {"app": "web"}},
        "template": {
            "metadata": {"labels": {"app": "web"}},
            "spec": {"containers": [{"name": "web", "image": "nginx", "resources": {"limits": {"cpu": 0.5}}}]},
        },
    },
}


def decoded(obj: JsonObject, name: str = DEPLOYMENT) -> Decoded:
    package, _, kind = name.rpartition(".")
    return decode(SHAPES.named(name), obj, kind=kind, version=package.rpartition(".")[2])


def changed(path: str, value: object) -> JsonObject:
    obj = clone(WEB)
    *steps, last = path.split(".")
    place = obj
    for step in steps:
        place = maps_at(place, step)[0] if step == "containers" else map_at(place, step)
    place[last] = cast(JsonObject, value)
    return obj


@pytest.mark.parametrize(
    ("path", "value", "text"),
    [
        (
            "spec.replicas",
            "three",
            "string into Go struct field DeploymentSpec.spec.replicas of type int32",
        ),
        (
            "spec.replicas",
            1.5,
            "number 1.5 into Go struct field DeploymentSpec.spec.replicas of type int32",
        ),
        (
            "spec.replicas",
            2**31,
            "number 2147483648 into Go struct field DeploymentSpec.spec.replicas of type int32",
        ),
        (
            "spec.replicas",
            True,
            "bool into Go struct field DeploymentSpec.spec.replicas of type int32",
        ),
        (
            "spec.selector",
            [],
            "array into Go struct field DeploymentSpec.spec.selector of type v1.LabelSelector",
        ),
        (
            "spec.template.spec.containers.name",
            7,
            "number into Go struct field Container.spec.template.spec.containers.name of type string",
        ),
        (
            "spec.template.metadata.labels",
            {"app": 1},
            "number into Go struct field ObjectMeta.spec.template.metadata.labels of type string",
        ),
        (
            "spec.template.spec.containers.resources",
            {"limits": {"cpu": "much"}},
            "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'",
        ),
    ],
)
def test_a_wrong_type_is_refused_in_the_words_of_go(path: str, value: object, text: str) -> None:
    with pytest.raises(BadRequestError) as refused:
        decoded(changed(path, value))
    text = text if text.startswith("quantities") else f"json: cannot unmarshal {text}"
    assert str(refused.value) == f'Deployment in version "v1" cannot be handled as a Deployment: {text}'


def test_unknown_fields_vanish_and_are_named_with_their_index() -> None:
    obj = changed("spec.template.spec.containers.imagee", "nginx")
    obj["speck"] = {}
    result = decoded(obj)
    assert result.unknown == ("spec.template.spec.containers[0].imagee", "speck")
    assert "imagee" not in maps_at(result.obj, "spec", "template", "spec", "containers")[0]
    assert "speck" not in result.obj


def test_nulls_and_zeros_that_go_leaves_out_vanish_and_pointers_stay() -> None:
    obj = clone(WEB)
    spec = map_at(obj, "spec")
    spec |= {"replicas": 0, "paused": False, "minReadySeconds": 0, "strategy": None}
    spec = map_at(decoded(obj).obj, "spec")
    assert spec["replicas"] == 0
    assert not {"paused", "minReadySeconds", "strategy"} & spec.keys()


def test_quantities_take_their_one_form() -> None:
    container = maps_at(decoded(WEB).obj, "spec", "template", "spec", "containers")[0]
    assert map_at(container, "resources", "limits") == {"cpu": "500m"}


def test_times_are_written_in_utc_with_seconds() -> None:
    lease: JsonObject = {
        "metadata": {"name": "n", "creationTimestamp": "2026-11-21T05:00:00.5+02:00"},
        "spec": {"renewTime": "0001-01-01T00:00:00.000001Z"},
    }
    result = decoded(lease, "io.k8s.api.coordination.v1.Lease").obj
    assert map_at(result, "metadata")["creationTimestamp"] == "2026-11-21T03:00:00Z"
    assert map_at(result, "spec")["renewTime"] == "0001-01-01T00:00:00.000001Z"


def test_decoding_twice_changes_nothing_and_the_input_is_left_alone() -> None:
    before = clone(WEB)
    once = decoded(WEB).obj
    assert decoded(once).obj == once
    assert before == WEB


def test_required_fields_and_plain_structs_are_always_present_after_filling() -> None:
    obj = decoded({"metadata": {"name": "n"}, "status": {"nodeInfo": {}}}, "io.k8s.api.core.v1.Node").obj
    SHAPES.named("io.k8s.api.core.v1.Node").fill(obj)
    info = map_at(obj, "status", "nodeInfo")
    assert info["kubeletVersion"] == ""
    assert obj["spec"] == {}


def test_secrets_refuse_what_is_no_base64() -> None:
    with pytest.raises(BadRequestError, match="illegal base64 data at input byte 4"):
        decoded({"data": {"a": "abcd*"}}, "io.k8s.api.core.v1.Secret")


def test_an_object_nested_without_end_is_refused() -> None:
    schema: JsonObject = {}
    root = schema
    for _ in range(2000):
        schema["not"] = {}
        schema = map_at(schema, "not")
    crd: JsonObject = {"spec": {"versions": [{"name": "v1", "schema": {"openAPIV3Schema": root}}]}}
    with pytest.raises(BadRequestError, match="max depth"):
        decoded(crd, "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.CustomResourceDefinition")


def test_every_definition_compiles() -> None:
    for name in definitions().raw:
        shape = SHAPES.named(name)
        shape.fill(shape.zero())
