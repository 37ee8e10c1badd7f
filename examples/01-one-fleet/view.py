"""What is drawn while the demo plays: the steps, and the same twins as the cloud and as the gateway see them.

A thread of its own looks twice a second, so that the story never waits for the picture and the picture goes on while
the story waits. A side that does not answer shows what it said last, dimmed.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from fleet import Fleet
from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text
from stage import DemoError

from skerry.errors import SkerryError
from skerry.objects.json import JsonObject, int_at, map_at, maps_at, str_at
from skerry.objects.meta import name_of

LOOK_S: Final = 0.5
NODES: Final = ("eu-1", "us-1")
STATUSES: Final = "/apis/devices.kubeedge.io/v1beta1/devicestatuses"


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """One look at the fleet."""

    ready: dict[str, bool] = field(default_factory=dict[str, bool])
    pods: dict[str, str] = field(default_factory=dict[str, str])
    """Running of wanted, as the cloud has it."""
    agents: dict[str, JsonObject] = field(default_factory=dict[str, JsonObject])
    """What each agent says of itself; {} for one that does not answer."""
    cloud: dict[str, str] = field(default_factory=dict[str, str])
    """Reported values by device/property."""
    gateway: dict[str, str] = field(default_factory=dict[str, str])
    gateway_answers: bool = False


class View:
    """Keeps the last look."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        self._seen = Seen()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._look_on, name="view", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopped.set()
        self._thread.join(5)

    def _look_on(self) -> None:
        while not self._stopped.wait(LOOK_S):
            self._seen = self._look(self._seen)

    def _look(self, before: Seen) -> Seen:
        fleet = self._fleet
        if not fleet.hub_port:
            return before
        agents = {
            name: _asked(lambda name=name: fleet.gateway(name).request("GET", "/skerry/status").obj) for name in NODES
        }
        own = _asked(lambda: fleet.gateway("eu-1").request("GET", STATUSES).obj)
        nodes = _asked(lambda: fleet.get("/api/v1/nodes"))
        return Seen(
            ready={name: fleet.node_is_ready(node) for node in maps_at(nodes, "items") if (name := name_of(node))},
            pods=_pods(_asked(lambda: fleet.get("/api/v1/namespaces/default/pods"))) or before.pods,
            agents=agents,
            cloud=_values(_asked(lambda: fleet.get(STATUSES))) or before.cloud,
            gateway=_values(own) or before.gateway,
            gateway_answers=bool(own),
        )

    def draw(self) -> RenderableType:
        seen = self._seen
        if not seen.ready:
            return Text()
        twins = [Text(), self._twins(seen)] if seen.cloud or seen.gateway else []
        return Group(self._nodes(seen), *twins)

    def _nodes(self, seen: Seen) -> Table:
        table = Table(box=None, padding=(0, 3, 0, 0), header_style="bold cyan")
        for title in ("GATEWAY", "THE CLOUD SAYS", "PODS", "AGENT", "LINK", "WAITING TO BE SENT"):
            table.add_column(title, no_wrap=True)
        for name in NODES:
            agent = seen.agents.get(name, {})
            state = str_at(agent, "link", "state")
            waiting = int_at(agent, "outbox", "reports")
            ready = seen.ready.get(name)
            table.add_row(
                name,
                _coloured("Ready" if ready else "silent" if ready is not None else "unknown yet", good=bool(ready)),
                seen.pods.get(name, "-"),
                _coloured("runs" if agent else "down", good=bool(agent)),
                _coloured("cut" if map_at(agent, "link").get("cut") else state or "-", good=state == "connected"),
                Text(f"{waiting} reports", style="yellow") if waiting > 20 else Text("-" if agent else ""),
            )
        return table

    def _twins(self, seen: Seen) -> Table:
        table = Table(box=None, padding=(0, 3, 0, 0), header_style="bold cyan")
        for title in ("TWIN AT EU-1", "IN THE CLOUD", "AT THE GATEWAY"):
            table.add_column(title, no_wrap=True, min_width=16)
        connected = seen.ready.get("eu-1", False)
        for name in sorted({*seen.cloud, *seen.gateway}):
            cloud, own = seen.cloud.get(name, "-"), seen.gateway.get(name, "-")
            table.add_row(
                name,
                Text(cloud, style="" if connected else "dim"),
                Text(own, style="" if seen.gateway_answers else "dim"),
            )
        return table


def claims_table(rows: list[tuple[str, str, bool]]) -> Table:
    """Readable at 80 columns: what is claimed wraps, what was measured does when it must."""
    table = Table(
        title="What was claimed, and what was measured",
        title_style="bold",
        title_justify="left",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
        header_style="bold cyan",
    )
    table.add_column("")
    table.add_column("Claim", ratio=3, max_width=72)
    table.add_column("Measured", ratio=2)
    for text, figure, holds in rows:
        table.add_row(Text("holds" if holds else "FAILS", style="green" if holds else "bold red"), text, figure)
    return table


def _asked(ask: Callable[[], JsonObject]) -> JsonObject:
    """{} when nobody answers: for the picture that is an answer."""
    try:
        return ask()
    except (SkerryError, DemoError, OSError):
        return {}


def _coloured(text: str, *, good: bool) -> Text:
    return Text(text, style="green" if good else "red")


def _values(statuses: JsonObject) -> dict[str, str]:
    return {
        f"{name_of(status)}/{str_at(twin, 'propertyName')}": str_at(twin, "reported", "value")
        for status in maps_at(statuses, "items")
        for twin in maps_at(status, "status", "twins")
    }


def _pods(listed: JsonObject) -> dict[str, str]:
    wanted: dict[str, list[bool]] = {}
    for pod in maps_at(listed, "items"):
        wanted.setdefault(str_at(pod, "spec", "nodeName"), []).append(str_at(pod, "status", "phase") == "Running")
    return {node: f"{sum(running)}/{len(running)}" for node, running in wanted.items()}
