"""The real `skerry device` against a real cloud, and against the agent of a gateway that is cut off: same words."""

from __future__ import annotations

import csv
import io
import json
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from skerry.cli import kubeconfig
from skerry.cli.apply import read_manifests
from skerry.cli.client import Answer, Client
from skerry.cli.device_carrying import carry_out
from skerry.cli.device_plan import planned
from skerry.errors import UnavailableError
from skerry.objects.json import JsonObject, dig, ensure_map, maps_at, str_at
from tests.system import forked
from tests.system.real_fleet import NODE, RealFleet, real_fleet, until
from tests.system.test_devices import Plc, example, plc

__all__ = ["plc"]

pytestmark = pytest.mark.system


@pytest.fixture
def fleet(tmp_path: Path, plc: Plc) -> Iterator[RealFleet]:
    """A cloud, a gateway that runs, and a boiler on it."""
    with real_fleet(tmp_path, "--heartbeat-s", "1", "--node-grace-s", "1") as made:
        made.edge.start()
        until(lambda: made.ready() == "True", "the node is ready")
        for obj in example("04-plc", plc.port):
            ensure_map(obj, "metadata").pop("uid", None)
            kind = "devicemodels" if obj["kind"] == "DeviceModel" else "devices"
            made.create(f"/apis/devices.kubeedge.io/v1beta1/namespaces/default/{kind}", obj)
        until(lambda: made.device_state("boiler-1") == "online", "the boiler is there")
        until(lambda: str_at(made.twin("boiler-1", "temperature"), "reported", "value"), "it told its temperature")
        yield made


def skerry(where: Path, *words: str) -> tuple[int, str, str]:
    """Exit code, output and errors of the real command, without a terminal."""
    command = [sys.executable, "-m", "skerry.cli.main", "device", *words, "--data", str(where)]
    done = forked.run(command, timeout_s=60)
    assert "Traceback" not in done.stderr, done.stderr
    assert "\x1b" not in done.stdout + done.stderr, "no colour where there is no terminal"
    return done.returncode, done.stdout, done.stderr


class Lossy(Client):
    """What it writes arrives, and nobody hears so."""

    writes = 0

    def request(self, method: str, path: str, *, query: Mapping[str, str] | None = None, **more: Any) -> Answer:
        answer = super().request(method, path, query=query, **more)
        if method == "GET" or (query or {}).get("dryRun") == "All":
            return answer
        self.writes += 1
        raise UnavailableError("the connection broke")


def last(where: Path) -> dict[str, str]:
    """The newest row of the setpoint's history, of what the gateway remembers or the cloud has."""
    _, out, _ = skerry(where, "history", "boiler-1/setpoint", "--limit", "1", "-o", "jsonl")
    return json.loads(out.splitlines()[-1])


