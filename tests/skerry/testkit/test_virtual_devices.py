"""Virtual devices in the simulated backend: the manifest of docs/howto/virtual-devices.md, as it is."""

from __future__ import annotations

import re
from pathlib import Path

from skerry.testkit import Fleet, FleetOptions, open_fleet

PAGE = Path(__file__).resolve().parents[3] / "docs" / "howto" / "virtual-devices.md"


def manifest() -> str:
    (found,) = re.findall(r"```yaml\n(.*?)```", PAGE.read_text(), re.DOTALL)
    return found.replace("plant-1", "eu-1")


def test_a_device_swings_is_away_as_planned_and_takes_values(fleet: Fleet) -> None:
    edge = fleet.edge("eu-1", devices=manifest())
    fleet.eventually(lambda: edge.twin("boiler-1", "temperature").quality == "good")  # pyright: ignore
    fleet.set_desired("boiler-1", "setpoint", "42")
    fleet.eventually(lambda: fleet.cloud.twin("boiler-1", "setpoint").state == "verified", within_s=20)  # pyright: ignore
    fleet.eventually(lambda: edge.twin("boiler-1", "temperature").quality == "stale", within_s=90)  # pyright: ignore
    fleet.eventually(lambda: edge.twin("boiler-1", "temperature").quality == "good", within_s=60)  # pyright: ignore


def values(directory: Path, seed: int) -> list[object]:
    fleet = open_fleet("simulated", FleetOptions(directory=directory, seed=seed))
    try:
        edge = fleet.edge("eu-1", devices=manifest())
        seen: list[object] = []
        for _ in range(40):
            fleet.wait(3)
            twin = edge.twin("boiler-1", "temperature")
            seen.append((twin.reported, twin.quality) if twin else None)
        return seen
    finally:
        fleet.close()


def test_each_run_is_the_same(tmp_path: Path) -> None:
    first = values(tmp_path / "one", 3)
    assert first == values(tmp_path / "two", 3)
    assert len(set(first)) > 15
