"""What a test's fleet looked like when it failed, and what became of every fleet of a run.

Keeps nothing but the lines of one run's report, which is written when the run ends.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from skerry.errors import SkerryError
from skerry.frozen import as_dict
from skerry.testkit.face import Edge, FaultView, Fleet, PodView, TwinView

if TYPE_CHECKING:
    import pytest

FAULTS: Final = 40
"""Faults that a failure shows: a quarter of them the first, the rest the last."""
TAIL: Final = 40
"""Lines of a transcript that a failure shows."""
SECTION: Final = "skerry fleet"
FAULTS_TOLD: Final = "skerry_faults"
"""Attribute of a report."""


def describe(fleet: Fleet, *, tail: int = TAIL) -> str:
    """The fleet now, for people."""
    return "\n".join(_lines(fleet, tail))


def _lines(fleet: Fleet, tail: int) -> Iterator[str]:
    yield f"{fleet.backend} backend, seed {fleet.seed}, {fleet.now_s:.3f} s after it was opened"
    cloud = fleet.cloud
    yield f"cloud: {'runs' if cloud.running else 'is down'}, connected: {', '.join(cloud.connected) or 'nobody'}"
    for edge in fleet.edges.values():
        yield from _edge_lines(fleet, edge)
    yield from _fault_lines(fleet.faults)
    lines = fleet.transcript
    yield f"transcript, last {min(tail, len(lines))} of {len(lines)} lines:"
    yield from (f"  {line}" for line in lines[-tail:])


def _fault_lines(faults: Sequence[FaultView]) -> Iterator[str]:
    """What was done to the fleet, the beginning and the end of it."""
    if not faults:
        return
    yield f"faults, {len(faults)}:"
    told = [f"  {fault.at_s:10.3f} s  {fault.who}  {fault.what}" for fault in faults]
    if len(told) > FAULTS:
        told[FAULTS // 4 : FAULTS // 4 - FAULTS] = [f"  ... {len(told) - FAULTS} more"]
    yield from told


def _edge_lines(fleet: Fleet, edge: Edge) -> Iterator[str]:
    agent = "agent runs" if edge.running else "no agent" if edge.powered else "no power"
    stance = "in step" if edge.in_step else "connected" if edge.connected else "not connected"
    yield f"{edge.name}: {agent}, link {edge.link.state}, {stance}, {edge.waiting} reports wait"
    for pod in edge.pods():
        yield f"  pod {pod.namespace}/{pod.name}: {_pod_told(pod)}"
    for device in edge.list("device") if edge.running else ():
        metadata: Any = device.get("metadata", {})
        name, namespace = metadata.get("name", ""), metadata.get("namespace", "default")
        spec: Any = device.get("spec", {})
        for prop in spec.get("properties", ()):
            here = edge.twin(name, prop["name"], namespace)
            there = fleet.cloud.twin(name, prop["name"], namespace) if fleet.cloud.running else None
            yield f"  twin {namespace}/{name}/{prop['name']}: here {_twin_told(here)}; cloud {_twin_told(there)}"


def _pod_told(pod: PodView) -> str:
    runs = ", ".join(
        f"{one.name} {'runs' if one.running else f'ended {one.exit_code}'} (attempt {one.attempt})"
        for one in pod.containers
    )
    return (
        f"{pod.phase}{'' if pod.ready else ' not ready'}{f' ({pod.message})' if pod.message else ''}; {runs or '-'}"
    )


def _twin_told(twin: TwinView | None) -> str:
    if twin is None:
        return "unknown"
    wanted = f"wants {twin.desired} ({twin.state}), " if twin.desired is not None else ""
    return f"{wanted}has {twin.reported} {twin.quality}{f' ({twin.reason})' if twin.reason else ''}"


def command_of(fleet: Fleet, nodeid: str, config: pytest.Config) -> str:
    """What runs this test again in the same way."""
    suite: str | None = config.getoption("skerry_suite")
    if suite is not None and nodeid.startswith(f"{suite}::"):
        words = ["pytest", "--skerry-suite", suite, "-k", nodeid.rpartition("::")[2]]
        for path in config.getoption("skerry_manifests") or ():
            words += ["--manifests", path]
    else:
        words = ["pytest", nodeid]
    words += ["--skerry-backend", fleet.backend, "--skerry-seed", str(fleet.seed)]
    if config.getoption("skerry_full_time"):
        words.append("--skerry-full-time")
    return shlex.join(words)


def note_fleet(report: pytest.TestReport, fleet: Fleet, item: pytest.Item) -> None:
    """Give a report its fleet's figures, and to a failure the picture."""
    figures: list[tuple[str, object]] = [
        ("skerry_backend", fleet.backend),
        ("skerry_seed", fleet.seed),
        ("skerry_fleet_s", round(fleet.now_s, 3)),
    ]
    report.user_properties += figures
    # Plain values on the report itself, which a worker of pytest-xdist sends along.
    setattr(report, FAULTS_TOLD, [as_dict(fault) for fault in fleet.faults])
    item.user_properties += figures  # JUnit's file takes them from the last report of the test
    if not report.failed:
        return
    try:
        text = describe(fleet)
    except SkerryError as error:
        text = f"the fleet can't be asked any more: {error}\n" + "\n".join(fleet.transcript[-TAIL:])
    report.sections.append((SECTION, f"{text}\nrun it again: {command_of(fleet, report.nodeid, item.config)}"))


class Ledger:
    """Writes `--skerry-report`. Registered where it is asked for; of several workers the controlling one has all."""

    def __init__(self, path: str) -> None:
        self._path = Path(path)
        self._tests: list[dict[str, object]] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        told = {name: value for name, value in report.user_properties if name.startswith("skerry_")}
        if report.when != "call" or not told:
            return
        line: dict[str, object] = {"test": report.nodeid, "outcome": report.outcome, "took_s": report.duration}
        line |= {name.removeprefix("skerry_"): value for name, value in told.items()}
        line["faults"] = getattr(report, FAULTS_TOLD, [])
        if report.failed:
            line["failure"] = report.longreprtext
            line["fleet"] = next((text for title, text in report.sections if title == SECTION), "")
        self._tests.append(line)

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        self._path.write_text(json.dumps({"tests": self._tests}, indent=2) + "\n", encoding="utf-8")
        terminalreporter.write_line(f"skerry: wrote {self._path}")
