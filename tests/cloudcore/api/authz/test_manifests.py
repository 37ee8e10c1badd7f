"""Nobody makes by an EdgeApplication what he may not make himself."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from cloudcore.registry.port import WriteOptions
from skerry.errors import ForbiddenError
from skerry.objects.edge_applications import EDGE_APPLICATIONS
from skerry.objects.json import JsonObject
from tests.cloudcore.api.access_world import JANE, World, kind, world

CONFIG: JsonObject = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}}
ROLE: JsonObject = {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": {"name": "r"}}


@pytest.fixture
async def w() -> AsyncIterator[World]:
    async with world() as made:
        await made.give("edit", "jane", namespace="a")
        yield made


def app(*manifests: JsonObject, **metadata: Any) -> JsonObject:
    return {"metadata": {"name": "shop", **metadata}, "spec": {"workloadTemplate": {"manifests": [*manifests]}}}


async def test_an_editor_writes_what_he_may_make_and_nothing_else(w: World) -> None:
    await w.create(EDGE_APPLICATIONS, app(CONFIG), namespace="a", actor=JANE)
    with pytest.raises(ForbiddenError) as caught:
        await w.create(EDGE_APPLICATIONS, app(CONFIG, ROLE, name="other"), namespace="a", actor=JANE)
    assert 'spec.workloadTemplate.manifests[1]: user "jane" cannot create resource "roles"' in str(caught.value)
    with pytest.raises(ForbiddenError):
        await change(w, app(ROLE))
    await w.create(EDGE_APPLICATIONS, app(ROLE, name="admins"), namespace="a")


async def test_who_may_write_roles_gives_no_more_away_by_an_application(w: World) -> None:
    await w.give("admin", "jane", namespace="a")
    with pytest.raises(ForbiddenError) as caught:
        await w.create(EDGE_APPLICATIONS, app(ROLE, name="roles"), namespace="a", actor=JANE)
    assert 'cannot escalate resource "roles"' in str(caught.value)


async def test_who_changes_something_else_need_not_hold_what_is_in_it(w: World) -> None:
    await w.create(EDGE_APPLICATIONS, app(ROLE), namespace="a")
    await change(w, app(ROLE, labels={"x": "y"}))
    with pytest.raises(ForbiddenError):
        await change(w, app(ROLE, CONFIG))


async def change(w: World, obj: JsonObject) -> None:
    applications = kind(EDGE_APPLICATIONS)

    def changed(current: JsonObject) -> JsonObject:
        metadata: Any = {**current["metadata"], **obj["metadata"]}  # type: ignore[dict-item]
        return {**current, "metadata": metadata, "spec": obj["spec"]}

    await w.objects.update(applications, applications.key("a", "shop"), changed, WriteOptions(actor=JANE))