def test_the_same_words_work_in_the_cloud_and_on_a_gateway_that_is_cut_off(fleet: RealFleet, plc: Plc) -> None:
    cloud, edge = fleet.cloud.data, fleet.edge.data
    for where in (cloud, edge):
        if where is edge:
            fleet.edge.api.request("POST", "/skerry/link/cut", body={})
            until(lambda: fleet.ready() == "Unknown", "the cloud sees that the node is silent")
        assert skerry(where, "list", "-o", "csv", "--fields", "name,state")[1] == "name,state\nboiler-1,online\n"
        _, out, _ = skerry(where, "get", "boiler-1", "-o", "jsonl")
        assert [json.loads(line)["property"] for line in out.splitlines()][:2] == ["temperature", "setpoint"]
        _, out, _ = skerry(where, "why", "boiler-1/temperature")
        assert "hr:0 (40001), 2 registers" in out and "order       CDAB" in out and "float32" in out
        code, out, _ = skerry(where, "read", "boiler-1/setpoint")
        assert (code, out.strip()) == (0, str(plc.register(2) / 10))
        code, out, _ = skerry(where, "read", "boiler-1", "--fresh", "1m", "--raw", "-o", "csv")
        rows = {row["property"]: row for row in csv.DictReader(io.StringIO(out))}
        assert rows["setpoint"]["raw"] == f"0x{plc.register(2):04X}" and rows["setpoint"]["from"] == "memory"
        code, out, _ = skerry(where, "bus", "stats")
        assert code == 0 and f"127.0.0.1:{plc.port} at eu-1: " in out and " requests a second" in out
        (line,) = maps_at(json.loads(skerry(where, "bus", "stats", "boiler-1", "-o", "json")[1]), "items")
        (unit,) = maps_at(line, "units")
        assert (dig(unit, "devices"), dig(unit, "breaker")) == (["default/boiler-1"], "closed")
        assert int(str(dig(unit, "requests"))) > 0 and dig(unit, "wrongAnswers") == 0
        writes = plc.register(10)
        wanted = "61" if where is cloud else "62"
        code, out, _ = skerry(where, "set", "boiler-1", f"setpoint={wanted}", "--dry-run")
        assert code == 0 and f"hr:2 (40003) = 0x{int(wanted) * 10:04X}" in out and "would be written" in out
        code, out, err = skerry(where, "set", "boiler-1", "setpoint=61.25", "--dry-run")
        assert code == 5 and "between two steps" in out and "between two steps" in err
        assert plc.register(10) == writes, "a rehearsal writes nothing"
        if where is cloud:
            assert skerry(where, "set", "boiler-1", f"setpoint={wanted}", "--wait", "verified")[0] == 0
        else:
            assert skerry(where, "set", "boiler-1", f"setpoint={wanted}", "--wait", "verified", "--ttl", "1h")[0] == 0
        assert (plc.register(2), plc.register(10)) == (int(wanted) * 10, writes + 1)
        _, out, _ = skerry(where, "why", "boiler-1", "setpoint", "-o", "json")
        told = json.loads(out)
        assert (dig(told, "ack", "state"), dig(told, "desired", "value")) == ("verified", wanted)
        until(lambda: last(where)["value"] == f"{wanted}.0", "its history to show it")  # noqa: B023 - asked at once
        assert last(where)["node"] == NODE
        _, out, _ = skerry(
            where, "history", "boiler-1/setpoint", "--step", "1d", "--aggregate", "last,count", "-o", "jsonl"
        )
        step = json.loads(out.splitlines()[-1])
        assert (step["last"], step["dropped"]) == (f"{wanted}.0", 0) and step["count"] > 1
        assert maps_at(told, "steps")[0] == {"name": "words", "says": f"0x{int(wanted) * 10:04X}"}


