"""A kubelet's own endpoints: `/pods`, `/stats/summary`, `/metrics` and those below it.

Sources: Kubernetes' `pkg/kubelet/server` for paths and for what each asks of a role (`auth.go`). Keeps nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

from edgecore.local_api.answers import Answer, json_answer
from edgecore.local_api.kinds import POD
from edgecore.local_api.meters import Meters
from edgecore.local_api.objects import LocalObjects
from edgecore.local_api.ports import Figures
from edgecore.local_api.requests import Request
from skerry.errors import NotFoundError
from skerry.forms.exposition import MEDIA_TYPE, Family, exposition
from skerry.forms.status import UNKNOWN_RESOURCE, MethodNotAllowedError
from skerry.objects.json import Json, str_at

_RUNNING = ("Running",)


class KubeletPaths:
    """See the module."""

    def __init__(self, objects: LocalObjects, meters: Meters, figures: Figures) -> None:
        self._objects = objects
        self._meters = meters
        self._figures = figures

    async def answer(self, request: Request) -> Answer:
        """Raises `NotFoundError`, `MethodNotAllowedError`, `UnavailableError`."""
        if request.method not in ("GET", "HEAD"):
            raise MethodNotAllowedError("the server does not allow this method on the requested resource")
        match request.parts:
            case ("pods",):
                return self._pods(running=False)
            case ("runningpods",):
                return self._pods(running=True)
            case ("stats", "summary"):
                return json_answer(await self._figures.summary())
            case ("metrics",):
                return _page([*self._meters.families(), *self._figures.agent()])
            case ("metrics", "resource"):
                return _page(await self._figures.resource())
            case ("metrics", "cadvisor"):
                return _page(await self._figures.containers())
            case _:
                raise NotFoundError(UNKNOWN_RESOURCE)

    def _pods(self, *, running: bool) -> Answer:
        pods: list[Json] = [
            pod for pod in self._objects.list(POD, "") if not running or str_at(pod, "status", "phase") in _RUNNING
        ]
        return json_answer({"kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": pods})


def is_kubelets(parts: tuple[str, ...]) -> bool:
    return parts[:1] in (("pods",), ("runningpods",), ("stats",), ("metrics",))


def subresources_of(parts: tuple[str, ...]) -> Sequence[str]:
    """Of `nodes`: to get one of them allows the path."""
    match parts:
        case ("stats", *_):
            return ("stats",)
        case ("metrics", *_):
            return ("metrics",)
        case ("pods" | "runningpods",):
            return ("pods", "proxy")
        case _:
            return ("proxy",)


def _page(families: list[Family]) -> Answer:
    return Answer(body=exposition(families), content_type=MEDIA_TYPE)
