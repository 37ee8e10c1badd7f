"""With what a region leaves a federation, against a server that answers from memory."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from skerry.cli.client import Client
from skerry.cli.region import _progress, _seats, lent_here, refuse_lent
from skerry.errors import BadRequestError


class Server:
    def __init__(self, *rows: Any) -> None:
        self.rows = rows

    def request(self, method: str, path: str, **_: Any) -> Any:
        assert (method, path) == ("GET", "/apis/skerry.dev/v1/regionobjects")
        return SimpleNamespace(obj={"items": [*self.rows]})


def with_rows(*rows: Any) -> Client:
    return cast("Client", Server(*rows))


def row(name: str, *, removed: bool = False, **spec: Any) -> Any:
    where = {"kind": "Deployment", "namespace": "d", "name": name}
    return {"spec": {"object": where, **spec}, "status": {"removed": removed}}


def test_what_is_lent_is_what_has_a_lease_and_is_not_gone() -> None:
    rows = row("b", leaseSeconds=60), row("a", leaseSeconds=60, remove="Delete"), row("free")
    gone = row("gone", removed=True, leaseSeconds=60, remove="Delete")
    assert lent_here(with_rows(*rows, gone)) == ["Deployment d/a", "Deployment d/b"]


def test_a_region_does_not_leave_with_what_may_run_once_alone() -> None:
    with pytest.raises(BadRequestError, match=r"Deployment d/w4 and 2 more\. .*--keep-lent"):
        refuse_lent(with_rows(*(row(f"w{number}", leaseSeconds=60) for number in range(7))))


def test_a_region_without_leases_leaves_as_it_likes() -> None:
    refuse_lent(with_rows(row("free")))


def test_what_a_member_told_is_shown_with_its_age() -> None:
    clusters: Any = [
        {"name": "a", "observedAt": "2026-01-01T00:00:00Z"},
        {"name": "b", "status": "ApplyOverridesFailed"},
    ]
    federated: Any = {"status": {"clusters": clusters}}
    assert _progress(federated, "a").startswith("as it is to be; seen ")
    assert _progress(federated, "b") == "ApplyOverridesFailed", "it told nothing"
    assert _progress(federated, "c") == "-"


def test_who_gives_a_member_its_replicas_is_said() -> None:
    told: Any = {
        "clusters": [{"name": "a", "replicas": 2}, {"name": "b", "replicas": 0, "short": 1}],
        "message": "why",
    }
    preference: Any = {"metadata": {"name": "web"}, "status": told}
    assert _seats(preference, "a") == "the ReplicaSchedulingPreference web says: 2 replicas"
    assert _seats(preference, "b").endswith("0 replicas, 1 short of minReplicas (why)")
