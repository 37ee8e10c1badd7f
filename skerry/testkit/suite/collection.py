"""How pytest runs a suite: one item for each fault and app, with ids to read, and a table at the end.

Keeps the outcomes of the run, for the table.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, cast

import pytest

from skerry.errors import SkerryError
from skerry.testkit.fleets import FleetOptions, open_fleet
from skerry.testkit.plugin import FLEET
from skerry.testkit.suite.app import App, read_app
from skerry.testkit.suite.catalogue import DISCONNECT, Fault, play, reason_to_skip
from skerry.testkit.suite.stage import Stage

SUITES: Final[dict[str, Sequence[Fault]]] = {"disconnect": DISCONNECT}


class Suite:
    """A plugin that is registered where a suite is asked for."""

    def __init__(self, config: pytest.Config, name: str) -> None:
        self._config = config
        self._name = name
        paths: list[str] = config.getoption("skerry_manifests") or []
        if not paths:
            raise pytest.UsageError(f"--skerry-suite {name} needs an app: add --manifests DIRECTORY")
        try:
            self._apps = [read_app(Path(path)) for path in paths]
        except SkerryError as error:
            raise pytest.UsageError(f"--manifests: {error}") from error
        names = [app.name for app in self._apps]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise pytest.UsageError(f"--manifests: two apps are called {', '.join(twice)}: rename one's directory")
        self._check_skips()
        if config.args_source is not pytest.Config.ArgsSource.ARGS:
            config.args = []  # nobody named tests of their own: the suite is what is meant
        budget: float | None = config.getoption("skerry_budget")
        self._budget_s = budget
        self._begun_s = time.monotonic()
        self._outcomes: list[tuple[str, str, str, float, float]] = []

    def _check_skips(self) -> None:
        known = {fault.name for fault in SUITES[self._name]}
        for app in self._apps:
            unknown = sorted(set(app.expects.skip) - known)
            if unknown:
                raise pytest.UsageError(
                    f"{app.name}: expectations.yaml: skip: no fault is called {', '.join(unknown)}; "
                    f"there are {', '.join(sorted(known))}"
                )

    @property
    def spent(self) -> bool:
        """The time that the run may take is over."""
        return self._budget_s is not None and time.monotonic() - self._begun_s > self._budget_s

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection_modifyitems(self, session: pytest.Session, items: list[pytest.Item]) -> None:
        made = cast("Any", SuiteItem.from_parent)
        collector: Any = SuiteCollector.from_parent(session, name=self._name, nodeid=self._name)  # pyright: ignore[reportUnknownMemberType]
        items.extend(
            made(collector, name=f"{fault.name}[{app.name}]", fault=fault, app=app, suite=self)
            for app in self._apps
            for fault in SUITES[self._name]
        )
        session.testscollected = len(items)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if not report.nodeid.startswith(f"{self._name}::") or (report.when != "call" and report.passed):
            return
        told = dict(report.user_properties)
        name = report.nodeid.rpartition("::")[2]
        fault, _, app = name.partition("[")
        why = report.longrepr[2] if report.skipped and isinstance(report.longrepr, tuple) else ""
        outcome = f"skipped: {why.removeprefix('Skipped: ')}" if report.skipped else report.outcome
        fleet_s = told.get("skerry_fleet_s")
        seconds = float(fleet_s) if isinstance(fleet_s, int | float) else 0.0
        self._outcomes.append((app.rstrip("]"), fault, outcome, seconds, report.duration))

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        if not self._outcomes:
            return
        terminalreporter.section(f"skerry {self._name} suite")
        width = max(len(fault) for _, fault, *_ in self._outcomes)
        for app in dict.fromkeys(app for app, *_ in self._outcomes):
            mine = [outcome for outcome in self._outcomes if outcome[0] == app]
            held = sum(1 for _, _, outcome, _, _ in mine if outcome == "passed")
            run = sum(1 for _, _, outcome, _, _ in mine if not outcome.startswith("skipped"))
            terminalreporter.write_line(f"{app}: {held} of {run} faults stood, {len(mine) - run} skipped")
            for _, fault, outcome, fleet_s, took_s in mine:
                said = "stood" if outcome == "passed" else "FELL" if outcome == "failed" else outcome
                figures = f"{fleet_s:8.0f} s of the fleet in {took_s:5.1f} s  " if fleet_s else " " * 33
                terminalreporter.write_line(f"  {fault:<{width}}  {figures}{said}")


class SuiteCollector(pytest.Collector):
    """Parent of the items; collects nothing by itself."""

    def collect(self) -> list[pytest.Item]:
        return []


class SuiteItem(pytest.Item):
    """One fault on one app."""

    def __init__(self, *, fault: Fault, app: App, suite: Suite, **told: Any) -> None:
        super().__init__(**told)  # pyright: ignore[reportUnknownMemberType]
        self.fault = fault
        self.app = app
        self._suite = suite
        self._directory: Path | None = None

    def runtest(self) -> None:
        if self._suite.spent:
            pytest.skip("the time of --skerry-budget is over")
        directory = self._directory = Path(tempfile.mkdtemp(prefix="skerry-"))
        options = FleetOptions(
            directory=directory,
            seed=self.config.getoption("skerry_seed") or 0,
            full_time=bool(self.config.getoption("skerry_full_time")),
            keep=bool(self.config.getoption("skerry_keep")),
        )
        fleet = open_fleet(str(self.config.getoption("skerry_backend")), options)
        self.stash[FLEET] = fleet
        stage = Stage(fleet=fleet, app=self.app)
        stage.build()
        why = reason_to_skip(self.fault, stage)
        if why:
            pytest.skip(why)
        play(self.fault, stage)

    def teardown(self) -> None:
        fleet = self.stash.get(FLEET, None)
        if fleet is not None:
            fleet.close()
        if self._directory is not None and not self.config.getoption("skerry_keep"):
            shutil.rmtree(self._directory, ignore_errors=True)

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        if isinstance(excinfo.value, AssertionError | SkerryError):
            return f"{self.app.name}: {self.fault.title}\n\n{excinfo.value}"
        return super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[Path, int | None, str]:
        return self.path, None, f"{self.fault.name}[{self.app.name}]"
