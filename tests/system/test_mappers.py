"""KubeEdge's mappers register and report: one in Go with Google's gRPC that works as its mapper framework does, and
one in Python with grpcio that says what no mapper should."""

from __future__ import annotations

import importlib
import json
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Callable, Generator, Iterator
from concurrent import futures
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import grpc
import pytest

from skerry.objects.json import JsonObject
from tests.system import test_devices, test_edge_agent
from tests.system.test_devices import RESOURCES, ROOT, Agent, until
from tests.system.test_edge_agent import Gateway

GO = shutil.which("go")
GO_LIBRARIES = Path("/usr/share/gocode/src/google.golang.org/grpc")

pytestmark = [pytest.mark.system, pytest.mark.long]

agent, gate = test_devices.agent, test_edge_agent.gate


def manifest(protocol: str = "lamps", factor: float = 1, level: str = "") -> list[JsonObject]:
    wanted: JsonObject = {"desired": {"value": level}} if level else {}
    dimmer: JsonObject = {"name": "level", "type": "INT", "accessMode": "ReadWrite", "maximum": "1000"}
    warmth: JsonObject = {"name": "warmth", "type": "DOUBLE", "accessMode": "ReadOnly"}
    return [
        {
            "kind": "DeviceModel",
            "metadata": {"name": "lamp", "namespace": "default", "uid": "m"},
            "spec": {"properties": [dimmer, warmth]},
        },
        {
            "kind": "Device",
            "metadata": {"name": "lamp-1", "namespace": "default", "uid": "d"},
            "spec": {
                "nodeName": "eu-1",
                "deviceModelRef": {"name": "lamp"},
                "protocol": {"protocolName": protocol, "configData": {"port": 7, "nested": {"a": [1]}}},
                "properties": [
                    {"name": "level", "collectCycle": 50, **wanted},
                    {
                        "name": "warmth",
                        "collectCycle": 50,
                        "visitors": {"protocolName": protocol, "configData": {"factor": factor}},
                    },
                ],
            },
        },
    ]


@pytest.fixture
def served(agent: Agent) -> Agent:
    agent.dmi_socket = str(agent.directory / "dmi.sock")
    return agent


def log_of(agent: Agent) -> str:
    return (agent.directory / "agent.log").read_text()


def told(agent: Agent, prop: str) -> tuple[str | None, str]:
    twin = agent.twin(prop)
    held = twin.reported if twin else None
    return (held.value, held.quality) if held else (None, "")


def state(agent: Agent) -> tuple[str, str]:
    rows = agent.rows("SELECT body FROM outbox WHERE kind = 'device_state' ORDER BY seq DESC LIMIT 1")
    said = json.loads(rows[0][0]) if rows else {"state": "", "reason": ""}
    return said["state"], said["reason"]


# --- in Go ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def go_mapper(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The mapper, built from Debian's packages of gRPC for Go."""
    protoc = shutil.which("protoc")
    if GO is None or protoc is None or shutil.which("protoc-gen-go") is None or not GO_LIBRARIES.is_dir():
        pytest.skip("Go, protoc or gRPC for Go is not installed")
    top = tmp_path_factory.mktemp("go")
    for room in ("dmi", "mapper"):
        (top / "src" / room).mkdir(parents=True)
    shutil.copy(ROOT / "tests/system/dmi_mapper/main.go", top / "src/mapper/main.go")
    any_of = (
        "Mgoogle/protobuf/any.proto=github.com/golang/protobuf/ptypes/any"  # Debian has two, one of which is newer
    )
    plugin = f"--go_out=plugins=grpc,paths=source_relative,{any_of}:{top / 'src/dmi'}"
    subprocess.run([protoc, f"-I{ROOT / 'docs/reference'}", plugin, "dmi.proto"], check=True)
    environ = {**os.environ, "GO111MODULE": "off", "GOPATH": f"{top}:{GO_LIBRARIES.parents[2]}"}
    subprocess.run(
        [GO, "build", "-o", str(top / "run"), "./src/mapper"], cwd=top, check=True, env=environ, timeout=110
    )
    return top / "run"


