"""What a gateway is doing when it is left alone. Each is begun in the cloud, and leaves pods of its own number."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from benchmarks.matrix.world import APPS, CORE, World, text_mounted
from skerry.objects.json import JsonObject, str_at

SITE: Final = "site"
SLOW_END: Final = ["sh", "-c", "trap 'sleep 0.7; exit 0' TERM; while :; do sleep 0.1; done"]
"""A program that takes its time to end: so that it is being deleted for a while."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Phase:
    """`prepare` brings about what is needed; `act` begins it; `done` says that it came about, beside the pods."""

    name: str
    method: str
    prepare: Callable[[World, int], None]
    act: Callable[[World, int], None]
    done: Callable[[World, int], bool]


def _nothing(_: World, __: int) -> None:
    """No need."""


def _is_done(_: World, __: int) -> bool:
    return True


def _create(here: World, number: int) -> None:
    here.rig.cloud.create(f"{CORE}/pods", here.pod(f"new-{number}", "settings"))


def _deploy(here: World, number: int) -> None:
    if here.rig.cloud.find(f"{APPS}/deployments/{SITE}") is None:
        here.rig.cloud.create(f"{APPS}/deployments", _deployment(here, f"{number}-before"))


def _update(here: World, number: int) -> None:
    """A ConfigMap in a volume changes in place, and a Deployment's pod is replaced."""
    here.rig.cloud.patch(f"{CORE}/configmaps/settings", {"data": {"text": f"{number}"}})
    here.rig.cloud.patch(f"{APPS}/deployments/{SITE}", {"spec": {"template": _template(here, f"{number}")}})


def _is_updated(here: World, number: int) -> bool:
    found = here.rig.cloud.find(f"{CORE}/configmaps/settings")
    texts = text_mounted(here.edge.data)
    return str_at(found, "data", "text") == f"{number}" and bool(texts) and set(texts) == {f"{number}"}


def _have_one(here: World, number: int) -> None:
    here.rig.cloud.create(
        f"{CORE}/pods", here.pod(f"old-{number}", terminationGracePeriodSeconds=5, containers=[_slow()])
    )


def _delete(here: World, number: int) -> None:
    here.rig.cloud.delete(f"{CORE}/pods/old-{number}")


def _slow() -> JsonObject:
    return {"name": "app", "image": "sh", "command": [*SLOW_END]}


def _template(here: World, text: str) -> JsonObject:
    container: JsonObject = {
        "name": "app",
        "image": "sh",
        "command": [*SLOW_END],
        "env": [{"name": "VERSION", "value": text}],
    }
    return here.with_image(
        {
            "metadata": {"labels": {"app": SITE}},
            "spec": {"terminationGracePeriodSeconds": 5, "containers": [container]},
        }
    )


def _deployment(here: World, text: str) -> JsonObject:
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": SITE},
        "spec": {"replicas": 1, "selector": {"matchLabels": {"app": SITE}}, "template": _template(here, text)},
    }


PHASES: Final = (
    Phase(
        name="starting",
        method="a pod with a ConfigMap volume is created",
        prepare=_nothing,
        act=_create,
        done=_is_done,
    ),
    Phase(name="running", method="nothing is asked for", prepare=_nothing, act=_nothing, done=_is_done),
    Phase(
        name="updating",
        method="a mounted ConfigMap and a Deployment's template change",
        prepare=_deploy,
        act=_update,
        done=_is_updated,
    ),
    Phase(
        name="deleting",
        method="a pod whose program takes 0.7 s to end is deleted",
        prepare=_have_one,
        act=_delete,
        done=_is_done,
    ),
)
