"""Plans of what manifests change, and that they are carried out whole or not at all."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from typing import Any, cast

import pytest

from skerry.cli.client import Answer, Client
from skerry.cli.device_apply import change_shown, plan_lines, summary
from skerry.cli.device_carrying import STOPPING, carry_out
from skerry.cli.device_plan import Planned, planned
from skerry.errors import (
    AlreadyExistsError,
    BadRequestError,
    ConflictError,
    ForbiddenError,
    InvalidError,
    NotFoundError,
    UnavailableError,
)
from skerry.objects.device_desired import REVISION, ms_of
from skerry.objects.device_manifests import FieldChange
from skerry.objects.json import JsonObject, clone, ensure_map, map_at, maps_at, str_at
from skerry.objects.times import time_text

API = "devices.kubeedge.io/v1beta1"


def model(maximum: str = "90") -> JsonObject:
    held: JsonObject = {"address": "hr:2", "dataType": "int16", "scale": 0.1}
    prop: JsonObject = {
        "name": "setpoint",
        "type": "FLOAT",
        "accessMode": "ReadWrite",
        "maximum": maximum,
        "visitors": {"protocolName": "modbus", "configData": held},
    }
    return {"apiVersion": API, "kind": "DeviceModel", "metadata": {"name": "m"}, "spec": {"properties": [prop]}}


def device(value: str = "", name: str = "boiler") -> JsonObject:
    entry: JsonObject = {"name": "setpoint"}
    if value:
        entry["desired"] = {"value": value}
    return {
        "apiVersion": API,
        "kind": "Device",
        "metadata": {"name": name},
        "spec": {
            "deviceModelRef": {"name": "m"},
            "protocol": {"protocolName": "modbus", "configData": {"tcp": {"ip": "127.0.0.1"}, "slaveID": 3}},
            "properties": [entry],
        },
    }


@dataclass
class Server:
    """Objects in memory, each write a new revision; `failing` refuses writes to those paths."""

    held: dict[str, JsonObject] = field(default_factory=dict[str, JsonObject])
    failing: dict[str, Exception] = field(default_factory=dict[str, Exception])
    writes: list[str] = field(default_factory=list[str])
    told: list[JsonObject] = field(default_factory=list[JsonObject])
    local: bool = False
    namespace: str = "default"
    revision: int = 0
    busy: int = 0
    """So many times a device told something just before a write."""
    lost: list[str] = field(default_factory=list[str])
    """What becomes of the next writes: `before` it came, `after` it was stored, or "": their answers arrive."""
    away: bool = False
    """Nobody answers."""
    at: dict[str, Callable[[], object]] = field(default_factory=dict[str, Callable[[], object]])
    """What happens while a write (`PATCH boiler`) is under way."""
    place: str = "the cloud"

    def put(self, obj: JsonObject) -> JsonObject:
        self.revision += 1
        made = clone(obj)
        metadata = ensure_map(made, "metadata")
        metadata |= {"namespace": "default", "resourceVersion": str(self.revision), "uid": f"u{self.revision}"}
        plural = str_at(obj, "kind").lower() + "s"
        self.held[f"/apis/{API}/namespaces/default/{plural}/{str_at(obj, 'metadata', 'name')}"] = made
        return made

    def request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: JsonObject | None = None,
        content_type: str = "application/json",
        accept: str = "application/json",
    ) -> Answer:
        if self.away:
            raise UnavailableError("the cloud does not answer")
        if method == "GET":
            if path not in self.held:
                raise NotFoundError(f"{path} not found")
            return Answer(status=200, body=clone(self.held[path]), warnings=())
        assert body is not None
        named = f"{path}/{str_at(body, 'metadata', 'name')}" if method == "POST" else path
        if path.endswith("/twins"):
            named = path.removesuffix("/twins")
        kept = (query or {}).get("dryRun") != "All"
        if named in self.failing and kept:
            raise self.failing[named]
        if not kept:
            return Answer(status=200, body={}, warnings=())
        if (fate := self.lost.pop(0) if self.lost else "") == "before":
            raise UnavailableError("the connection broke")
        self.writes.append(f"{method} {path.rpartition('/')[2]}")
        if method == "POST" and named in self.held:
            raise AlreadyExistsError("it is there")
        kept = self._kept(method, named, body, path.endswith("/twins"))
        self.at.get(f"{method} {named.rpartition('/')[2]}", bool)()
        if fate:
            raise UnavailableError("the connection broke")
        return Answer(status=200, body=kept, warnings=())

    def _kept(self, method: str, path: str, body: JsonObject, of_twins: bool) -> JsonObject:
        if of_twins:
            return self._told(self.held[path.removesuffix("/twins")], body)
        if method == "DELETE":
            return self.held.pop(path)
        if method == "PATCH":
            now = self.held[path]
            if self.busy:
                self.busy -= 1
                self.revision += 1
                ensure_map(now, "metadata")["resourceVersion"] = str(self.revision)
            if str_at(body, "metadata", "resourceVersion") != str_at(now, "metadata", "resourceVersion"):
                raise ConflictError("somebody else wrote")
            body = {**now, "metadata": {**map_at(now, "metadata"), **map_at(body, "metadata")}, "spec": {
                **map_at(now, "spec"), **map_at(body, "spec")}}  # fmt: skip
        return self.put(body)

    def _told(self, held: JsonObject, body: JsonObject) -> JsonObject:
        """As a gateway: under the revision that is expected, and with the terms that it keeps."""
        revision = str_at(held, "metadata", "annotations", REVISION)
        if body.get("ifMatch", revision) != revision:
            raise ConflictError(f"what is wanted is at revision {revision}")
        self.told.append(body)
        for entry in maps_at(held, "spec", "properties"):
            for told in maps_at(body, "properties"):
                if told["name"] == entry["name"]:
                    terms: JsonObject = {name: told[name] for name in ("expires", "onReconnect") if name in told}
                    kept = {"reason": reason} if (reason := str_at(entry, "desired", "metadata", "reason")) else {}
                    entry["desired"] = {"value": told["value"], "metadata": {**terms, **kept}}
        if revision:
            ensure_map(held, "metadata", "annotations")[REVISION] = f"{revision}'"
        return {}


def plan_of(server: Server, *manifests: JsonObject) -> list[Planned]:
    return planned(cast(Client, server), [(f"f:{at}", obj) for at, obj in enumerate(manifests, 1)], "")


def applied(server: Server, plan: list[Planned]) -> None:
    carry_out(cast(Client, server), [one for one in plan if one.action != "nothing"])


def text(plan: list[Planned]) -> str:
    return "\n".join(plan_lines(plan))


def test_a_plan_shows_models_first_and_the_registers_that_would_be_written() -> None:
    server = Server()
    plan = plan_of(server, device("64"), model())
    assert [one.kind.kind for one in plan] == ["DeviceModel", "Device"]
    assert "sends function 6, write one register: unit 3, hr:2 (40003) = 0x0280" in text(plan)
    assert summary(plan) == "2 to make; 1 value to be written to devices."
    assert server.writes == []
    applied(server, plan)
    assert server.writes == ["POST devicemodels", "POST devices"]
    assert summary(plan_of(server, device("64"), model())) == "Nothing would change: all is as the manifests have it."
    assert "~ spec.properties[setpoint].desired.value  64 -> 70" in text(plan_of(server, device("70")))


def test_a_plan_shows_what_would_be_sent_over_the_network_and_what_is_in_it() -> None:
    server = Server()
    held = model()
    visitor: JsonObject = {"url": "set", "writeTemplate": '{"set": ${json}}'}
    maps_at(held, "spec", "properties")[0]["visitors"] = {"configData": visitor}
    obj = device("64")
    obj["spec"] = {
        **map_at(obj, "spec"),
        "protocol": {"protocolName": "http", "configData": {"url": "http://10.0.0.5/"}},
    }
    plan = plan_of(server, held, obj)
    assert 'sends PUT http://10.0.0.5/set, application/json: {"set": 64.0}' in text(plan)


def test_every_fault_is_named_and_nothing_is_applied() -> None:
    server = Server()
    wrong = device(name="wrong")
    ensure_map(wrong, "spec", "protocol", "configData")["slaveID"] = 999
    with pytest.raises(InvalidError, match="2 faults, so nothing is applied") as error:
        plan_of(server, model(), device("91"), wrong)
    told = [f"{cause.field}: {cause.message}" for cause in error.value.causes]
    assert "f:2: Device default/boiler: spec.properties[setpoint].desired.value: 91 is above" in told[0]
    assert "f:3: Device default/wrong: spec.protocol.configData.slaveID" in told[1]
    assert server.writes == []
    with pytest.raises(BadRequestError, match=r"skerry apply -f"):
        plan_of(server, {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}})
    with pytest.raises(BadRequestError, match=r"in f:1 and again in f:2"):
        plan_of(server, model(), model())


def test_a_value_is_judged_by_the_model_as_it_becomes() -> None:
    server = Server()
    server.put(model())
    server.put(device())
    assert [one.action for one in plan_of(server, model("100"), device("95"))] == ["change", "change"]
    with pytest.raises(InvalidError, match="above the maximum of 50"):
        plan_of(server, model("50"), device("64"))


def test_what_was_applied_before_a_failure_is_made_again_as_it_was(capsys: pytest.CaptureFixture[str]) -> None:
    server = Server()
    server.put(model())
    before = map_at(server.put(device("20")), "spec")
    second = f"/apis/{API}/namespaces/default/devices/second"
    server.failing[second] = ForbiddenError("not yours")
    plan = plan_of(server, model("100"), device("95"), device("10", "third"), device("10", "second"))
    with pytest.raises(ForbiddenError):
        applied(server, plan)
    assert "what was applied before it is undone" in capsys.readouterr().err
    assert {path.rpartition("/")[2] for path in server.held} == {"m", "boiler"}
    assert map_at(server.held[f"/apis/{API}/namespaces/default/devices/boiler"], "spec") == before
    assert maps_at(server.held[f"/apis/{API}/namespaces/default/devicemodels/m"], "spec", "properties")[0][
        "maximum"
    ] == "90"  # fmt: skip


def test_a_device_that_tells_something_meanwhile_is_no_conflict_and_somebody_who_writes_is() -> None:
    server = Server()
    server.put(model())
    server.put(device("20"))
    server.busy = 2
    applied(server, plan_of(server, device("30")))
    plan = plan_of(server, device("40"))
    server.put(device("35"))
    with pytest.raises(ConflictError, match="skerry device diff"):
        applied(server, plan)


def test_on_a_gateway_values_are_applied_and_nothing_else() -> None:
    server = Server(local=True)
    server.put(model())
    server.put(device("20"))
    applied(server, plan_of(server, model(), device("30")))
    assert server.told == [{"properties": [{"name": "setpoint", "value": "30"}]}]
    changed = device("30")
    ensure_map(changed, "spec", "protocol", "configData")["slaveID"] = 4
    with pytest.raises(UnavailableError, match=r"only the cloud changes spec\.protocol\.configData\.slaveID"):
        plan_of(server, changed)


def names(server: Server) -> set[str]:
    return {path.rpartition("/")[2] for path in server.held}


@pytest.mark.parametrize("fate", ["before", "after"])
def test_a_write_whose_answer_is_lost_is_looked_for_and_not_done_twice(fate: str) -> None:
    server = Server()
    server.put(model())
    server.put(device("20"))
    server.lost = [fate]
    applied(server, plan_of(server, device("30"), device("10", "second")))
    assert plan_of(server, device("30"), device("10", "second"))[0].action == "nothing"
    assert server.writes == ["PATCH boiler", "POST devices"], "each of them once"
    server.lost = [fate]
    applied(server, plan_of(server, device("10", "third")))
    assert server.writes[2:] == ["POST devices"] and "third" in names(server)


def test_a_write_that_arrives_late_is_no_conflict_with_itself() -> None:
    server = Server()
    server.put(model())
    server.lost = ["before"]
    plan = plan_of(server, device("30"))
    arrived: list[bool] = []
    real = server.request

    def request(method: str, path: str, **more: Any) -> Answer:
        if method == "POST" and server.writes == [] and not server.lost and not arrived:
            arrived.append(True)
            server.put(device("30"))  # the first one, which was under way
        return real(method, path, **more)

    server.request = request
    applied(server, plan)
    assert arrived and names(server) == {"m", "boiler"}


def test_where_nobody_answers_each_object_is_accounted_for(capsys: pytest.CaptureFixture[str]) -> None:
    server = Server()
    server.put(model())
    plan = plan_of(server, device("1", "a"), device("2", "b"), device("3", "c"))

    def gone() -> None:
        server.away = True

    server.at = {"POST b": gone}
    server.lost = ["", "after"]
    with pytest.raises(UnavailableError):
        applied(server, plan)
    assert capsys.readouterr().err.splitlines() == [
        "stopped at Device default/b:",
        "  Device default/a is applied",
        "  Device default/b may be applied: nobody answered",
        "  Device default/c is not applied",
        "  apply the same files again: what is applied stays as it is, and the rest follows",
    ]
    server.away = False
    again = plan_of(server, device("1", "a"), device("2", "b"), device("3", "c"))
    assert [one.action for one in again] == ["nothing", "nothing", "create"]
    applied(server, again)
    assert names(server) == {"m", "a", "b", "c"}


@pytest.fixture(autouse=True)
def heard() -> Generator[None]:
    """Whoever started the tests may have had Ctrl-C ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def interrupt() -> None:
    os.kill(os.getpid(), signal.SIGINT)


