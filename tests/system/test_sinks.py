"""Sinks against programs that we did not write: what they hold is what the history has."""

from __future__ import annotations

import base64
import json
import os
import shutil
import signal
import socket
import subprocess
import threading
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any, ClassVar

import psycopg
import pytest

from cloudcore.pki.certificates import certificate_pem, issue_server, new_authority
from cloudcore.sinks.mqtt import MqttReceiver
from cloudcore.sinks.port import RefusedRowsError
from cloudcore.sinks.postgres import PostgresReceiver
from cloudcore.sinks.rows import Row
from skerry.errors import UnavailableError
from skerry.frozen import replace
from skerry.objects.json import JsonObject, str_at
from skerry.objects.times import ms_at
from tests.cloudcore.sinks.test_forms import HOLE, ROW
from tests.postgres_server import PASSWORD, PostgresServer, postgres_server
from tests.system.real_fleet import DEVICES, RealFleet, boiler, real_fleet, until

pytestmark = pytest.mark.system

SINKS = "/apis/skerry.dev/v1/namespaces/default/sinks"


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealFleet]:
    """With a device that speaks ten times a second."""
    with real_fleet(tmp_path_factory.mktemp("fleet")) as made:
        model, device = boiler([*range(1, 50)])
        made.create(f"{DEVICES}/devicemodels", model)
        made.create(f"{DEVICES}/devices", device)
        made.edge.start()
        until(lambda: made.history("boiler", "level"), "the first reading")
        yield made


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@contextmanager
def program(*command: str, port: int) -> Generator[None]:
    """Runs, and listens on the port."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        until(lambda: _listens(port), f"{command[0]} to listen", deadline_s=60)
        yield
    finally:
        process.terminate()
        process.wait(20)


def _listens(port: int) -> bool:
    with socket.socket() as tried:
        return tried.connect_ex(("127.0.0.1", port)) == 0


def make(fleet: RealFleet, name: str, secret: dict[str, str] | None = None, **spec: Any) -> None:
    """A Sink that sends the level from the beginning."""
    body: dict[str, Any] = {"from": "Beginning", "selector": {"properties": ["level"]}, **spec}
    if secret:
        data = {key: base64.b64encode(value.encode()).decode() for key, value in secret.items()}
        obj: JsonObject = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "data": {**data}}
        fleet.create("/api/v1/namespaces/default/secrets", obj)
        body["secretRef"] = {"name": name}
    fleet.create(SINKS, {"apiVersion": "skerry.dev/v1", "kind": "Sink", "metadata": {"name": name}, "spec": body})


def told(fleet: RealFleet, name: str) -> Any:
    return (fleet.find(f"{SINKS}/{name}") or {}).get("status", {})


def ready(fleet: RealFleet, name: str) -> Any:
    return next(iter(told(fleet, name).get("conditions", [])), {})


def levels(fleet: RealFleet) -> dict[int, str]:
    """Sequence and value of what the history has."""
    query = {"property": "level", "limit": "10000"}
    page: Any = fleet.api().request("GET", f"{DEVICES}/devices/boiler/history", query=query).obj
    return {item["sequence"]: item["value"] for item in page["items"]}


def agrees(fleet: RealFleet, name: str, held: Callable[[], dict[int, str]]) -> None:
    """What is held over there is what the history had a moment ago, and goes on."""
    wanted = levels(fleet)
    until(lambda: len(held()) >= len(wanted) > 5, f"{name} to have it, told: {told(fleet, name)}", deadline_s=60)
    found = held()
    assert {seq: found.get(seq) for seq in wanted} == wanted
    until(lambda: len(held()) > len(wanted), f"{name} to go on")
    until(lambda: ready(fleet, name).get("status") == "True", f"{name} to say that it sends")


@pytest.mark.skipif(shutil.which("mosquitto") is None, reason="mosquitto is not installed")
def test_a_broker_of_mosquitto_is_told_each_reading(fleet: RealFleet, tmp_path: Path) -> None:
    port = free_port()
    passwords = tmp_path / "passwords"
    subprocess.run(["mosquitto_passwd", "-b", "-c", passwords, "sink", "s3cret"], check=True)
    passwords.chmod(0o644)
    config = tmp_path / "mosquitto.conf"
    config.write_text(
        f"listener {port} 127.0.0.1\nallow_anonymous false\npassword_file {passwords}\nuser root\n"
        "max_queued_messages 0\n"
    )
    with program("mosquitto", "-c", str(config), port=port):
        listener = subprocess.Popen(
            ["mosquitto_sub", "-p", str(port), "-u", "sink", "-P", "s3cret", "-q", "1", "-t", "skerry/#", "-v"],
            stdout=subprocess.PIPE,
            text=True,
        )
        lines: list[str] = []
        said = listener.stdout
        assert said is not None
        reader = threading.Thread(target=lambda: lines.extend(iter(said.readline, "")), daemon=True)
        reader.start()
        time.sleep(1)  # it has subscribed
        make(
            fleet,
            "broker",
            {"username": "sink", "password": "s3cret"},
            mqtt={"url": f"mqtt://127.0.0.1:{port}"},
        )

        def held() -> dict[int, str]:
            found: dict[int, str] = {}
            for line in lines.copy():
                topic, _, payload = line.partition(" ")
                assert topic == "skerry/default/boiler/level"
                row = json.loads(payload)
                found[row["sequence"]] = row["value"]
            return found

        try:
            agrees(fleet, "broker", held)
        finally:
            fleet.api().request("DELETE", f"{SINKS}/broker")
            listener.terminate()
            listener.wait(10)
            reader.join(10)
            said.close()


@contextmanager
def secure_broker(directory: Path) -> Generator[tuple[str, str]]:
    """Mosquitto with TLS and a password; where it is, and its authority."""
    port = free_port()
    authority = new_authority(name="of the broker", now=datetime.now(UTC))
    issued = issue_server(authority, names=["127.0.0.1"], now=datetime.now(UTC))
    ours = certificate_pem(authority.certificate)
    for name, text in (("ca.crt", ours), ("crt", issued.certificate_pem), ("key", issued.key_pem)):
        (directory / name).write_text(text)
    passwords = directory / "passwords"
    subprocess.run(["mosquitto_passwd", "-b", "-c", passwords, "sink", "s3cret"], check=True)
    config = directory / "mosquitto.conf"
    config.write_text(
        f"listener {port} 127.0.0.1\ncertfile {directory}/crt\nkeyfile {directory}/key\nuser root\n"
        f"allow_anonymous false\npassword_file {passwords}\n"
    )
    with program("mosquitto", "-c", str(config), port=port):
        yield f"mqtts://127.0.0.1:{port}", ours


@pytest.mark.skipif(shutil.which("mosquitto") is None, reason="mosquitto is not installed")
async def test_a_broker_shows_a_certificate_and_asks_who_is_there(tmp_path: Path) -> None:
    other = certificate_pem(new_authority(name="another", now=datetime.now(UTC)).certificate)
    with secure_broker(tmp_path) as (url, ours):
        good = {"username": "sink", "password": "s3cret", "ca.crt": ours}

        async def told(secret: dict[str, str]) -> None:
            receiver = MqttReceiver({"url": url}, secret, client_id="s", epoch="e")
            try:
                assert await receiver.send([ROW, HOLE]) == 0
            finally:
                await receiver.close()

        await told(good)
        for bad, why in (
            ({**good, "ca.crt": other}, "CERTIFICATE_VERIFY_FAILED"),
            ({"username": "sink", "password": "s3cret"}, "CERTIFICATE_VERIFY_FAILED"),
            ({**good, "password": "wrong"}, "the broker refuses"),
            ({"ca.crt": ours}, "the broker refuses"),
        ):
            with pytest.raises(UnavailableError, match=why):
                await told(bad)
        await told(good)
    with pytest.raises(UnavailableError, match="refused"):
        await told(good)


def ask(url: str, **form: str) -> Any:
    data = urllib.parse.urlencode(form).encode() if form else None
    with urllib.request.urlopen(url, data=data, timeout=10) as answer:
        return json.loads(answer.read())


@pytest.mark.skipif(shutil.which("prometheus") is None, reason="prometheus is not installed")
def test_prometheus_takes_the_numbers_by_remote_write(fleet: RealFleet, tmp_path: Path) -> None:
    port = free_port()
    config = tmp_path / "prometheus.yml"
    config.write_text("global: {}\n")
    with program(
        "prometheus",
        f"--config.file={config}",
        f"--storage.tsdb.path={tmp_path / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
        "--web.enable-remote-write-receiver",
        port=port,
    ):
        make(fleet, "metrics", prometheus={"url": f"http://127.0.0.1:{port}/api/v1/write", "metric": "plant"})
        query = {"property": "level", "limit": "10000"}
        page: Any = fleet.api().request("GET", f"{DEVICES}/devices/boiler/history", query=query).obj
        wanted = {ms_at(item["time"]): float(item["value"]) for item in page["items"]}

        def held() -> dict[int, float]:
            url = f"http://127.0.0.1:{port}/api/v1/query?" + urllib.parse.urlencode({"query": "plant[1h]"})
            found = ask(url)["data"]["result"]
            if not found:
                return {}
            (series,) = found
            labels = series["metric"]
            assert (labels["device"], labels["property"], labels["node"]) == ("boiler", "level", "eu-1")
            return {round(at_s * 1000): float(value) for at_s, value in series["values"]}

        until(lambda: len(held()) >= len(wanted), f"it to have them: {told(fleet, 'metrics')}", deadline_s=60)
        assert wanted.items() <= held().items()
        assert told(fleet, "metrics")["refused"] == 0
        fleet.api().request("DELETE", f"{SINKS}/metrics")


@pytest.mark.skipif(shutil.which("influxd") is None, reason="influxdb is not installed")
def test_influxdb_takes_lines(fleet: RealFleet, tmp_path: Path) -> None:
    port, other = free_port(), free_port()
    config = tmp_path / "influx.conf"
    config.write_text(
        f'reporting-disabled = true\nbind-address = "127.0.0.1:{other}"\n[meta]\ndir = "{tmp_path}/meta"\n'
        f'[data]\ndir = "{tmp_path}/data"\nwal-dir = "{tmp_path}/wal"\n'
        f'[http]\nenabled = true\nbind-address = "127.0.0.1:{port}"\n'
    )
    with program("influxd", "-config", str(config), port=port):
        make(fleet, "lines", influx={"url": f"http://127.0.0.1:{port}/write?db=plant"})
        until(
            lambda: "database not found" in ready(fleet, "lines").get("message", ""),
            "it to say that there is no such database yet",
        )
        ask(f"http://127.0.0.1:{port}/query", q="CREATE DATABASE plant")

        def held() -> dict[int, str]:
            q = "SELECT sequence, value, quality FROM readings WHERE device = 'boiler' AND property = 'level'"
            answer = ask(f"http://127.0.0.1:{port}/query", db="plant", q=q)["results"][0]
            rows = answer.get("series", [{"values": []}])[0]["values"]
            assert {row[3] for row in rows} <= {"good"}
            return {row[1]: str(row[2]) for row in rows}

        agrees(fleet, "lines", held)
        fleet.api().request("DELETE", f"{SINKS}/lines")


class Hook(BaseHTTPRequestHandler):
    """Python's own server: keeps what it is sent, and refuses every third request for now."""

    calls: ClassVar[list[tuple[dict[str, str], bytes]]] = []
    asked: ClassVar[int] = 0

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        Hook.asked += 1
        if Hook.asked % 3 == 0:
            self.send_response(503)
        else:
            Hook.calls.append((dict(self.headers), body))
            self.send_response(204)
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - as the one above it has it
        """Nothing."""


