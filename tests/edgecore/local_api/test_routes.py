"""What the local API answers, on memory parts and without a socket."""

from __future__ import annotations

import json
from typing import Any

import pytest

from edgecore.local_api.answers import Answer, error_answer
from edgecore.local_api.objects import changed_keys
from edgecore.local_api.requests import Stream
from edgecore.local_api.routes import target_of
from edgecore.store.port import EdgeBatch, NewReport, TwinRow
from skerry.errors import BadRequestError, NotFoundError, SkerryError, StorageFullError, UnavailableError
from skerry.frozen import replace
from skerry.objects.desired import Desired, Hlc, Vector, Wish, write_desired
from skerry.objects.desired_log import answer_body, change_body
from skerry.objects.device_questions import Checkup, Discover, Explain, OfLine, Read
from skerry.objects.history import Thinning
from skerry.objects.holds import HOLD, HOLD_BY, Holding
from skerry.objects.json import JsonObject, encode_object
from skerry.objects.meta import Key
from skerry.objects.times import time_text
from skerry.objects.twins import Reported, TwinState, ack
from tests.edgecore.local_api.stage import DEVICE, Api, Twin, next_event, pod

PODS = "/api/v1/namespaces/default/pods"
DEVICES = "/apis/devices.kubeedge.io/v1beta1/namespaces/default"


async def test_objects_are_shown_with_kind_and_revision(api: Api) -> None:
    await api.put("pods", pod("web"), revision=7)
    code, shown = await api.ask("GET", f"{PODS}/web")
    assert (code, shown["kind"], shown["apiVersion"]) == (200, "Pod", "v1")
    assert shown["metadata"]["resourceVersion"] == "7"
    assert (await api.ask("GET", f"{PODS}/other"))[0] == 404


async def test_a_pod_shows_the_status_that_this_gateway_told_last(api: Api) -> None:
    await api.put("pods", pod("web"))
    record = encode_object({"status": {"phase": "Running"}})
    await api.store.apply(EdgeBatch(pods=(("web", record),)))
    assert (await api.ask("GET", f"{PODS}/web"))[1]["status"]["phase"] == "Running"


async def test_lists_go_through_selectors(api: Api) -> None:
    await api.put("pods", pod("a", app="x"))
    await api.put("pods", pod("b", app="y"))
    listed = (await api.ask("GET", "/api/v1/pods", labelSelector="app in (y,z)"))[1]
    assert [item["metadata"]["name"] for item in listed["items"]] == ["b"]
    listed = (await api.ask("GET", "/api/v1/pods", fieldSelector="metadata.name=a"))[1]
    assert [item["metadata"]["name"] for item in listed["items"]] == ["a"]
    assert (await api.ask("GET", "/api/v1/pods", labelSelector="app in"))[0] == 400


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
async def test_what_the_cloud_owns_is_not_written_here(api: Api, method: str) -> None:
    code, status = await api.ask(method, f"{PODS}/web", {})
    assert (code, status["reason"]) == (503, "ServiceUnavailable")
    assert "can't be reached now (waiting)" in status["message"]
    api.link.connected = True
    assert "is connected: write there" in (await api.ask(method, f"{PODS}/web", {}))[1]["message"]


async def test_a_twin_is_wanted_with_who_wants_it_and_until_when(api: Api) -> None:
    body = {"value": "64", "expires": "1970-01-01T00:00:05Z"}
    assert (await api.ask("PUT", f"{DEVICES}/devices/plc/twins/speed", body))[0] == 200
    assert api.twins.wanted == [("speed", "64", "local:uid 1000", 5000)]
    assert (await api.ask("PUT", f"{DEVICES}/devices/plc/twins/speed", {"value": 64}))[0] == 400
    assert (await api.ask("GET", f"{DEVICES}/devices/plc/twins/speed"))[0] == 405


async def test_several_twins_are_wanted_at_once_with_what_their_author_has_seen(api: Api) -> None:
    body: JsonObject = {
        "ifMatch": "3fa9",
        "properties": [{"name": "speed", "value": "64", "ifMatch": "1.0"}, {"name": "lamp", "value": None}],
    }
    code, answer = await api.ask("PUT", f"{DEVICES}/devices/plc/twins", body)
    assert code == 200 and answer["versions"] == {"speed": "0.0", "lamp": "0.0"}
    assert api.twins.wishes == [([Wish(prop="speed", value="64", if_match="1.0"), Wish(prop="lamp")], "3fa9")]
    wrong: list[JsonObject] = [{"name": "speed"}, {"value": "1"}, {"name": "speed", "valeu": "1"}]
    for entry in wrong:
        assert (await api.ask("PUT", f"{DEVICES}/devices/plc/twins", {"properties": [entry]}))[0] == 400


