"""Probes and HTTP hooks against real servers: Python's own for HTTP and TLS, Google's for gRPC."""

from __future__ import annotations

import http.server
import socket
import ssl
import subprocess
import threading
from collections.abc import Generator, Sequence
from concurrent import futures
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar

import grpc
import pytest

from edgecore.pods.asking import Answer, Whom, ask, run_hook
from edgecore.pods.handlers import GrpcHandler, Handler, HttpHandler, TcpHandler
from edgecore.pods.port import ExecResult
from skerry.errors import UnavailableError

pytestmark = pytest.mark.system

WHOM = Whom(container_id="c", address="127.0.0.1")


class NoCommands:
    async def run_in(self, container_id: str, argv: Sequence[str], *, timeout_s: float) -> ExecResult:
        raise UnavailableError("no commands here")


class Site(http.server.BaseHTTPRequestHandler):
    """`/N` answers with that status; `/to?URL` redirects, `/loop` to itself; `/slow` takes time; `/big` is big."""

    asked: ClassVar[list[dict[str, str]]] = []

    def do_GET(self) -> None:
        type(self).asked.append(dict(self.headers.items()))
        path, _, query = self.path.partition("?")
        if path == "/loop":
            path, query = "/to", "/loop"
        if path == "/slow":
            threading.Event().wait(3)
        self.send_response(302 if path == "/to" else int(path[1:]) if path[1:].isdecimal() else 200)
        if path == "/to":
            self.send_header("Location", query)
        self.end_headers()
        self.wfile.write(b"x" * 3_000_000 if path == "/big" else b"page")

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name there
        """Quiet."""


@contextmanager
def site(context: ssl.SSLContext | None = None) -> Generator[int]:
    Site.asked = []
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Site)
    server.handle_error = lambda *_: None  # type: ignore[method-assign] - who asked hung up, as it should
    server.daemon_threads = True
    if context is not None:
        server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def own_context(tmp_path: Path) -> ssl.SSLContext:
    """With a certificate for which nobody vouches."""
    files = tmp_path / "key.pem", tmp_path / "cert.pem"
    make = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=nobody", "-days", "1"]
    subprocess.run([*make, "-keyout", files[0], "-out", files[1]], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(files[1], files[0])
    return context


def page(port: int, path: str, *headers: tuple[str, str], scheme: str = "http", host: str = "") -> HttpHandler:
    return HttpHandler(scheme=scheme, host=host, port=port, path=path, headers=headers)


async def asked(handler: Handler, timeout_s: float = 20) -> Answer:
    return await ask(NoCommands(), handler, WHOM, timeout_s=timeout_s)


def unused_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


async def test_pages_are_judged_by_their_status() -> None:
    with site() as port:
        assert (await asked(page(port, "/200"))).outcome == "success"
        assert (await asked(page(port, "304"))).outcome == "success"
        assert (await asked(page(port, "/big"))).outcome == "success"
        assert await asked(page(port, "/404")) == Answer(
            outcome="failure", text="HTTP probe failed with statuscode: 404"
        )
        slow = await asked(page(port, "/slow"), timeout_s=0.3)
        assert slow.outcome == "failure" and "Client.Timeout exceeded" in slow.text
    nobody = await asked(page(port, "/200"))
    why = f"dial tcp 127.0.0.1:{port}: connect: connection refused"
    assert nobody == Answer(outcome="failure", text=f'Get "http://127.0.0.1:{port}/200": {why}')


async def test_who_asks_is_said_and_headers_are_the_manifests() -> None:
    with site() as port:
        await asked(page(port, "/", ("Host", "example.org"), ("X-One", "1")))
        await run_hook(NoCommands(), page(port, "/500"), WHOM, timeout_s=20)
    first, second = Site.asked
    assert (first["Host"], first["User-Agent"], first["Accept"]) == ("example.org", "kube-probe/1.36", "*/*")
    assert (first["X-One"], first["Connection"]) == ("1", "close")
    assert second["User-Agent"] == "kube-lifecycle/1.36"


async def test_redirects_are_followed_on_the_same_host_only() -> None:
    with site() as port:
        assert (await asked(page(port, "/to?/200"))).outcome == "success"
        assert (await asked(page(port, "/to?/503"))).text.endswith("statuscode: 503")
        away = await asked(page(port, f"/to?http://localhost:{port}/500"))
        assert away.outcome == "warning" and away.text.startswith("Probe terminated redirects")
        circle = await asked(page(port, "/to?/loop"))
        assert circle.text.endswith("stopped after 10 redirects")
        around = await asked(page(port, f"/to?http://127.0.0.1:{port}/to?/200"))
        assert around.outcome == "success"


async def test_certificates_are_not_checked_and_a_hook_falls_back_to_plain_http(tmp_path: Path) -> None:
    with site(own_context(tmp_path)) as port:
        assert (await asked(page(port, "/200", scheme="https"))).outcome == "success"
    with site() as port:
        assert (await asked(page(port, "/200", scheme="https"))).outcome == "failure"
        assert await run_hook(NoCommands(), page(port, "/200", scheme="https"), WHOM, timeout_s=20) == ""
    assert "connect" in await run_hook(NoCommands(), page(unused_port(), "/"), WHOM, timeout_s=20)


async def test_a_port_answers_or_does_not() -> None:
    with site() as port:
        assert (await asked(TcpHandler(host="", port=port))).outcome == "success"
    assert await asked(TcpHandler(host="127.0.0.1", port=port)) == Answer(
        outcome="failure", text=f"dial tcp 127.0.0.1:{port}: connect: connection refused"
    )


class Health(grpc.GenericRpcHandler):
    """grpc.health.v1, by Google's library: `ill` is not serving, `none` is not known."""

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler | None:
        if handler_call_details.method != "/grpc.health.v1.Health/Check":
            return None

        def check(request: bytes, context: grpc.ServicerContext) -> bytes:
            if b"none" in request:
                context.abort(grpc.StatusCode.NOT_FOUND, "unknown service")
            return b"\x08\x02" if b"ill" in request else b"\x08\x01"

        return grpc.unary_unary_rpc_method_handler(check)


@contextmanager
def grpc_server(*handlers: grpc.GenericRpcHandler) -> Generator[int]:
    server = grpc.server(futures.ThreadPoolExecutor(2))
    server.add_generic_rpc_handlers(handlers)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield port
    finally:
        server.stop(0).wait()


async def test_health_is_checked_over_grpc() -> None:
    with grpc_server(Health()) as port:
        assert (await asked(GrpcHandler(port=port, service=""))).outcome == "success"
        ill = await asked(GrpcHandler(port=port, service="ill"))
        assert ill == Answer(outcome="failure", text='service unhealthy (responded with "NOT_SERVING")')
        assert "NotFound" in (await asked(GrpcHandler(port=port, service="none"))).text
    with grpc_server() as port:
        mute = await asked(GrpcHandler(port=port, service=""))
        assert mute.outcome == "failure" and "does not implement the grpc health protocol" in mute.text
    assert (await asked(GrpcHandler(port=unused_port(), service=""), timeout_s=5)).outcome == "failure"
