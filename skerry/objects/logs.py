"""Which lines of a container's log somebody wants: asked in the cloud, answered on the gateway.

The JSON form travels as the parameters of a `logs` stream; its names are those of core/v1 PodLogOptions. Pure.
"""

from __future__ import annotations

from typing import Final

from skerry.errors import BadRequestError
from skerry.frozen import Frozen
from skerry.objects.json import JsonObject, bool_at, dig, int_at, str_at

LOGS: Final = "logs"
"""The kind of stream."""


class LogRequest(Frozen):
    """One container of one life of a pod. None: not given."""

    namespace: str
    pod: str
    uid: str
    container: str
    follow: bool = False
    previous: bool = False
    timestamps: bool = False
    tail_lines: int | None = None
    since_s: int | None = None
    since_time: str = ""
    """RFC 3339; "" for none."""
    limit_bytes: int | None = None
    stream: str = ""
    """`stdout` or `stderr` alone; "" for both."""

    def params(self) -> JsonObject:
        params: JsonObject = {
            "namespace": self.namespace,
            "pod": self.pod,
            "uid": self.uid,
            "container": self.container,
            "follow": self.follow,
            "previous": self.previous,
            "timestamps": self.timestamps,
            "sinceTime": self.since_time,
        }
        numbers = {"tailLines": self.tail_lines, "sinceSeconds": self.since_s, "limitBytes": self.limit_bytes}
        if self.stream:
            params["stream"] = self.stream
        return params | {name: number for name, number in numbers.items() if number is not None}

    @classmethod
    def of(cls, params: JsonObject) -> LogRequest:
        """Raises `BadRequestError` where the container is not named."""
        request = cls(
            namespace=str_at(params, "namespace"),
            pod=str_at(params, "pod"),
            uid=str_at(params, "uid"),
            container=str_at(params, "container"),
            follow=bool_at(params, "follow"),
            previous=bool_at(params, "previous"),
            timestamps=bool_at(params, "timestamps"),
            tail_lines=_number(params, "tailLines"),
            since_s=_number(params, "sinceSeconds"),
            since_time=str_at(params, "sinceTime"),
            limit_bytes=_number(params, "limitBytes"),
            stream=str_at(params, "stream"),
        )
        if not (request.namespace and request.pod and request.container):
            raise BadRequestError("logs: namespace, pod and container are required")
        return request


def _number(params: JsonObject, name: str) -> int | None:
    return None if dig(params, name) is None else int_at(params, name)