async def test_what_becomes_of_a_value_at_a_reconnection_is_taken_with_it(api: Api) -> None:
    where = f"{DEVICES}/devices/plc/twins"
    entry: JsonObject = {"name": "speed", "value": "64", "onReconnect": "drop"}
    assert (await api.ask("PUT", where, {"properties": [entry]}))[0] == 200
    assert api.twins.wishes == [([Wish(prop="speed", value="64", on_reconnect="drop")], "")]
    code, status = await api.ask("PUT", where, {"properties": [{**entry, "onReconnect": "wait"}]})
    assert (code, status["message"]) == (400, "properties[0].onReconnect: use one of apply, confirm, drop")


async def test_a_twin_is_taken_away_and_a_conflict_is_settled(api: Api) -> None:
    assert (await api.ask("DELETE", f"{DEVICES}/devices/plc/twins/speed"))[0] == 200
    assert (await api.ask("PUT", f"{DEVICES}/devices/plc/twins/speed", {"take": "cloud"}))[0] == 200
    assert [wishes for wishes, _ in api.twins.wishes] == [[Wish(prop="speed")], [Wish(prop="speed", take="cloud")]]


async def test_a_device_is_held_and_released_and_shows_it(api: Api) -> None:
    where = f"{DEVICES}/devices/plc/hold"
    body = {"reason": "new pump", "until": "1970-01-01T00:00:05Z"}
    assert (await api.ask("PUT", where, body))[1]["hold"] == (
        "held by local:uid 1000 until 1970-01-01T00:00:05Z: new pump"
    )
    assert (await api.ask("DELETE", where))[0] == 200
    assert (await api.ask("POST", where))[0] == 405
    assert api.twins.said == [("plc", "new pump", "local:uid 1000", 5000), ("plc", "", "", None)]
    await api.put(DEVICE.resource, {"metadata": {"name": "plc", "namespace": "default", "uid": "d"}, "spec": {}})
    api.twins.holding = Holding(reason="new pump", by="ann", since_ms=0, until_ms=None)
    shown = (await api.ask("GET", f"{DEVICES}/devices/plc"))[1]["metadata"]["annotations"]
    assert (shown[HOLD], shown[HOLD_BY]) == ("new pump", "ann")


async def test_a_device_status_is_made_from_the_twins(api: Api) -> None:
    desired = write_desired(None, value="64", side="edge", origin="me", now_ms=5, synced=True, expires_ms=None)
    reported = Reported(
        value="60", type="INT", unit="rpm", quality="good", reason="", source_ms=5, gateway_ms=6, synced=True
    )
    state = TwinState(uid="d", desired=desired, reported=reported)
    api.twins.held = [Twin(device=DEVICE, prop="speed", state=state)]
    device: JsonObject = {"metadata": {"name": "plc", "namespace": "default", "uid": "d"}, "spec": {"properties": []}}
    await api.put(DEVICE.resource, device)
    status = (await api.ask("GET", f"{DEVICES}/devicestatuses/plc"))[1]
    assert status["status"]["twins"][0]["reported"]["value"] == "60"
    assert status["status"]["state"] == "online"
    listed = (await api.ask("GET", f"{DEVICES}/devicestatuses"))[1]
    assert [item["metadata"]["name"] for item in listed["items"]] == ["plc"]
    shown = (await api.ask("GET", f"{DEVICES}/devices/plc"))[1]
    assert shown["spec"]["properties"][0]["desired"]["value"] == "64"


async def test_a_watch_begins_with_what_is_there_and_tells_changes(api: Api) -> None:
    await api.put("pods", pod("a", app="x"))
    stream = await api.events("/api/v1/pods", labelSelector="app=x")
    first = await next_event(stream)
    assert (first["type"], first["object"]["metadata"]["name"]) == ("ADDED", "a")
    await api.put("pods", pod("b", app="y"))
    await api.put("pods", pod("a", app="x", more="1"))
    second = await next_event(stream)
    assert (second["type"], second["object"]["metadata"]["labels"]["more"]) == ("MODIFIED", "1")
    await api.put("pods", pod("a", app="y"))
    assert (await next_event(stream))["type"] == "DELETED"
    await stream.chunks.aclose()


async def test_a_watch_goes_on_from_a_list_without_a_gap(api: Api) -> None:
    await api.put("pods", pod("a"))
    revision = (await api.ask("GET", "/api/v1/pods"))[1]["metadata"]["resourceVersion"]
    await api.put("pods", pod("b"))
    stream = await api.events("/api/v1/pods", resourceVersion=revision)
    assert (await next_event(stream))["object"]["metadata"]["name"] == "b"
    await stream.chunks.aclose()
    stale = await api.events("/api/v1/pods", resourceVersion="999")
    told = await next_event(stale)
    assert (told["type"], told["object"]["code"], told["object"]["reason"]) == ("ERROR", 410, "Expired")