def test_what_can_t_be_done_says_why_with_its_exit_code_and_what_to_do_next(fleet: RealFleet, plc: Plc) -> None:
    cloud, edge = fleet.cloud.data, fleet.edge.data
    for where in (cloud, edge):
        code, _, err = skerry(where, "get", "absent")
        assert code == 3 and "skerry device list -A" in err
        code, _, err = skerry(where, "why", "boiler-1/speed")
        assert code == 3 and "it has: temperature" in err
        code, _, err = skerry(where, "why", "boiler-1")
        assert code == 2 and "skerry device why boiler-1/PROPERTY" in err
        code, _, err = skerry(where, "set", "boiler-1", "setpoint=91")
        assert code == 5 and "above the maximum of 90" in err
        assert skerry(where, "list", "-o", "xml")[0] == 2
        assert skerry(where, "bus", "stats", "absent")[0] == 3
        assert skerry(where, "list", "--fields", "nmae")[0] == 2
    code, out, _ = skerry(
        cloud, "history", "boiler-1/temperature", "--step", "1h", "--agg", "count,min", "-o", "jsonl"
    )
    assert code == 0 and int(json.loads(out.splitlines()[-1])["count"]) > 0
    code, _, err = skerry(cloud, "set", "boiler-1", "setpoint=50", "--if-match", "1")
    assert code == 4
    assert skerry(edge, "events", "boiler-1")[0] == 7
    fleet.edge.api.request("POST", "/skerry/link/cut", body={})
    until(lambda: fleet.ready() == "Unknown", "the cloud sees that the node is silent")
    code, _, err = skerry(cloud, "why", "boiler-1/setpoint")
    assert code == 7 and "not connected" in err
    assert skerry(edge, "set", "boiler-1", "setpoint=51", "--wait", "verified")[0] == 0
    code, _, err = skerry(cloud, "set", "boiler-1", "setpoint=50", "--wait", "verified", "--timeout", "1s")
    assert code == 7 and "queued: gateway eu-1 is not heard" in err
    fleet.edge.api.request("POST", "/skerry/link/heal", body={})
    until(lambda: plc.register(2) == 500, "what was queued is carried out")
    logs: list[dict[str, JsonObject]] = []
    for where in (cloud, edge):
        _, out, _ = skerry(where, "conflicts", "list", "-o", "jsonl")
        assert (dig(json.loads(out), "lost", "value"), dig(json.loads(out), "wanted", "value")) == ("51", "50")
        _, out, _ = skerry(where, "history", "boiler-1/setpoint", "--desired", "-o", "jsonl")
        log = {str_at(item, "version"): item for item in map(json.loads, out.splitlines())}
        newest = str_at(json.loads(out.splitlines()[-1]), "value")
        assert newest == "50", "what won is what was wanted last"
        logs.append(log)
    assert ("51", "edge") in {(str_at(item, "value"), str_at(item, "side")) for item in logs[1].values()}
    assert logs[0].keys() & logs[1].keys(), "both sides know the versions by the same names"
    for version in logs[0].keys() & logs[1].keys():
        told = [[dig(log[version], name) for name in ("property", "value", "by", "side", "uid")] for log in logs]
        assert told[0] == told[1]
    assert skerry(cloud, "conflicts", "resolve", "boiler-1/setpoint", "--take", "edge")[0] == 0
    until(lambda: plc.register(2) == 510, "what a person chose is carried out")
    assert skerry(cloud, "conflicts", "list")[1:] == ("", "No conflicts.\n")
    for where in (cloud, edge):
        assert skerry(where, "set", "boiler-1", "setpoint=52", "--if-match", "1.1")[0] == 4
    assert skerry(edge, "unset", "boiler-1", "setpoint")[0] == 0
    assert "wanted      nothing" in skerry(edge, "why", "boiler-1/setpoint")[1]
    for where in (cloud, edge):
        assert skerry(where, "hold", "boiler-1", "--reason", "new pump", "--until", "1h")[0] == 0
        until(lambda: "boiler-1" in skerry(edge, "list", "--state", "held", "-o", "name")[1], "it is held")
        code, _, err = skerry(edge, "read", "boiler-1/setpoint")
        assert code == 7 and "new pump" in err
        assert skerry(where, "release", "boiler-1")[0] == 0
        until(lambda: "boiler-1" in skerry(edge, "list", "--state", "online", "-o", "name")[1], "it is released")


