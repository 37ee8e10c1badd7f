"""Hashes as KubeFed reckons them, and which members have a version."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest

from cloudcore.federation.planner import Row
from cloudcore.federation.propagated_versions import go_json, overrides_hash, template_hash, versions_of
from skerry.objects.federation import MemberObject, Removal, Source, Target
from skerry.objects.meta import Key


def md5(text: str) -> str:
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({"b": 1, "a": [True, None]}, '{"a":[true,null],"b":1}'),
        ("<a & b>", '"\\u003ca \\u0026 b\\u003e"'),
        ('"\\\n\x08\u2028é', '"\\"\\\\\\n\\u0008\\u2028é"'),
        (1.0, "1"),
        (0.25, "0.25"),
        (1e20, "100000000000000000000"),
        (1e21, "1e+21"),
        (1e-6, "0.000001"),
        (2.5e-7, "2.5e-7"),
    ],
)
def test_json_is_that_of_go(value: Any, text: str) -> None:
    assert go_json(value) == text


def test_a_template_is_hashed_with_the_line_end_that_go_writes() -> None:
    assert template_hash({"spec": {"template": {"data": {"a": "b"}}}}) == md5('{"data":{"a":"b"}}\n')
    assert template_hash({"spec": {}}) == ""


def test_overrides_are_hashed_in_the_order_of_kubefeds_fields() -> None:
    patches = [{"value": {"y": 0, "x": False}, "path": "/a", "op": "add"}, {"path": "/b", "op": "remove"}]
    overrides: Any = [{"clusterOverrides": patches, "clusterName": "one"}, {"clusterName": "two"}]
    assert overrides_hash({"spec": {"overrides": overrides}}) == md5(
        '{"overrides":[{"clusterName":"one","clusterOverrides":[{"op":"add","path":"/a","value":{"x":false,"y":0}},'
        '{"op":"remove","path":"/b"}]},{"clusterName":"two"}]}\n'
    )
    assert overrides_hash({"spec": {}}) == md5('{"overrides":null}\n')
    assert overrides_hash({}) == ""


def row(member: str, removal: Removal = "", **told: Any) -> Row:
    target = Target(api_version="v1", kind="ConfigMap", namespace="d", name="c")
    source = Source(key=Key("federatedconfigmaps.types.kubefed.io", "d", "c"), uid="u")
    wanted = MemberObject(member=member, target=target, source=source, revision=3, manifest={}, removal=removal)
    return Row(wanted=wanted, told=told)


def test_a_member_has_a_version_while_it_has_what_is_wanted() -> None:
    rows = {
        "b": row("b", revision=3, version="rv:7"),
        "a": row("a", revision=3, version="gen:2"),
        "behind": row("behind", revision=2, version="rv:1"),
        "failing": row("failing", revision=3, version="rv:1", code="UpdateFailed"),
        "going": row("going", "Delete", revision=3, version="rv:1"),
        "older": row("older", revision=3),
    }
    status = versions_of({"spec": {"template": {}}}, rows)
    assert status["clusterVersions"] == [
        {"clusterName": "a", "version": "gen:2"},
        {"clusterName": "b", "version": "rv:7"},
    ]
    assert "clusterVersions" not in versions_of({"spec": {}}, {})
