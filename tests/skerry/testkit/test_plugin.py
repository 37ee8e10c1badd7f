"""The plugin in pytest runs of its own, as users have them."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

pytest_plugins = ["pytester"]
ROOT = Path(__file__).resolve().parents[3]
APP = Path(__file__).parent / "manifests"
SETS = Path(__file__).parent / "sets"
"""A DaemonSet on two of three gateways, and a StatefulSet."""


@pytest.fixture
def project(pytester: pytest.Pytester) -> pytest.Pytester:
    """A user's project: its settings are its own."""
    pytester.makeini("[pytest]\nasyncio_default_fixture_loop_scope = function\n")
    return pytester


def run(project: pytest.Pytester, *arguments: str) -> pytest.RunResult:
    return project.runpytest_subprocess("-p", "no:cacheprovider", *arguments)


def test_a_run_that_does_not_use_it_imports_nothing_of_the_cores(project: pytest.Pytester) -> None:
    project.makepyfile(
        """
        import sys

        def test_nothing_is_imported():
            loaded = {name for name in sys.modules if name.partition(".")[0] in ("cloudcore", "edgecore", "devices")}
            assert not loaded
            assert "skerry.objects" not in sys.modules
            """
    )
    run(project, "-W", "error").assert_outcomes(passed=1)


def test_a_projects_own_fixtures_of_the_same_names_win(project: pytest.Pytester) -> None:
    project.makeconftest("import pytest\n@pytest.fixture\ndef fleet():\n    return 'mine'\n")
    project.makepyfile("def test_it(fleet):\n    assert fleet == 'mine'\n")
    run(project).assert_outcomes(passed=1)


def test_the_short_fixtures_are_of_one_fleet(project: pytest.Pytester) -> None:
    project.makepyfile(
        """
        def test_it(fleet, cloud, edge, apply, eventually, plc):
            plant = edge("plant-7", labels={"site": "north"})
            apply({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}, "data": {"a": "1"}})
            eventually(lambda: plant.in_step)
            assert cloud.get("cm", "c")["data"] == {"a": "1"}
            assert cloud.node_ready("plant-7") == "True"
            assert fleet.get("node", "plant-7")["metadata"]["labels"]["site"] == "north"
            assert plc(port=5020).port == 5020
        """
    )
    run(project).assert_outcomes(passed=1)


def test_a_failure_shows_the_fleet_and_how_to_run_it_again(project: pytest.Pytester) -> None:
    project.makepyfile(
        """
        def test_it(fleet):
            plant = fleet.edge("plant-7")
            plant.link.half_open(down=False)
            plant.link.cut()
            fleet.eventually(lambda: plant.connected, within_s=300)
        """
    )
    told = run(project, "--skerry-seed", "5", "--skerry-report", "report.json", "--junitxml", "junit.xml")
    told.assert_outcomes(failed=1)
    text = told.stdout.str()
    assert "not within 300 s: fleet.eventually(lambda: plant.connected, within_s=300)" in text
    assert "plant-7: agent runs, link cut, not connected" in text
    assert "plant-7      link: cut" in text
    assert "faults, 2:" in text
    assert "s  plant-7  link: half-open (up)" in text
    assert "run it again: pytest " in text
    assert "--skerry-backend simulated --skerry-seed 5" in text
    (line,) = json.loads((project.path / "report.json").read_text())["tests"]
    assert (line["outcome"], line["seed"], line["backend"]) == ("failed", 5, "simulated")
    assert line["fleet_s"] > 300
    assert "link cut" in line["fleet"]
    assert [(fault["who"], fault["what"]) for fault in line["faults"]][-1] == ("plant-7", "link: cut")
    properties = ElementTree.parse(project.path / "junit.xml").iter("property")
    assert ("skerry_seed", "5") in {(one.get("name"), one.get("value")) for one in properties}


def test_the_suite_is_collected_with_ids_to_read_and_selected_with_k(project: pytest.Pytester) -> None:
    shutil.copytree(APP, project.path / "shop/manifests")
    project.makepyfile("def test_of_my_own():\n    raise AssertionError('nobody asked for me')\n")
    arguments = ("--skerry-suite", "disconnect", "--manifests", "shop/manifests", "-k", "reconnect or agent-killed")
    told = run(project, *arguments, "-v", "--junitxml", "junit.xml")
    told.assert_outcomes(passed=2, deselected=18)
    told.stdout.fnmatch_lines(
        [
            "disconnect::reconnect?shop? PASSED*",
            "disconnect::agent-killed?shop? PASSED*",
            "*= skerry disconnect suite =*",
            "shop: 2 of 2 faults stood, 0 skipped",
            "  reconnect * s of the fleet in * s  stood",
        ]
    )
    cases = {(case.get("classname"), case.get("name")) for case in ElementTree.parse("junit.xml").iter("testcase")}
    assert cases == {("disconnect", "reconnect[shop]"), ("disconnect", "agent-killed[shop]")}


