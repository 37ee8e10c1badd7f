"""Custom resources: conformance of custom_resource_definition, crd_watch, field_validation and crd_publish_openapi.

Where the suite applies on the server's side, these create: Skerry refuses server-side apply with 415 so far, and
kubectl goes back to its own way of applying.
"""

from __future__ import annotations

import json
import re
from collections.abc import Generator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import pytest
import yaml

from tests.system.conformance.cluster import JSON_PATCH, Cluster, Obj, eventually, names

pytestmark = pytest.mark.system

CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
ANYTHING: Obj = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}

FOO: Obj = yaml.safe_load("""
description: Foo CRD for Testing
type: object
properties:
  spec:
    type: object
    description: Specification of Foo
    properties:
      bars:
        description: List of Bars and their specs.
        type: array
        items:
          type: object
          required: [name]
          properties:
            name: {description: Name of Bar., type: string}
            age: {description: Age of Bar., type: string}
            feeling: {description: Whether Bar is feeling great., type: string, enum: [Great, Down]}
            bazs:
              description: List of Bazs.
              items: {type: string}
              type: array
  status:
    description: Status of Foo
    type: object
    properties:
      bars:
        description: List of Bars and their statuses.
        type: array
        items:
          type: object
          properties:
            name: {description: Name of Bar., type: string}
            available: {description: Whether the Bar is installed., type: boolean}
            quxType: {description: Indicates to external qux type., pattern: in-tree|out-of-tree, type: string}
""")
WALDO: Obj = yaml.safe_load("""
description: Waldo CRD for Testing
type: object
properties:
  spec:
    description: Specification of Waldo
    type: object
    properties:
      dummy: {description: Dummy property., type: object}
  status:
    description: Status of Waldo
    type: object
    properties:
      bars: {description: List of Bars and their statuses., type: array, items: {type: object}}
""")
NESTED: Obj = yaml.safe_load("""
description: preserve-unknown-properties in nested field for Testing
type: object
properties:
  spec:
    description: Specification of Waldo
    type: object
    x-kubernetes-preserve-unknown-fields: true
    properties:
      dummy: {description: Dummy property., type: object}
  status:
    description: Status of Waldo
    type: object
    properties:
      bars: {description: List of Bars and their statuses., type: array, items: {type: object}}
""")


@dataclass(frozen=True, slots=True, kw_only=True)
class Crd:
    """A definition that is served."""

    cluster: Cluster
    group: str
    plural: str
    kind: str
    versions: tuple[str, ...]

    @property
    def name(self) -> str:
        return f"{self.plural}.{self.group}"

    @property
    def path(self) -> str:
        return f"{CRDS}/{self.name}"

    def collection(self, ns: str = "", version: str = "") -> str:
        root = f"/apis/{self.group}/{version or self.versions[0]}"
        return f"{root}/namespaces/{ns}/{self.plural}" if ns else f"{root}/{self.plural}"

    def definition(self, version: str) -> str:
        """The name in /openapi/v2: the group reversed."""
        return ".".join([*reversed(self.group.split(".")), version, self.kind])

    def obj(self, name: str, **fields: Any) -> Obj:
        return {
            "kind": self.kind,
            "apiVersion": f"{self.group}/{self.versions[0]}",
            "metadata": {"name": name},
            **fields,
        }


def definition(group: str, base: str, schema: Obj, versions: tuple[str, ...], *, namespaced: bool) -> Obj:
    plural = base.lower() + "s"
    return {
        "metadata": {"name": f"{plural}.{group}"},
        "spec": {
            "group": group,
            "scope": "Namespaced" if namespaced else "Cluster",
            "names": {"plural": plural, "singular": base.lower(), "kind": base, "listKind": f"{base}List"},
            "versions": [
                {"name": each, "served": True, "storage": not number, "schema": {"openAPIV3Schema": schema}}
                for number, each in enumerate(versions)
            ],
        },
    }