def test_a_webhook_is_sent_signed_json(fleet: RealFleet) -> None:
    server = HTTPServer(("127.0.0.1", 0), Hook)
    serving = threading.Thread(target=server.serve_forever, daemon=True)
    serving.start()
    try:
        url = f"http://127.0.0.1:{server.server_port}/in"
        make(fleet, "hook", {"signingKey": "k3y", "token": "t0ken"}, webhook={"url": url}, batch=20)

        def held() -> dict[int, str]:
            rows = [row for _, body in list(Hook.calls) for row in json.loads(body)["items"]]
            return {row["sequence"]: row["value"] for row in rows}

        agrees(fleet, "hook", held)
        headers, body = Hook.calls[0]
        assert headers["Authorization"] == "Bearer t0ken"
        at, _, mac = headers["Skerry-Signature"].partition(",")
        signed = at.removeprefix("t=").encode() + b"." + body
        openssl = subprocess.run(
            ["openssl", "dgst", "-sha256", "-hmac", "k3y"], input=signed, capture_output=True, check=True
        )
        assert openssl.stdout.split()[-1].decode() == mac.removeprefix("v1=")
        assert (
            "k3y" not in json.dumps(fleet.find(f"{SINKS}/hook"))
            and str_at(json.loads(body), "sink") == "default/hook"
        )
    finally:
        fleet.api().request("DELETE", f"{SINKS}/hook")
        server.shutdown()
        server.server_close()
        serving.join(10)


