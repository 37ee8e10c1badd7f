"""The published OpenAPI documents."""

from __future__ import annotations

import gzip
import json
from typing import cast

import pytest

from cloudcore.api.openapi import V2_PROTOBUF, PublishedOpenApi
from cloudcore.registry.custom import CustomKinds
from cloudcore.registry.kinds import builtin_scheme
from skerry.objects.json import Json, JsonObject, dig, map_at, maps_at, str_at
from skerry.objects.patches import OpenApiRules

CRD: JsonObject = {
    "metadata": {"name": "widgets.example.com"},
    "spec": {
        "group": "example.com",
        "scope": "Namespaced",
        "names": {"plural": "widgets", "singular": "widget", "kind": "Widget", "listKind": "WidgetList"},
        "versions": [
            {
                "name": "v1",
                "served": True,
                "storage": True,
                "schema": {
                    "openAPIV3Schema": {
                        "type": "object",
                        "description": "A widget.",
                        "properties": {
                            "spec": {
                                "type": "object",
                                "properties": {
                                    "size": {"x-kubernetes-int-or-string": True, "anyOf": [{"type": "integer"}]},
                                    "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
                                },
                            }
                        },
                    }
                },
            }
        ],
    },
}


def published() -> tuple[PublishedOpenApi, CustomKinds]:
    scheme = builtin_scheme()
    custom = CustomKinds(scheme)
    return PublishedOpenApi(scheme, custom), custom


def parsed(body: bytes) -> JsonObject:
    return cast(JsonObject, json.loads(body))


def refs_in(value: Json) -> set[str]:
    if isinstance(value, list):
        return set().union(*map(refs_in, value))
    if not isinstance(value, dict):
        return set()
    own = {str_at(value, "$ref")} if isinstance(value.get("$ref"), str) else set[str]()
    return own.union(*map(refs_in, value.values()))


@pytest.mark.parametrize("path", ["api/v1", "apis/apps/v1", "apis/devices.kubeedge.io/v1beta1"])
def test_every_reference_in_a_v3_document_leads_somewhere(path: str) -> None:
    document = published()[0].group_version(path)
    assert document is not None
    doc = parsed(document.body)
    schemas = map_at(doc, "components", "schemas")
    assert {ref.removeprefix("#/components/schemas/") for ref in refs_in(doc)} <= schemas.keys()
    assert gzip.decompress(document.gzipped) == document.body


def test_clients_learn_from_patch_that_the_server_validates() -> None:
    document = published()[0].group_version("apis/apps/v1")
    assert document is not None
    patch = map_at(parsed(document.body), "paths", "/apis/apps/v1/namespaces/{namespace}/deployments/{name}", "patch")
    assert patch["x-kubernetes-group-version-kind"] == {"group": "apps", "version": "v1", "kind": "Deployment"}
    assert {"fieldValidation", "dryRun"} <= {str_at(p, "name") for p in maps_at(patch, "parameters")}


def test_the_index_names_documents_by_their_content() -> None:
    openapi, _ = published()
    index = map_at(parsed(openapi.index().body), "paths")
    assert str_at(index, "apis/apps/v1", "serverRelativeURL").startswith("/openapi/v3/apis/apps/v1?hash=")
    assert openapi.group_version("apis/nope/v1") is None


def test_a_custom_kind_is_published_and_withdrawn() -> None:
    openapi, custom = published()
    before = openapi.index().etag
    custom.serve(CRD)
    document = openapi.group_version("apis/example.com/v1")
    assert document is not None
    schema = map_at(parsed(document.body), "components", "schemas", "com.example.v1.Widget")
    assert dig(schema, "properties", "spec", "properties", "size", "x-kubernetes-int-or-string") is True
    assert maps_at(schema, "x-kubernetes-group-version-kind")[0]["kind"] == "Widget"
    assert openapi.index().etag != before
    v2 = map_at(parsed(openapi.v2(protobuf=False).body), "definitions", "com.example.v1.Widget", "properties", "spec")
    assert map_at(v2, "properties") == {
        "size": {"x-kubernetes-int-or-string": True},
        "free": {"x-kubernetes-preserve-unknown-fields": True},
    }
    custom.withdraw("widgets.example.com")
    assert openapi.group_version("apis/example.com/v1") is None
    assert openapi.index().etag == before


def test_v2_is_served_as_json_and_as_protobuf() -> None:
    openapi, _ = published()
    doc = parsed(openapi.v2(protobuf=False).body)
    assert {ref.removeprefix("#/definitions/") for ref in refs_in(doc)} <= map_at(doc, "definitions").keys()
    ports = map_at(doc, "definitions", "io.k8s.api.core.v1.Container", "properties", "ports")
    assert ports["x-kubernetes-patch-merge-key"] == "containerPort"
    protobuf = openapi.v2(protobuf=True)
    assert protobuf.media_type == V2_PROTOBUF
    assert protobuf.body.startswith(b"\x0a\x032.0")
    assert openapi.v2(protobuf=True) is protobuf


def test_merge_rules_can_be_read_from_the_published_document() -> None:
    document = published()[0].group_version("apis/apps/v1")
    assert document is not None
    schemas = map_at(parsed(document.body), "components", "schemas")
    rules = OpenApiRules.of(schemas, "io.k8s.api.core.v1.PodSpec").field("containers")
    assert (rules.strategy, rules.merge_key) == ("merge", "name")
