"""Containers find services, each other and the world by name: with the cloud, and without it."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Generator

import pytest

from skerry.objects.json import Json, JsonObject, maps_at, str_at
from skerry.testkit.real.namespaces import PATH
from tests.system.containerd import BUSYBOX_IMAGE, Containerd, containerd_server, until
from tests.system.real_fleet import CORE, NODE, RealFleet, real_fleet

pytestmark = pytest.mark.system
DNS = "169.254.20.77"
"""A gateway's would be 169.254.20.10; this machine may have one."""
UPSTREAM = "127.53.77.1"


@pytest.fixture(scope="module")
def containerd() -> Generator[Containerd]:
    with containerd_server() as server:
        yield server


@pytest.fixture(scope="module")
def upstream() -> Generator[subprocess.Popen[bytes]]:
    """A DNS server of the site, which knows one name."""
    if shutil.which("dnsmasq", path=PATH) is None:
        pytest.skip("dnsmasq is not installed")
    words = [
        *("dnsmasq", "--keep-in-foreground", "--no-resolv", "--no-hosts", "--bind-interfaces", "--user=root"),
        *("--pid-file", "--conf-file=/dev/null", f"--listen-address={UPSTREAM}", "--local-ttl=60"),
        *("--address=/plc.site.example/192.0.2.7", "--local=/site.example/"),
    ]
    process = subprocess.Popen(words, env={**os.environ, "PATH": PATH})
    yield process
    process.kill()
    process.wait()


@pytest.fixture(scope="module")
def fleet(
    containerd: Containerd, upstream: subprocess.Popen[bytes], tmp_path_factory: pytest.TempPathFactory
) -> Generator[RealFleet]:
    directory = tmp_path_factory.mktemp("fleet")
    resolv_conf = directory / "resolv.conf"
    resolv_conf.write_text(f"nameserver {UPSTREAM}\nsearch site.example.\n")
    with real_fleet(directory) as made:
        mount = f"mount --bind {resolv_conf} /etc/resolv.conf"
        # Gateways of other tests have this machine's network as well.
        mount += ' && mkdir -p /run/skerry && mount -t tmpfs none /run/skerry && exec "$@"'
        made.edge.prefix = ("unshare", "-m", "sh", "-c", mount, "sh")
        made.edge.environ = {
            "SKERRY_RUNTIME": "containerd",
            "SKERRY_RUNTIME_ENDPOINT": containerd.endpoint,
            "SKERRY_CLUSTER_DNS": DNS,
        }
        try:
            made.edge.start()
            until(lambda: made.ready() == "True", "the node is ready", lambda: made.edge.log)
            _give(made)
            yield made
        finally:
            subprocess.run(["ip", "address", "del", f"{DNS}/32", "dev", "lo"], capture_output=True)


def _give(fleet: RealFleet) -> None:
    """A service, a headless one with two named pods, an alias of a name of the site, and a pod that asks."""
    services: tuple[tuple[str, JsonObject], ...] = (
        ("web", {"selector": {"app": "db"}, "ports": [{"port": 80}]}),
        ("db", {"selector": {"app": "db"}, "ports": [{"port": 80}], "clusterIP": "None"}),
        ("plc", {"type": "ExternalName", "externalName": "plc.site.example"}),
    )
    for name, spec in services:
        fleet.create(f"{CORE}/services", {"kind": "Service", "metadata": {"name": name}, "spec": spec})
    for name in ("db-0", "db-1"):
        fleet.create(f"{CORE}/pods", pod(name, labels={"app": "db"}, hostname=name, subdomain="db"))
    fleet.create(f"{CORE}/pods", pod("asks"))
    for name in ("db-0", "db-1", "asks"):
        until(lambda name=name: fleet.run_of(name), f"{name} runs", lambda: fleet.edge.log)


def pod(name: str, labels: JsonObject | None = None, **spec: Json) -> JsonObject:
    container: JsonObject = {
        "name": "app",
        "image": BUSYBOX_IMAGE,
        "imagePullPolicy": "IfNotPresent",
        "command": ["sleep", "1000"],
    }
    made: JsonObject = {
        "nodeName": NODE,
        "containers": [container],
        "automountServiceAccountToken": False,
        "terminationGracePeriodSeconds": 0,
    }
    metadata: JsonObject = {"name": name, "labels": labels or {}}
    return {"kind": "Pod", "metadata": metadata, "spec": {**made, **spec}}


def inside(fleet: RealFleet, containerd: Containerd, name: str, *words: str) -> str:
    """What a command says in a pod that runs, whoever else is away."""
    container = fleet.run_of(name).split(" ")[0].removeprefix("containerd://")
    return containerd.said_in(container, *words)


def addresses(said: str) -> set[str]:
    """Of what busybox' nslookup prints: the answers, without the server."""
    lines = said.partition("\n\n")[2].splitlines()
    return {line.split()[-1] for line in lines if line.startswith("Address")}


def address_of(fleet: RealFleet, name: str) -> str:
    return str_at(fleet.find(f"{CORE}/pods/{name}"), "status", "podIP")