def test_who_stops_it_finds_all_as_it_was(capsys: pytest.CaptureFixture[str]) -> None:
    server = Server()
    server.put(model())
    before = map_at(server.put(device("20")), "spec")
    server.at = {"POST second": interrupt}
    with pytest.raises(KeyboardInterrupt):
        applied(server, plan_of(server, device("90"), device("10", "second"), device("10", "third")))
    told = capsys.readouterr().err
    assert told.splitlines() == [
        STOPPING,
        "stopped; what was applied before it is undone: nothing is applied",
        "  90 may have reached setpoint of Device default/boiler before it was undone",
        "  10 may have reached setpoint of Device default/second before it was undone",
    ]
    assert names(server) == {"m", "boiler"}
    assert map_at(server.held[f"/apis/{API}/namespaces/default/devices/boiler"], "spec") == before
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_what_is_started_with_interrupts_ignored_goes_on_ignoring_them() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    server = Server()
    server.put(model())
    server.at = {"POST a": interrupt}
    applied(server, plan_of(server, device("1", "a"), device("2", "b")))
    assert names(server) == {"m", "a", "b"}
    assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN


def test_who_insists_is_told_what_is_and_what_may_be(capsys: pytest.CaptureFixture[str]) -> None:
    server = Server()
    server.put(model())

    def twice() -> None:
        interrupt()
        interrupt()

    server.at = {"POST b": twice}
    with pytest.raises(KeyboardInterrupt):
        applied(server, plan_of(server, device("1", "a"), device("2", "b"), device("3", "c")))
    assert capsys.readouterr().err.splitlines()[:5] == [
        STOPPING,
        "stopped at Device default/b:",
        "  Device default/a is applied",
        "  Device default/b may be applied: nobody answered",
        "  Device default/c is not applied",
    ]