@contextmanager
def mapping(program: Path, agent: Agent, protocol: str = "lamps") -> Generator[subprocess.Popen[bytes]]:
    """A mapper at work; its words are in `mapper.log`."""
    with (agent.directory / "mapper.log").open("ab") as log:
        process = subprocess.Popen(
            [program, agent.dmi_socket, agent.directory / "mapper.sock", agent.directory / "lamp.json", protocol],
            stdout=log,
            stderr=log,
        )
    try:
        yield process
    finally:
        process.kill()
        process.wait(10)


def lamp(agent: Agent) -> dict[str, str]:
    return json.loads((agent.directory / "lamp.json").read_text())


@pytest.mark.timeout(240)
def test_a_mapper_reads_is_told_what_is_wanted_and_outlives_its_gateway(served: Agent, go_mapper: Path) -> None:
    (served.directory / "lamp.json").write_text(json.dumps({"level": "3", "warmth": "10"}))
    served.start(manifest(factor=2.5))
    until(lambda: state(served) == ("waiting", "waits for a mapper of protocol lamps"))
    with mapping(go_mapper, served):
        until(lambda: told(served, "level") == ("3", "good") and told(served, "warmth") == ("25.0", "good"))
        until(lambda: state(served)[0] == "online")

        served.change(manifest(factor=2.5, level="42"))
        until(lambda: told(served, "level") == ("42", "good") and lamp(served)["level"] == "42", deadline_s=40)
        until(lambda: (twin := served.twin("level")) is not None and twin.ack and twin.ack.state == "verified")

        served.kill()  # a mapper of KubeEdge's does not register again
        served.start([])
        until(lambda: state(served)[0] == "online")
        change(served, "level", "41")
        until(lambda: told(served, "level") == ("41", "good"))
        assert "updated" not in (served.directory / "mapper.log").read_text().splitlines()[2:], "it knew all of it"
    until(lambda: state(served)[0] == "offline" and "mapper go-mapper is away" in state(served)[1])
    until(lambda: told(served, "level")[1] == "stale")
    with mapping(go_mapper, served):
        until(lambda: told(served, "level") == ("42", "good"), deadline_s=40)
        until(lambda: state(served)[0] == "online")


def change(agent: Agent, prop: str, value: str) -> None:
    """Somebody turns the knob at the device itself."""
    path = agent.directory / "lamp.json"
    fresh = path.with_suffix(".mine")
    fresh.write_text(json.dumps({**lamp(agent), prop: value}))
    fresh.rename(path)


# --- in Python --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def stubs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[ModuleType, ModuleType]]:
    """Messages and services as Google's compiler makes them."""
    from grpc_tools import protoc

    room = tmp_path_factory.mktemp("stubs")
    proto = ROOT / "docs/reference/dmi.proto"
    known = Path(protoc.__file__).parent / "_proto"
    made = ["", f"-I{proto.parent}", f"-I{known}", f"--python_out={room}", f"--grpc_python_out={room}", str(proto)]
    assert protoc.main(made) == 0
    sys.path.insert(0, str(room))
    yield importlib.import_module("dmi_pb2"), importlib.import_module("dmi_pb2_grpc")
    sys.path.remove(str(room))


@contextmanager
def calling(agent: Agent, grpc_stubs: ModuleType) -> Generator[Any]:
    with grpc.insecure_channel(f"unix://{agent.dmi_socket}") as channel:
        yield grpc_stubs.DeviceManagerServiceStub(channel)


def status_of(call: Callable[[], object]) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.RpcError) as refusal:
        call()
    error: Any = refusal.value
    return error.code(), error.details()


def test_no_report_is_lost_however_many_come(served: Agent, stubs: tuple[ModuleType, ModuleType]) -> None:
    pb, services = stubs
    total = 1000
    served.start(manifest())
    until(lambda: "dmi_served" in log_of(served))
    with calling(served, services) as gateway:

        def report(number: int) -> None:
            twin = pb.Twin(propertyName="level", reported=pb.TwinProperty(value=str(number)))
            status = pb.DeviceStatus(twins=[twin])
            request = pb.ReportDeviceStatusRequest(
                deviceName="lamp-1", deviceNamespace="default", reportedDevice=status
            )
            gateway.ReportDeviceStatus(request, timeout=60)

        until(lambda: state(served)[0] == "waiting")
        with futures.ThreadPoolExecutor(32) as pool:
            list(pool.map(report, range(total)))
    assert {row.value for row in served.telemetry("level")} == {str(number) for number in range(total)}


