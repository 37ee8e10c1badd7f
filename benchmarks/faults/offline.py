"""Long silences: changes, devices, pods, clocks and certificates that move while a gateway is away."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence

from benchmarks.faults.case import Case, Figure, exactly
from benchmarks.faults.ground import (
    CORE,
    DEVICES,
    FLAGS,
    Ground,
    Readiness,
    add_device,
    config_map,
    ground,
    pod,
    virtual_device,
    virtual_model,
)
from skerry.objects.json import JsonObject, maps_at, str_at
from skerry.testkit.real.clocks import FakedClock
from skerry.testkit.real.programs import EDGE, until

OFFLINE_S = float(os.environ.get("SKERRY_FAULTS_OFFLINE_S", "60"))
"""Of the case that upstream's reports have at 30 minutes: `SKERRY_FAULTS_OFFLINE_S=1800` takes as long."""
OBJECTS = 100
OTHERS = 3
EVICTION_S = 5


def offline_changes() -> Sequence[Figure]:
    """A hundred objects change while one gateway is away, and its neighbours notice nothing."""
    with ground(*FLAGS) as here:
        cloud = here.rig.cloud
        others = [here.rig.edge(f"other-{number}") for number in range(OTHERS)]
        for other in others:
            other.start()
            until(lambda other=other: here.ready(other.node) == "True", "the others to be Ready", within_s=60)
        names = [f"c-{number}" for number in range(OBJECTS)]
        for name in names:
            cloud.create(f"{CORE}/configmaps", config_map(name, "x" * 90 + "0"))
        cloud.create(f"{CORE}/pods", pod("web", *names))
        until(lambda: len(here.edge.containers()) == 1, "the pod to run", within_s=60)
        until(lambda: here.ready() == "True", "the node to be Ready")
        ran = here.edge.containers()
        with Readiness(here, frozenset(other.node for other in others)).watching() as readiness:
            here.link.cut()
            began = time.monotonic()
            for name in names:
                cloud.patch(f"{CORE}/configmaps/{name}", {"data": {"text": "x" * 90 + "1"}})
            until(lambda: here.ready() == "Unknown", "the cloud to notice")
            time.sleep(max(0.0, OFFLINE_S - (time.monotonic() - began)))
            before = here.link.carried()
            here.link.heal()
            back_s = until(
                lambda: all(text.endswith("1") for text in _texts(here, names)), "all changes", within_s=120
            )
            carried = here.link.carried()
            until(lambda: here.ready() == "True", "the node to be Ready", within_s=60)
        down, up = carried.down_bytes - before.down_bytes, carried.up_bytes - before.up_bytes
        return [
            Figure(what="cut off for", value=OFFLINE_S, unit="s"),
            Figure(what="healed: all changes at the gateway after", value=back_s, unit="s", at_most=5, target=1.5),
            Figure(
                what="bytes on the wire, TCP and TLS included",
                value=down + up,
                unit="B",
                at_most=40_000,
                target=25_000,
            ),
            exactly("looks at which another node was not Ready", sum(readiness.seen.values()), 0),
            exactly("containers restarted", len(ran.items() ^ here.edge.containers().items()), 0),
        ]


def _texts(here: Ground, names: Sequence[str]) -> list[str]:
    held = here.held("configmaps")
    return [str_at(held.get(name), "data", "text") for name in names]


def token_life() -> Sequence[Figure]:
    """A day and an hour later, still no link, and the gateway boots."""
    with ground(*FLAGS) as here:
        here.rig.cloud.create(f"{CORE}/pods", pod("web"))
        until(here.edge.containers, "the pod to run")
        here.link.cut()
        here.edge.machine.power_off()
        clock = FakedClock(here.rig.directory / "clock")
        clock.step(25 * 3600)
        here.edge.env = clock.env
        began = time.monotonic()
        here.edge.start()
        until(lambda: _runs_locally(here), "the pod to run, as the gateway sees it", within_s=60)
        took = time.monotonic() - began
        return [Figure(what="booted offline 25 h later: the pod runs after", value=took, unit="s", at_most=15)]


def _runs_locally(here: Ground) -> bool:
    held = here.held("pods").get("web")
    return any(str_at(each, "state", "running", "startedAt") for each in maps_at(held, "status", "containerStatuses"))


