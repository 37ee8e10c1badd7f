"""The pytest plugin: options, fixtures, and what a failed test tells about its fleet.

Loaded in every pytest run of an environment that has Skerry, so it imports nothing of Skerry until a test asks for a
fleet or the suite is asked for, and its fixtures give way to a project's own of the same names.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Generator, Sequence
from typing import TYPE_CHECKING, Any, Final

import pytest

if TYPE_CHECKING:
    from skerry.testkit.face import Broker, Cloud, Edge, Fleet, Plc

FLEET: Final[pytest.StashKey[Fleet]] = pytest.StashKey()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Our options."""
    group = parser.getgroup("skerry", "Skerry's test kit")
    group.addoption(
        "--skerry-backend",
        choices=("simulated", "real"),
        default="simulated",
        help="what fleets are made of: virtual time and links in memory, or processes and network namespaces",
    )
    group.addoption("--skerry-seed", type=int, default=0, metavar="N", help="chance of simulated fleets (default 0)")
    group.addoption("--skerry-suite", choices=("disconnect",), help="run a suite of faults on any app's manifests")
    told: dict[str, Any] = {
        "action": "append",
        "dest": "skerry_manifests",
        "metavar": "PATH",
        "help": "file or directory of an app for --skerry-suite; may be given several times",
    }
    try:
        group.addoption("--manifests", "--skerry-manifests", **told)
    except ValueError:  # another plugin has --manifests: ours is still there by its longer name
        group.addoption("--skerry-manifests", **told)
    group.addoption(
        "--skerry-budget", type=float, metavar="SECONDS", help="begin no fault of a suite after so much time"
    )
    group.addoption(
        "--skerry-full-time",
        action="store_true",
        help="on real processes: heartbeats of 30 s as in production, and faults that last as long as they say",
    )
    group.addoption("--skerry-keep", action="store_true", help="leave what fleets wrote to the disk where it is")
    group.addoption("--skerry-report", metavar="FILE", help="write what became of each fleet to FILE, as JSON")


def pytest_configure(config: pytest.Config) -> None:
    """Our marker, and the report and the suite when they are asked for."""
    config.addinivalue_line(
        "markers", "skerry(backend=None, seed=None): choose the backend or the seed of this test's fleet"
    )
    path: str | None = config.getoption("skerry_report")
    if path is not None:
        from skerry.testkit.report import Ledger

        config.pluginmanager.register(Ledger(path), "skerry-report")
    suite: str | None = config.getoption("skerry_suite")
    if suite is not None:
        from skerry.testkit.suite.collection import Suite

        config.pluginmanager.register(Suite(config, suite), "skerry-suite")
    elif config.getoption("skerry_manifests"):
        raise pytest.UsageError("--manifests is for a suite: add --skerry-suite disconnect")


@pytest.fixture
def fleet(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Generator[Fleet]:
    """A cloud that runs, with no gateways yet. See `skerry.testkit.Fleet`."""
    from skerry.testkit.fleets import FleetOptions, open_fleet

    config = request.config
    item: pytest.Item = request.node
    marker = item.get_closest_marker("skerry")
    asked: dict[str, Any] = {name: config.getoption(f"skerry_{name}") for name in ("backend", "seed")}
    asked |= marker.kwargs if marker is not None else {}
    options = FleetOptions(
        directory=tmp_path_factory.mktemp("skerry"),
        seed=asked["seed"],
        full_time=bool(config.getoption("skerry_full_time")),
        keep=bool(config.getoption("skerry_keep")),
    )
    made = open_fleet(asked["backend"], options)
    item.stash[FLEET] = made
    try:
        yield made
    finally:
        made.close()
        if not options.keep:
            shutil.rmtree(options.directory, ignore_errors=True)


@pytest.fixture
def cloud(fleet: Fleet) -> Cloud:
    """The fleet's control plane."""
    return fleet.cloud


@pytest.fixture
def edge(fleet: Fleet) -> Callable[..., Edge]:
    """`edge("plant-7", labels={...})`: the gateway of this name, made when it is first asked for."""
    return fleet.edge


@pytest.fixture
def apply(fleet: Fleet) -> Callable[..., Sequence[dict[str, Any]]]:
    """`apply("my.yaml")`: what kubectl apply does."""
    return fleet.apply


@pytest.fixture
def eventually(fleet: Fleet) -> Callable[..., Any]:
    """`eventually(lambda: ..., within_s=60)`: let time pass until it is true."""
    return fleet.eventually


@pytest.fixture
def plc(fleet: Fleet) -> Callable[..., Plc]:
    """`plc("boiler", port=502)`: a Modbus device on the gateways' network."""
    return fleet.plc


@pytest.fixture
def broker(fleet: Fleet) -> Callable[..., Broker]:
    """`broker(port=1883)`: an MQTT broker on the gateways' network, and the devices that speak through it."""
    return fleet.broker


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Add what the fleet looked like to a failure, and figures to every report."""
    report = yield
    made = item.stash.get(FLEET, None)
    if made is not None and report.when == "call":
        from skerry.testkit.report import note_fleet

        note_fleet(report, made, item)
    return report
