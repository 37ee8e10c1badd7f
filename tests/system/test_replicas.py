"""Three cloudcores on one PostgreSQL at once: each answers every request, and one leads."""

from __future__ import annotations

import signal
import ssl
import threading
import time
from collections import Counter
from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Final

import pytest

from skerry.cli import kubeconfig
from skerry.cli.client import Client
from skerry.errors import AlreadyExistsError, ForbiddenError, InvalidError, NotFoundError, SkerryError
from skerry.frozen import replace
from skerry.objects.json import JsonObject, decode_object, int_at, map_at, maps_at, str_at, strs_at
from skerry.objects.meta import name_of
from tests.postgres_server import PostgresServer, postgres_server
from tests.system.cloud_process import CloudProcess
from tests.system.real_fleet import config_map, until
from tests.system.several_clouds import TURN, SeveralClouds, leader_of, several_clouds

pytestmark = [pytest.mark.system, pytest.mark.long]
CONFIGS: Final = "/api/v1/namespaces/default/configmaps"
SERVICES: Final = "/api/v1/namespaces/default/services"
PODS: Final = "/api/v1/namespaces/default/pods"
DEPLOYMENTS: Final = "/apis/apps/v1/namespaces/default/deployments"
LEASE: Final = "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases/skerry-cloudcore"
DEFINITIONS: Final = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
WIDGETS: Final = "/apis/example.com/v1/namespaces/default/widgets"
_NEVER: Final = datetime.max.replace(tzinfo=UTC)


@pytest.fixture(scope="module")
def server() -> Generator[PostgresServer]:
    with postgres_server() as found:
        yield found


@pytest.fixture
def clouds(server: PostgresServer, tmp_path: Path) -> Generator[SeveralClouds]:
    with several_clouds(tmp_path, server, count=3) as found:
        until(lambda: leader_of(found), "one leads")
        yield found


def client_of(cloud: CloudProcess) -> Client:
    return cloud.client()


def others(clouds: SeveralClouds, cloud: CloudProcess | None) -> list[CloudProcess]:
    return [each for each in clouds.replicas if each is not cloud and each.process is not None]


@dataclass(frozen=True, slots=True, order=True)
class Reign:
    """A time of leading, as the logs tell of it."""

    since: datetime
    until: datetime
    number: int


def reigns(clouds: SeveralClouds, killed: dict[Path, datetime] | None = None) -> list[Reign]:
    """In order. One that was killed led until then."""
    found: list[Reign] = []
    for cloud in clouds.replicas:
        since: tuple[datetime, int] | None = None
        for at, what, number in TURN.findall(cloud.log):
            when = datetime.fromisoformat(at).astimezone(UTC)
            if since is not None:
                found.append(
                    Reign(since=since[0], until=min(when, (killed or {}).get(cloud.data, when)), number=since[1])
                )
            since = (when, int(number)) if what == "leading" else None
        if since is not None:
            ended = (killed or {}).get(cloud.data, _NEVER)
            found.append(Reign(since=since[0], until=ended, number=since[1]))
    return sorted(found)


def check_one_at_a_time(found: list[Reign]) -> None:
    for one, following in pairwise(found):
        assert one.until <= following.since, "two led at once"
        assert one.number < following.number, "a reign that came later has a greater number"


def deployment(name: str) -> JsonObject:
    labels: JsonObject = {"app": name}
    template: JsonObject = {
        "metadata": {"labels": labels},
        "spec": {"containers": [{"name": "c", "image": "i", "command": ["/bin/true"]}]},
    }
    spec: JsonObject = {"replicas": 2, "selector": {"matchLabels": labels}, "template": template}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name}, "spec": spec}


def pods_of(cloud: CloudProcess, name: str) -> int:
    listed = client_of(cloud).request("GET", PODS, query={"labelSelector": f"app={name}"}).obj
    return len(maps_at(listed, "items"))