def devices_meanwhile() -> Sequence[Figure]:
    """One device is made, one is set, one is deleted, all while the gateway is away."""
    with ground(*FLAGS) as here:
        cloud = here.rig.cloud
        for name in ("stays", "goes"):
            add_device(here, name, "setpoint", "level")
        pid = here.edge.machine.pid_of("edgecore")
        here.link.cut()
        until(lambda: here.ready() == "Unknown", "the cloud to notice")
        cloud.create(f"{DEVICES}/devicemodels", virtual_model("comes", "setpoint", "level"))
        cloud.create(f"{DEVICES}/devices", virtual_device("comes", "comes", "setpoint", "level"))
        here.set_point("stays", "setpoint", "64")
        cloud.delete(f"{DEVICES}/devices/goes")
        here.link.heal()
        began = time.monotonic()
        until(lambda: here.ack("stays", "setpoint") == "verified", "the desired value to be verified", within_s=60)
        set_s = time.monotonic() - began
        until(lambda: here.reported("comes", "level"), "the new device to speak", within_s=60)
        comes_s = time.monotonic() - began
        listed = f"{DEVICES}/devices"
        until(
            lambda: (
                {str_at(d, "metadata", "name") for d in maps_at(here.edge.find(listed), "items")}
                == {"stays", "comes"}
            ),
            "the deleted device to be gone from the gateway",
            within_s=60,
        )
        gone_s = time.monotonic() - began
        return [
            Figure(what="healed: desired value verified after", value=set_s, unit="s", at_most=5),
            Figure(what="healed: new device reports after", value=comes_s, unit="s", at_most=5),
            Figure(what="healed: deleted device gone after", value=gone_s, unit="s", at_most=5),
            exactly("restarts of the agent", int(here.edge.machine.pid_of("edgecore") != pid), 0),
        ]


def eviction() -> Sequence[Figure]:
    """Away for four times as long as the pod tolerates an unreachable node."""
    tolerated = {
        "key": "node.kubernetes.io/unreachable",
        "operator": "Exists",
        "effect": "NoExecute",
        "tolerationSeconds": EVICTION_S,
    }
    with ground(*FLAGS) as here:
        here.rig.cloud.create(f"{CORE}/pods", pod("web", tolerations=[tolerated]))
        until(here.edge.containers, "the pod to run")
        until(lambda: _started(here), "the cloud to know that it runs")
        ran, since, uid = here.edge.containers(), _started(here), _uid(here)
        here.link.cut()
        until(lambda: here.ready() == "Unknown", "the cloud to notice")
        time.sleep(4 * EVICTION_S)
        here.link.heal()
        until(lambda: here.ready() == "True", "the node to be Ready", within_s=90)
        time.sleep(2.0)
        same = here.edge.containers() == ran and _started(here) == since and _uid(here) == uid
        return [exactly("pods replaced or restarted", int(not same), 0)]


def _web(here: Ground) -> JsonObject | None:
    return here.rig.cloud.find(f"{CORE}/pods/web")


def _started(here: Ground) -> str:
    statuses = maps_at(_web(here), "status", "containerStatuses")
    return "".join(str_at(each, "state", "running", "startedAt") for each in statuses)


def _uid(here: Ground) -> str:
    return str_at(_web(here), "metadata", "uid")


def certificate() -> Sequence[Figure]:
    """Both sides wake up 370 days later: the gateway's certificate ended while it was off."""
    with ground(*FLAGS) as here:
        here.link.cut()
        here.edge.machine.power_off()
        here.rig.cloud.stop()
        clock = FakedClock(here.rig.directory / "clock")
        clock.step(370 * 86_400)
        here.rig.cloud.env = here.edge.env = clock.env
        here.rig.cloud.start()
        here.link.heal()
        began = time.monotonic()
        here.edge.start()
        until(lambda: here.edge.link_state == "connected", "the gateway to be back", within_s=90)
        # By the command, whose clock is moved as well: to ours the cloud's certificate is of the future.
        until(lambda: "NotReady" not in here.rig.cloud.skerry("get", "nodes"), "the node to be Ready", within_s=60)
        took = time.monotonic() - began
        return [Figure(what="back with a new certificate, no person asked, after", value=took, unit="s", at_most=30)]


def authority() -> Sequence[Figure]:
    """The authority is changed under one gateway that is connected and one that is away."""
    with ground(*FLAGS) as here:
        cloud = here.rig.cloud
        away = here.rig.edge("away")
        away.start()
        until(lambda: here.ready("away") == "True", "the other node to be Ready", within_s=60)
        pids = [here.edge.machine.pid_of(EDGE), away.machine.pid_of(EDGE)]
        here.rig.sites["away"].link.cut()
        cloud.machine.run("ca", [sys.executable, "-m", "cloudcore.main", "ca", "rotate", "--data", cloud.data])
        cloud.stop()
        cloud.start()
        began = time.monotonic()
        until(
            lambda: here.ready() == "True" and here.edge.link_state == "connected", "the connected one", within_s=90
        )
        connected_s = time.monotonic() - began
        here.rig.sites["away"].link.heal()
        began = time.monotonic()
        until(lambda: here.ready("away") == "True" and away.link_state == "connected", "the other one", within_s=90)
        away_s = time.monotonic() - began
        kept = [here.edge.machine.pid_of(EDGE), away.machine.pid_of(EDGE)] == pids
        return [
            Figure(what="connected gateway: back after the restart in", value=connected_s, unit="s", at_most=30),
            Figure(what="gateway that was away: back after healing in", value=away_s, unit="s", at_most=30),
            exactly("agents restarted", int(not kept), 0),
        ]