@contextmanager
def served(
    cluster: Cluster,
    schema: Obj,
    *versions: str,
    group: str = "",
    namespaced: bool = True,
    labels: dict[str, str] | None = None,
) -> Generator[Crd]:
    """A CRD of a random name, as the suite's fixtures make them: created, established, in discovery; gone after."""
    suffix = cluster.name("x").replace("-", "")
    group = group or f"{suffix}.example.com"
    wanted = definition(group, f"E2eTest{suffix}Crd", deepcopy(schema), versions or ("v1",), namespaced=namespaced)
    if labels:
        wanted["metadata"]["labels"] = labels
    made = cluster.create(CRDS, wanted)
    names_ = made["spec"]["names"]
    crd = Crd(
        cluster=cluster, group=group, plural=names_["plural"], kind=names_["kind"], versions=versions or ("v1",)
    )
    eventually(lambda: is_established(cluster.get(crd.path)), "the CRD is established")
    eventually(lambda: cluster.call("GET", crd.collection()).code == 200, "the kind is served")
    try:
        yield crd
    finally:
        cluster.call("DELETE", crd.path)
        cluster.gone(crd.path)


def is_established(crd: Obj) -> bool:
    conditions = crd.get("status", {}).get("conditions", [])
    return any(each["type"] == "Established" and each["status"] == "True" for each in conditions)


# CustomResourceDefinition resources


def test_listing_custom_resource_definition_objects_works(cluster: Cluster):
    label = cluster.name("e2e-list")
    for number in range(4):
        cluster.create(
            CRDS,
            {
                **definition(f"{label}.example.com", f"List{number}", ANYTHING, ("v1",), namespaced=False),
                "metadata": {"name": f"list{number}s.{label}.example.com", "labels": {"e2e-list-test-uuid": label}},
            },
        )
    with served(cluster, ANYTHING, namespaced=False) as other:
        found = cluster.get(CRDS, labelSelector=f"e2e-list-test-uuid={label}")
        assert len(found["items"]) == 4
        cluster.delete(CRDS, labelSelector=f"e2e-list-test-uuid={label}")
        eventually(
            lambda: not cluster.get(CRDS, labelSelector=f"e2e-list-test-uuid={label}")["items"], "the CRDs are gone"
        )
        cluster.get(other.path)


def test_getting_updating_patching_crd_status_works(cluster: Cluster):
    with served(cluster, ANYTHING, namespaced=False) as crd:
        before = cluster.get(crd.path)
        assert cluster.get(f"{crd.path}/status")["spec"] == before["spec"]
        added: Obj = {"message": "updated", "type": "", "status": "", "lastTransitionTime": None, "reason": ""}
        updated = cluster.update(crd.path, lambda obj: obj["status"]["conditions"].append(added), sub="/status")
        assert "updated" in [each.get("message") for each in updated["status"]["conditions"]]
        patch = [{"op": "add", "path": "/status/conditions", "value": [{"message": "patched"}]}]
        patched = cluster.patch(f"{crd.path}/status", patch, JSON_PATCH)
        assert [each.get("message") for each in patched["status"]["conditions"]] == ["patched"]


def test_custom_resource_defaulting_for_requests_and_from_storage_works(cluster: Cluster):
    schema: Obj = {**ANYTHING, "properties": {"a": {"type": "string"}, "b": {"type": "string"}}}
    with served(cluster, schema, namespaced=False) as crd:
        cluster.create(crd.collection(), crd.obj("cr-1"))
        where = "/spec/versions/0/schema/openAPIV3Schema/properties"
        cluster.patch(crd.path, [{"op": "add", "path": f"{where}/a/default", "value": "A"}], JSON_PATCH)
        eventually(lambda: cluster.get(f"{crd.collection()}/cr-1").get("a") == "A", "the default is read")
        assert cluster.create(crd.collection(), crd.obj("cr-2"))["a"] == "A"
        swap = [
            {"op": "remove", "path": f"{where}/a/default"},
            {"op": "add", "path": f"{where}/b/default", "value": "B"},
        ]
        cluster.patch(crd.path, swap, JSON_PATCH)
        eventually(lambda: cluster.get(f"{crd.collection()}/cr-2").get("b") == "B", "the other default is read")
        second = cluster.get(f"{crd.collection()}/cr-2")
        assert (second["a"], second["b"]) == ("A", "B"), "what was stored stays"


