"""HAProxy as a gateway keeps it: requests through every change, and what is left when it or the agent is killed."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from skerry.errors import UnavailableError
from skerry.testkit.real.namespaces import PATH, Namespace, new_namespace, tool
from tests.edgecore.network.conftest import pod, service
from tests.edgecore.network.ingress.conftest import certificate, ingress, path, rule, tls_secret

pytestmark = [pytest.mark.system, pytest.mark.timeout(300)]

ROOT = Path(__file__).parents[2]
INGRESSES = "ingresses.networking.k8s.io"
APP = """
import http.server, sys
ACCEPT = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="  # of the client's key, RFC 6455
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        if self.headers.get("Upgrade") == "websocket":
            self.send_response(101)
            self.send_header("Upgrade", "websocket")
            self.send_header("Connection", "Upgrade")
            self.send_header("Sec-WebSocket-Accept", ACCEPT)
            self.end_headers()
            while data := self.connection.recv(100):
                self.connection.sendall(data)
            self.close_connection = True
            return
        body = f"{sys.argv[1]} {self.path}\\n".encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *words): pass
class Server(http.server.ThreadingHTTPServer):
    request_queue_size = 128
server = Server((sys.argv[2], 8081), Handler)
print("ready", flush=True)
server.serve_forever()
"""
GRPC_APP = """
import asyncio, sys
from grpclib.const import Cardinality, Handler
from grpclib.server import Server
class Raw:
    def encode(self, message, type_): return message
    def decode(self, data, type_): return data
    __content_subtype__ = "raw"
class Echo:
    async def every(self, stream):
        async for message in stream:
            await stream.send_message(b"%s:%s" % (sys.argv[1].encode(), message))
    def __mapping__(self):
        return {"/e.Echo/Every": Handler(self.every, Cardinality.STREAM_STREAM, bytes, bytes)}
async def main():
    server = Server([Echo()], codec=Raw())
    await server.start(sys.argv[2], 8081)
    print("ready", flush=True)
    await server.wait_closed()
asyncio.run(main())
"""
GRPC_CLIENT = """
import asyncio, ssl, sys
from grpclib.client import Channel, StreamStreamMethod
class Raw:
    def encode(self, message, type_): return message
    def decode(self, data, type_): return data
    __content_subtype__ = "raw"
async def main():
    context = None
    if sys.argv[2] == "tls":
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        context.set_alpn_protocols(["h2"])
    channel = Channel("127.0.0.1", int(sys.argv[1]), ssl=context, codec=Raw())
    channel._authority = "g.example"
    if context is not None:
        loop = asyncio.get_running_loop()
        async def named():
            _, protocol = await loop.create_connection(
                channel._protocol_factory, "127.0.0.1", int(sys.argv[1]), ssl=context, server_hostname="g.example"
            )
            return protocol
        channel._create_connection = named
    method = StreamStreamMethod(channel, "/e.Echo/Every", bytes, bytes)
    async with method.open(timeout=10) as stream:
        for number in range(3):
            await stream.send_message(b"%d" % number)
            print((await stream.recv_message()).decode(), flush=True)
        await stream.end()
        assert await stream.recv_message() is None
        await stream.recv_trailing_metadata()
    channel.close()
asyncio.run(main())
"""
TLS_APP = """
import http.server, ssl, sys
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        body = f"{self.path} {self.headers['X-Forwarded-For']}".encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
server = http.server.ThreadingHTTPServer((sys.argv[1], 8081), Handler)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(sys.argv[2])
server.socket = context.wrap_socket(server.socket, server_side=True)
print("ready", flush=True)
server.serve_forever()
"""
SERIAL = """
import socket, ssl, sys
from cryptography import x509
context = ssl.create_default_context()
context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
with socket.create_connection(("127.0.0.1", 8443), timeout=10) as made:
    with context.wrap_socket(made, server_hostname=sys.argv[1]) as shown:
        print(x509.load_der_x509_certificate(shown.getpeercert(True)).serial_number)
"""
LOAD = """
import http.client, sys, time
end, asked, failed = time.monotonic() + float(sys.argv[1]), 0, 0
while time.monotonic() < end:
    try:
        made = http.client.HTTPConnection("127.0.0.1", 8080, timeout=10)
        made.request("GET", "/x", headers={"Host": "a.example"})
        answer = made.getresponse()
        failed += answer.status != 200 or not answer.read()
        made.close()
    except OSError as error:
        failed += 1
    asked += 1