def recreated() -> Sequence[Figure]:
    """A ConfigMap is deleted and made anew, with the gateway connected and with it away."""
    with ground(*FLAGS) as here:
        cloud = here.rig.cloud
        cloud.create(f"{CORE}/configmaps", config_map("settings", "0"))
        cloud.create(f"{CORE}/pods", pod("web", "settings"))
        until(here.edge.containers, "the pod to run")
        ran = here.edge.containers()
        until(lambda: _mounted(here) == "0", "the file in the pod's volume")
        figures: list[Figure] = []
        for number, away in enumerate((False, True), start=1):
            if away:
                here.link.cut()
                until(lambda: here.ready() == "Unknown", "the cloud to notice")
            cloud.delete(f"{CORE}/configmaps/settings")
            cloud.create(f"{CORE}/configmaps", config_map("settings", str(number)))
            here.link.heal()
            wanted = str(number)
            took = until(lambda wanted=wanted: _mounted(here) == wanted, "the new file in the volume", within_s=60)
            how = "gateway away: file new, after healing" if away else "gateway connected: file new after"
            figures.append(Figure(what=how, value=took, unit="s", at_most=10))
        figures.append(exactly("containers restarted", len(ran.items() ^ here.edge.containers().items()), 0))
        return figures


def _mounted(here: Ground) -> str:
    """What the pod reads: the file in its ConfigMap volume on the gateway's disk."""
    for path in here.edge.data.glob("pods/*/volumes/**/settings/text"):
        return path.read_text()
    return ""


CASES = (
    Case(
        number=2,
        name="offline",
        title="Offline with 100 changed objects",
        method=f"A gateway whose pod uses {OBJECTS} ConfigMaps of 91 bytes is cut off for a minute while all of them "
        f"change; {OTHERS} others are watched four times a second. The list's half hour is "
        "`SKERRY_FAULTS_OFFLINE_S=1800`; what grows or ends with the time (readings that wait, tokens, certificates, "
        "eviction) is in cases 6, 8, 10 and 15.",
        kubeedge="33.7 s and 102 KB after 60 s; other nodes NotReady (#3567)",
        run=offline_changes,
    ),
    Case(
        number=6,
        name="token-life",
        title="Reboot offline after a token's life",
        method="Cut off, power off, wall clock 25 hours on, boot. The pod uses its ServiceAccount.",
        kubeedge="pod does not start (token row deleted after 24 h: #4441, #6414)",
        run=token_life,
    ),
    Case(
        number=7,
        name="devices-meanwhile",
        title="Device created, set and deleted while offline",
        method="Three virtual devices, one each way; nothing is restarted.",
        kubeedge="never, until the mapper or edge restarts (by reading the code)",
        run=devices_meanwhile,
    ),
    Case(
        number=8,
        name="eviction",
        title="Offline longer than the eviction time",
        method=f"The pod tolerates an unreachable node for {EVICTION_S} s; the gateway is "
        f"away for {4 * EVICTION_S} s.",
        kubeedge="pod deleted and made anew on return (#3941, #4048)",
        run=eviction,
    ),
    Case(
        number=10,
        name="certificate",
        title="Certificate expires while offline",
        method="Gateway off, cloud stopped, both clocks 370 days on (the certificate is good for 365), both started.",
        kubeedge="a person must bring a new token (#3067)",
        run=certificate,
    ),
    Case(
        number=10,
        name="authority",
        title="Certificate authority changed under running gateways",
        method="`cloudcore ca rotate` and a restart of the cloud; one gateway is connected, one cut off meanwhile.",
        kubeedge="all edges out (#5923)",
        run=authority,
    ),
    Case(
        number=12,
        name="recreated",
        title="ConfigMap deleted and made anew",
        method="The file in the pod's volume is read on the gateway's disk; connected, and cut off during both "
        "writes.",
        kubeedge="the pod keeps the old one (#4106)",
        run=recreated,
    ),
)