def test_daemons_and_numbered_pods_are_held_to_what_their_manifests_say(project: pytest.Pytester) -> None:
    shutil.copytree(SETS, project.path / "sets")
    chosen = "power-cycle-offline or config-changed-offline or app-deleted-offline or cloud-restored"
    told = run(project, "--skerry-suite", "disconnect", "--manifests", "sets", "-k", chosen)
    told.assert_outcomes(passed=4, deselected=16)
    told.stdout.fnmatch_lines(["sets: 4 of 4 faults stood, 0 skipped"])


def test_a_fault_that_an_app_falls_to_is_told_in_a_users_words(project: pytest.Pytester) -> None:
    app = project.path / "shop"
    app.mkdir()
    (app / "app.yaml").write_text(
        "apiVersion: v1\nkind: Pod\nmetadata: {name: till}\n"
        "spec: {containers: [{name: c, image: x, envFrom: [{configMapRef: {name: absent}}]}]}\n"
    )
    (app / "expectations.yaml").write_text("readyWithinSeconds: 20\nskip: [flapping]\n")
    told = run(
        project, "--skerry-suite", "disconnect", "--manifests", "shop", "-k", "reconnect or flapping or desired"
    )
    told.assert_outcomes(failed=1, skipped=3, deselected=16)
    text = told.stdout.str()
    assert "A reconnect leaves healthy pods alone." in text
    assert "every pod runs and is ready" in text
    assert 'configmap "absent" not found' in text
    assert "run it again: pytest --skerry-suite disconnect -k 'reconnect[shop]' --manifests shop" in text
    assert "skipped: the app's expectations skip it" in text
    assert "skipped: no device has a writable number or boolean" in text


def test_the_first_examples_manifests_stand_as_they_are(project: pytest.Pytester) -> None:
    app = project.path / "one-fleet"
    app.mkdir()
    for source in (ROOT / "examples/01-one-fleet/manifests").iterdir():
        text = source.read_text().replace("@PLC_PORT@", "5020").replace("@MQTT_PORT@", "1883")
        (app / source.name).write_text(text.replace("@PASSWORD_FILE@", "/run/password"))
    told = run(project, "--skerry-suite", "disconnect", "--manifests", "one-fleet", "-n", "2")
    told.assert_outcomes(passed=20)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--skerry-suite", "disconnect"), "needs an app: add --manifests DIRECTORY"),
        (("--manifests", "absent", "--skerry-suite", "disconnect"), "absent: there is no such file or directory"),
        (("--manifests", "x"), "--manifests is for a suite: add --skerry-suite disconnect"),
    ],
)
def test_a_command_that_makes_no_sense_is_refused_in_one_line(
    project: pytest.Pytester, arguments: tuple[str, ...], said: str
) -> None:
    told = run(project, *arguments)
    assert told.ret == pytest.ExitCode.USAGE_ERROR
    assert said in told.stderr.str()
    assert "Traceback" not in told.stderr.str()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("gateway: {}", "gateway: no such field; there are gateways, plcs, topics, desired"),
        ("settleWithinSeconds: soon", "settleWithinSeconds: is a number of seconds above 0"),
        ("plcs: {boiler: {}}", "plcs: is a map by TCP port"),
        ("plcs: {502: {holding: {a: 1}}}", "plcs[502].holding: is a map of addresses to whole numbers"),
        ("desired: {boiler: {setpoint: 3}}", "desired.boiler.setpoint: is a list of two values"),
        ("skip: [nothing-like-it]", "no fault is called nothing-like-it"),
    ],
)
def test_expectations_are_checked_field_by_field(project: pytest.Pytester, text: str, said: str) -> None:
    app = project.path / "shop"
    app.mkdir()
    (app / "app.yaml").write_text("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\n")
    (app / "expectations.yaml").write_text(text)
    told = run(project, "--skerry-suite", "disconnect", "--manifests", "shop")
    assert told.ret == pytest.ExitCode.USAGE_ERROR
    assert said in told.stderr.str()


def test_loading_the_plugin_takes_no_time_worth_speaking_of() -> None:
    code = (
        "import pytest, sys; before = set(sys.modules); import skerry.testkit.plugin; "
        "print(*(set(sys.modules) - before))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert set(done.stdout.split()) <= {"skerry", "skerry.testkit", "skerry.testkit.plugin"}