def test_who_stops_the_undoing_too_is_told_what_stays(capsys: pytest.CaptureFixture[str]) -> None:
    server = Server()
    server.put(model())
    server.failing[f"/apis/{API}/namespaces/default/devices/c"] = ForbiddenError("not yours")
    server.at = {"DELETE b": interrupt}
    with pytest.raises(ForbiddenError):
        applied(server, plan_of(server, device("1", "a"), device("2", "b"), device("3", "c")))
    assert capsys.readouterr().err.splitlines()[:5] == [
        STOPPING,
        "Device default/c was not written:",
        "  Device default/a is applied, as you stopped before it was undone",
        "  Device default/b is not applied",
        "  Device default/c is not applied",
    ]


def test_who_stops_too_late_is_told_that_it_is_done(capsys: pytest.CaptureFixture[str]) -> None:
    server = Server()
    server.put(model())
    server.at = {"POST a": interrupt}
    with pytest.raises(KeyboardInterrupt):
        applied(server, plan_of(server, device("1", "a")))
    assert "all of it was applied before it could be stopped" in capsys.readouterr().err
    assert "a" in names(server)


def test_on_a_gateway_values_are_written_under_the_revision_that_was_planned_with() -> None:
    server = Server(local=True)
    server.put(model())
    held = server.put(device("20"))
    ensure_map(held, "metadata", "annotations")["twin.skerry.dev/revision"] = "r7"
    server.lost = ["after"]
    applied(server, plan_of(server, device("30")))
    assert server.told == [{"properties": [{"name": "setpoint", "value": "30"}], "ifMatch": "r7"}]


