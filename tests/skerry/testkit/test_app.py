"""What a suite reads out of manifests."""

from __future__ import annotations

from pathlib import Path

import pytest

from skerry.errors import InvalidError, NotFoundError
from skerry.testkit.suite.app import read_app, read_expectations
from skerry.testkit.suite.stage import is_of

ROOT = Path(__file__).resolve().parents[3]
POD = "apiVersion: v1\nkind: Pod\nmetadata: {name: NAME}\nspec: {SPEC}\n---\n"


def written(directory: Path, *specs: str) -> Path:
    text = "".join(POD.replace("NAME", f"pod-{at}").replace("SPEC", spec) for at, spec in enumerate(specs))
    (directory / "app.yaml").write_text(text)
    return directory


def test_gateways_are_those_named_then_one_for_each_selector_left_over(tmp_path: Path) -> None:
    specs = ("nodeName: north", "nodeSelector: {site: a}", "nodeSelector: {site: b}", "nodeSelector: {site: a}", "")
    app = read_app(written(tmp_path, *specs))
    assert app.gateways == {"north": {}, "edge-2": {"site": "a"}, "edge-3": {"site": "b"}}


def test_an_app_that_names_none_runs_on_one_gateway(tmp_path: Path) -> None:
    assert read_app(written(tmp_path, "")).gateways == {"edge-1": {}}


def test_expected_gateways_serve_the_selectors_that_they_match(tmp_path: Path) -> None:
    (tmp_path / "expectations.yaml").write_text("gateways: {shop: {labels: {site: a, size: big}}}\n")
    assert read_app(written(tmp_path, "nodeSelector: {site: a}")).gateways == {"shop": {"site": "a", "size": "big"}}


def test_the_example_is_understood_whole() -> None:
    app = read_app(ROOT / "examples/02-test-kit/manifests")
    assert app.name == "02-test-kit"
    assert app.configs == [("default", "alarm")]
    (device,) = app.devices
    assert (device.node, device.protocol, device.plc_port) == ("shop-12", "modbus", 5020)
    assert device.writable == {"setpoint": ("-22", "-25")}
    assert app.expects.plcs == {5020: {"input": {0: 65336}, "holding": {0: 65336}}}
    assert app.expects.ready_s == 30


def test_values_to_want_are_within_the_models_range() -> None:
    app = read_app(ROOT / "examples/04-plc/device.yaml")
    assert app.devices[0].writable == {"setpoint": ("33", "62"), "fan": ("true", "false")}


def test_a_pod_is_known_by_its_workloads_name() -> None:
    app = read_app(ROOT / "examples/01-one-fleet/manifests/app.yaml")
    eu = app.workloads[0]
    assert is_of(eu, "greeter-eu-648dbbb9dd-97f4w")
    assert not is_of(eu, "greeter-us-64dfcc7d57-w8f9r")
    assert not is_of(eu, "greeter-eu-648dbbb9dd")


def test_a_daemon_set_has_a_pod_on_each_gateway_that_it_is_for() -> None:
    app = read_app(Path(__file__).parent / "sets")
    counts = {workload.kind: workload.count(app.gateways) for workload in app.workloads}
    assert counts == {"DaemonSet": 2, "StatefulSet": 2}
    daemon, numbered = app.workloads
    assert is_of(daemon, "agent-x7k2p") and is_of(numbered, "queue-0")


def test_a_place_without_manifests_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidError, match="no manifests in it"):
        read_app(tmp_path)
    with pytest.raises(NotFoundError, match="no such file or directory"):
        read_app(tmp_path / "absent")


def test_a_gateways_labels_are_said_under_labels(tmp_path: Path) -> None:
    (tmp_path / "expectations.yaml").write_text("gateways:\n  gw-1: {site: north}\n")
    with pytest.raises(InvalidError, match=r"gateways.gw-1.site: no such field; there is labels, a map"):
        read_expectations(tmp_path / "expectations.yaml")
