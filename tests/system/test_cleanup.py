"""`edgecore cleanup` in a network namespace: what an agent left goes, and what is somebody else's stays."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from skerry.errors import UnavailableError
from skerry.testkit.real.namespaces import PATH, Namespace, new_namespace, tool

pytestmark = [pytest.mark.system, pytest.mark.timeout(120)]

ROOT = Path(__file__).parents[2]
AGENT = """
import asyncio, sys
from edgecore.network.claim import Claim
from edgecore.network.interface import hold_address
from edgecore.network.pod_network import PodNetwork
from edgecore.network.directory import Directory
from edgecore.network.settings import PodNetworkSettings
from pathlib import Path
async def main():
    await hold_address("169.254.20.10")
    pods = PodNetwork(Directory("n1"), PodNetworkSettings(directory=Path(sys.argv[1]), ranges=("10.88.0.0/24",)),
                      Claim(Path(sys.argv[2])))
    await pods.look()
asyncio.run(main())
"""
THEIRS = """
table ip theirs { chain c { type filter hook input priority 0; tcp dport 22 accept; }; }
"""


@pytest.fixture
def gateway() -> Iterator[Namespace]:
    for program in ("nft", "iptables", "ip"):
        if shutil.which(program, path=PATH) is None:
            pytest.skip(f"{program} is not installed")
    try:
        tool("ip")
        space = new_namespace("cleanup")
    except UnavailableError as error:
        pytest.skip(str(error))
    space.run("ip", "link", "set", "lo", "up")
    yield space
    space.close()


OWN_LEASES = 'mount -t tmpfs none /var/lib && exec "$@"'
"""Other tests' gateways of this machine have leases there."""


def run(space: Namespace, *words: str) -> subprocess.CompletedProcess[str]:
    argv = [*space.prefix, "unshare", "--mount", "sh", "-c", OWN_LEASES, "sh", sys.executable, *words]
    return subprocess.run(argv, cwd=ROOT, env={"PATH": PATH}, capture_output=True, text=True, timeout=60)


def begin(space: Namespace, carrier: str, data: Path) -> subprocess.Popen[bytes]:
    """An agent that leads services."""
    argv = [*space.prefix, sys.executable, "-m", "tests.system.service_routing_process", carrier, str(data)]
    pipe = subprocess.PIPE
    return subprocess.Popen(argv, stdin=pipe, stdout=pipe, stderr=pipe, cwd=ROOT, env={"PATH": PATH})


def carry(space: Namespace, carrier: str, data: Path) -> None:
    """The same, until it is killed."""
    made = begin(space, carrier, data)
    assert made.stdout is not None and made.stdout.readline() == b"done\n"
    made.kill()
    made.communicate()


