"""A gateway at a site that lets nothing out but through an HTTP proxy: it joins, runs, and gets a new certificate."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Generator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from edgecore.link.membership import load_membership
from skerry.errors import UnavailableError
from skerry.objects.json import str_at
from skerry.testkit.real.namespaces import Namespace, new_namespace
from tests.system.cloud_process import CloudProcess
from tests.system.real_fleet import EdgeProcess, RealFleet, until
from tests.system.test_certificate_authorities import ca
from tests.system.test_proxy import tinyproxy

pytestmark = pytest.mark.system


@contextmanager
def leading_out(site: Namespace, port: int) -> Generator[int]:
    """A port in the namespace that leads to one out here: all that the site has of the world."""
    outside = os.open("/proc/self/ns/net", os.O_RDONLY)
    words = ["-m", "skerry.testkit.real.relay", "127.0.0.1", "127.0.0.1", str(port), "1", str(outside)]
    process = subprocess.Popen(
        [*site.prefix, sys.executable, *words], stdin=subprocess.PIPE, stdout=subprocess.PIPE, pass_fds=(outside,)
    )
    os.close(outside)
    try:
        assert process.stdout is not None
        yield int(json.loads(process.stdout.readline())["port"])
    finally:
        process.kill()
        process.communicate()


def a_site() -> Namespace:
    try:
        return new_namespace("site")
    except UnavailableError as error:
        pytest.skip(str(error))


def command_lines() -> list[str]:
    """Of every process, as any user of this machine may read them."""
    lines: list[str] = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            lines.append(path.read_bytes().replace(b"\0", b" ").decode(errors="replace"))
        except OSError:
            continue
    return lines


def test_a_gateway_joins_runs_and_renews_where_a_proxy_is_the_only_way(tmp_path: Path) -> None:
    fleet = RealFleet(cloud=CloudProcess(data=tmp_path / "cloud"), edge=EdgeProcess(data=tmp_path / "edge"))
    edge = fleet.edge
    with closing(a_site()) as site:
        try:
            fleet.start_cloud()
            edge.prefix = tuple(site.prefix)
            edge.data.mkdir()
            with (
                tinyproxy(tmp_path, int(str(fleet.cloud.endpoints["hub_port"]))) as port,
                leading_out(site, port) as way_out,
            ):
                edge.environ = {"SKERRY_PROXY": "none"}
                assert edge.try_join(fleet.cloud) == 1
                assert "can't reach the cloud at 127.0.0.1" in edge.log
                edge.environ = {"SKERRY_PROXY": f"http://site:wr0ng@127.0.0.1:{way_out}"}
                assert edge.try_join(fleet.cloud) == 1
                assert f"the proxy http://127.0.0.1:{way_out} opens no way" in edge.log
                edge.environ = {"SKERRY_PROXY": f"http://site:s3cret@127.0.0.1:{way_out}"}
                edge.join(fleet.cloud)
                edge.start()
                until(lambda: edge.link_state() == "connected", "the link", deadline_s=60)
                assert str_at(edge.api.request("GET", "/skerry/link").obj, "transport") == "proxy"
                before = load_membership(edge.data).server_name
                assert ca(fleet, "rotate").returncode == 0
                fleet.cloud.stop()
                fleet.start_cloud()
                seen: set[str] = set()

                def is_renewed() -> bool:
                    seen.update(line for line in command_lines() if "edgecore.link.renewal" in line)
                    return load_membership(edge.data).server_name != before

                until(is_renewed, "a new certificate", deadline_s=120)
                old = before.removeprefix("ca-").partition(".")[0]
                until(lambda: ca(fleet, "retire", old).returncode == 0, "nobody needs the old authority")
                fleet.cloud.stop()
                fleet.start_cloud()
                until(lambda: edge.link_state() == "connected", "the link, without the old one", deadline_s=90)
            told = f"{edge.log} {' '.join(seen)} {(edge.data / 'join.json').read_text()}"
            assert "s3cret" not in told
            assert "wr0ng" not in told
        finally:
            fleet.leave()