def test_watch_on_custom_resource_objects(cluster: Cluster):
    with (
        served(cluster, ANYTHING, namespaced=False) as crd,
        cluster.watch(crd.collection(), fieldSelector="metadata.name=name1") as one,
        cluster.watch(crd.collection(), fieldSelector="metadata.name=name2") as two,
    ):
        for name, watch in (("name1", one), ("name2", two)):
            cluster.create(
                crd.collection(), crd.obj(name, content={"key": "value"}, num={"num1": 9223372036854775807})
            )
            assert watch.next()[0] == "ADDED"
        for name, watch in (("name1", one), ("name2", two)):
            cluster.patch(f"{crd.collection()}/{name}", {"dummy": "test"})
            kind, seen = watch.next()
            assert (kind, seen["num"]["num1"], seen["dummy"]) == ("MODIFIED", 9223372036854775807, "test")
        for name, watch in (("name1", one), ("name2", two)):
            cluster.delete(f"{crd.collection()}/{name}")
            assert watch.next()[0] == "DELETED"


# Field validation


DEPLOYMENT = (
    '{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"my-dep",%s"labels":{"app":"nginx"}},"spec":{%s'
    '"selector":{"matchLabels":{"app":"nginx"}},"template":{"metadata":{"labels":{"app":"nginx"}},'
    '"spec":{"containers":[{"name":"nginx","image":"nginx:latest"}]}}}}'
)


@pytest.mark.parametrize(
    ("meta", "spec", "error"),
    [
        (
            "",
            '"unknownField":"foo","replicas":2,"replicas":3,',
            'strict decoding error: unknown field "spec.unknownField", duplicate field "spec.replicas"',
        ),
        ('"unknownMeta":"foo",', "", 'strict decoding error: unknown field "metadata.unknownMeta"'),
    ],
)
def test_detect_unknown_and_duplicate_fields_of_a_typed_object(
    cluster: Cluster, ns: str, meta: str, spec: str, error: str
):
    path = f"/apis/apps/v1/namespaces/{ns}/deployments"
    body = DEPLOYMENT % (meta, spec)
    refused = cluster.fails(400, "POST", path, body, fieldValidation="Strict", fieldManager="mgr")
    assert error in refused.message


PORTS: Obj = yaml.safe_load(r"""
type: object
properties:
  spec:
    type: object
    properties:
      foo: {type: string}
      cronSpec: {type: string, pattern: '^(\d+|\*)(/\d+)?(\s+(\d+|\*)(/\d+)?){4}$'}
      ports:
        type: array
        x-kubernetes-list-map-keys: [containerPort, protocol]
        x-kubernetes-list-type: map
        items:
          type: object
          required: [containerPort, protocol]
          properties:
            containerPort: {format: int32, type: integer}
            hostIP: {type: string}
            hostPort: {format: int32, type: integer}
            name: {type: string}
            protocol: {type: string}
""")


def custom_yaml(crd: Crd, meta: str = "", root: str = "", spec: str = "foo: foo1") -> str:
    return (
        f"apiVersion: {crd.group}/{crd.versions[0]}\nkind: {crd.kind}\n{root}metadata:\n  name: mytest\n{meta}"
        f"spec:\n  {spec}\n  cronSpec: '* * * * */5'\n  ports:\n"
        "  - name: x\n    containerPort: 80\n    protocol: TCP\n"
    )


def post_yaml(crd: Crd, body: str) -> tuple[int, str]:
    answer = crd.cluster.call("POST", crd.collection(), body, media="application/yaml", fieldValidation="Strict")
    return answer.code, answer.message


