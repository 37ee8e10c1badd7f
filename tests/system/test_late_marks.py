"""What runs on a gateway, and may run once alone only from some day on, with real processes: its mark restarts
nothing, and two never run, though its gateway is cut off when the mark comes and its agent dies while it ends."""

from __future__ import annotations

import json
import signal
import time

import pytest

from skerry.objects.pod_leases import UNTOLD
from tests.system.test_federation import until
from tests.system.test_lent_pods import GRACE_S, LATE, LEASE_S, Tree
from tests.system.test_lent_pods import tree as tree

pytestmark = [pytest.mark.system, pytest.mark.long, pytest.mark.timeout(600)]


def test_what_runs_and_may_run_once_alone_from_now_on_is_not_restarted_and_never_runs_twice(tree: Tree) -> None:
    """Its mark comes while its gateway is cut off; then its cloud dies, and its agent is killed while it ends."""
    until(lambda: tree.beats_now("north", "till-"), within_s=90)
    edge = tree.edges["north"]
    before = until(lambda: tree.till()["status"].get("containerStatuses"))[0]
    edge.api.request("POST", "/skerry/link/cut", body={})
    tree.world.kubectl("patch", "placementpolicy", "till", "-n", "shop", "--type=merge", "-p", json.dumps(LATE))
    until(lambda: UNTOLD in tree.till()["metadata"].get("annotations", {}), within_s=60)
    assert until(tree.told, within_s=60)["reason"] == "GatewaysAreUntold"
    marked_s = time.time()
    until(lambda: time.time() > marked_s + 2 * LEASE_S)
    assert tree.beats_now("north", "till-"), "nobody counts on its end"
    edge.api.request("POST", "/skerry/link/heal", body={})
    until(lambda: UNTOLD not in tree.till()["metadata"].get("annotations", {}), within_s=60)
    until(lambda: tree.told() is None, within_s=60)
    after = tree.till()["status"]["containerStatuses"][0]
    assert (after["containerID"], after["restartCount"]) == (before["containerID"], 0), "the mark restarts nothing"
    tree.north.stop(signal.SIGKILL)
    until((tree.directory / "till-told-gateway-north").exists, within_s=60)
    ended_s = time.time()
    until(lambda: time.time() > ended_s + GRACE_S - 5, within_s=2 * GRACE_S)
    assert tree.beats_now("north", "till-"), "it does not end when it is told to"
    edge.stop(signal.SIGKILL)
    edge.start()
    until(lambda: tree.beats_now("south", "till-"), within_s=240)
    last_s, first_s = tree.beats("north", "till-")[-1], tree.beats("south", "till-")[0]
    assert last_s < first_s, json.dumps({"north until": last_s, "south from": first_s})
