"""What the ledger is to have of a federated object, and what is said of it where it is nowhere."""

from __future__ import annotations

from typing import Any

import pytest

from cloudcore.federation.planner import Scene, plan, status_of
from skerry.objects.federation import federated_type
from skerry.objects.meta import Key

KEY = Key("federatedconfigmaps.types.kubefed.io", "shop", "prices")
MEMBERS: Any = {"north": {"side": "n"}, "south": {}}
TYPE = federated_type(
    {
        "metadata": {"name": "configmaps"},
        "spec": {
            "propagation": "Enabled",
            "targetType": {"kind": "ConfigMap", "pluralName": "configmaps", "scope": "Namespaced", "version": "v1"},
            "federatedType": {
                "group": "types.kubefed.io",
                "kind": "FederatedConfigMap",
                "pluralName": "federatedconfigmaps",
                "scope": "Namespaced",
                "version": "v1beta1",
            },
        },
    }
)


def federated(placement: Any) -> Any:
    return {
        "metadata": {"name": "prices", "namespace": "shop", "uid": "u"},
        "spec": {"template": {"data": {"tea": "3"}}, "placement": placement},
    }


@pytest.mark.parametrize(
    ("placement", "namespace", "where"),
    [
        ({"clusterSelector": {}}, {"north", "south"}, ["north", "south"]),
        ({"clusterSelector": {}}, {"south"}, ["south"]),
        ({"clusters": [{"name": "north"}]}, {"south"}, []),
        ({"clusters": [], "clusterSelector": {}}, {"north"}, []),
        ({"clusterSelector": {"matchLabels": {"side": "n"}}}, {"north", "south"}, ["north"]),
    ],
)
def test_an_object_is_where_its_namespace_is_as_well(placement: Any, namespace: set[str], where: list[str]) -> None:
    found = plan(KEY, federated(placement), TYPE, Scene(members=MEMBERS, namespace=namespace))
    assert (sorted(found.rows), found.reason) == (where, "")


def test_a_namespace_that_is_not_federated_is_named_as_the_reason() -> None:
    found = plan(KEY, federated({"clusterSelector": {}}), TYPE, Scene(members=MEMBERS, namespace=frozenset()))
    assert not found.rows
    told, waiting = status_of({}, found, {}, heard=MEMBERS, collects=True, now_ms=0, planned_ms={})
    assert told["conditions"] == [{"type": "Propagation", "status": "False", "reason": "NamespaceNotFederated"}]
    assert not waiting


def test_an_object_that_is_in_no_namespace_needs_none() -> None:
    found = plan(KEY, federated({"clusterSelector": {}}), TYPE, Scene(members=MEMBERS, namespace=None))
    assert (sorted(found.rows), found.reason) == (["north", "south"], "")