def wanting(value: str, name: str, **terms: str) -> JsonObject:
    made = device(value, name)
    map_at(maps_at(made, "spec", "properties")[0], "desired")["metadata"] = {**terms}
    return made


def wanted_of(server: Server, name: str) -> JsonObject:
    held = server.held[f"/apis/{API}/namespaces/default/devices/{name}"]
    return map_at(maps_at(held, "spec", "properties")[0], "desired")


def gateway(*manifests: JsonObject) -> Server:
    server = Server(local=True)
    server.put(model())
    for obj in manifests:
        ensure_map(server.put(obj), "metadata", "annotations")[REVISION] = "r"
    return server


def test_on_a_gateway_an_answer_that_is_lost_is_looked_for_by_what_a_gateway_keeps(
    capsys: pytest.CaptureFixture[str],
) -> None:
    server = gateway(device("50", "a"), wanting("50", "b", reason="frost"))
    server.lost = ["", "after"]
    wanted = wanting("62", "b", expires="2031-01-01T01:00:00+01:00", onReconnect="confirm")
    applied(server, plan_of(server, device("61", "a"), wanted))
    assert len(server.told) == 2 and capsys.readouterr().err == ""
    assert ms_of(str_at(wanted_of(server, "b"), "metadata", "expires")) == ms_of("2031-01-01T00:00:00Z")
    with pytest.raises(UnavailableError, match=r"only the cloud changes .*desired\.metadata\.reason"):
        plan_of(server, wanting("70", "a", reason="summer"))


