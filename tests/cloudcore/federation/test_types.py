"""Types that are enabled, and what their federated objects may say."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from cloudcore.controllers.crd.controller import DefinitionController
from cloudcore.federation.admission import federated_step
from cloudcore.federation.type_controller import FederatedTypeController
from cloudcore.registry.admission import STEPS
from cloudcore.registry.port import DeleteOptions
from skerry.authz.attributes import Attributes, Decision
from skerry.errors import ForbiddenError, InvalidError
from skerry.objects.federation import NAMESPACE, TYPES
from tests.cloudcore.worlds import World, make_world

REFUSED: set[str] = set()


def decide(asked: Attributes) -> Decision:
    return Decision(allowed=asked.resource not in REFUSED)


@pytest.fixture
async def world() -> AsyncIterator[World]:
    REFUSED.clear()
    async with make_world(*STEPS, federated_step(decide), real_rules=True) as made:
        await made.create("namespaces", {"metadata": {"name": NAMESPACE}})
        await made.create("namespaces", {"metadata": {"name": "d"}})
        yield made


def config(plural: str, kind: str, group: str = "", **more: Any) -> Any:
    target = {"kind": kind, "pluralName": plural, "scope": "Namespaced", "version": "v1"}
    if group:
        target["group"] = group
    federated = {
        "group": "types.kubefed.io",
        "kind": f"Federated{kind}",
        "pluralName": f"federated{plural}",
        "scope": "Namespaced",
        "version": "v1beta1",
    }
    name = f"{plural}.{group}" if group else plural
    spec = {"targetType": target, "federatedType": federated, "propagation": "Enabled", **more}
    return {"metadata": {"name": name}, "spec": spec}


async def enable(world: World, plural: str, kind: str, group: str = "", **more: Any) -> None:
    await world.create(TYPES, config(plural, kind, group, **more), NAMESPACE)
    controllers = FederatedTypeController(world.tools), DefinitionController(world.tools, world.custom)
    await world.settle(*controllers)


async def test_an_enabled_type_has_a_kind_of_its_own(world: World) -> None:
    await enable(world, "deployments", "Deployment", "apps", statusCollection="Enabled")
    told = world.get(TYPES, "deployments.apps", NAMESPACE)["status"]
    assert told == {"observedGeneration": 1, "propagationController": "Running", "statusController": "Running"}
    kind = world.scheme.named("types.kubefed.io", "v1beta1", "FederatedDeployment")
    assert kind is not None
    assert kind.namespaced
    assert kind.subresources == {"status"}


async def test_a_type_that_is_not_served_waits_until_it_is(world: World) -> None:
    await enable(world, "widgets", "Widget", "acme.dev")
    told = world.get(TYPES, "widgets.acme.dev", NAMESPACE)["status"]
    assert told["propagationController"] == "NotRunning"
    assert "no acme.dev/v1 Widget" in told["message"]


async def test_a_type_is_named_as_its_resource(world: World) -> None:
    wrong = config("deployments", "Deployment", "apps")
    wrong["metadata"]["name"] = "deployments"
    with pytest.raises(InvalidError, match=r"metadata.name.*must be deployments\.apps"):
        await world.create(TYPES, wrong, NAMESPACE)


async def test_a_member_that_is_dialled_needs_an_endpoint_and_a_secret(world: World) -> None:
    with pytest.raises(InvalidError, match=r"spec\.apiEndpoint: Required value") as caught:
        await world.create("kubefedclusters.core.kubefed.io", {"metadata": {"name": "c1"}, "spec": {}}, NAMESPACE)
    assert "spec.secretRef.name: Required value" in str(caught.value)
    pulls = {"metadata": {"name": "c1"}, "spec": {"syncMode": "Pull"}}
    await world.create("kubefedclusters.core.kubefed.io", pulls, NAMESPACE)


FAULTS = [
    ({"placement": {"clusters": [{"name": ""}]}}, r"spec\.placement\.clusters\[0\]\.name: Required value"),
    (
        {"placement": {"clusterSelector": {"matchExpressions": [{"key": "a", "operator": "Bad"}]}}},
        r"spec\.placement\.clusterSelector",
    ),
    (
        {"overrides": [{"clusterName": "a", "clusterOverrides": [{"path": "/kind", "value": "x"}]}]},
        r"spec\.overrides\[0\]\.clusterOverrides\[0\]\.path: .*may not be overridden",
    ),
    ({"template": {"metadata": {"name": "other"}}}, r"spec\.template\.metadata\.name"),
]


@pytest.mark.parametrize(("spec", "said"), FAULTS)
async def test_a_fault_of_a_federated_object_names_its_field(world: World, spec: Any, said: str) -> None:
    await enable(world, "configmaps", "ConfigMap")
    with pytest.raises(InvalidError, match=said):
        await world.create("federatedconfigmaps.types.kubefed.io", {"metadata": {"name": "x"}, "spec": spec})


async def test_nobody_federates_what_he_may_not_write(world: World) -> None:
    await enable(world, "secrets", "Secret")
    REFUSED.add("secrets")
    with pytest.raises(ForbiddenError, match='cannot create resource "secrets"'):
        await world.create("federatedsecrets.types.kubefed.io", {"metadata": {"name": "x"}, "spec": {}})


async def test_nobody_deletes_in_members_what_he_may_not_delete(world: World) -> None:
    await enable(world, "secrets", "Secret")
    kept = {"metadata": {"name": "kept", "annotations": {"kubefed.io/orphan": "true"}}, "spec": {}}
    await world.create("federatedsecrets.types.kubefed.io", {"metadata": {"name": "x"}, "spec": {}})
    await world.create("federatedsecrets.types.kubefed.io", kept)
    REFUSED.add("secrets")
    with pytest.raises(ForbiddenError, match='cannot delete resource "secrets"'):
        await world.delete("federatedsecrets.types.kubefed.io", "x")
    await world.delete("federatedsecrets.types.kubefed.io", "kept")


async def test_what_is_written_while_its_type_is_gone_is_held_to_the_same(world: World) -> None:
    await enable(world, "secrets", "Secret")
    await world.objects.delete(world.kind(TYPES), world.kind(TYPES).key(NAMESPACE, "secrets"), DeleteOptions())
    wrong = {"placement": {"clusters": [{"name": ""}]}}
    with pytest.raises(InvalidError, match=r"spec\.placement\.clusters\[0\]\.name"):
        await world.create("federatedsecrets.types.kubefed.io", {"metadata": {"name": "x"}, "spec": wrong})
    await world.create("federatedsecrets.types.kubefed.io", {"metadata": {"name": "x"}, "spec": {}})
    REFUSED.add("secrets")
    with pytest.raises(ForbiddenError, match='cannot create resource "secrets"'):
        await world.create("federatedsecrets.types.kubefed.io", {"metadata": {"name": "y"}, "spec": {}})
    with pytest.raises(ForbiddenError, match='cannot delete resource "secrets"'):
        await world.delete("federatedsecrets.types.kubefed.io", "x")


async def test_a_federated_kind_of_somebody_else_without_its_type_needs_rights_everywhere(world: World) -> None:
    names = {"plural": "federatedsecrets", "singular": "x", "kind": "FederatedSecret", "listKind": "L"}
    schema = {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}
    version = {"name": "v1beta1", "served": True, "storage": True, "schema": schema}
    spec = {"group": "types.kubefed.io", "scope": "Namespaced", "names": names, "versions": [version]}
    crd = {"metadata": {"name": "federatedsecrets.types.kubefed.io"}, "spec": spec}
    await world.create("customresourcedefinitions.apiextensions.k8s.io", crd)
    await world.settle(DefinitionController(world.tools, world.custom))
    REFUSED.add("secrets")
    with pytest.raises(ForbiddenError, match=r'in API group "\*"'):
        await world.create("federatedsecrets.types.kubefed.io", {"metadata": {"name": "x"}, "spec": {}})
