"""KubeEdge's `pushMethod` against programs that we did not write, through cuts of the link and kills of the agent."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import threading
import urllib.error
import urllib.request
from collections.abc import Generator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import parse_qs, urlsplit

import pytest

from skerry.objects.json import JsonObject, maps_at, str_at
from tests.system.real_fleet import CORE, DEVICES, RealFleet, boiler, real_fleet, until
from tests.system.test_sinks import ask, free_port, program

pytestmark = [
    pytest.mark.system,
    pytest.mark.skipif(shutil.which("mosquitto") is None, reason="mosquitto is not installed"),
]


class Form(BaseHTTPRequestHandler):
    """Python's own server: reads forms as browsers send them, and is busy every third time."""

    forms: ClassVar[list[dict[str, list[str]]]] = []
    asked: ClassVar[int] = 0

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        assert self.headers["Content-Type"] == "application/x-www-form-urlencoded" and self.path == "/form"
        Form.asked += 1
        if Form.asked % 3 == 0:
            self.send_response(503)
        else:
            Form.forms.append(parse_qs(body.decode(), strict_parsing=True))
            self.send_response(204)
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base's name
        """Silence."""


class Second(BaseHTTPRequestHandler):
    """The way of InfluxDB 2 to one of version 1, which Debian has: the lines are the same."""

    behind: ClassVar[int] = 0

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        place, query = urlsplit(self.path), parse_qs(urlsplit(self.path).query)
        assert (place.path, query["bucket"], query["precision"]) == ("/api/v2/write", ["plant"], ["ns"])
        there = f"http://127.0.0.1:{Second.behind}/write?db=plant&precision=ns"
        try:
            with urllib.request.urlopen(there, data=body) as answer:
                self.send_response(answer.status)
        except urllib.error.HTTPError as error:
            error.close()
            self.send_response(error.code)
        except urllib.error.URLError:
            self.send_response(502)
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base's name
        """Silence."""


@contextmanager
def serving(handler: type[BaseHTTPRequestHandler]) -> Generator[int]:
    server = HTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()
        thread.join(10)


@contextmanager
def listening(port: int) -> Generator[list[int]]:
    """What mosquitto_sub hears: the numbers of readings."""
    listener = subprocess.Popen(
        ["mosquitto_sub", "-p", str(port), "-q", "1", "-t", "plant/level"], stdout=subprocess.PIPE, text=True
    )
    said, heard = listener.stdout, list[int]()
    assert said is not None

    def listen() -> None:
        for line in iter(said.readline, ""):
            row = json.loads(line)
            assert (row["device"], row["property"], row["quality"]) == ("boiler", "level", "good")
            heard.append(row["sequence"])

    reader = threading.Thread(target=listen, daemon=True)
    reader.start()
    try:
        yield heard
    finally:
        listener.terminate()
        listener.wait(10)
        reader.join(10)
        said.close()


def pushing(mqtt: int, http: int, influx: int) -> tuple[JsonObject, JsonObject]:
    """The virtual boiler, as KubeEdge's manifests have it."""
    model, device = boiler([*range(1, 1000)])
    setpoint, level = maps_at(device, "spec", "properties")
    visitors: Any = level["visitors"]
    visitors["configData"]["push"] = {"mqtt": {"format": "json"}}
    level["pushMethod"] = {
        "mqtt": {"address": f"tcp://127.0.0.1:{mqtt}", "topic": "plant/level", "qos": 1, "retained": False}
    }
    visitors = setpoint["visitors"]
    visitors["configData"]["twin"] = {"everyReading": True}
    lines: JsonObject = {
        "influxdb2ClientConfig": {"url": f"http://127.0.0.1:{influx}", "org": "", "bucket": "plant"},
        "influxdb2DataConfig": {"measurement": "setpoint", "tag": {"hall": "north side"}, "fieldKey": "degrees"},
    }
    setpoint["pushMethod"] = {
        "http": {"hostName": "http://127.0.0.1", "port": http, "requestPath": "/form", "timeout": 5},
        "dbMethod": {"influxdb2": lines} if influx else {"redis": {"redisClientConfig": {"addr": "r:6379"}}},
    }
    return model, device


