"""Several cloudcores on one PostgreSQL: gateways move between them, and nothing is made of it."""

from __future__ import annotations

import signal
import ssl
import subprocess
import time
from collections.abc import Generator
from http.client import HTTPSConnection
from pathlib import Path

import pytest

from cloudcore.runtime.replicas import PREFIX
from skerry.objects.json import Json, JsonObject, maps_at, str_at
from tests.postgres_server import PostgresServer, postgres_server
from tests.system.cloud_process import CloudProcess
from tests.system.real_fleet import CORE, DEVICES, boiler, pod, until
from tests.system.several_clouds import SeveralClouds, find, hub_of, hubs, ready, several_clouds

pytestmark = [pytest.mark.system, pytest.mark.long]
NODE = "eu-1"
GRACE_S = 4.0
QUICK = ("--node-grace-s", str(GRACE_S), "--heartbeat-s", "2")
"""A hub that is killed is dead for the others after four to five seconds."""


@pytest.fixture(scope="module")
def server() -> Generator[PostgresServer]:
    with postgres_server(durable=False) as found:
        yield found


class Watched:
    """Every state of `Ready` and of the pod's container that any replica showed while it was looked at."""

    def __init__(self, clouds: SeveralClouds) -> None:
        self.clouds = clouds
        self.ready: set[str] = set()
        self.runs: set[str] = set()

    def look(self) -> bool:
        for cloud in self.clouds.replicas:
            if cloud.process is not None:
                self.ready.add(ready(cloud, NODE))
                self.runs.add(run_of(find(cloud, f"{CORE}/pods/app")))
        self.ready.discard("")  # a replica that did not answer
        self.runs.discard("")
        return False


def run_of(held: JsonObject | None) -> str:
    for container in maps_at(held, "status", "containerStatuses"):
        since = str_at(container, "state", "running", "startedAt")
        if since:
            return f"{str_at(container, 'containerID')} since {since}"
    return ""


def for_s(seconds: float, watched: Watched) -> None:
    end_s = time.monotonic() + seconds
    while time.monotonic() < end_s:
        watched.look()
        time.sleep(0.1)


def test_a_gateway_is_ready_for_every_replica_and_moves_when_its_own_is_killed(
    server: PostgresServer, tmp_path: Path
) -> None:
    with several_clouds(tmp_path, server, *QUICK) as clouds:
        north, south = clouds.replicas
        edge = clouds.edge(NODE, (north, south))
        edge.start()
        until(lambda: hub_of(edge) == north.hub, "connected to the first")
        south.ask("POST", f"{CORE}/pods", pod("app"))
        until(lambda: run_of(find(south, f"{CORE}/pods/app")), "the pod runs")
        until(lambda: ready(south, NODE) == "True" and len(hubs(south)) == 2, "both hubs are known")
        south.ask("POST", "/api/v1/nodes", {"kind": "Node", "apiVersion": "v1", "metadata": {"name": "nowhere"}})
        watched = Watched(clouds)
        for_s(3 * GRACE_S, watched)
        assert (watched.ready, len(watched.runs)) == ({"True"}, 1)

        clouds.kill(north)
        until(lambda: watched.look() or hub_of(edge) == south.hub, "it moved")
        until(lambda: watched.look() or len(hubs(south)) == 1, "the hub that was killed is buried")
        for_s(2 * GRACE_S, watched)
        assert (watched.ready, len(watched.runs)) == ({"True"}, 1), "it came within the grace"
        clouds.start(north)
        until(lambda: len(hubs(north)) == 2, "it is back")
        edge.stop(signal.SIGKILL)
        until(lambda: ready(north, NODE) == "Unknown", "nobody hears the gateway")
        edge.start()
        until(lambda: ready(north, NODE) == "True" and ready(south, NODE) == "True", "it is heard again")
        watched.look()
        assert len(watched.runs) == 1, "nothing was restarted"
        assert south.stop() == 0
        until(lambda: len(hubs(north)) == 1, "a stop leaves no lease")


def test_when_all_hubs_are_gone_a_new_one_finds_who_is_silent(server: PostgresServer, tmp_path: Path) -> None:
    with several_clouds(tmp_path, server, *QUICK) as clouds:
        north, south = clouds.replicas
        edge = clouds.edge(NODE, (south,))
        edge.start()
        until(lambda: ready(north, NODE) == "True", "ready")
        clouds.kill(south)
        clouds.kill(north)
        edge.stop()
        third = clouds.add()
        assert ready(third, NODE) == "True", "it has the grace"
        until(lambda: ready(third, NODE) == "Unknown", "its hub is dead, and it is nowhere else")
        until(lambda: len(hubs(third)) == 1, "the dead are buried")


