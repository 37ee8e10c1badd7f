"""Other clients than kubectl talk with pods: Python's, kr8s, and bare WebSockets of every subprotocol."""

from __future__ import annotations

import asyncio
import base64
import json
import ssl
from collections.abc import AsyncGenerator, Generator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import aiohttp
import pytest

from skerry.cli import kubeconfig
from skerry.objects.json import JsonObject
from tests.system.real_fleet import CORE, NODE, RealFleet, real_fleet, until

pytestmark = [
    pytest.mark.system,
    pytest.mark.timeout(120),
    # The clients warn of what they will change, and of a Kubernetes newer than they were tested with.
    pytest.mark.filterwarnings("default"),
]
kubernetes: Any = pytest.importorskip("kubernetes")
kubernetes_stream: Any = pytest.importorskip("kubernetes.stream")
kr8s_asyncio: Any = pytest.importorskip("kr8s.asyncio")


POD: Final = "talker"
EXEC: Final = f"{CORE}/pods/{POD}/exec"


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Generator[RealFleet]:
    with real_fleet(tmp_path_factory.mktemp("clients")) as fleet:
        fleet.edge.start()
        container: JsonObject = {"name": "app", "image": "sh", "command": ["sh", "-c", "exec sleep 100000"]}
        spec: JsonObject = {"nodeName": NODE, "terminationGracePeriodSeconds": 0, "containers": [container]}
        fleet.create(f"{CORE}/pods", {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": POD}, "spec": spec})
        until(lambda: fleet.run_of(POD), "the pod runs")
        yield fleet


@pytest.fixture
def core(fleet: RealFleet) -> Iterator[Any]:
    configuration = kubernetes.client.Configuration()
    kubernetes.config.load_kube_config(str(fleet.cloud.kubeconfig), client_configuration=configuration)
    with kubernetes.client.ApiClient(configuration) as client:
        yield kubernetes.client.CoreV1Api(client)


def test_the_python_client_runs_a_command_with_input_and_an_exit_code(core: Any) -> None:
    opened = kubernetes_stream.stream(
        core.connect_get_namespaced_pod_exec,
        POD,
        "default",
        command=["sh", "-c", "read line; echo got $line; echo no >&2; exit 5"],
        stdin=True,
        stdout=True,
        stderr=True,
        tty=False,
        _preload_content=False,
    )
    opened.write_stdin("word\n")
    opened.run_forever(timeout=30)
    opened.close()
    assert opened.read_stdout() == "got word\n"
    assert opened.read_stderr() == "no\n"
    assert opened.returncode == 5


def test_the_python_client_forwards_a_port(fleet: RealFleet, core: Any) -> None:
    port = int(str(fleet.cloud.endpoints["https_port"]))
    forward = kubernetes_stream.portforward(
        core.connect_get_namespaced_pod_portforward, POD, "default", ports=str(port)
    )
    plain = forward.socket(port)
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with context.wrap_socket(plain) as connection:
        connection.sendall(b"GET /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        answer = b""
        while piece := connection.recv(4096):
            answer += piece
    assert answer.startswith(b"HTTP/1.1 ")


async def test_kr8s_runs_a_command(fleet: RealFleet) -> None:
    api = await kr8s_asyncio.api(kubeconfig=str(fleet.cloud.kubeconfig))
    pod = await kr8s_asyncio.objects.Pod.get(POD, namespace="default", api=api)
    done = await pod.exec(["sh", "-c", "echo out; echo err >&2; exit 4"], check=False)
    assert (done.stdout, done.stderr, done.returncode) == (b"out\n", b"err\n", 4)


@asynccontextmanager
async def opened(
    fleet: RealFleet, path: str, query: list[tuple[str, str]], *protocols: str
) -> AsyncGenerator[aiohttp.ClientWebSocketResponse]:
    cluster = kubeconfig.load(fleet.cloud.kubeconfig)
    assert cluster.tls is not None
    # The kubeconfig's own context holds the administrator's certificate.
    async with aiohttp.ClientSession() as session:
        url = f"https://{cluster.host}:{cluster.port}{path}"
        async with session.ws_connect(url, params=query, protocols=protocols, ssl=cluster.tls) as socket:
            yield socket
    await asyncio.sleep(0.1)  # aiohttp closes TLS after its session is closed


def asking(script: str, *flags: str) -> list[tuple[str, str]]:
    words = [("command", word) for word in ("sh", "-c", script)]
    return [*words, *((flag, "1") for flag in flags)]


async def heard(socket: aiohttp.ClientWebSocketResponse) -> list[bytes]:
    return [message.data if isinstance(message.data, bytes) else message.data.encode() async for message in socket]


@pytest.mark.parametrize("protocol", ["channel.k8s.io", "v2.channel.k8s.io", "v3.channel.k8s.io", ""])
async def test_the_first_forms_say_nothing_of_a_good_end(fleet: RealFleet, protocol: str) -> None:
    """As the conformance suite does it (`should support remote command execution over websockets`)."""
    offered = (protocol,) if protocol else ()
    async with opened(fleet, EXEC, asking("echo remote execution test", "stdout", "stderr"), *offered) as socket:
        assert socket.protocol == (protocol or None)
        messages = await heard(socket)
    assert messages[0] == b"\x01", "connected"
    assert b"".join(message[1:] for message in messages) == b"remote execution test\n"
    assert {message[0] for message in messages} == {1}
    async with opened(fleet, EXEC, asking("exit 9", "stdout", "stderr"), *offered) as socket:
        messages = await heard(socket)
    assert messages[-1][:1] == b"\x03" and messages[-1].endswith(b"exit code 9")


async def test_browsers_get_base64(fleet: RealFleet) -> None:
    bearer = "base64url.bearer.authorization.k8s.io.eA"
    with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
        async with opened(fleet, EXEC, asking("true", "stdout"), bearer, "nothing.known"):
            pass
    assert refused.value.status in (400, 401)
    for protocol, status in (("base64.channel.k8s.io", b""), ("v4.base64.channel.k8s.io", b'"status":"Success"')):
        async with opened(fleet, EXEC, asking("cat", "stdin", "stdout"), protocol) as socket:
            await socket.send_str("0" + base64.b64encode(b"hello").decode())
            assert await socket.receive_str() == "1"
            assert await socket.receive_str() == "1" + base64.b64encode(b"hello").decode()
        async with opened(fleet, EXEC, asking("echo x", "stdout"), protocol) as socket:
            messages = await heard(socket)
        assert messages[:2] == [b"1", b"1" + base64.b64encode(b"x\n")]
        assert [status in base64.b64decode(message[1:]) for message in messages[2:]] == ([True] if status else [])


async def test_v5_ends_the_input_by_itself_and_hears_in_a_channel_why_nothing_begins(fleet: RealFleet) -> None:
    async with opened(fleet, EXEC, asking("cat; echo after", "stdin", "stdout"), "v5.channel.k8s.io") as socket:
        await socket.send_bytes(b"\0words ")
        await socket.send_bytes(b"\xff\0")
        messages = await heard(socket)
    assert b"".join(message[1:] for message in messages if message[0] == 1) == b"words after\n"
    assert json.loads(messages[-1][1:]) == {"metadata": {}, "status": "Success"}
    container: JsonObject = {"name": "app", "image": "sh", "command": ["true"]}
    spec: JsonObject = {"nodeName": NODE, "restartPolicy": "Never", "containers": [container]}
    fleet.create(f"{CORE}/pods", {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "over"}, "spec": spec})
    await asyncio.to_thread(until, lambda: phase(fleet, "over") == "Succeeded", "it is over")
    path = f"{CORE}/pods/over/exec"
    async with opened(fleet, path, asking("true", "stdout"), "v5.channel.k8s.io") as socket:
        messages = await heard(socket)
    told = json.loads(messages[-1][1:])
    why = "unable to upgrade connection: container is in CONTAINER_EXITED state"
    assert (told["message"], told["code"]) == (f"Internal error occurred: {why}", 500)
    with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
        async with opened(fleet, path, asking("true", "stdout"), "v4.channel.k8s.io"):
            pass
    assert refused.value.status == 500


def phase(fleet: RealFleet, pod: str) -> object:
    held = fleet.find(f"{CORE}/pods/{pod}") or {}
    status = held.get("status")
    return status.get("phase") if isinstance(status, dict) else None


async def test_what_asks_for_no_upgrade_or_names_nothing_is_refused(fleet: RealFleet) -> None:
    for path, query, why in (
        (EXEC, {"command": "true"}, "Upgrade request required"),
        (EXEC, {}, "at least one command"),
        (f"{CORE}/pods/{POD}/portforward", {"ports": "0"}, "unable to parse"),
        (f"{CORE}/pods/nope/exec", {"command": "true"}, "not found"),
    ):
        with pytest.raises(Exception, match=why):
            await asyncio.to_thread(fleet.api().request, "POST", path, query=query)


@pytest.mark.parametrize("protocol", ["binary.k8s.io", "base64.binary.k8s.io", ""])
async def test_a_log_comes_over_a_websocket(fleet: RealFleet, protocol: str) -> None:
    """`should support retrieving logs from the container over websockets` of the conformance suite."""
    name = f"says-{protocol.partition('.')[0] or 'plain'}"
    container: JsonObject = {"name": "app", "image": "sh", "command": ["sh", "-c", "echo out; echo err >&2"]}
    spec: JsonObject = {"nodeName": NODE, "restartPolicy": "Never", "containers": [container]}
    fleet.create(f"{CORE}/pods", {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec})
    await asyncio.to_thread(until, lambda: phase(fleet, name) == "Succeeded", "it is over")
    path, offered = f"{CORE}/pods/{name}/log", (protocol,) if protocol else ()
    async with opened(fleet, path, [("container", "app"), ("follow", "true")], *offered) as socket:
        assert socket.protocol == (protocol or None)
        messages = await heard(socket)
    told = b"".join(base64.b64decode(each) if "base64" in protocol else each for each in messages)
    assert sorted(told.splitlines()) == [b"err", b"out"]
    async with opened(fleet, path, [("stream", "Stderr")], *offered) as socket:
        (message,) = await heard(socket)
    assert message == (base64.b64encode(b"err\n") if "base64" in protocol else b"err\n")
    with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
        async with opened(fleet, path, [("previous", "true")], *offered):
            pass
    assert refused.value.status == 400


def test_the_agent_and_the_cloud_say_who_talked_and_not_what_was_said(fleet: RealFleet, tmp_path: Path) -> None:
    fleet.cloud.kubectl("exec", POD, "--", "sh", "-c", "echo secret words")
    until(lambda: "pod stream ended" in fleet.edge.log, "the gateway says so")
    for text in (fleet.cloud.log, fleet.edge.log):
        assert "pod stream begun by=" in text and f"kind=exec pod=default/{POD}" in text
        assert "secret words" not in text