def database_of(server: PostgresServer, name: str, table: str) -> dict[str, Any]:
    return {"host": "127.0.0.1", "port": server.port, "database": name, "table": table}


def test_a_table_of_postgresql_has_every_row_once_though_the_cloud_is_killed(fleet: RealFleet) -> None:
    with postgres_server(durable=False) as server:
        name = server.create_database()
        secret = {"username": "postgres", "password": PASSWORD}
        make(fleet, "table", secret, postgres=database_of(server, name, "plant"))

        def held() -> dict[int, str]:
            try:
                with psycopg.connect(server.dsn(name)) as connection:
                    rows = connection.execute("SELECT sequence, text, value FROM plant ORDER BY number").fetchall()
            except psycopg.Error:
                return {}
            assert all(float(text) == value for _, text, value in rows)
            assert len({seq for seq, _, _ in rows}) == len(rows), "twice"
            return {int(seq): str(text) for seq, text, _ in rows}

        agrees(fleet, "table", held)
        fleet.cloud.stop(signal.SIGKILL)
        fleet.start_cloud()
        agrees(fleet, "table", held)
        server.stop(signal.SIGQUIT)
        until(lambda: ready(fleet, "table").get("status") == "False", "it to say that nobody is there")
        shown = fleet.cloud.kubectl("get", "sinks", "-o", "wide")
        assert "postgres" in shown and "False" in shown, shown
        server.start()
        agrees(fleet, "table", held)
        fleet.api().request("DELETE", f"{SINKS}/table")