def test_three_that_start_at_once_are_one_cloud_with_one_leader(server: PostgresServer, tmp_path: Path) -> None:
    with several_clouds(tmp_path, server, count=0) as clouds:
        for _ in range(3):
            clouds.prepare()
        with ThreadPoolExecutor(3) as pool:
            list(pool.map(clouds.start, clouds.replicas))
        until(lambda: leader_of(clouds), "one leads")
        assert len({(cloud.data / "pki" / "ca.crt").read_bytes() for cloud in clouds.replicas}) == 1
        for cloud in clouds.replicas:
            assert cloud.ask("GET", "/api/v1/namespaces/default/services/kubernetes")
            text = cloud.kubectl("get", "namespaces", "-o", "name").split()
            assert set(text) == {
                f"namespace/{name}" for name in ("default", "kube-node-lease", "kube-public", "kube-system")
            }
        (leader,) = [cloud for cloud in clouds.replicas if "\nskerry_leader 1\n" in metrics(cloud)]
        assert leader is leader_of(clouds)
        shown = leader.kubectl(
            "get", "lease", "-n", "kube-system", "skerry-cloudcore", "-o", "jsonpath={.spec.holderIdentity}"
        )
        assert f"leading identity={shown} " in leader.log
        # What one process alone gave is good everywhere: the client certificate of one replica's administrator, and
        # the tokens that another signed.
        client = leader.client()
        assert client.request("GET", "/api/v1/namespaces").obj
        check_one_at_a_time(reigns(clouds))


def metrics(cloud: CloudProcess) -> str:
    return cloud.kubectl("get", "--raw", "/metrics")


def test_what_was_written_through_one_is_read_through_the_others(clouds: SeveralClouds) -> None:
    clients = [client_of(cloud) for cloud in clouds.replicas]
    for turn in range(60):
        name, writer = f"c{turn}", clients[turn % 3]
        made = writer.request("POST", CONFIGS, body=config_map(name, "1")).obj
        revision = str_at(made, "metadata", "resourceVersion")
        for other in clients:
            assert other.request("GET", f"{CONFIGS}/{name}").obj == made
            seen = other.request("GET", CONFIGS, query={"resourceVersion": revision}).obj
            assert name in [name_of(item) for item in maps_at(seen, "items")]
        changed = (
            clients[(turn + 1) % 3].request("PUT", f"{CONFIGS}/{name}", body={**made, "data": {"text": "2"}}).obj
        )
        with pytest.raises(SkerryError, match="the object has been modified"):
            writer.request("PUT", f"{CONFIGS}/{name}", body={**made, "data": {"text": "3"}})
        assert clients[(turn + 2) % 3].request("DELETE", f"{CONFIGS}/{name}")
        assert str_at(changed, "data", "text") == "2"
        with pytest.raises(NotFoundError):
            writer.request("GET", f"{CONFIGS}/{name}")
    north, south, west = clouds.replicas
    north.kubectl("create", "configmap", "by-north")
    south.kubectl("label", "configmap", "by-north", "seen=south")
    west.kubectl("delete", "configmap", "by-north")
    assert "NotFound" in north.kubectl("get", "configmap", "by-north", check=False)


def test_no_address_is_given_out_twice(clouds: SeveralClouds) -> None:
    clients = [client_of(cloud) for cloud in clouds.replicas]

    def make(number: int) -> JsonObject:
        spec: JsonObject = {"type": "NodePort", "selector": {"app": "x"}, "ports": [{"port": 80}]}
        body: JsonObject = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": f"s{number}"}, "spec": spec}
        return client_of(clouds.replicas[number % 3]).request("POST", SERVICES, body=body).obj

    with ThreadPoolExecutor(12) as pool:
        made = list(pool.map(make, range(90)))
    addresses = [address for service in made for address in strs_at(service, "spec", "clusterIPs")]
    ports = [int_at(port, "nodePort") for service in made for port in maps_at(service, "spec", "ports")]
    assert (len(set(addresses)), len(set(ports))) == (90, 90)
    asked: JsonObject = {"type": "ClusterIP", "clusterIP": "10.96.0.77", "ports": [{"port": 80}]}

    def ask(number: int) -> bool:
        body: JsonObject = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": f"a{number}"}, "spec": asked}
        try:
            return bool(clients[number].request("POST", SERVICES, body=body).obj)
        except InvalidError:
            return False

    with ThreadPoolExecutor(3) as pool:
        assert list(pool.map(ask, range(3))).count(True) == (1 if "10.96.0.77" not in addresses else 0)


