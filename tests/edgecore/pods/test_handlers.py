"""What probes and hooks ask for."""

from __future__ import annotations

import pytest

from edgecore.pods.handlers import (
    ExecHandler,
    GrpcHandler,
    Handler,
    HttpHandler,
    SleepHandler,
    TcpHandler,
    handler_of,
)
from skerry.errors import InvalidError
from skerry.objects.json import JsonObject
from tests.edgecore.pods.pods_of import container

ONE = container(ports=[{"name": "web", "containerPort": 8080}])


@pytest.mark.parametrize(
    ("source", "handler"),
    [
        ({"exec": {"command": ["a", "b"]}}, ExecHandler(argv=("a", "b"))),
        ({"tcpSocket": {"port": "web", "host": "other"}}, TcpHandler(host="other", port=8080)),
        ({"tcpSocket": {"port": "81"}}, TcpHandler(host="", port=81)),
        ({"grpc": {"port": 5, "service": "s"}}, GrpcHandler(port=5, service="s")),
        ({"sleep": {"seconds": 3}}, SleepHandler(seconds=3)),
        (
            {"httpGet": {"port": "web"}},
            HttpHandler(scheme="http", host="", port=8080, path="", headers=()),
        ),
        (
            {
                "httpGet": {
                    "scheme": "HTTPS",
                    "port": 1,
                    "path": "/x?y",
                    "httpHeaders": [{"name": "A", "value": "b"}, {"name": "A", "value": "c"}],
                }
            },
            HttpHandler(scheme="https", host="", port=1, path="/x?y", headers=(("A", "b"), ("A", "c"))),
        ),
    ],
)
def test_a_handler_is_read(source: JsonObject, handler: Handler) -> None:
    assert handler_of(source, ONE) == handler


@pytest.mark.parametrize(
    ("source", "why"),
    [
        ({}, "missing handler for container app"),
        ({"tcpSocket": {"port": "nowhere"}}, 'no port named "nowhere"'),
        ({"httpGet": {"port": 0}}, "invalid port number: 0"),
        ({"tcpSocket": {"port": 65536}}, "invalid port number: 65536"),
    ],
)
def test_what_can_not_be_asked_says_why(source: JsonObject, why: str) -> None:
    with pytest.raises(InvalidError, match=why):
        handler_of(source, ONE)
