"""A real cloud with one good gateway that must not notice anything, and the papers of one that means ill."""

from __future__ import annotations

import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cloudcore.pki.certificates import Authority, Issued, issue_client, issue_server, new_authority
from cloudcore.pki.directory import open_pki
from edgecore.link.membership import load_membership
from skerry.objects.json import JsonObject, int_at, map_at, str_at
from tests.system.hostile_peers import Papers
from tests.system.real_fleet import CORE, NODE, EdgeProcess, RealFleet, config_map, pod, real_fleet, until

BAD = "bad-1"
"""Name of the node whose gateway means ill; its certificate is good."""
HEARTBEAT_S = 5.0
RSS_MORE_MAX = 160 * 1024 * 1024
"""How much more than before all attacks cloudcore may hold after any: the windows of a hostile session or two, 32 MiB
each at their worst, and what an allocator keeps."""


@dataclass(slots=True)
class Ground:
    """Where attacks take place."""

    fleet: RealFleet
    directory: Path
    authority: Authority
    rss_before: int = 0
    session: int = 0
    _number: int = 0

    @property
    def hub(self) -> str:
        return self.fleet.cloud.hub

    @property
    def quic(self) -> str:
        return f"127.0.0.1:{self.fleet.cloud.endpoints['quic_port']}"

    @property
    def own(self) -> Papers:
        """Those of the node `BAD`, as joining gave them."""
        identity = load_membership(self.directory / "bad").identity
        return Papers(ca=identity.ca_file, certificate=identity.certificate_file, key=identity.key_file)

    @property
    def none(self) -> Papers:
        return Papers(ca=self.own.ca)

    def papers(self, name: str, issued: Issued) -> Papers:
        certificate, key = self.directory / f"{name}.crt", self.directory / f"{name}.key"
        certificate.write_text(issued.certificate_pem)
        key.write_text(issued.key_pem)
        return Papers(ca=self.own.ca, certificate=certificate, key=key)

    def wrong_papers(self) -> dict[str, Papers]:
        """Certificates that look like the good gateway's, each wrong in one way."""
        now, user, groups = datetime.now(UTC), f"system:node:{NODE}", ["system:nodes"]
        month = timedelta(days=30)
        foreign = new_authority(name="skerry", now=now)
        old = now - timedelta(days=400)
        return {
            "of another CA": self.papers(
                "foreign", issue_client(foreign, user=user, groups=groups, now=now, valid=month)
            ),
            "expired": self.papers(
                "expired", issue_client(self.authority, user=user, groups=groups, now=old, valid=month)
            ),
            "a server's": self.papers("server", issue_server(self.authority, names=["eu-1.example"], now=now)),
        }

    def rss(self) -> int:
        """Resident bytes of cloudcore."""
        assert self.fleet.cloud.process is not None
        for line in Path(f"/proc/{self.fleet.cloud.process.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) * 1024
        raise AssertionError("no VmRSS")

    def link(self) -> JsonObject:
        return map_at(self.fleet.edge.api.request("GET", "/skerry/link").obj)

    def settle(self) -> None:
        """What holds before the first attack."""
        self.rss_before = self.rss()
        self.session = int_at(self.link(), "session")

    def tell(self) -> float:
        """Change what the good gateway holds, and wait until it has it; how long that took."""
        self._number += 1
        text = f"change {self._number}"
        self.fleet.patch(f"{CORE}/configmaps/greeting", {"data": {"text": text}})
        return until(lambda: self._held_text() == text, f"the good gateway to hold {text}", deadline_s=20)

    def _held_text(self) -> str:
        return str_at(self.fleet.held("configmaps").get("greeting", {}), "data", "text")

    def unmoved(self) -> None:
        """The good gateway has noticed nothing, and the cloud has neither grown nor failed."""
        self.tell()
        link = self.link()
        assert str_at(link, "state") == "connected", link
        assert int_at(link, "session") == self.session, "the same session as before all attacks"
        assert self.fleet.ready() == "True"
        assert self.fleet.cloud.process is not None
        assert self.fleet.cloud.process.poll() is None
        until(lambda: self.rss() - self.rss_before < RSS_MORE_MAX, f"cloudcore to hold less than {self.rss()} bytes")
        log = self.fleet.cloud.log
        assert "Traceback" not in log, log[-5000:]
        assert " ERROR " not in log, log[-5000:]


@contextmanager
def hostile_ground(directory: Path) -> Generator[Ground]:
    """A cloud, a good gateway in step with a pod and a ConfigMap, and a bad one that has joined."""
    with real_fleet(directory, "--heartbeat-s", str(HEARTBEAT_S), "--node-grace-s", "1") as fleet:
        until(lambda: fleet.find(f"{CORE}/serviceaccounts/default"), "the default service account")
        fleet.create(f"{CORE}/configmaps", config_map("greeting", "hello"))
        fleet.create(f"{CORE}/pods", pod("web", "greeting"))
        bad = EdgeProcess(data=directory / "bad")
        bad.data.mkdir()
        bad.join(fleet.cloud, node=BAD)
        fleet.edge.start()
        until(lambda: fleet.ready() == "True", "the good gateway to be ready")
        until(lambda: fleet.run_of("web"), "its pod to run")
        authority = open_pki(fleet.cloud.data, now=None).authorities[0]
        ground = Ground(fleet=fleet, directory=directory, authority=authority)
        ground.settle()
        ground.tell()
        yield ground


def pause(seconds: float) -> None:
    """Let an attack go on."""
    time.sleep(seconds)