def test_all_that_agents_left_goes_and_nothing_of_anybody_elses(gateway: Namespace, tmp_path: Path) -> None:
    cni, data = tmp_path / "cni", tmp_path / "data"
    cni.mkdir()
    (data / "ingress" / "g1").mkdir(parents=True)
    (data / "ingress" / "g1" / "c0.pem").write_text("key")
    (data / "join.json").write_text("{}")
    for name in ("nftables", "iptables"):
        carry(gateway, name, data)
    subprocess.run([*gateway.prefix, "nft", "-f", "-"], input=THEIRS, text=True, check=True, env={"PATH": PATH})
    for words in (
        ("iptables", "-t", "nat", "-N", "SKI-RESORT"),
        ("iptables", "-t", "nat", "-A", "PREROUTING", "-p", "tcp", "--dport", "99", "-j", "SKI-RESORT"),
        ("ip", "link", "add", "skerry0", "type", "bridge"),
        ("ip", "link", "add", "pod1", "type", "veth", "peer", "name", "pod2"),
        ("ip", "link", "set", "pod1", "master", "skerry0"),
        ("ip", "address", "add", "192.0.2.1/24", "dev", "pod2"),
        ("ip", "link", "set", "pod2", "up"),
        ("ip", "link", "set", "pod1", "up"),
        ("ip", "route", "add", "10.89.0.0/24", "via", "192.0.2.9", "proto", "115"),
        ("ip", "route", "add", "10.90.0.0/24", "via", "192.0.2.9"),
    ):
        gateway.run(*words)
    assert run(gateway, "-c", AGENT, str(cni), str(data)).returncode == 0
    (cni / "10-theirs.conflist.off").write_text("{}")
    flags = ("-m", "edgecore.main", "cleanup", "--data", str(data), "--cni-directory", str(cni))

    before = gateway.run("nft", "list", "ruleset")
    dry = run(gateway, *flags, "--dry-run")
    assert dry.returncode == 0, dry.stderr
    assert gateway.run("nft", "list", "ruleset") == before and (data / "ingress").exists()
    done = run(gateway, *flags)
    assert done.returncode == 0, done.stderr
    assert done.stdout.replace("removed: ", "would remove: ") == dry.stdout
    assert "stays: bridge skerry0: 1 pods are connected by it (pod1)" in done.stdout

    rules = gateway.run("nft", "list", "ruleset").lower()
    assert "skerry" not in rules and "theirs" in rules and "ski-resort" in rules
    assert gateway.run("iptables", "-t", "nat", "-S", "PREROUTING").count("SKI-RESORT") == 1
    assert "SK" not in gateway.run("iptables", "-t", "nat", "-S", "OUTPUT")
    assert "10.90.0.0/24" in (routes := gateway.run("ip", "route")) and "10.89.0.0/24" not in routes
    assert "169.254.20.10" not in gateway.run("ip", "address")
    assert [each.name for each in cni.iterdir()] == ["10-theirs.conflist.off"]
    assert [each.name for each in data.iterdir()] == ["join.json"]

    gateway.run("ip", "link", "del", "pod1")
    last = "removed: bridge skerry0\nremoved: the record of whose this machine's network is\n"
    assert run(gateway, *flags).stdout == last and "skerry" not in gateway.run("ip", "link")
    assert run(gateway, *flags).stdout == "nothing is left of an agent here\n"


def test_of_two_agents_on_a_machine_one_has_its_network_and_no_other_takes_it_away(
    gateway: Namespace, tmp_path: Path
) -> None:
    one, two, cni = tmp_path / "one", tmp_path / "two", tmp_path / "cni"
    for each in (one, two, cni):
        each.mkdir()
    clean = ("-m", "edgecore.main", "cleanup", "--cni-directory", str(cni), "--data")
    assert run(gateway, "-c", AGENT, str(cni), str(one)).returncode == 0
    first = begin(gateway, "nftables", one)
    assert first.stdout is not None and first.stdout.readline() == b"done\n"
    second = begin(gateway, "nftables", two)
    said = second.communicate(timeout=60)[1].decode()
    assert second.returncode == 1 and f"is that of the agent with --data {one}, which runs" in said
    rules = gateway.run("nft", "list", "ruleset")
    for _ in ("alive", "dead"):
        done = run(gateway, *clean, str(two))
        assert done.returncode == 0 and "removed" not in done.stdout
        assert f"stays: nftables table ip skerry-services: it is the agent's with --data {one}\n" in done.stdout
        assert f"stays: CNI configuration {cni / '90-skerry.conflist'}" in done.stdout
        assert gateway.run("nft", "list", "ruleset") == rules
        first.kill()
        first.communicate()

    # After a restart of the machine the kernel knows nothing, and the runtime's file still says whose it is.
    gateway.run("ip", "link", "set", "dev", "lo", "alias", "")
    assert "removed" not in run(gateway, *clean, str(two)).stdout

    carry(gateway, "nftables", two)  # the first one does not run: the second has it now
    done = run(gateway, *clean, str(one))
    assert f"stays: nftables table ip skerry-services: it is the agent's with --data {two}\n" in done.stdout
    done = run(gateway, *clean, str(two))
    assert "removed: nftables table ip skerry-services\n" in done.stdout and "stays" not in done.stdout
    assert run(gateway, *clean, str(one)).stdout == "nothing is left of an agent here\n"