def test_field_validation_of_custom_resources(cluster: Cluster):
    with served(cluster, PORTS, "v1beta1", "v1", namespaced=False) as crd:
        code, message = post_yaml(crd, custom_yaml(crd, root="unknownField: unknown\n"))
        assert code == 400 and 'strict decoding error: unknown field "unknownField"' in message
        code, message = post_yaml(crd, custom_yaml(crd, meta="  unknownMeta: unknown\n"))
        assert code == 400 and 'unknown field "metadata.unknownMeta"' in message
        assert post_yaml(crd, custom_yaml(crd)) == (201, "")
    with served(cluster, ANYTHING, namespaced=False) as crd:
        assert post_yaml(crd, custom_yaml(crd, spec="unknown: uk1")) == (201, "")
    embedded: Obj = deepcopy(PORTS)
    embedded["properties"]["spec"]["x-kubernetes-preserve-unknown-fields"] = True
    embedded["properties"]["spec"]["properties"]["template"] = {
        "type": "object",
        "x-kubernetes-embedded-resource": True,
        "properties": {
            "metadata": {"type": "object", "properties": {"name": {"type": "string"}}},
            "spec": {"type": "object"},
        },
    }
    with served(cluster, embedded, namespaced=False) as crd:
        inner = (
            "template:\n    apiVersion: foo/v1\n    kind: Sub\n    metadata:\n      unknownSubMeta: u\n      name: s"
        )
        code, message = post_yaml(crd, custom_yaml(crd, meta="  unknownMeta: unknown\n", spec=inner))
        assert code == 400 and 'unknown field "metadata.unknownMeta"' in message
        assert 'unknown field "spec.template.metadata.unknownSubMeta"' in message
        code, message = post_yaml(crd, custom_yaml(crd, spec="foo: foo1\n  foo: foo2"))
        assert code == 400 and 'duplicate field "spec.foo"' in message


# Published OpenAPI


def published(cluster: Cluster) -> Obj:
    return cluster.get("/openapi/v2")["definitions"]


def is_published(crd: Crd, version: str, schema: Obj | None) -> bool:
    """The definition is there, and says what the schema says beside what every object has."""
    found = published(crd.cluster).get(crd.definition(version))
    if schema is None or found is None:
        return (found is None) is (schema is None)
    properties = {k: v for k, v in found.get("properties", {}).items() if k not in ("apiVersion", "kind", "metadata")}
    said = {k: v for k, v in found.items() if k not in ("x-kubernetes-group-version-kind", "properties")}
    if properties:
        said["properties"] = properties
    return said == schema


def waits_for(crd: Crd, version: str, schema: Obj | None) -> None:
    eventually(lambda: is_published(crd, version, schema), f"{crd.definition(version)} is published as it should be")


def explains(crd: Crd, path: str, pattern: str) -> None:
    text = crd.cluster.kubectl("explain", crd.plural + path, f"--api-version={crd.group}/{crd.versions[0]}")
    assert re.search(pattern, text), f"{pattern!r} not in {text}"


def create_and_apply(crd: Crd, ns: str, obj: Obj) -> None:
    text = json.dumps(obj)
    for verb in ("create", "apply"):
        crd.cluster.kubectl("-n", ns, verb, "-f", "-", stdin=text)
        crd.cluster.kubectl("-n", ns, "delete", crd.plural, obj["metadata"]["name"])


def test_works_for_crd_with_validation_schema(cluster: Cluster, ns: str):
    with served(cluster, FOO) as crd:
        waits_for(crd, "v1", FOO)
        create_and_apply(crd, ns, crd.obj("test-foo", spec={"bars": [{"name": "test-bar"}]}))
        for wrong, texts in (
            ({"bars": [{"name": "b", "feeling": "NonExistentValue"}]}, ['Unsupported value: "NonExistentValue"']),
            ({"foo": True}, ['unknown field "spec.foo"', 'unknown field "foo"']),
            ({"bars": [{"age": "10"}]}, ["spec.bars[0].name: Required value", 'missing required field "name"']),
        ):
            for verb in ("create", "apply"):
                body = json.dumps(crd.obj("test-foo", spec=wrong))
                said = cluster.kubectl("-n", ns, verb, "-f", "-", stdin=body, check=False)
                assert any(text in said for text in texts), said
        explains(
            crd,
            "",
            r"(?s)DESCRIPTION:.*Foo CRD for Testing.*FIELDS:.*apiVersion.*<string>.*APIVersion defines.*spec"
            r".*<Object>.*Specification of Foo",
        )
        explains(
            crd,
            ".metadata",
            r"(?s)DESCRIPTION:.*Standard object's metadata.*FIELDS:.*creationTimestamp.*<string>"
            r".*CreationTimestamp is a timestamp",
        )
        explains(
            crd,
            ".spec",
            r"(?s)DESCRIPTION:.*Specification of Foo.*FIELDS:.*bars.*<\[\]Object>.*List of Bars and their specs",
        )
        explains(
            crd,
            ".spec.bars",
            r"(?s)(FIELD|RESOURCE):.*bars.*<\[\]Object>.*DESCRIPTION:.*List of Bars and their specs.*FIELDS:.*bazs"
            r".*<\[\]string>.*List of Bazs.*name.*<string>.*Name of Bar",
        )
        said = cluster.kubectl("explain", f"{crd.plural}.spec.bars2", check=False)
        assert re.search(r'field "?bars2"? does not exist', said), said


