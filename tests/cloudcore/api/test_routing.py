"""Paths, verbs, Accept headers and discovery: pure functions of what a client sent."""

from __future__ import annotations

from typing import Any

import pytest

from cloudcore.api.routing import Target, asked_name, parse_query, target_of, verb_of
from cloudcore.registry.kinds import builtin_kinds, builtin_scheme
from skerry.forms.discovery import Discovery, aggregate, plain, version_rank
from skerry.forms.negotiation import discovery_version, form_for, takes_gzip, wants_openapi_protobuf
from skerry.forms.status import NotAcceptableError
from skerry.objects.scheme import Kind

KINDS = builtin_kinds()
V2 = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
V2BETA1 = V2.replace("v=v2;", "v=v2beta1;")


@pytest.mark.parametrize(
    ("path", "target"),
    [
        ("/api/v1/pods", Target(group="", version="v1", plural="pods")),
        ("/api/v1/namespaces", Target(group="", version="v1", plural="namespaces")),
        ("/api/v1/namespaces/a", Target(group="", version="v1", plural="namespaces", name="a")),
        ("/api/v1/namespaces/a/finalize",
         Target(group="", version="v1", plural="namespaces", name="a", subresource="finalize")),
        ("/api/v1/namespaces/a/pods/p/log",
         Target(group="", version="v1", plural="pods", namespace="a", name="p", subresource="log")),
        ("/apis/apps/v1/namespaces/a/deployments/d%2Fe",
         Target(group="apps", version="v1", plural="deployments", namespace="a", name="d/e")),
        ("/apis/rbac.authorization.k8s.io/v1/clusterroles/system:node",
         Target(group="rbac.authorization.k8s.io", version="v1", plural="clusterroles", name="system:node")),
        ("/api", None), ("/api/v1", None), ("/apis/apps/v1", None), ("/version", None),
        ("/api/v1/pods/a/b/c", None), ("/api/v1//pods", None),
    ],
)  # fmt: skip
def test_a_path_names_its_target(path: str, target: Target | None) -> None:
    assert target_of(path) == target


def test_verbs_follow_from_method_name_and_watch() -> None:
    many, one = Target(group="", version="v1", plural="pods"), Target(group="", version="v1", plural="pods", name="p")
    for method, target, query, verb in (
        ("GET", many, "", "list"),
        ("GET", many, "watch=true", "watch"),
        ("GET", many, "watch=0", "list"),
        ("GET", one, "", "get"),
        ("GET", one, "watch=1", "watch"),
        ("POST", many, "", "create"),
        ("DELETE", many, "", "deletecollection"),
        ("DELETE", one, "", "delete"),
        ("OPTIONS", one, "", ""),
    ):
        assert verb_of(method, target, parse_query(query)) == verb, (method, query)
    assert asked_name(many, "list", parse_query("fieldSelector=metadata.name%3Dx,metadata.namespace%3Dy")) == "x"
    assert asked_name(many, "list", parse_query("fieldSelector=metadata.name!%3Dx")) == ""


def test_the_heaviest_acceptable_clause_wins_and_the_first_among_equals() -> None:
    table = "application/json;as=Table;v=v1;g=meta.k8s.io"
    assert form_for("", tables=True).encoding == "json"
    assert form_for("application/vnd.kubernetes.protobuf, */*", tables=True).encoding == "json"
    assert form_for("application/json;q=0.5,application/yaml", tables=True).encoding == "yaml"
    assert form_for(f"{table},application/json", tables=True).transform == "Table"
    assert form_for(f"{table},application/json", tables=False).transform == ""
    assert form_for("application/json;as=Table;v=v9;g=meta.k8s.io, application/json", tables=True).transform == ""
    for refused in (table.replace("v=v1", "v=v7"), "application/vnd.kubernetes.protobuf", "text/html;q=0.1"):
        with pytest.raises(NotAcceptableError):
            form_for(refused, tables=True)


def test_clients_get_the_discovery_they_can_read() -> None:
    assert discovery_version(f"{V2},{V2BETA1},application/json") == "v2"
    assert discovery_version(f"{V2BETA1},application/json") == "v2beta1"
    assert discovery_version("application/json, */*") == ""
    assert discovery_version(V2.replace("v=v2", "v=v3") + ",application/json") == ""
    assert wants_openapi_protobuf("application/com.github.proto-openapi.spec.v2@v1.0+protobuf")
    assert not wants_openapi_protobuf("application/json")
    assert takes_gzip("gzip, deflate")
    assert not takes_gzip("identity")


def test_discovery_lists_each_resource_with_its_subresources() -> None:
    core = plain(KINDS, "/api/v1")
    assert core is not None
    rows: Any = {row["name"]: row for row in core["resources"]}  # type: ignore[index,union-attr]
    assert rows["pods"]["shortNames"] == ["po"]
    assert rows["pods/eviction"]["group"] == "policy"
    assert (rows["pods/eviction"]["version"], rows["pods/eviction"]["kind"]) == ("v1", "Eviction")
    assert rows["replicationcontrollers/scale"]["kind"] == "Scale"
    assert plain(KINDS, "/apis/nope.example.com") is None
    assert plain(KINDS, "/apis/apps/v9") is None
    autoscaling: Any = plain(KINDS, "/apis/autoscaling")
    assert autoscaling["preferredVersion"]["version"] == "v2"


def test_aggregated_discovery_has_every_kind_once() -> None:
    found: set[tuple[str, str, str]] = set()
    for core in (True, False):
        groups: Any = aggregate(KINDS, core=core, version="v2")["items"]
        for group in groups:
            for version in group["versions"]:
                found |= {(group["metadata"].get("name", ""), version["version"], row["resource"])
                          for row in version["resources"]}  # fmt: skip
    assert found == {(kind.group, kind.version, kind.plural) for kind in KINDS}


def test_discovery_follows_the_kinds_that_are_served_and_its_tag_changes_with_them() -> None:
    scheme = builtin_scheme()
    discovery = Discovery(scheme)
    before = discovery.document("/apis", "v2")
    assert before is not None
    assert before.media_type == "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
    assert discovery.document("/apis", "v2") is before
    scheme.add(Kind(group="example.com", version="v1", kind="Foo", plural="foos", namespaced=True, custom=True))
    after = discovery.document("/apis", "v2")
    assert after is not None
    assert after.etag != before.etag
    assert discovery.document("/apis/example.com/v1", "v2") is not None


def test_stable_versions_come_before_beta_before_alpha() -> None:
    versions = ["v1alpha1", "v1beta1", "v2", "v1", "v1beta2", "foo"]
    assert sorted(versions, key=version_rank) == ["v2", "v1", "v1beta2", "v1beta1", "v1alpha1", "foo"]
