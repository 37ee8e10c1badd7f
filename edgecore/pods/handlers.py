"""What probes and lifecycle hooks ask of a container: pure, from the manifest to something that can be done.

(Kubernetes API: ProbeHandler, LifecycleHandler.)
"""

from __future__ import annotations

from typing import Final, TypeAlias

from skerry.errors import InvalidError
from skerry.frozen import Frozen
from skerry.objects.json import JsonObject, dig, int_at, map_at, maps_at, str_at, strs_at

PORT_MAX: Final = 65535


class ExecHandler(Frozen):
    """A command in the container; exit code 0 is success."""

    argv: tuple[str, ...]


class HttpHandler(Frozen):
    """A GET request."""

    scheme: str
    host: str
    """"" for the pod's address."""
    port: int
    path: str
    """With its query; perhaps without the slash that it should begin with."""
    headers: tuple[tuple[str, str], ...]


class TcpHandler(Frozen):
    """A connection, closed at once."""

    host: str
    """"" for the pod's address."""
    port: int


class GrpcHandler(Frozen):
    """grpc.health.v1.Health/Check at the pod's address."""

    port: int
    service: str


class SleepHandler(Frozen):
    """Time that passes (hooks only)."""

    seconds: int


Handler: TypeAlias = ExecHandler | HttpHandler | TcpHandler | GrpcHandler | SleepHandler


def handler_of(source: JsonObject, container: JsonObject) -> Handler:
    """The one handler that a probe or hook names. Raises `InvalidError`, as a port may be named that is not there."""
    if isinstance(source.get("exec"), dict):
        return ExecHandler(argv=tuple(strs_at(source, "exec", "command")))
    if isinstance(source.get("httpGet"), dict):
        get = map_at(source, "httpGet")
        return HttpHandler(
            scheme=str_at(get, "scheme", default="HTTP").lower(),
            host=str_at(get, "host"),
            port=_port(get, container),
            path=str_at(get, "path"),
            headers=tuple((str_at(each, "name"), str_at(each, "value")) for each in maps_at(get, "httpHeaders")),
        )
    if isinstance(source.get("tcpSocket"), dict):
        tcp = map_at(source, "tcpSocket")
        return TcpHandler(host=str_at(tcp, "host"), port=_port(tcp, container))
    if isinstance(source.get("grpc"), dict):
        return GrpcHandler(port=int_at(source, "grpc", "port"), service=str_at(source, "grpc", "service"))
    if isinstance(source.get("sleep"), dict):
        return SleepHandler(seconds=int_at(source, "sleep", "seconds"))
    raise InvalidError(f"missing handler for container {str_at(container, 'name')}")


def _port(source: JsonObject, container: JsonObject) -> int:
    """By number, or by the name that the container gives it."""
    said = dig(source, "port")
    number = said if isinstance(said, int) else None
    if isinstance(said, str):
        named = [
            int_at(each, "containerPort") for each in maps_at(container, "ports") if str_at(each, "name") == said
        ]
        number = named[0] if named else int(said) if said.isdecimal() else None
        if number is None:
            raise InvalidError(f'container {str_at(container, "name")} has no port named "{said}"')
    if number is None or not 0 < number <= PORT_MAX:
        raise InvalidError(f"invalid port number: {said}")
    return number
