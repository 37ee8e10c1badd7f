"""What is said in a signer's name takes a permission for that signer."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from cloudcore.registry.port import Subresource, WriteOptions
from skerry.errors import ForbiddenError
from skerry.objects.json import JsonObject, map_at
from tests.cloudcore.api.access_world import JANE, RBAC, World, kind, world

GROUP = "certificates.k8s.io"
BUNDLES = f"clustertrustbundles.{GROUP}"
REQUESTS = f"certificatesigningrequests.{GROUP}"
SIGNER = "plant.example/web"


@pytest.fixture
async def w() -> AsyncIterator[World]:
    async with world() as made:
        yield made


async def allow(w: World, verb: str, *signers: str) -> None:
    rule: JsonObject = {"apiGroups": [GROUP], "resources": ["signers"], "verbs": [verb], "resourceNames": [*signers]}
    await w.create(f"clusterroles.{RBAC}", {"metadata": {"name": f"may-{verb}"}, "rules": [rule]})
    await w.give(f"may-{verb}", "jane")


def bundle(name: str = "plant.example:web:a", signer: str = SIGNER) -> JsonObject:
    spec: JsonObject = {"trustBundle": "x", **({"signerName": signer} if signer else {})}
    return {"metadata": {"name": name}, "spec": spec}


async def write(w: World, resource: str, name: str, change: JsonObject, subresource: Subresource = "") -> None:
    """Of the object, jane changes these fields; what a field of metadata says is merged."""

    def changed(old: JsonObject) -> JsonObject:
        metadata: JsonObject = {**map_at(old, "metadata"), **map_at(change, "metadata")}
        return {**old, **change, "metadata": metadata}

    key = kind(resource).key("", name)
    await w.objects.update(kind(resource), key, changed, WriteOptions(actor=JANE), subresource=subresource)


@pytest.mark.parametrize("allowed", [SIGNER, "plant.example/*"])
async def test_a_bundle_of_a_signer_is_written_by_who_may_attest_for_it(w: World, allowed: str) -> None:
    with pytest.raises(ForbiddenError) as caught:
        await w.create(BUNDLES, bundle(), actor=JANE)
    assert str(caught.value) == (
        'clustertrustbundles.certificates.k8s.io "plant.example:web:a" is forbidden: user not permitted to attest '
        'for signerName "plant.example/web"'
    )
    await w.create(BUNDLES, bundle("free", ""), actor=JANE)
    await allow(w, "attest", allowed)
    await w.create(BUNDLES, bundle(), actor=JANE)
    with pytest.raises(ForbiddenError, match="not permitted to attest"):
        await w.create(BUNDLES, bundle("other.example:web:a", "other.example/web"), actor=JANE)


async def test_who_tidies_up_attests_for_nothing(w: World) -> None:
    await w.create(BUNDLES, bundle())
    await write(w, BUNDLES, "plant.example:web:a", {"metadata": {"finalizers": ["plant.example/x"]}})
    with pytest.raises(ForbiddenError, match="not permitted to attest"):
        await write(w, BUNDLES, "plant.example:web:a", {"metadata": {"labels": {"a": "b"}}})
    with pytest.raises(ForbiddenError, match="not permitted to attest"):
        await write(w, BUNDLES, "plant.example:web:a", {"spec": {"signerName": SIGNER, "trustBundle": "y"}})
    await write(w, BUNDLES, "plant.example:web:a", {"metadata": {"finalizers": []}})
    bundles = kind(BUNDLES)
    await w.objects.delete(bundles, bundles.key("", "plant.example:web:a"))


async def test_who_approves_and_who_signs_are_asked_for_the_signer(w: World) -> None:
    spec: JsonObject = {"signerName": SIGNER, "request": "x", "usages": ["server auth"]}
    await w.create(REQUESTS, {"metadata": {"name": "r"}, "spec": spec})
    approved: JsonObject = {"status": {"conditions": [{"type": "Approved", "status": "True", "reason": "x"}]}}
    signed: JsonObject = {"status": {**map_at(approved, "status"), "certificate": "eA=="}}
    with pytest.raises(ForbiddenError, match="not permitted to approve requests with"):
        await write(w, REQUESTS, "r", approved, "approval")
    await allow(w, "approve", SIGNER)
    await write(w, REQUESTS, "r", approved, "approval")
    with pytest.raises(ForbiddenError, match="not permitted to sign requests with"):
        await write(w, REQUESTS, "r", signed, "status")
    await write(w, REQUESTS, "r", {"metadata": {"labels": {"a": "b"}}}, "status")
    await allow(w, "sign", "plant.example/*")
    await write(w, REQUESTS, "r", signed, "status")
