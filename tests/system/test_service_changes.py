"""Rules that were changed step by step are those that are made at once, as the kernel prints them."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from skerry.errors import UnavailableError
from skerry.testkit.real.namespaces import PATH, Namespace, new_namespace, tool

pytestmark = [pytest.mark.system, pytest.mark.timeout(240)]

ROOT = Path(__file__).parents[2]
STEPS = """
import asyncio, random, re, sys
from edgecore.network.balancing import Backend, Front
from edgecore.network.choice import CARRIERS
from edgecore.network.programs import run
from skerry.errors import UnavailableError
name, seed, flushes = sys.argv[1], int(sys.argv[2]), sys.argv[3] == "flushed"
FLUSHES = {
    "nftables": [("nft", "flush", "ruleset", "ip")],
    "iptables": [("iptables", "-w", "-t", table, "-F") for table in ("nat", "filter")],
}
chance = random.Random(seed)
def fronts():
    found = []
    for number in chance.sample(range(6), chance.randrange(6)):
        def some():
            picked = chance.sample([(f"10.1.0.{each}", port) for each in range(1, 5) for port in (80, 81)],
                                   chance.randrange(4))
            return tuple(Backend(address=address, port=port) for address, port in sorted(picked))
        found.append(Front(
            service=f"d/s{number}:", family="IPv4", protocol=chance.choice(("tcp", "udp")), port=80,
            addresses=(f"10.96.0.{number + 1}",), outside=chance.choice(((), (f"192.0.2.{number + 1}",))),
            node_port=chance.choice((0, 30000 + number)), sticky_s=chance.choice((0, 60)), inside_backends=some(),
            outside_backends=some(), keeps_source=chance.choice((True, False)),
        ))
    return found
async def dump():
    if name == "nftables":
        text = await run("nft", "-s", "list", "ruleset")
    else:
        text = re.sub(r"\\[\\d+:\\d+\\]|#.*", "", await run("iptables-save"))
    return sorted(text.replace(",", " ").split())
async def main():
    carrier = CARRIERS[name]()
    await carrier.check()
    wanted = []
    for step in range(12):
        before, wanted, pods = wanted, fronts(), chance.sample(["10.1.0.1", "10.1.0.2"], chance.randrange(3))
        if flushes and wanted != before:
            for words in FLUSHES[name]:
                await run(*words)
        if step and not flushes:
            assert await carrier.intact(), step
        if step % 2 and flushes and wanted != before:
            assert not await carrier.intact(), step
        try:
            await carrier.carry(wanted, pods)
        except UnavailableError:
            assert flushes
            await carrier.carry(wanted, pods)  # as its keeper does
        if step % 3 == 2:
            changed = await dump()
            await carrier.clear()
            carrier = CARRIERS[name]()
            await carrier.check()
            await carrier.carry(wanted, pods)
            assert changed == await dump(), (step, set(changed) ^ set(await dump()))
asyncio.run(main())
print("same")
"""


@pytest.fixture
def space() -> Iterator[Namespace]:
    try:
        for program in ("nft", "iptables", "ip"):
            tool(program)
        made = new_namespace("changes")
    except UnavailableError as error:
        pytest.skip(str(error))
    yield made
    made.close()


@pytest.mark.parametrize("carrier", ["nftables", "iptables"])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_what_was_changed_step_by_step_is_what_is_made_at_once(space: Namespace, carrier: str, seed: int) -> None:
    stepped(space, carrier, str(seed), "alone")


@pytest.mark.parametrize("carrier", ["nftables", "iptables"])
def test_what_somebody_flushed_is_there_again_with_the_next_change(space: Namespace, carrier: str) -> None:
    stepped(space, carrier, "4", "flushed")


def stepped(space: Namespace, *arguments: str) -> None:
    argv = [*space.prefix, sys.executable, "-c", STEPS, *arguments]
    done = subprocess.run(argv, cwd=ROOT, env={"PATH": PATH}, capture_output=True, text=True, timeout=120)
    assert done.stdout == "same\n", done.stderr[-2000:]


FLUSHED = """
import asyncio, sys
from pathlib import Path
from edgecore.network.claim import Claim
from edgecore.network.cni import mtu_in
from edgecore.network.directory import Directory
from edgecore.network.pod_network import PodNetwork
from edgecore.network.programs import run
from edgecore.network.settings import PodNetworkSettings
from skerry.frozen import replace
async def main():
    made = PodNetworkSettings(directory=Path(sys.argv[1]), ranges=("10.88.0.0/24", "fd00:88::/64"))
    pods = PodNetwork(Directory("n1"), made, Claim(Path(sys.argv[1])))
    for words in (
        ("link", "add", "wan", "mtu", "1400", "type", "veth", "peer", "name", "far"), ("link", "set", "far", "up"),
        ("address", "add", "192.0.2.2/24", "dev", "wan"), ("link", "set", "wan", "up"),
        ("route", "add", "default", "via", "192.0.2.1"),
    ):
        await run("ip", *words)
    clashing = PodNetwork(Directory("n1"), replace(made, ranges=("192.0.2.0/25",)), Claim(Path(sys.argv[1])))
    await clashing.look()
    assert "wan is on 192.0.2.0/24 with 192.0.2.2" in clashing.function.message, clashing.function
    for _ in range(2):
        await pods.look()
        assert mtu_in((Path(sys.argv[1]) / "90-skerry.conflist").read_text()) == 1400
        assert pods.function.works, pods.function
        for word in ("ip", "ip6"):
            assert "masquerade" in await run("nft", "list", "chain", word, "skerry-pods", "postrouting")
        await run("nft", "flush", "ruleset")
asyncio.run(main())
print("same")
"""


def test_a_firewall_that_is_loaded_anew_cuts_no_pods_off_for_good(space: Namespace, tmp_path: Path) -> None:
    argv = [*space.prefix, sys.executable, "-c", FLUSHED, str(tmp_path)]
    done = subprocess.run(argv, cwd=ROOT, env={"PATH": PATH}, capture_output=True, text=True, timeout=120)
    assert done.stdout == "same\n", done.stderr[-2000:]