async def test_logs_are_asked_for_with_their_options(api: Api) -> None:
    await api.put("pods", pod("web"))
    answer = await api.routes.answer(api.request("GET", f"{PODS}/web/log", tailLines="3", follow="true"))
    assert isinstance(answer, Stream)
    assert [chunk async for chunk in answer.chunks] == [b"line\n"]
    assert (api.asked[0]["container"], api.asked[0]["tailLines"], api.asked[0]["follow"]) == ("app", 3, True)
    two: Any = pod("two")
    two["spec"]["containers"].append({"name": "side"})
    await api.put("pods", two)
    assert "choose one of: [app side]" in (await api.ask("GET", f"{PODS}/two/log"))[1]["message"]
    assert (await api.ask("GET", f"{PODS}/web/log", tailLines="x"))[0] == 400


async def test_the_link_is_cut_and_healed(api: Api) -> None:
    assert (await api.ask("GET", "/skerry/link"))[1]["lastError"] == "refused"
    caps = (await api.ask("GET", "/skerry/link"))[1]["bandwidth"]
    assert caps == "up 64kbit, down unlimited, until 2026-11-28T22:00:00Z"
    assert (await api.ask("POST", "/skerry/link/cut"))[1]["cut"] is True
    assert (await api.ask("POST", "/skerry/link/heal"))[1]["cut"] is False
    api.link.connected = True
    assert (await api.ask("GET", "/skerry/link"))[1]["state"] == "connected"
    assert (await api.ask("GET", "/skerry/other"))[0] == 404


async def test_discovery_names_what_is_served(api: Api) -> None:
    assert (await api.ask("GET", "/api"))[1]["versions"] == ["v1"]
    names = {resource["name"] for resource in (await api.ask("GET", "/api/v1"))[1]["resources"]}
    assert {"pods", "configmaps", "nodes"} <= names
    assert (await api.ask("GET", "/apis/devices.kubeedge.io/v1beta1"))[1]["resources"][0]["kind"] == "DeviceModel"
    assert (await api.ask("GET", "/apis/apps/v1"))[0] == 404


@pytest.mark.parametrize(
    ("path", "named"),
    [
        ("api/v1/pods", ("pods", "", "", ())),
        ("api/v1/namespaces/d/pods/x/log", ("pods", "d", "x", ("log",))),
        ("api/v1/nodes/n", ("nodes", "", "n", ())),
        ("apis/devices.kubeedge.io/v1beta1/namespaces/d/devices/x", ("devices", "d", "x", ())),
    ],
)
def test_paths_name_objects(path: str, named: tuple[str, str, str, tuple[str, ...]]) -> None:
    target = target_of(tuple(path.split("/")))
    assert (target.kind.plural, target.namespace, target.name, target.rest) == named


@pytest.mark.parametrize(
    "path", ["api", "api/v1", "api/v2/pods", "api/v1/pods/x", "api/v1/namespaces/d/nodes/n", "apis"]
)
def test_paths_that_name_nothing_are_not_found(path: str) -> None:
    with pytest.raises(NotFoundError):
        target_of(tuple(path.split("/")))


def test_a_twin_changes_its_device_and_the_status_of_it() -> None:
    keys = changed_keys(EdgeBatch(twins=(TwinRow(device=DEVICE, prop="a", body=b""),)))
    assert keys == [DEVICE, Key("devicestatuses.devices.kubeedge.io", "default", "plc")]


@pytest.mark.parametrize(
    ("error", "code"), [(BadRequestError("x"), 400), (UnavailableError("x"), 503), (StorageFullError("x"), 507)]
)
def test_errors_are_statuses(error: SkerryError, code: int) -> None:
    answer = error_answer(error)
    assert (answer.code, json.loads(answer.body)["code"]) == (code, code)


async def test_the_status_says_what_waits_for_the_cloud_since_when_and_what_was_dropped(api: Api) -> None:
    alarm = NewReport(report_class="alarm", kind="event", key="", body=b"{}")
    await api.store.apply(EdgeBatch(reports=(alarm, alarm)))
    outbox = (await api.ask("GET", "skerry/status"))[1]["outbox"]
    since = time_text(api.clock.wall_ms())
    size_bytes = 2 * (2 + len("event") + 64)
    assert outbox["waiting"] == [{"class": "alarm", "reports": 2, "bytes": size_bytes, "since": since, "ageMs": 0}]
    assert (outbox["reports"], outbox["gaps"]) == (2, [])
    api.clock.advance(100)
    await api.store.apply(EdgeBatch(reports=(alarm,)))
    (waiting,) = (await api.ask("GET", "skerry/status"))[1]["outbox"]["waiting"]
    assert (waiting["reports"], waiting["since"]) == (3, since)
    api.clock.step_wall(5_000)
    (waiting,) = (await api.ask("GET", "skerry/status"))[1]["outbox"]["waiting"]
    assert waiting["since"] == time_text(api.clock.wall_ms() - 100_000), "a clock that is set moves what it dated"