def test_a_custom_kind_is_there_on_all_as_soon_as_it_is_established(clouds: SeveralClouds) -> None:
    clients = [client_of(cloud) for cloud in clouds.replicas]
    schema: JsonObject = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    version: JsonObject = {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}
    names: JsonObject = {"plural": "widgets", "kind": "Widget"}
    spec: JsonObject = {"group": "example.com", "scope": "Namespaced", "names": names, "versions": [version]}
    body: JsonObject = {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": "widgets.example.com"},
        "spec": spec,
    }
    for turn in range(3):
        maker, user, remover = (clients[(turn + at) % 3] for at in range(3))
        maker.request("POST", DEFINITIONS, body=body)
        at = f"{DEFINITIONS}/widgets.example.com"
        until(lambda m=maker, at=at: "Established" in established(m.request("GET", at).obj), "established")
        widget: JsonObject = {"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": "w"}}
        user.request("POST", WIDGETS, body=widget)
        assert remover.request("GET", f"{WIDGETS}/w").obj
        assert "widgets" in str(remover.request("GET", "/apis/example.com/v1").obj)
        remover.request("DELETE", at)
        until(lambda m=maker, at=at: missing(m, at), "the definition is gone, and its objects with it")
        for client in clients:
            with pytest.raises(NotFoundError):
                client.request("GET", WIDGETS)


def established(crd: JsonObject) -> list[str]:
    return [str_at(each, "type") for each in maps_at(crd, "status", "conditions") if str_at(each, "status") == "True"]


def missing(client: Client, path: str) -> bool:
    try:
        client.request("GET", path)
    except NotFoundError:
        return True
    return False


@dataclass(slots=True)
class Watcher:
    """Follows the ConfigMaps through one replica, from a revision on, as clients do: where it is cut off it goes on
    from what it saw last."""

    cloud: CloudProcess
    revision: str
    seen: list[str] = field(default_factory=list[str])
    cuts: int = 0
    thread: threading.Thread | None = None
    ended: bool = False

    def start(self) -> None:
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self) -> None:
        while not self.ended:
            try:
                for line in self._lines():
                    event = decode_object(line)
                    assert str_at(event, "type") in ("ADDED", "MODIFIED", "DELETED"), event
                    self.revision = str_at(event, "object", "metadata", "resourceVersion")
                    self.seen.append(f"{str_at(event, 'type')} {name_of(map_at(event, 'object'))}")
            except (SkerryError, OSError):
                time.sleep(0.1)
            self.cuts += 1

    def _lines(self) -> Iterator[bytes]:
        query = {"watch": "true", "resourceVersion": self.revision, "timeoutSeconds": "300"}
        for line in client_of(self.cloud).lines(CONFIGS, query=query):
            yield line if isinstance(line, bytes) else line.encode()


@dataclass(slots=True)
class Writer:
    """Makes ConfigMaps through whichever replica answers, and keeps the names of those that were acknowledged."""

    clouds: list[CloudProcess]
    name: str
    made: list[str] = field(default_factory=list[str])
    unsure: list[str] = field(default_factory=list[str])
    thread: threading.Thread | None = None
    ended: bool = False

    def start(self) -> None:
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self) -> None:
        number = 0
        while not self.ended:
            name = f"{self.name}-{number}"
            number += 1
            try:
                client_of(self.clouds[number % len(self.clouds)]).request("POST", CONFIGS, body=config_map(name, "x"))
                self.made.append(name)
            except AlreadyExistsError:
                raise
            except (SkerryError, OSError):
                self.unsure.append(name)
                time.sleep(0.05)