def test_works_for_crd_without_validation_schema(cluster: Cluster, ns: str):
    with served(cluster, ANYTHING) as crd:
        # What says nothing of its fields is published as an object, and no more.
        waits_for(crd, "v1", {"type": "object"})
        create_and_apply(crd, ns, crd.obj("test-cr", a={"b": [{"c": "d"}]}))
        explains(crd, "", r"(?s)DESCRIPTION:.*<empty>")


def test_works_for_crd_preserving_unknown_fields_at_the_schema_root(cluster: Cluster, ns: str):
    schema: Obj = {
        **ANYTHING,
        "description": "preserve-unknown-properties at root for Testing",
        "properties": {
            "spec": {
                "description": "Specification of Waldo",
                "type": "object",
                "properties": {"dummy": {"description": "Dummy property.", "type": "object"}},
            }
        },
    }
    with served(cluster, schema) as crd:
        create_and_apply(crd, ns, crd.obj("test-cr", a={"b": [{"c": "d"}]}))
        explains(crd, "", rf"(?s)KIND:.*{crd.kind}")


def test_works_for_crd_preserving_unknown_fields_in_an_embedded_object(cluster: Cluster, ns: str):
    with served(cluster, NESTED) as crd:
        create_and_apply(crd, ns, crd.obj("test-cr", spec={"a": None, "b": [{"c": "d"}]}))
        explains(crd, "", r"(?s)DESCRIPTION:.*preserve-unknown-properties in nested field for Testing")


def test_works_for_multiple_crds(cluster: Cluster):
    group = f"{cluster.name('common')}.example.com"
    with (
        served(cluster, FOO, "v4", group=group) as foo,
        served(cluster, WALDO, "v5", group=group) as waldo,
        served(cluster, WALDO, "v4", group=group) as kind,
        served(cluster, WALDO, "v1beta1") as other,
    ):
        waits_for(foo, "v4", FOO)
        waits_for(waldo, "v5", WALDO)
        waits_for(kind, "v4", WALDO)
        waits_for(other, "v1beta1", WALDO)
    waits_for(foo, "v4", None)
    waits_for(other, "v1beta1", None)


def test_updates_the_published_spec_when_one_version_gets_renamed(cluster: Cluster):
    with served(cluster, FOO, "v2", "v3") as crd:
        waits_for(crd, "v2", FOO)
        waits_for(crd, "v3", FOO)
        rename = [
            {"op": "test", "path": "/spec/versions/1/name", "value": "v3"},
            {"op": "replace", "path": "/spec/versions/1/name", "value": "v4"},
        ]
        cluster.patch(crd.path, rename, JSON_PATCH)
        waits_for(crd, "v4", FOO)
        waits_for(crd, "v3", None)
        waits_for(crd, "v2", FOO)


def test_removes_definition_from_spec_when_one_version_gets_changed_to_not_be_served(cluster: Cluster):
    with served(cluster, FOO, "v5", "v6alpha1") as crd:
        waits_for(crd, "v6alpha1", FOO)
        cluster.update(crd.path, lambda obj: obj["spec"]["versions"][1].update(served=False))
        waits_for(crd, "v6alpha1", None)
        waits_for(crd, "v5", FOO)


def test_crds_are_in_their_own_discovery_documents(cluster: Cluster):
    groups = {group["name"]: group for group in cluster.get("/apis")["groups"]}
    assert groups["apiextensions.k8s.io"]["versions"][0]["version"] == "v1"
    listed = cluster.get("/apis/apiextensions.k8s.io/v1")
    assert "customresourcedefinitions" in [each["name"] for each in listed["resources"]]
    assert names(cluster.get(CRDS)) is not None