def test_a_pod_finds_services_others_and_the_world_by_name_offline_too(
    fleet: RealFleet, containerd: Containerd, upstream: subprocess.Popen[bytes]
) -> None:
    first, second = address_of(fleet, "db-0"), address_of(fleet, "db-1")
    web = str_at(fleet.find(f"{CORE}/services/web"), "spec", "clusterIP")
    container = fleet.run_of("asks").split(" ")[0].removeprefix("containerd://")

    def asked(name: str) -> set[str]:
        # Busybox asks for IPv6 addresses as well, and fails when there are none.
        return addresses(containerd.said_in(container, "sh", "-c", f"nslookup -type=a {name} || true"))

    def all_is_found() -> None:
        assert asked("web.default.svc.cluster.local") == {web}
        assert asked("db.default.svc.cluster.local") == {first, second}
        assert asked("db-1.db.default.svc.cluster.local") == {second}
        assert asked("plc.default.svc.cluster.local") == {"192.0.2.7"}
        assert asked("plc.site.example") == {"192.0.2.7"}
        # By the C library's way, with the searches of resolv.conf.
        assert first in containerd.said_in(container, "ping", "-c", "1", "-W", "5", "db-0.db")

    until(lambda: asked("db.default.svc.cluster.local") == {first, second}, "both pods are ready")
    all_is_found()
    fleet.cloud.stop(signal.SIGKILL)
    upstream.kill()
    upstream.wait()
    all_is_found()
    fleet.edge.stop(signal.SIGKILL)
    fleet.edge.start()
    until(lambda: asked("web.default.svc.cluster.local") == {web}, "the agent answers again", lambda: fleet.edge.log)
    assert asked("db.default.svc.cluster.local") == {first, second}
    fleet.start_cloud()


@pytest.mark.parametrize(
    ("name", "spec", "servers", "searches", "options"),
    [
        (
            "cf",
            {},
            [DNS],
            ["default.svc.cluster.local", "svc.cluster.local", "cluster.local", "site.example"],
            "ndots:5",
        ),
        (
            "cfh",
            {"dnsPolicy": "ClusterFirstWithHostNet", "hostNetwork": True},
            [DNS],
            ["default.svc.cluster.local", "svc.cluster.local", "cluster.local", "site.example"],
            "ndots:5",
        ),
        ("default", {"dnsPolicy": "Default"}, [UPSTREAM], ["site.example"], ""),
        ("host", {"hostNetwork": True}, [UPSTREAM], ["site.example"], ""),
        (
            "none",
            {
                "dnsPolicy": "None",
                "dnsConfig": {
                    "nameservers": ["192.0.2.9"],
                    "searches": ["a.example"],
                    "options": [{"name": "ndots", "value": "2"}, {"name": "edns0"}],
                },
            },
            ["192.0.2.9"],
            ["a.example"],
            "ndots:2 edns0",
        ),
    ],
)
def test_resolv_conf_is_as_a_kubelet_writes_it(
    fleet: RealFleet,
    containerd: Containerd,
    name: str,
    spec: JsonObject,
    servers: list[str],
    searches: list[str],
    options: str,
) -> None:
    fleet.create(f"{CORE}/pods", pod(name, {}, **spec))
    until(lambda: fleet.run_of(name), f"{name} runs", lambda: fleet.edge.log)
    lines = inside(fleet, containerd, name, "cat", "/etc/resolv.conf").splitlines()
    wanted = [f"search {' '.join(searches)}", *(f"nameserver {each}" for each in servers)]
    assert sorted(lines) == sorted([*wanted, *([f"options {options}"] if options else [])])


def test_a_pod_that_asks_in_its_first_instant_after_a_power_cycle_is_answered(
    fleet: RealFleet, containerd: Containerd
) -> None:
    once: JsonObject = {"options": [{"name": "attempts", "value": "1"}, {"name": "timeout", "value": "10"}]}
    first = pod("first", dnsConfig=once, restartPolicy="Always")
    # It says the address when it has it; whether that answers does not matter.
    ask = "(ping -c 1 -W 1 web.default.svc.cluster.local 2>&1 || true) | head -n 1; exec sleep 1000"
    maps_at(first, "spec", "containers")[0]["command"] = ["sh", "-c", ask]
    fleet.create(f"{CORE}/pods", first)
    until(lambda: fleet.run_of("first"), "it runs", lambda: fleet.edge.log)
    web = str_at(fleet.find(f"{CORE}/services/web"), "spec", "clusterIP")

    def said() -> list[str]:
        logs = sorted((fleet.edge.data / "logs").glob("*first*/app/*.log"))
        return [line for log in logs for line in log.read_text().splitlines()]

    until(lambda: len(said()) == 1, "it has asked", lambda: fleet.edge.log)
    fleet.edge.stop(signal.SIGKILL)
    fleet.cloud.stop(signal.SIGKILL)
    for name in containerd.pids():
        containerd.ctr("tasks", "kill", "--signal", "SIGKILL", name)
    until(lambda: containerd.pids() == {}, "nothing runs")
    subprocess.run(["ip", "address", "del", f"{DNS}/32", "dev", "lo"], check=True)
    fleet.edge.start()
    until(lambda: len(said()) == 2, "it has asked again", lambda: fleet.edge.log)
    assert [f"({web})" in line for line in said()] == [True, True], said()
    fleet.start_cloud()
    until(lambda: fleet.run_of("asks"), "the cloud hears of it", lambda: fleet.edge.log)


def test_what_has_no_room_in_resolv_conf_is_told(fleet: RealFleet) -> None:
    config: JsonObject = {"nameservers": ["192.0.2.1", "192.0.2.2", "192.0.2.3"]}
    fleet.create(f"{CORE}/pods", pod("many", dnsConfig=config))

    def told() -> set[str]:
        items = maps_at(fleet.find(f"{CORE}/events"), "items")
        return {str_at(each, "message") for each in items if str_at(each, "reason") == "DNSConfigForming"}

    until(told, "an event", lambda: fleet.edge.log)
    applied = f"the applied nameserver line is: {DNS} 192.0.2.1 192.0.2.2"
    assert told() == {f"Nameserver limits were exceeded, some nameservers have been omitted, {applied}"}