def test_devices_are_exported_compared_applied_edited_and_deleted(
    fleet: RealFleet, plc: Plc, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cloud, edge, file = fleet.cloud.data, fleet.edge.data, tmp_path / "devices.yaml"
    assert skerry(cloud, "set", "boiler-1", "setpoint=60", "--wait", "verified")[0] == 0
    file.write_text(skerry(cloud, "export")[1])
    for where in (cloud, edge):
        assert skerry(where, "apply", "-f", str(file))[0] == 0
        assert skerry(where, "diff", "-f", str(file), "--check")[:2] == (
            0,
            "Nothing would change: all is as the manifests have it.\n",
        )
    other = tmp_path / "other.yaml"
    for where, value in ((cloud, "61"), (edge, "62")):
        if where is edge:
            fleet.edge.api.request("POST", "/skerry/link/cut", body={})
        other.write_text(re.sub(r"value: .*", f"value: '{value}'", file.read_text()))
        code, out, _ = skerry(where, "diff", "-f", str(other), "--check")
        assert code == 4 and f"hr:2 (40003) = 0x{int(value) * 10:04X}" in out
        assert plc.register(2) != int(value) * 10
        assert skerry(where, "apply", "-f", str(other), "--wait", "verified")[0] == 0
        assert plc.register(2) == int(value) * 10
    assert skerry(edge, "rollback", "boiler-1", "--wait", "verified")[0] == 0
    assert plc.register(2) == 610, "as it was before somebody on site applied something"
    assert skerry(edge, "set", "boiler-1", "setpoint=62", "--wait", "verified")[0] == 0
    other.write_text(other.read_text().replace("timeoutMs: 500", "timeoutMs: 600"))
    code, _, err = skerry(edge, "apply", "-f", str(other))
    assert code == 7 and "only the cloud changes spec.protocol.configData.timeoutMs" in err
    code, _, err = skerry(edge, "queue", "drain")
    assert code == 7 and "skerry link heal" in err
    assert "telemetry" in skerry(edge, "queue", "status", "-o", "csv")[1]
    fleet.edge.api.request("POST", "/skerry/link/heal", body={})
    until(lambda: fleet.ready() == "True", "the cloud hears the gateway")
    assert skerry(edge, "queue", "drain")[:2] == (0, "eu-1: all that waited is in the cloud\n")
    assert skerry(cloud, "queue", "drain", "eu-1")[0] == 0
    assert (
        skerry(edge, "queue", "gaps")[2] == skerry(cloud, "queue", "gaps", "boiler-1")[2] == "Nothing was dropped.\n"
    )
    until(lambda: "62" in skerry(cloud, "get", "boiler-1", "setpoint")[1], "the cloud has what was applied there")
    monkeypatch.setenv("EDITOR", "sed -i s/'62'/'63'/")
    assert skerry(cloud, "edit", "boiler-1")[0] == 0
    until(lambda: plc.register(2) == 630, "what was edited is carried out")
    code, out, _ = skerry(cloud, "rollback", "boiler-1", "--dry-run")
    assert code == 0 and "63 -> 62" in out and "hr:2 (40003) = 0x026C" in out
    assert skerry(cloud, "rollback", "boiler-1/setpoint", "--wait", "verified")[0] == 0
    assert plc.register(2) == 620
    assert 'setpoint,62,63,"function 6' in skerry(edge, "rollback", "boiler-1", "--dry-run", "-o", "csv")[1]
    assert skerry(cloud, "ack", "list", "--state", "verified", "-o", "csv", "--fields", "property,wanted")[1] == (
        "property,wanted\nsetpoint,62\n"
    )
    assert skerry(cloud, "delta")[2] == "All is as it is wanted.\n"
    assert skerry(cloud, "set", "boiler-1", "setpoint=63", "--wait", "verified")[0] == 0
    monkeypatch.setenv("EDITOR", "sed -i s/'63'/'99'/")
    code, _, err = skerry(cloud, "edit", "boiler-1")
    assert code == 5 and "above the maximum of 90" in err
    kept = Path(err.split("is kept in ")[1].split()[0].rstrip(":"))
    assert "99" in kept.read_text()
    kept.unlink()
    assert skerry(cloud, "delete", "boiler-1")[0] == 2, "nobody is there to be asked"
    assert skerry(edge, "delete", "boiler-1", "--yes")[0] == 7
    assert skerry(cloud, "delete", "boiler-1", "--yes", "--with-model")[0] == 0
    assert skerry(cloud, "export")[0] == 3
    assert skerry(cloud, "apply", "-f", str(file))[:2] == (
        0,
        "devicemodel.devices.kubeedge.io/boiler created\ndevice.devices.kubeedge.io/boiler-1 created\n",
    )
    assert skerry(cloud, "delete", "boiler-1", "--yes", "--with-model")[0] == 0
    lossy = Lossy(cluster=kubeconfig.load(cloud / "admin.kubeconfig"))
    manifests = list(read_manifests(str(file)))
    carry_out(lossy, planned(lossy, manifests, "default"))
    assert lossy.writes == 2, "each is written once"
    assert skerry(cloud, "diff", "-f", str(file), "--check")[0] == 0
    until(lambda: plc.register(2) == 600, "the device has it")
    other.write_text(re.sub(r"value: .*", "value: '64'", file.read_text()))
    for again in (Lossy(cluster=lossy.cluster), Lossy(socket_path=edge / "edgecore.sock")):
        plan = planned(again, list(read_manifests(str(other))), "default")
        carry_out(again, [one for one in plan if one.action != "nothing"])
        assert again.writes == 1 and skerry(edge if again.local else cloud, "diff", "-f", str(other))[0] == 0
        until(lambda: plc.register(2) in (640, 650), "the device has it")
        other.write_text(other.read_text().replace("'64'", "'65'"))
    until(lambda: plc.register(2) == 650, "and what the gateway was told")


def faults(where: Path) -> set[str]:
    """Checks of the doctor that find one."""
    told = json.loads(skerry(where, "doctor", "-o", "json")[1])["items"]
    return {str_at(each, "check") for one in told for each in one["findings"] if each["level"] == "fault"}


def test_the_doctor_finds_what_is_wrong_in_the_cloud_and_on_a_gateway_that_is_cut_off(
    fleet: RealFleet, plc: Plc, tmp_path: Path
) -> None:
    cloud, edge = fleet.cloud.data, fleet.edge.data
    for where in (cloud, edge):
        until(lambda where=where: " good and fresh" in skerry(where, "doctor")[1], "all to be read")
        code, out, err = skerry(where, "doctor", "boiler-1", "--live")
        assert (code, err) == (0, ""), out
        assert "default/boiler-1 at eu-1: well" in out and "is open" in out and "asked just now" in out
    assert skerry(cloud, "doctor", "nobody")[0] == 3
    assert skerry(cloud, "set", "boiler-1", "setpoint=60", "--wait", "verified")[0] == 0
    plc.process.kill()
    plc.process.wait()
    for where in (cloud, edge):
        until(lambda where=where: skerry(where, "doctor")[0] in (6, 7), "the doctor to see that it is silent")
        # What is read fails first, and the line is told of as soon as it is tried again.
        until(lambda where=where: "value" in (found := faults(where)) and found & {"line", "state"}, "why it is")
        if where is cloud:
            fleet.edge.api.request("POST", "/skerry/link/cut", body={})
    code, out, err = skerry(edge, "doctor", "-q")
    assert code in (6, 7) and "the link is cut by hand" in out and "-> " in out and "ok " not in out
    until(lambda: fleet.ready() != "True", "the cloud misses the gateway")
    code, out, err = skerry(cloud, "doctor", "boiler-1")
    assert code == 7 and "gateway eu-1" in err and "`skerry device doctor boiler-1`" in out
    lost = tmp_path / "lost.yaml"
    lost.write_text(
        "apiVersion: devices.kubeedge.io/v1beta1\nkind: Device\nmetadata: {name: lost}\n"
        "spec: {nodeName: nowhere, deviceModelRef: {name: none}, protocol: {protocolName: modbus}}\n"
    )
    assert fleet.cloud.skerry("apply", "-f", str(lost), "-n", "default")
    code, out, _ = skerry(cloud, "doctor", "lost", "-o", "csv")
    checks = {(row["level"], row["check"]) for row in csv.DictReader(io.StringIO(out))}
    assert code == 3 and {("fault", "model"), ("fault", "node")} <= checks
