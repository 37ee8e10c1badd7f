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
from tests.edgecore.network.conftest import pod
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
    }
    words = ("-o", "/dev/null", "-w", "%{http_code}")
    assert {(host, text): gateway.get(host, text, *words) for host, text in wanted} == wanted
    backend = {"service": {"name": "web", "port": {"number": 80}}}
    default: Any = {"kind": "Ingress", **ingress("four", age=4, defaultBackend=backend)}
    del default["spec"]["rules"]
    gateway.put(INGRESSES, default)
    assert gateway.get("nobody.example", "/any", *words) == "200"