async def test_questions_about_devices_are_handed_on_as_the_cloud_hands_them_on(api: Api) -> None:
    place = "apis/devices.kubeedge.io/v1beta1/namespaces/default/devices/plc"
    assert await api.ask("GET", f"{place}/explain", property="t", value="5") == (200, {"kind": "Answer"})
    assert (await api.ask("POST", f"{place}/read", {"properties": ["t"], "freshMs": 5000}))[0] == 201
    assert (await api.ask("POST", f"{place}/read"))[0] == 201
    assert (await api.ask("GET", f"{place}/line"))[0] == 200
    assert (await api.ask("GET", f"{place}/checkup"))[0] == 200
    assert api.answers.asked == [
        Explain(namespace="default", device="plc", uid="", prop="t", value="5"),
        Read(namespace="default", device="plc", uid="", props=("t",), fresh_ms=5000),
        Read(namespace="default", device="plc", uid="", props=()),
        OfLine(namespace="default", device="plc", uid=""),
        Checkup(namespace="default", device="plc", uid=""),
    ]
    assert (await api.ask("GET", "/skerry/discovery", seconds="3", namespace="plant"))[1] == {"kind": "Answer"}
    assert (await api.ask("GET", "/skerry/discovery"))[0] == 200
    assert api.answers.asked[-2:] == [Discover(namespace="plant", seconds=3), Discover(namespace="default")]
    assert (await api.ask("GET", "/skerry/discovery", seconds="99"))[0] == 400
    assert (await api.ask("GET", f"{place}/explain"))[1]["message"].startswith("property: required")
    assert (await api.ask("POST", f"{place}/read", {"freshMs": "soon"}))[0] == 400
    assert (await api.ask("GET", f"{place}/read"))[0] == 405
    assert (await api.ask("PUT", f"{place}/line", {}))[0] == 405


async def test_the_log_of_what_was_wanted_is_told_as_the_cloud_tells_it(api: Api) -> None:
    place = "apis/devices.kubeedge.io/v1beta1/namespaces/default/devices/plc/desiredlog"
    first = Desired(value="20", ver=Vector(cloud=1), hlc=Hlc(1, 0), side="cloud", origin="ann")
    second = replace(first, value="21", ver=Vector(cloud=1, edge=1), side="edge", origin="local:uid 0")
    done = ack("verified", for_ver=first.ver, at_ms=1)
    api.twins.log = [
        (3, "1970-01-01T00:00:03.000000Z", change_body("t", first, second, revision="r2", uid="u")),
        (2, "1970-01-01T00:00:02.000000Z", answer_body("t", done, uid="u")),
        (1, "1970-01-01T00:00:01.000000Z", change_body("t", None, first, revision="r1", uid="u")),
    ]
    code, told = await api.ask("GET", place)
    assert code == 200 and told["kind"] == "DesiredLog"
    assert [(item["before"], item["value"], item["by"], item["side"]) for item in told["items"]] == [
        ("20", "21", "local:uid 0", "edge"),
        (None, "20", "ann", "cloud"),
    ]
    assert told["items"][1]["answer"]["state"] == "verified"
    assert len((await api.ask("GET", place, limit="1"))[1]["items"]) == 1
    assert (await api.ask("GET", place, property="fan"))[1]["items"] == []
    assert len((await api.ask("GET", place, sinceTime="1970-01-01T00:00:02Z"))[1]["items"]) == 1
    assert (await api.ask("GET", place, limit="x"))[0] == 400
    assert (await api.ask("PUT", place, {}))[0] == 405


async def test_a_history_is_answered_from_what_the_gateway_remembers() -> None:
    api, path = Api(), "/apis/devices.kubeedge.io/v1beta1/namespaces/default/devices/gone/history"
    answer = await api.routes.answer(api.request("GET", path, property="t", step="1m", aggregate="last"))
    assert isinstance(answer, Answer) and json.loads(answer.body) == {"kind": "DeviceHistory"}
    assert api.history is not None
    ((namespace, name, question),) = api.history.asked
    assert (namespace, name, question.prop) == ("default", "gone", "t")
    assert question.steps == Thinning(step_ms=60_000, aggregates=("last",))
    with pytest.raises(BadRequestError, match="property: required"):
        await api.routes.answer(api.request("GET", path))
    with pytest.raises(SkerryError, match="takes GET"):
        await api.routes.answer(api.request("POST", path, {}, property="t"))
    forgetful = Api(remembers=False)
    with pytest.raises(UnavailableError, match="--history-mib 0"):
        await forgetful.routes.answer(forgetful.request("GET", path, property="t"))
