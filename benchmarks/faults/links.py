"""Links that go half-open, and links that are hardly there."""

from __future__ import annotations

import time
from collections.abc import Sequence

from benchmarks.faults.case import NOT_TESTED, Case, Figure, exactly
from benchmarks.faults.ground import (
    CORE,
    FLAGS,
    HEARTBEAT_S,
    NODE,
    Ground,
    Readiness,
    add_device,
    config_map,
    ground,
    pod,
)
from skerry.testkit.real.programs import until

SLACK_S = 1.5
"""For a busy machine."""
SILENT_S = 60.0
SLOW_S = 60.0


def half_open() -> Sequence[Figure]:
    """Each direction for itself, then both for a minute."""
    figures: list[Figure] = []
    with ground(*FLAGS) as here:
        here.rig.cloud.create(f"{CORE}/configmaps", config_map("settings", "0"))
        here.rig.cloud.create(f"{CORE}/pods", pod("web", "settings"))
        until(lambda: here.text_held("settings") == "0", "the ConfigMap at the gateway")
        for number, (up, down) in enumerate(((True, False), (False, True), (True, True)), start=1):
            silent = "both directions" if up and down else "up" if up else "down"
            edge_s, cloud_s = _noticed(here, up=up, down=down)
            limit = 2 * HEARTBEAT_S + SLACK_S
            figures += [
                Figure(
                    what=f"silent {silent}: the gateway knows after",
                    value=edge_s,
                    unit="s",
                    at_most=limit,
                    target=2 * HEARTBEAT_S,
                ),
                Figure(what=f"silent {silent}: the cloud knows after", value=cloud_s, unit="s", at_most=limit),
            ]
            if up and down:
                time.sleep(max(0.0, SILENT_S - max(edge_s, cloud_s)))
            here.rig.cloud.patch(f"{CORE}/configmaps/settings", {"data": {"text": str(number)}})
            here.link.heal()
            wanted = str(number)
            back_s = until(lambda wanted=wanted: here.text_held("settings") == wanted, "the change", within_s=90)
            after = f"after {SILENT_S:.0f} s, both" if up and down else silent
            figures.append(
                Figure(
                    what=f"healed ({after}): new session works after",
                    value=back_s,
                    unit="s",
                    at_most=5,
                    target=5 if up and down else None,
                )
            )
            until(lambda: here.ready() == "True", "the node to be Ready", within_s=60)
    return figures


def _noticed(here: Ground, *, up: bool, down: bool) -> tuple[float, float]:
    began = time.monotonic()
    here.link.half_open(up=up, down=down)
    edge_s = cloud_s = 0.0
    while not (edge_s and cloud_s):
        if not edge_s and here.edge.link_state != "connected":
            edge_s = time.monotonic() - began
        if not cloud_s and here.ready() == "Unknown":
            cloud_s = time.monotonic() - began
        if time.monotonic() - began > 60:
            return edge_s or 60.0, cloud_s or 60.0
        time.sleep(0.02)
    return edge_s, cloud_s


def slow_link() -> Sequence[Figure]:
    """Telemetry for ten times what the link carries, and heartbeats on time all the same."""
    with ground("--heartbeat-s", "10", "--node-grace-s", "10") as here:
        here.rig.cloud.create(f"{CORE}/configmaps", config_map("settings", "0"))
        here.rig.cloud.create(f"{CORE}/pods", pod("web", "settings"))
        until(lambda: here.text_held("settings") == "0", "the ConfigMap at the gateway")
        for number in range(10):
            add_device(here, f"line-{number}", *(f"p{each}" for each in range(20)), cycle_ms=100)
        here.link.slow(kbit=64, loss=0.05, delay_ms=500)
        sessions = here.edge.log.count("link up")
        with Readiness(here, frozenset((NODE,))).watching() as readiness:
            time.sleep(SLOW_S / 2)
            queued = here.outbox()
            here.rig.cloud.patch(f"{CORE}/configmaps/settings", {"data": {"text": "1"}})
            change_s = until(lambda: here.text_held("settings") == "1", "the ConfigMap's change", within_s=120)
            time.sleep(SLOW_S / 2)
        lost = here.edge.log.count("link up") - sessions
        here.link.heal()
        drained_s = until(lambda: here.outbox() < 2000, "the backlog to be told", within_s=180, every_s=0.5)
        return [
            Figure(what="reports waiting at the gateway after half of it", value=queued, at_least=1000),
            exactly("looks at which the node was not Ready", readiness.seen.get(NODE, 0), 0),
            exactly("sessions lost", lost, 0),
            Figure(what="a ConfigMap's change over that link", value=change_s, unit="s", at_most=30),
            Figure(what="healed: the backlog is told after", value=drained_s, unit="s", at_most=60),
        ]


CASES = (
    Case(
        number=1,
        name="half-open",
        title="Half-open link, each direction",
        method=f"Packets of one direction (then the other, then both for {SILENT_S:.0f} s) vanish; heartbeat "
        f"{HEARTBEAT_S:g} s; "
        "the cloud knows when the node's Ready is Unknown, the new session works when a ConfigMap changed "
        "meanwhile has arrived.",
        kubeedge="edge: 15 to 20 min (until TCP gives up; as reported and read); 54.9 s until back after 60 s of "
        "silence",
        run=half_open,
    ),
    Case(
        number=15,
        name="slow-link",
        title="64 kbit/s, 500 ms, 5 % loss while telemetry queues",
        method=f"200 properties, 10 readings a second each, over such a link for {SLOW_S:.0f} s; heartbeat 10 "
        f"s, grace 10 s.",
        kubeedge=NOT_TESTED + " (#6184: until restart)",
        run=slow_link,
    ),
)
