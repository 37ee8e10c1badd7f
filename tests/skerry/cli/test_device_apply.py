"""Plans of what manifests change, and that they are carried out whole or not at all."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import cast

import pytest

from skerry.cli.client import Answer, Client
from skerry.cli.device_apply import carry_out, change_shown, plan_lines, summary
from skerry.cli.device_plan import Planned, planned
from skerry.errors import (
    BadRequestError,
    ConflictError,
    ForbiddenError,
    InvalidError,
    NotFoundError,
    UnavailableError,
)
from skerry.objects.device_manifests import FieldChange
from skerry.objects.json import JsonObject, clone, ensure_map, map_at, maps_at, str_at

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
        self.writes.append(f"{method} {path.rpartition('/')[2]}")
        return Answer(status=200, body=self._kept(method, named, body, path.endswith("/twins")), warnings=())

    def _kept(self, method: str, path: str, body: JsonObject, of_twins: bool) -> JsonObject:
        if of_twins:
            self.told.append(body)
            return {}
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