def test_what_no_mapper_should_say_is_refused_in_words(served: Agent, stubs: tuple[ModuleType, ModuleType]) -> None:
    pb, services = stubs
    served.start(manifest())
    until(lambda: "dmi_served" in log_of(served))
    assert stat.S_IMODE(Path(served.dmi_socket).stat().st_mode) == 0o600, "nobody else may speak for mappers"
    with calling(served, services) as gateway:
        info = pb.MapperInfo(name="m", protocol="modbus", address=b"/run/m.sock")
        code, words = status_of(lambda: gateway.MapperRegister(pb.MapperRegisterRequest(mapper=info)))
        assert code is grpc.StatusCode.FAILED_PRECONDITION and "the gateway itself speaks modbus" in words
        code, words = status_of(lambda: gateway.MapperRegister(pb.MapperRegisterRequest()))
        assert (code, words) == (grpc.StatusCode.INVALID_ARGUMENT, "mapper: required")
        code, words = status_of(lambda: gateway.ReportDeviceStates(pb.ReportDeviceStatesRequest(deviceName="x")))
        assert code is grpc.StatusCode.NOT_FOUND
        huge = pb.ReportDeviceStatesRequest(deviceName="lamp-1", state="x" * (5 << 20))
        code, words = status_of(lambda: gateway.ReportDeviceStates(huge, timeout=30))
        assert code is grpc.StatusCode.INVALID_ARGUMENT and "larger than" in words
    with grpc.insecure_channel(f"unix://{served.dmi_socket}") as channel:
        raw = channel.unary_unary("/v1beta1.DeviceManagerService/MapperRegister")
        code, words = status_of(lambda: raw(b"\x12\xff\xff\xff\x7f"))
        assert code is grpc.StatusCode.INVALID_ARGUMENT and "cut short" in words
        code, _ = status_of(lambda: channel.unary_unary("/v1beta1.DeviceManagerService/Nothing")(b""))
        assert code is grpc.StatusCode.UNIMPLEMENTED
    with socket.socket(socket.AF_UNIX) as noise:
        noise.connect(served.dmi_socket)
        noise.sendall(os.urandom(4096))
        noise.settimeout(10)
        while noise.recv(4096):
            pass
    assert served.process is not None and served.process.poll() is None
    assert "Traceback" not in log_of(served)


def test_a_mapper_that_stops_without_dying_is_noticed(served: Agent, stubs: tuple[ModuleType, ModuleType]) -> None:
    """Its socket still takes connections: the kernel does that."""
    pb, services = stubs
    served.start(manifest())
    until(lambda: "dmi_served" in log_of(served))
    mute = socket.socket(socket.AF_UNIX)
    mute.bind(str(served.directory / "mute.sock"))
    mute.listen()
    with mute, calling(served, services) as gateway:
        address = str(served.directory / "mute.sock").encode()
        info = pb.MapperInfo(name="mute", protocol="lamps", address=address)
        gateway.MapperRegister(pb.MapperRegisterRequest(withData=True, mapper=info))
        until(lambda: "mapper_away mapper=mute" in log_of(served), deadline_s=60)


def test_the_agent_serves_mappers_where_it_is_told_and_takes_the_socket_away_with_it(
    gate: Gateway, stubs: tuple[ModuleType, ModuleType]
) -> None:
    pb, services = stubs
    path = gate.data / "rooms" / "dmi.sock"
    gate.options = ("--dmi-socket", str(path))
    objects: list[tuple[str, JsonObject]] = [(RESOURCES[str(obj["kind"])], obj) for obj in manifest()]
    gate.change(*objects)
    for code in (signal.SIGKILL, signal.SIGTERM):  # the socket of one that was killed is still there
        gate.start()
        until(lambda: f"dmi_served socket={path}" in gate.log())
        with grpc.insecure_channel(f"unix://{path}") as channel:
            gateway: Any = services.DeviceManagerServiceStub(channel)
            info = pb.MapperInfo(name="m", protocol="lamps", address=b"/run/nobody.sock")
            answer = gateway.MapperRegister(pb.MapperRegisterRequest(withData=True, mapper=info), timeout=30)
            assert [each.name for each in answer.deviceList] == ["lamp-1"]
        gate.end(code)
    assert not path.exists()