def end(*threads: Watcher | Writer) -> None:
    for each in threads:
        each.ended = True
    for each in threads:
        if isinstance(each, Writer):
            assert each.thread is not None
            each.thread.join(30)
            assert not each.thread.is_alive()


def check_seen(watcher: Watcher, writers: list[Writer]) -> None:
    made = [f"ADDED {name}" for writer in writers for name in writer.made]
    until(lambda: set(made) <= set(watcher.seen), "the watch shows all that was acknowledged", deadline_s=60)
    unsure = {f"ADDED {name}" for writer in writers for name in writer.unsure}
    assert set(watcher.seen) <= set(made) | unsure
    assert max(Counter(watcher.seen).values()) == 1, "each once"
    for writer in writers:
        own = [seen for seen in watcher.seen if seen.startswith(f"ADDED {writer.name}-")]
        assert own == sorted(own, key=lambda seen: int(seen.rpartition("-")[2])), "in order"


def test_a_leader_that_is_killed_is_followed_and_no_watch_misses_anything(clouds: SeveralClouds) -> None:
    leader = leader_of(clouds)
    assert leader is not None
    south, west = others(clouds, leader)
    start = str_at(client_of(south).request("GET", CONFIGS).obj, "metadata", "resourceVersion")
    watcher = Watcher(cloud=south, revision=start)
    writers = [Writer(clouds=[west], name="w"), Writer(clouds=[leader, west], name="v")]
    for each in (watcher, *writers):
        each.start()
    until(lambda: all(len(writer.made) > 20 for writer in writers), "writes go on")
    killed = {leader.data: datetime.now(UTC)}
    clouds.kill(leader)
    client_of(west).request("POST", DEPLOYMENTS, body=deployment("after"))
    took_s = until(lambda: pods_of(south, "after") == 2, "the next leader makes its pods", deadline_s=60)
    assert took_s > 5, "nobody leads before the lease has ended"
    until(lambda: all(len(writer.made) > 60 for writer in writers), "writes go on")
    end(*writers)
    check_seen(watcher, writers)
    assert watcher.cuts == 0, "the watch through another replica was never cut"
    end(watcher)
    clouds.start(leader)
    time.sleep(3)
    assert leader_of(clouds) in (south, west), "who comes back takes nothing back"
    check_one_at_a_time(reigns(clouds, killed))
    assert pods_of(leader, "after") == 2


def addresses(clouds: SeveralClouds) -> int:
    """How many replicas default/kubernetes leads to, by Endpoints and EndpointSlices alike."""
    client = client_of(others(clouds, None)[-1])
    endpoints = client.request("GET", "/api/v1/namespaces/default/endpoints/kubernetes").obj
    told = [
        (str_at(address, "ip"), int_at(port, "port"))
        for subset in maps_at(endpoints, "subsets")
        for address in maps_at(subset, "addresses")
        for port in maps_at(subset, "ports")
    ]
    slices = client.request("GET", "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices").obj
    sliced = [
        (address, int_at(port, "port"))
        for each in maps_at(slices, "items")
        for endpoint in maps_at(each, "endpoints")
        for address in strs_at(endpoint, "addresses")
        for port in maps_at(each, "ports")
    ]
    return len(told) if sorted(told) == sorted(sliced) and len(set(told)) == len(told) else 0


def test_a_leader_that_stops_hands_over_at_once(clouds: SeveralClouds) -> None:
    for _ in range(2):
        leader = leader_of(clouds)
        assert leader is not None
        until(lambda: addresses(clouds) == 3, "pods are led to all")
        assert leader.stop() == 0
        until(lambda: leader_of(clouds), "another one leads", deadline_s=20)
        until(lambda: addresses(clouds) == 2, "and pods only to those that are there")
        clouds.start(leader)
    found = reigns(clouds)
    assert len(found) >= 3
    check_one_at_a_time(found)
    gaps = [(following.since - one.until).total_seconds() for one, following in pairwise(found)]
    assert max(gaps) < 10, f"without a wait for the lease to end: {gaps}"
    client_of(clouds.replicas[0]).request("POST", DEPLOYMENTS, body=deployment("after"))
    until(lambda: pods_of(clouds.replicas[1], "after") == 2, "the leader works")


