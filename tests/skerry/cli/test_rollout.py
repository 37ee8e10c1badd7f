"""What `skerry rollout` shows and writes, against a server that answers from memory."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from skerry.cli.rollout import Rolled, _changes, _current, _next_gate, _opened, _shown, _split, _version_before
from skerry.errors import ConflictError, ForbiddenError, NotFoundError
from skerry.frozen import replace
from skerry.objects.federated_versions import at_version, data_of, same_data, with_replicas
from skerry.objects.meta import name_of
from skerry.objects.scheme import Kind
from skerry.objects.sealed_versions import sealed

KIND = Kind(
    group="types.kubefed.io",
    version="v1beta1",
    kind="FederatedDeployment",
    plural="federateddeployments",
    namespaced=True,
)


def revision(number: int, image: str, *, complete: bool = True, **spec: Any) -> Any:
    data = {"template": {"image": image}, "overrides": []}
    status = {"outcome": "Complete", "completedAt": "2026-11-01T00:00:00Z"} if complete else {"begun": ["canary"]}
    return {
        "metadata": {"name": f"v{number}", "resourceVersion": str(number)},
        "spec": {"revision": number, "data": data, **spec},
        "status": status,
    }


def rolled(image: str, *revisions: Any) -> Rolled:
    obj: Any = {"metadata": {"name": "web", "namespace": "d"}, "spec": {"template": {"image": image}}}
    return Rolled(kind=KIND, obj=obj, revisions=revisions)


class Server:
    def __init__(self, *waves: Any) -> None:
        spec = {"targets": [{"kind": "FederatedDeployment"}], "waves": list(waves)}
        self.items = [{"metadata": {"name": "p"}, "spec": spec}]

    def request(self, method: str, path: str, **_: Any) -> Any:
        return SimpleNamespace(obj={"items": self.items})


def test_an_object_is_said_in_one_word_or_two() -> None:
    assert _split(["fdeploy/web", "eu"]) == (["fdeploy/web"], ["eu"])
    assert _split(["fdeploy", "web", "eu"]) == (["fdeploy", "web"], ["eu"])


def test_what_is_undone_goes_to_the_last_that_was_everywhere_other_than_what_is_declared() -> None:
    found = rolled("3", revision(1, "1"), revision(2, "2"), revision(3, "3", complete=False))
    assert name_of(_version_before(found)) == "v2"
    assert name_of(_version_before(rolled("2", revision(1, "1"), revision(2, "2")))) == "v1"
    with pytest.raises(NotFoundError, match="--to-revision"):
        _version_before(rolled("1", revision(1, "1")))


def test_what_is_in_a_federated_secret_is_not_shown() -> None:
    one = revision(1, "1", source={"kind": "FederatedSecret"})
    step = {"path": "/data/password", "value": "aHVudGVyMg=="}
    label = {"path": "/metadata/labels/a", "value": "b"}
    overrides = [{"clusterName": "north", "clusterOverrides": [step, label]}]
    one["spec"]["data"] = {
        "template": {"data": {"password": "aHVudGVyMg=="}, "stringData": {"token": "hunter2"}, "type": "Opaque"},
        "overrides": overrides,
    }
    shown: Any = _shown(one)
    assert "hunter2" not in str(shown)
    assert "aHVudGVyMg==" not in str(shown)
    assert shown["spec"]["data"]["template"] == {
        "data": {"password": "not shown"},
        "stringData": {"token": "not shown"},
        "type": "Opaque",
    }
    assert label in shown["spec"]["data"]["overrides"][0]["clusterOverrides"]
    assert _shown(revision(1, "1")) == revision(1, "1")


def told(found: Rolled, revision: int) -> Rolled:
    status: Any = {"rollout": {"revision": revision}}
    return replace(found, obj={**found.obj, "status": status})


def hidden(number: int, **spec: Any) -> Any:
    """A version whose content is in a Secret that may not be read."""
    made = revision(number, "x", **spec)
    del made["spec"]["data"]
    made["spec"]["sealed"] = {"secretName": f"v{number}", "digest": "d"}
    return made


class Vault:
    """A server that gives one Secret away, or none."""

    def __init__(self, secret: Any) -> None:
        self.secret = secret

    def request(self, method: str, path: str, **_: Any) -> Any:
        assert (method, path) == ("GET", "/api/v1/namespaces/d/secrets/v1")
        if self.secret is None:
            raise ForbiddenError("no")
        return SimpleNamespace(obj=self.secret)


def test_what_is_in_a_secret_version_is_read_by_who_may_read_its_secret() -> None:
    kept = sealed({"template": {"image": "1"}, "overrides": []}, b"salt")
    one = hidden(1)
    one["metadata"]["namespace"] = "d"
    one["spec"]["sealed"]["digest"] = kept.digest
    server: Any = Vault({"data": kept.data})
    read: Any = _opened(server, one)
    assert read["spec"]["data"]["template"] == {"image": "1"}
    server = Vault({"data": sealed({"template": {"image": "2"}}, b"salt").data})
    assert _opened(server, one) == one, "somebody put another content there"
    server = Vault(None)
    assert _opened(server, one) == one
    assert _shown(one) == one


def test_who_may_not_read_a_version_is_told_so_and_goes_nowhere_else_instead() -> None:
    found = told(rolled("2", hidden(1), hidden(2)), 2)
    with pytest.raises(NotFoundError, match=r"revision 1 of .*the Secret v1, .*which you may not get"):
        _version_before(found)
    assert _current(found, 2) == found.newest
    with pytest.raises(ConflictError, match="not written down yet"):
        _current(told(found, 1), None)


def test_the_next_gate_is_the_first_wave_that_nobody_let_begin() -> None:
    waves = [{"name": "canary", "requiresApproval": True}, {"name": "all", "requiresApproval": True}]
    server: Any = Server(*waves)
    assert _next_gate(server, rolled("1", revision(1, "1", complete=False))) == "all"
    with pytest.raises(ConflictError, match="no wave of"):
        _next_gate(server, rolled("1", revision(1, "1", complete=False, approved=["all"])))


def test_nothing_is_approved_of_a_version_that_is_not_the_newest_any_more() -> None:
    found = rolled("2", revision(1, "1"), revision(2, "2"))
    assert _current(found, 2) == found.newest
    with pytest.raises(ConflictError, match="is 2, not 1"):
        _current(found, 1)
    with pytest.raises(ConflictError, match="not written down yet"):
        _current(rolled("3", revision(1, "1"), revision(2, "2")), None)
    with pytest.raises(NotFoundError, match="no RolloutPolicy is about"):
        _current(rolled("1"), None)


def test_the_first_fields_that_changed_are_named() -> None:
    before: Any = {"template": {"a": 1, "b": 1, "c": 1, "d": 1}}
    assert _changes({}, before) == "-"
    assert _changes(before, {"template": {"a": 2, "b": 1, "c": 1, "d": 1}}) == "/template/a"
    after: Any = {"template": {"a": 2, "b": 2, "c": 2, "d": 2}}
    assert _changes(before, after) == "/template/a, /template/b, /template/c and 1 more"


def test_a_version_is_put_back_without_what_members_have_of_replicas() -> None:
    steps = [{"path": "/spec/replicas", "value": 3}, {"path": "/image", "value": "x"}]
    overrides = [{"clusterName": "b", "clusterOverrides": steps}, {"clusterName": "a", "clusterOverrides": steps[:1]}]
    obj: Any = {"spec": {"template": {"image": "2"}, "placement": {}, "overrides": overrides}}
    assert data_of(obj)["overrides"] == [{"clusterName": "b", "clusterOverrides": steps[1:]}]
    old: Any = {"template": {"image": "1"}, "overrides": []}
    back: Any = at_version(obj, old)
    assert same_data(data_of(back), old)
    assert back["spec"]["overrides"] == [
        {"clusterName": "a", "clusterOverrides": steps[:1]},
        {"clusterName": "b", "clusterOverrides": steps[:1]},
    ]
    manifest: Any = {"spec": {"replicas": 1}}
    assert with_replicas(manifest, {"path": "/spec/replicas", "value": 3}) == {"spec": {"replicas": 3}}
    assert with_replicas(manifest, None) is manifest