print(asked, failed)
"""
SOCKET = """
import socket
made = socket.create_connection(("127.0.0.1", 8080), timeout=10)
made.sendall(b"GET /w HTTP/1.1\\r\\nHost: a.example\\r\\nConnection: Upgrade\\r\\nUpgrade: websocket\\r\\n"
             b"Sec-WebSocket-Version: 13\\r\\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\\r\\n\\r\\n")
print(made.recv(1000).decode().split()[1], flush=True)
while line := input():
    made.sendall(line.encode())
    print(made.recv(100).decode(), flush=True)
"""


class Gateway:
    """The proxy's keeper in a namespace with two apps."""

    def __init__(self, namespace: Namespace, directory: Path) -> None:
        self.namespace, self.directory = namespace, directory
        self.processes: list[subprocess.Popen[str]] = []
        for name, address in (("a", "127.0.0.2"), ("b", "127.0.0.3")):
            self.wait(self.start(sys.executable, "-c", APP, name, address), "ready")
        self.keeper = self.keep()

    def keep(self) -> subprocess.Popen[str]:
        argv = ("-m", "tests.system.ingress_process", str(self.directory), "8080", "8443")
        self.keeper = self.start(sys.executable, *argv)
        self.wait(self.keeper, "ready")
        return self.keeper

    def start(self, *command: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [*self.namespace.prefix, *command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env={"PATH": PATH},
        )
        self.processes.append(process)
        return process

    @staticmethod
    def wait(process: subprocess.Popen[str], word: str) -> None:
        assert process.stdout is not None and process.stdout.readline() == f"{word}\n"

    def say(self, **told: Any) -> str:
        assert self.keeper.stdin is not None and self.keeper.stdout is not None
        self.keeper.stdin.write(json.dumps(told) + "\n")
        self.keeper.stdin.flush()
        return self.keeper.stdout.readline().strip()

    def put(self, resource: str, obj: Any) -> None:
        assert self.say(put=resource, object=obj) == "done"

    def curl(self, *words: str) -> str:
        return self.namespace.run("curl", "-sk", "--max-time", "10", *words)

    def get(self, host: str, text: str, *words: str) -> str:
        return self.curl("--path-as-is", "-H", f"Host: {host}", *words, f"http://127.0.0.1:8080{text}").strip()

    def pids(self) -> list[int]:
        """Of HAProxy: the master, and the newest worker."""
        with socket.socket(socket.AF_UNIX) as made:
            try:
                made.connect(f"{self.directory}/ingress/master.sock")
                made.sendall(b"show proc\n")
                made.shutdown(socket.SHUT_WR)
                said = made.makefile().read()
            except OSError:
                return []  # it ends, or has ended
        rows = [line.split() for line in said.partition("# old")[0].splitlines()]
        return [int(row[0]) for row in rows if len(row) > 1 and row[1] in ("master", "worker")]

    def close(self) -> None:
        for pid in self.pids():
            os.kill(pid, signal.SIGKILL)
        for process in self.processes:
            process.kill()
            process.communicate()
        self.namespace.close()


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[Gateway]:
    for program in ("haproxy", "curl"):
        if shutil.which(program, path=PATH) is None:
            pytest.skip(f"{program} is not installed")
    try:
        tool("ip")
        namespace = new_namespace("ingress")
    except UnavailableError as error:
        pytest.skip(str(error))
    made = Gateway(namespace, tmp_path)
    yield made
    made.close()


def site(name: str = "one", *paths: Any, age: int = 1, host: str = "a.example", **spec: Any) -> Any:
    made = ingress(name, rule(host, *(paths or (path("/", "web"),))), age=age, **spec)
    return {"kind": "Ingress", **made}


def test_no_request_is_lost_by_endpoints_rules_or_certificates_that_change(gateway: Gateway) -> None:
    gateway.put(INGRESSES, site())
    load = gateway.start(sys.executable, "-c", LOAD, "8")
    talk = gateway.start(sys.executable, "-c", SOCKET)
    gateway.wait(talk, "101")
    first = gateway.pids()
    gateway.put("pods", pod("a", "127.0.0.2", ready=False))
    assert {gateway.get("a.example", "/x") for _ in range(4)} == {"b /x"}
    gateway.put("pods", pod("a", "127.0.0.2"))
    assert {gateway.get("a.example", "/x") for _ in range(4)} == {"a /x", "b /x"}
    assert gateway.pids() == first, "endpoints take no new process"
    for serial in (1, 2, 3):
        gateway.put("secrets", tls_secret("cert", certificate("b.example", serial=serial)))
        tls = [{"hosts": ["b.example"], "secretName": "cert"}]
        gateway.put(INGRESSES, site("two", age=2, host="b.example", tls=tls))
    assert gateway.pids()[0] == first[0] and gateway.pids()[1:] != first[1:]
    assert talk.stdin is not None
    talk.stdin.write("still here\n")
    talk.stdin.flush()
    gateway.wait(talk, "still here")
    assert load.stdout is not None
    asked, failed = map(int, load.stdout.readline().split())
    assert (asked > 100, failed) == (True, 0)
    keys = list((gateway.directory / "ingress").rglob("*.pem"))
    assert len(keys) == 2 and all(each.stat().st_mode & 0o777 == 0o600 for each in keys)


def test_killed_haproxy_and_killed_agents_cost_little(gateway: Gateway) -> None:
    gateway.put(INGRESSES, site())
    before = gateway.pids()
    line = json.dumps({"put": INGRESSES, "object": site()})
    (gateway.directory / "objects.jsonl").write_text(f"{line}\n")
    gateway.keeper.kill()
    gateway.keeper.wait()
    assert gateway.get("a.example", "/x") in ("a /x", "b /x")
    gateway.keep()
    assert gateway.say(wait=True) == "done"
    assert gateway.pids() == before, "the agent took over what it found"
    os.kill(before[0], signal.SIGKILL)
    deadline = time.monotonic() + 60
    while not (after := gateway.pids()) or after[0] == before[0]:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert gateway.get("a.example", "/x") in ("a /x", "b /x")
    assert gateway.say(delete=INGRESSES, namespace="d", name="one") == "done"
    assert gateway.pids() == []


def test_rules_are_followed_as_the_standard_has_them(gateway: Gateway) -> None:
    """The features of the ingress conformance suite: hosts, paths, default backend, class."""
    paths = [path("/foo", "web"), path("/foo/bar/", "none"), path("/exact", "web", "Exact"), path("/aaa/bbb", "web")]
    # Of an exact path and a prefix that are the same the exact one has it; what is our own is a prefix.
    paths += [path("/both", "web"), path("/both", "none", "Exact"), path("/slash/", "web")]
    paths += [path("/own", "web", "ImplementationSpecific")]
    gateway.put(INGRESSES, site("one", *paths))
    gateway.put(INGRESSES, site("two", host="*.w.example", age=2))
    gateway.put(INGRESSES, site("three", host="c.example", age=3, ingressClassName="other"))
    wanted = {
        ("a.example", "/foo"): "200",
        ("a.example:8080", "/foo/x"): "200",
        ("A.Example", "/%66oo"): "200",
        ("a.example", "/foobar"): "404",
        ("a.example", "/foo/bar"): "503",
        ("a.example", "/foo/barx"): "200",
        ("a.example", "/exact"): "200",
        ("a.example", "/exact/"): "404",
        ("a.example", "/aaa/bbbx"): "404",
        ("a.example", "/"): "404",
        ("a.example", "/x/../foo"): "400",
        ("a.example", "/exact%00"): "400",
        ("x.w.example", "/"): "200",
        ("x.y.w.example", "/"): "404",
        ("w.example", "/"): "404",
        ("c.example", "/"): "404",
        ("a.example", "/FOO"): "404",
        ("a.example", "/EXACT"): "404",
        ("a.example", "/exact/x"): "404",
        ("a.example", "/aaa/bbb/"): "200",
        ("a.example", "/aaa/bbb/ccc"): "200",
        ("a.example", "/aaa"): "404",
        ("a.example", "/slash"): "200",
        ("a.example", "/slash/"): "200",
        ("a.example", "/both"): "503",
        ("a.example", "/both/"): "200",
        ("a.example", "/own/x"): "200",
    }
    words = ("-o", "/dev/null", "-w", "%{http_code}")
    assert {(host, text): gateway.get(host, text, *words) for host, text in wanted} == wanted
    backend = {"service": {"name": "web", "port": {"number": 80}}}
    default: Any = {"kind": "Ingress", **ingress("four", age=4, defaultBackend=backend)}
    del default["spec"]["rules"]
    gateway.put(INGRESSES, default)
    assert gateway.get("nobody.example", "/any", *words) == "200"


def test_grpc_passes_in_the_clear_and_over_tls_to_apps_that_speak_it_in_the_clear(gateway: Gateway) -> None:
    gateway.wait(gateway.start(sys.executable, "-c", GRPC_APP, "g", "127.0.0.4"), "ready")
    selector, ports = {"app": "g"}, [{"name": "", "port": 80, "targetPort": 8081}]
    gateway.put("pods", pod("g", "127.0.0.4", labels={"app": "g"}))
    gateway.put("services", service("g", "10.96.0.8", selector=selector, ports=ports))
    spoken = {"ssl-redirect": "false", "backend-protocol": "GRPC"}
    gateway.put(INGRESSES, site("g", path("/", "g"), host="g.example", annotations=spoken))
    for port, how in (("8080", "clear"), ("8443", "tls")):
        said = gateway.namespace.run(sys.executable, "-c", GRPC_CLIENT, port, how)
        assert said.split() == ["g:0", "g:1", "g:2"], how
    # The Service says it as well (KEP-3726).
    told = [{**ports[0], "appProtocol": "kubernetes.io/h2c"}]
    gateway.put("services", service("g", "10.96.0.8", selector=selector, ports=told))
    gateway.put(INGRESSES, site("g", path("/", "g"), host="g.example", annotations={"ssl-redirect": "false"}))
    assert gateway.namespace.run(sys.executable, "-c", GRPC_CLIENT, "8080", "clear").split()[0] == "g:0"


def test_tls_is_passed_on_where_that_is_asked_for_and_ended_for_the_others(gateway: Gateway, tmp_path: Path) -> None:
    own = tmp_path / "own.pem"
    own.write_bytes(b"".join(certificate("p.example", serial=77)))
    gateway.wait(gateway.start(sys.executable, "-c", TLS_APP, "127.0.0.4", str(own)), "ready")
    gateway.put("pods", pod("p", "127.0.0.4", labels={"app": "p"}))
    ports = [{"name": "", "port": 443, "targetPort": 8081}]
    gateway.put("services", service("p", "10.96.0.8", selector={"app": "p"}, ports=ports))
    gateway.put("secrets", tls_secret("cert", certificate("a.example", serial=5)))
    gateway.put(INGRESSES, site(tls=[{"hosts": ["a.example"], "secretName": "cert"}]))
    passed = path("/", "p", port=443)
    for name, host in (("p", "p.example"), ("w", "*.p.example")):
        said = {"ssl-passthrough": "true"}
        gateway.put(INGRESSES, site(name, passed, host=host, age=2, annotations=said))
    # Who asks is known behind the look at names as well.
    only = {"whitelist-source-range": "127.0.0.1/32"}
    gateway.put(INGRESSES, site("own", host="own.p.example", age=3, annotations=only))

    def over_tls(host: str) -> str:
        return gateway.curl("--resolve", f"{host}:8443:127.0.0.1", f"https://{host}:8443/y").strip()

    def serial(host: str) -> str:
        argv = ("-c", SERIAL, host)
        return gateway.namespace.run(sys.executable, *argv).strip()

    assert (over_tls("p.example"), serial("p.example")) == ("/y None", "77")
    assert (over_tls("x.p.example"), serial("x.p.example")) == ("/y None", "77")
    assert over_tls("own.p.example") in ("a /y", "b /y"), "a host of its own comes before the wildcard"
    assert (over_tls("a.example") in ("a /y", "b /y"), serial("a.example")) == (True, "5")
    words = ("-o", "/dev/null", "-w", "%{http_code} %{redirect_url}")
    assert gateway.get("p.example", "/y", *words) == "308 https://p.example:8443/y"
    gateway.put(INGRESSES, site("p", path("/", "web"), host="p.example", age=2))
    assert over_tls("p.example") in ("a /y", "b /y"), "TLS is ended here again"