def test_a_leader_that_was_stopped_in_the_middle_has_no_say_afterwards(clouds: SeveralClouds) -> None:
    leader = leader_of(clouds)
    assert leader is not None
    assert leader.process is not None
    south, _ = others(clouds, leader)
    leader.process.send_signal(signal.SIGSTOP)
    stopped = datetime.now(UTC)
    until(lambda: len(reigns(clouds)) >= 2, "another one leads", deadline_s=60)
    client_of(south).request("POST", DEPLOYMENTS, body=deployment("after"))
    until(lambda: pods_of(south, "after") == 2, "its pods are there")
    leader.process.send_signal(signal.SIGCONT)
    until(lambda: "following" in leader.log, "it finds out")
    time.sleep(3)
    assert pods_of(leader, "after") == 2
    check_one_at_a_time(reigns(clouds, {leader.data: stopped}))


def test_a_restart_of_the_database_loses_nothing_and_watches_go_on(
    clouds: SeveralClouds, server: PostgresServer
) -> None:
    north, south, west = clouds.replicas
    start = str_at(client_of(north).request("GET", CONFIGS).obj, "metadata", "resourceVersion")
    watchers = [Watcher(cloud=cloud, revision=start) for cloud in clouds.replicas]
    writers = [Writer(clouds=[cloud], name=name) for cloud, name in ((north, "n"), (south, "s"), (west, "w"))]
    for each in (*watchers, *writers):
        each.start()
    for how in (signal.SIGINT, signal.SIGQUIT):
        before = [len(writer.made) for writer in writers]
        until(lambda b=before: all(len(w.made) > n + 10 for w, n in zip(writers, b, strict=True)), "writes go on")
        server.stop(how)
        time.sleep(1)
        server.start()
    before = [len(writer.made) for writer in writers]
    until(
        lambda: all(len(w.made) > n + 10 for w, n in zip(writers, before, strict=True)), "writes go on", deadline_s=60
    )
    end(*writers)
    for watcher in watchers:
        check_seen(watcher, writers)
        assert watcher.cuts == 0, "no watch was cut"
    end(*watchers)
    kept = {name_of(item) for item in maps_at(client_of(south).request("GET", CONFIGS).obj, "items")}
    assert {name for writer in writers for name in writer.made} <= kept
    until(lambda: leader_of(clouds), "one leads", deadline_s=60)
    check_one_at_a_time(reigns(clouds))
    client_of(north).request("POST", DEPLOYMENTS, body=deployment("after"))
    until(lambda: pods_of(west, "after") == 2, "the leader works", deadline_s=60)


def test_who_was_admitted_through_one_is_known_to_the_others(clouds: SeveralClouds) -> None:
    clients = [client_of(cloud) for cloud in clouds.replicas]
    for turn in range(12):
        maker, user = clients[turn % 3], clouds.replicas[(turn + 1) % 3]
        name = f"account-{turn}"
        account: JsonObject = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name}}
        maker.request("POST", "/api/v1/namespaces/default/serviceaccounts", body=account)
        binding: JsonObject = {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "RoleBinding",
            "metadata": {"name": name},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view"},
            "subjects": [{"kind": "ServiceAccount", "name": name, "namespace": "default"}],
        }
        token = str_at(
            maker.request(
                "POST",
                f"/api/v1/namespaces/default/serviceaccounts/{name}/token",
                body={"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}},
            ).obj,
            "status",
            "token",
        )
        maker.request("POST", "/apis/rbac.authorization.k8s.io/v1/namespaces/default/rolebindings", body=binding)
        cluster = kubeconfig.load(user.kubeconfig)
        tls = ssl.create_default_context(cadata=cluster.ca_pem.decode())
        as_account = Client(cluster=replace(cluster, tls=tls, token=token))
        assert as_account.request("GET", CONFIGS).obj
        with pytest.raises(ForbiddenError):
            as_account.request("POST", CONFIGS, body=config_map("no", "x"))