def queue(fleet: RealFleet, scheme: str) -> JsonObject:
    found = maps_at(fleet.edge.api.request("GET", "/skerry/status").obj, "pushes")
    return next((each for each in found if str_at(each, "place").startswith(scheme)), {})


def each_once(heard: list[int]) -> list[int]:
    return list(dict.fromkeys(heard))


def influx_config(directory: Path, port: int) -> Path:
    config = directory / "influx.conf"
    config.write_text(
        f'reporting-disabled = true\nbind-address = "127.0.0.1:{free_port()}"\n[meta]\ndir = "{directory}/meta"\n'
        f'[data]\ndir = "{directory}/data"\nwal-dir = "{directory}/wal"\n'
        f'[http]\nenabled = true\nbind-address = "127.0.0.1:{port}"\n'
    )
    return config


def test_readings_go_where_the_device_says_without_the_cloud_and_after_a_kill(tmp_path: Path) -> None:
    mqtt, influx = free_port(), free_port() if shutil.which("influxd") else 0
    Second.behind = influx
    with real_fleet(tmp_path) as fleet, serving(Form) as http, serving(Second) as second:
        model, device = pushing(mqtt, http, second if influx else 0)
        fleet.create(f"{DEVICES}/devicemodels", model)
        fleet.create(f"{DEVICES}/devices", device)
        fleet.edge.start()
        until(lambda: len(Form.forms) >= 5, "forms to arrive beside a broker that is away")
        assert all(form["setpoint"] == ["20"] and len(form["time"][0]) == 19 for form in Form.forms)
        until(lambda: "pushes to mqtt://" in shown(fleet), "people to hear of the broker")
        assert "PushFailed" in events(fleet) and str_at(queue(fleet, "mqtt"), "reason")
        fleet.edge.api.request("POST", "/skerry/link/cut", body={})
        fleet.edge.stop(signal.SIGKILL)
        fleet.edge.start()
        until(lambda: int(str(queue(fleet, "mqtt")["waiting"])) > 60, "readings to wait")
        config = tmp_path / "mosquitto.conf"
        config.write_text(f"listener {mqtt} 127.0.0.1\nallow_anonymous true\nmax_queued_messages 0\n")
        with program("mosquitto", "-c", str(config), port=mqtt), listening(mqtt) as heard:
            until(lambda: len(heard) > 60, "what waited to arrive", deadline_s=90)
            fleet.edge.stop(signal.SIGKILL)
            last = max(heard)
            fleet.edge.start()
            until(lambda: max(heard) > last + 20, "it to go on", deadline_s=90)
            once = each_once(heard)
            assert once == [*range(once[0], once[0] + len(once))], "in order, and none is missing"
            assert len(heard) - len(once) <= 50, "a kill repeats what was not noted, and no more"
        if influx:
            with program("influxd", "-config", str(influx_config(tmp_path, influx)), port=influx):
                ask(f"http://127.0.0.1:{influx}/query", q="CREATE DATABASE plant")

                def held() -> int:
                    q = "SELECT count(degrees) FROM setpoint WHERE hall = 'north side' AND degrees = 20"
                    answer: Any = ask(f"http://127.0.0.1:{influx}/query", db="plant", q=q)["results"][0]
                    return answer["series"][0]["values"][0][1] if "series" in answer else 0

                until(lambda: held() > 20, f"lines to arrive: {queue(fleet, 'http')}", deadline_s=60)


def events(fleet: RealFleet) -> set[str]:
    found = maps_at(fleet.api().request("GET", f"{CORE}/events").obj, "items")
    return {str_at(each, "reason") for each in found}


def shown(fleet: RealFleet) -> str:
    return fleet.cloud.skerry("device", "describe", "boiler")