def encrypted(server: PostgresServer) -> str:
    """The server speaks TLS from now on; the authority of its certificate."""
    authority = new_authority(name="of the database", now=datetime.now(UTC))
    issued = issue_server(authority, names=["127.0.0.1"], now=datetime.now(UTC))
    owner = server.data.stat()
    for name, text in (("server.crt", issued.certificate_pem), ("server.key", issued.key_pem)):
        path = server.data / name
        path.write_text(text)
        path.chmod(0o600)
        os.chown(path, owner.st_uid, owner.st_gid)
    server.run_sql("ALTER SYSTEM SET ssl = on")
    server.run_sql("SELECT pg_reload_conf()")
    return certificate_pem(authority.certificate)


async def written(receiver: PostgresReceiver, *rows: Row) -> None:
    try:
        await receiver.send(rows)
    finally:
        await receiver.close()


HOSTILE = {
    "PGPASSWORD": PASSWORD,
    "PGHOSTADDR": "10.255.255.1",
    "PGSSLMODE": "disable",
    "PGSSLNEGOTIATION": "direct",
    "PGREQUIREAUTH": "gss",
    "PGCHANNELBINDING": "require",
    "PGTARGETSESSIONATTRS": "read-only",
    "PGMINPROTOCOLVERSION": "3.2",
    "PGOPTIONS": "-c default_transaction_read_only=on",
}
"""Of somebody who speaks with another database from where the cloud runs."""


async def test_a_role_that_may_only_insert_is_enough_and_certificates_are_checked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with postgres_server(durable=False) as server:
        name = server.create_database()
        spec: JsonObject = {"postgres": database_of(server, name, "plant")}
        owner = {"username": "postgres", "password": PASSWORD}
        writer = {"username": "writer", "password": "w"}
        for variable, value in HOSTILE.items():
            monkeypatch.setenv(variable, value)
        await written(PostgresReceiver(spec, owner, epoch="e"), ROW)
        with pytest.raises(UnavailableError, match="no password"):
            await written(PostgresReceiver(spec, {"username": "postgres"}, epoch="e"), ROW)
        for variable in HOSTILE:
            monkeypatch.delenv(variable)
        server.run_sql("CREATE ROLE writer LOGIN PASSWORD 'w'; GRANT INSERT ON plant TO writer", name)
        await written(PostgresReceiver(spec, writer, epoch="e"), replace(ROW, number=9), HOLE)
        server.run_sql("ALTER TABLE plant ADD CHECK (value < 1000)", name)
        large = replace(ROW, number=10, value="5000")
        with pytest.raises(RefusedRowsError, match="violates check constraint"):
            await written(PostgresReceiver(spec, writer, epoch="e"), large, ROW)
        found = server.run_sql("SELECT number, gap, dropped, thinned FROM plant ORDER BY number", name)
        assert found == [(7, None, 0, 0), (8, "0a1b.1", 12, 5), (9, None, 0, 0)]
        other = certificate_pem(new_authority(name="another", now=datetime.now(UTC)).certificate)
        with pytest.raises(UnavailableError, match="SSL"):
            await written(PostgresReceiver(spec, writer | {"ca.crt": other}, epoch="e"), ROW)
        ours = encrypted(server)
        with pytest.raises(UnavailableError, match="certificate verify failed"):
            await written(PostgresReceiver(spec, writer | {"ca.crt": other}, epoch="e"), ROW)
        await written(PostgresReceiver(spec, writer | {"ca.crt": ours}, epoch="e"), replace(ROW, number=11))
        assert server.run_sql("SELECT count(*) FROM plant", name) == [(4,)]