@pytest.mark.parametrize("expires", ["1900000000000", "2031-01-01T01:00:00+01:00", "2031-01-01T00:00:00.000Z"])
def test_a_server_that_keeps_times_in_words_of_its_own_has_what_was_written(expires: str) -> None:
    server = Server()
    server.put(model())
    server.put(device("50", "a"))

    def in_its_words() -> None:
        metadata = map_at(wanted_of(server, "a"), "metadata")
        metadata["expires"] = time_text(ms_of(str_at(metadata, "expires")) or 0)

    server.at = {"PATCH a": in_its_words}
    server.lost = ["after"]
    applied(server, plan_of(server, wanting("62", "a", expires=expires)))
    assert server.writes == ["PATCH a"]
    (again,) = plan_of(server, wanting("62", "a", expires=expires))
    assert (again.action, again.changes) == ("nothing", ())


@pytest.mark.parametrize("local", [True, False])
def test_a_conflict_after_an_answer_was_lost_is_no_proof_that_nothing_was_written(
    capsys: pytest.CaptureFixture[str], local: bool
) -> None:
    server = gateway(device("50", "a"), device("50", "b"))
    server.local = local

    def somebody_else() -> None:
        wanted_of(server, "b")["value"] = "63"
        ensure_map(server.held[f"/apis/{API}/namespaces/default/devices/b"], "metadata")["resourceVersion"] = "99"
        ensure_map(server.held[f"/apis/{API}/namespaces/default/devices/b"], "metadata", "annotations")[REVISION] = (
            "x"
        )

    server.at = {"PATCH b": somebody_else, "PUT b": somebody_else}
    server.lost = ["", "after"]
    with pytest.raises(UnavailableError, match="skerry device diff"):
        applied(server, plan_of(server, device("61", "a"), device("62", "b")))
    why = "its answer was lost, and what is there is neither what was nor what was to be"
    assert capsys.readouterr().err.splitlines()[:3] == [
        "stopped at Device default/b:",
        "  Device default/a is applied",
        f"  Device default/b may be applied: {why}",
    ]
    assert wanted_of(server, "b")["value"] == "63"


def test_on_a_gateway_values_are_wanted_again_on_the_terms_on_which_they_were(
    capsys: pytest.CaptureFixture[str],
) -> None:
    terms = {"expires": "2031-01-01T00:00:00Z", "onReconnect": "drop", "reason": "frost"}
    server = gateway(wanting("50", "a", **terms), device("50", "b"))
    server.failing[f"/apis/{API}/namespaces/default/devices/b"] = ConflictError("somebody wanted something else")
    plan = plan_of(server, device("61", "a"), device("62", "b"))
    with pytest.raises(ConflictError):
        applied(server, plan)
    assert wanted_of(server, "a") == {"value": "50", "metadata": {**terms}}
    assert capsys.readouterr().err.splitlines()[1:] == [
        "  61 may have reached setpoint of Device default/a before it was undone"
    ]


def test_on_a_gateway_what_somebody_wanted_since_is_not_undone(capsys: pytest.CaptureFixture[str]) -> None:
    server = gateway(device("50", "a"), device("50", "b"))
    server.failing[f"/apis/{API}/namespaces/default/devices/b"] = ConflictError("somebody wanted something else")
    server.at = {"PUT a": lambda: wanted_of(server, "a").update(value="70")}
    with pytest.raises(ConflictError):
        applied(server, plan_of(server, device("61", "a"), device("62", "b")))
    assert wanted_of(server, "a")["value"] == "70"
    told = capsys.readouterr().err
    assert "Device default/a is applied, as somebody wanted something else of it since" in told


def test_secrets_are_not_shown() -> None:
    server = Server()
    obj = device()
    obj["spec"] = {**map_at(obj, "spec"), "protocol": {"protocolName": "own", "configData": {"password": "hush"}}}
    assert "hush" not in text(plan_of(server, obj)) and "(hidden)" in text(plan_of(server, obj))


def test_what_is_secret_is_shown_in_no_form() -> None:
    change = FieldChange(field="spec.protocol.configData.password", before="old", after="new", sign="~")
    assert change_shown(change) == {**change_shown(change), "before": "(hidden)", "after": "(hidden)"}
    added = FieldChange(field="spec.protocol.configData.community", before=None, after="private", sign="+")
    assert (change_shown(added)["before"], change_shown(added)["after"]) == (None, "(hidden)")