def test_a_half_open_session_is_closed_where_it_was_and_every_reading_arrives_once(
    server: PostgresServer, tmp_path: Path
) -> None:
    count = 250
    with several_clouds(tmp_path, server, "--heartbeat-s", "60", count=3) as clouds:
        *hosts, witness = clouds.replicas
        edge = clouds.edge(NODE, hosts)
        model, device = boiler(list(range(count)))
        witness.ask("POST", f"{DEVICES}/devicemodels", model)
        witness.ask("POST", f"{DEVICES}/devices", device)
        edge.start()
        for cloud in hosts:
            until(lambda c=cloud, e=edge: hub_of(e) == c.hub, "connected")
            read = len(history(witness))
            until(lambda n=read: len(history(witness)) > n + 20, "readings arrive")
            # The gateway stands still with its link open, and comes up again somewhere else: from what was on its
            # disk at that moment, and under another address, as after a change of its modem.
            frozen, edge = edge, clouds.moved(edge, [each for each in clouds.replicas if each is not cloud])
            edge.start()
            until(lambda c=cloud, e=edge: hub_of(e) not in ("", c.hub), "at another")
            # By silence it would take two minutes, and by its next report for ever, as it has none.
            until(lambda c=cloud: "code=3" in c.log, "the older session is closed with FENCED", deadline_s=20)
            assert f"node session ended node={NODE} code=3" in cloud.log
            assert frozen.process is not None
            frozen.process.kill()
        until(lambda: len(history(witness)) >= count - 1, "all of them", deadline_s=120)
        numbers = history(witness)
        assert numbers == list(range(numbers[0], numbers[0] + len(numbers))), "each once, in order"


def test_logs_are_read_through_any_replica_and_only_replicas_may_ask_each_other(
    server: PostgresServer, tmp_path: Path
) -> None:
    with several_clouds(tmp_path, server, "--node-grace-s", "20") as clouds:
        north, south = clouds.replicas
        edge = clouds.edge(NODE, (north,))
        edge.start()
        spec = {"nodeName": NODE, "restartPolicy": "Never"}
        script = "for i in 1 2 3; do echo line $i; done; sleep 2; echo last; exec sleep 1000"
        containers: list[Json] = [{"name": "app", "image": "sh", "command": ["sh", "-c", script]}]
        obj: JsonObject = {"metadata": {"name": "app"}, "spec": {**spec, "containers": containers}}
        south.ask("POST", f"{CORE}/pods", {"apiVersion": "v1", "kind": "Pod", **obj})
        until(lambda: run_of(find(south, f"{CORE}/pods/app")), "the pod runs")
        until(lambda: len(hubs(south)) == 2, "both are known")
        assert south.kubectl("logs", "app", "--tail=3", "--limit-bytes=14") == "line 1\nline 2\n"
        kubectl = ["kubectl", "--kubeconfig", str(south.kubeconfig), "logs", "-f", "app"]
        followed = subprocess.Popen(kubectl, stdout=subprocess.PIPE, text=True)
        assert followed.stdout is not None
        with followed.stdout:
            seen = [followed.stdout.readline() for _ in range(4)]
        assert seen == ["line 1\n", "line 2\n", "line 3\n", "last\n"]
        assert "container nope is not valid" in south.kubectl("logs", "app", "-c", "nope", check=False)
        said = south.kubectl("exec", "-i", "app", "--", "sh", "-c", "tr a-z A-Z; exit 3", stdin="words", check=False)
        assert said.startswith("WORDS") and "exit code 3" in said, said
        traffic = south.ask("GET", f"/api/v1/nodes/{NODE}/traffic")
        assert traffic["total"], "what north counted"

        path = f"{PREFIX}/{NODE}/streams/logs"
        for who, certificate in (("a gateway", edge.data / "pki" / "node.crt"), ("nobody", None)):
            key = edge.data / "pki" / "node.key"
            assert posted(north, path, certificate, key) == 403, who
        own = north.data / "pki" / "replica.pem"
        assert not own.exists(), "it has asked nobody yet"
        asker = south.data / "pki" / "replica.pem"
        assert posted(north, f"{PREFIX}/{NODE}/traffic", asker, asker) == 200
        assert posted(north, "/api/v1/nodes", asker, asker) == 403, "a replica may ask for streams, and nothing else"

        clouds.kill(north)
        assert followed.wait(20) != 0, "the stream was cut, and is not taken for whole"
        refused = south.kubectl("logs", "app", check=False)
        assert "can't be reached" in refused and "replica" in refused and north.https in refused
        until(lambda: "not connected" in south.kubectl("logs", "app", check=False), "dead", deadline_s=60)


def posted(cloud: CloudProcess, path: str, certificate: Path | None, key: Path) -> int:
    """The status of a POST with this client certificate."""
    context = ssl.create_default_context(cafile=str(cloud.data / "pki" / "ca.crt"))
    if certificate is not None:
        context.load_cert_chain(certificate, key)
    host, _, port = cloud.https.rpartition(":")
    connection = HTTPSConnection(host, int(port), context=context, timeout=20)
    try:
        connection.request("POST", path, b"{}")
        with connection.getresponse() as answer:  # one that ends its connection has the socket to itself
            return answer.status
    finally:
        connection.close()


def history(cloud: CloudProcess) -> list[int]:
    """The gateway's own numbers of all readings, as this replica shows them."""
    numbers: list[int] = []
    after = "0"
    client = cloud.client()
    while after:
        query = {"property": "level", "after": after, "limit": "5000"}
        page = client.request("GET", f"{DEVICES}/devices/boiler/history", query=query).obj
        numbers += [int(str(item["sequence"])) for item in maps_at(page, "items") if "gap" not in item]
        after = str_at(page, "metadata", "continue")
    return numbers
