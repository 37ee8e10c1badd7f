"""One fleet on real parts: a cloud, two gateways, a PLC, a sensor; a cut link, a power cut, nothing lost.

    python demo.py            runs it and ends with a table of claims; exit code 1 when one fails
    python demo.py --keep     leaves it running, and says how to reach it
    python demo.py --stop     stops what was left running

Everything runs on loopback, with free ports, below one directory (default: .demo in the repository).
"""

from __future__ import annotations

import argparse
import shutil
import signal
import sys
import time
from pathlib import Path

from fleet import BIN, HERE, SETPOINT_REGISTER, Fleet, render
from stage import DemoError, Stage
from view import View, claims_table

from skerry.errors import SkerryError
from skerry.objects.conditions import is_true
from skerry.objects.json import int_at, maps_at, str_at
from skerry.objects.meta import name_of

FIRST, SECOND = "first edition", "second edition"
OFFLINE_S = 12.0
"""How long the gateway is kept offline: long enough for a hundred readings."""


class Demo:
    def __init__(self, stage: Stage, *, broker: str) -> None:
        self.stage = stage
        self.fleet = Fleet(stage, broker)
        self.view = View(self.fleet)
        stage.picture = self.view.draw

    def run(self) -> None:
        if not self.stage.console.is_terminal:
            self._play()
            return
        self.view.start()
        try:
            self._play()
        finally:
            self.view.stop()

    def _play(self) -> None:
        self.set_up()
        self.deploy()
        self.set_while_connected()
        self.cut()
        self.power_cut()
        self.heal()
        self.compare_readings()
        self.stage.finish_step()

    # --- the story ---

    def set_up(self) -> None:
        stage, fleet = self.stage, self.fleet
        stage.step("Start a PLC and an MQTT broker that know nothing of Skerry")
        fleet.start_site()
        stage.note(f"PLC: {fleet.plc}; broker: {fleet.broker}")
        stage.step("Start the cloud: its own CA, its own database, one process")
        began = time.monotonic()
        fleet.start_cloud()
        stage.note(f"ready after {time.monotonic() - began:.1f} s")
        stage.step("Join two gateways with one-time tokens, and run their agents")
        began = time.monotonic()
        fleet.start_gateway("eu-1", "eu")
        fleet.start_gateway("us-1", "us")
        stage.wait_for("both nodes to be Ready", lambda: fleet.node_ready("eu-1") and fleet.node_ready("us-1"))
        stage.claim(
            "Two gateways join over mutual TLS and are Ready", f"{time.monotonic() - began:.1f} s", holds=True
        )
        used = fleet.skerry("token", "list", data="cloud")
        stage.claim(
            "Both join tokens are spent", f"{used.count('used 20')} of 2 used", holds=used.count("used 20") == 2
        )

    def deploy(self) -> None:
        stage, fleet = self.stage, self.fleet
        stage.step("Deploy an app to both regions from YAML")
        began = time.monotonic()
        fleet.skerry("apply", "-f", HERE / "manifests" / "app.yaml", data="cloud")
        stage.wait_for("three pods to run", lambda: self._running() == 3)
        seconds = time.monotonic() - began
        places = {
            str_at(pod, "metadata", "labels", "region"): str_at(pod, "spec", "nodeName") for pod in fleet.pods()
        }
        stage.claim(
            "kubectl-style YAML ends in running pods on the right gateways",
            f"{seconds:.1f} s; region eu on {places.get('eu')}, us on {places.get('us')}",
            holds=places == {"eu": "eu-1", "us": "us-1"},
        )
        stage.step("Bring a PLC (Modbus) and a weather mast (MQTT) in as twins")
        values = {"PLC_PORT": fleet.plc_port, "MQTT_PORT": fleet.mqtt_port, "PASSWORD_FILE": fleet.password_file}
        fleet.skerry("apply", "-f", render("devices.yaml", fleet.directory, values), data="cloud")
        stage.wait_for("the boiler's temperature in the cloud", lambda: fleet.reported("boiler", "temperature"))
        # The agent subscribes before the mast speaks: from then on the broker keeps what the agent can't take.
        fleet.start_sensor()
        stage.wait_for("the mast's temperature in the cloud", lambda: fleet.reported("mast", "temperature"))
        first = fleet.reported("boiler", "temperature")
        moved = stage.wait_for(
            "a twin to move", lambda: ((now := fleet.reported("boiler", "temperature")) != first and now) or None
        )
        stage.claim("Twins move", f"boiler/temperature {first} → {moved} °C", holds=first != moved)

    def set_while_connected(self) -> None:
        stage, fleet = self.stage, self.fleet
        stage.step("Set the boiler from the cloud and wait until it is verified")
        began = time.monotonic()
        fleet.skerry("device", "set", "boiler", "setpoint=60", "--wait", "verified", data="cloud")
        ms = (time.monotonic() - began) * 1000
        register = fleet.register(SETPOINT_REGISTER)
        stage.claim(
            "A setpoint arrives: written, read back, acknowledged",
            f"register {register} (tenths), {ms:.0f} ms with the CLI's start",
            holds=register == 600,
        )

    def cut(self) -> None:
        stage, fleet = self.stage, self.fleet
        stage.step("Cut the link of eu-1; change its ConfigMap and a setpoint in the cloud meanwhile")
        self.processes = fleet.greeters()
        self.held_at_cut = len(fleet.readings("mast", "temperature"))
        fleet.skerry("link", "cut", data="eu-1")
        self.cut_at = time.monotonic()
        stage.wait_for("the cloud to notice", lambda: not fleet.node_ready("eu-1"))
        noticed = time.monotonic() - self.cut_at
        stage.claim(
            "The cloud notices (its grace here is 2 s), and kills nothing",
            f"{noticed:.1f} s",
            holds=True,
        )
        config = fleet.get("/api/v1/namespaces/default/configmaps/greeting")
        fleet.cloud.request(
            "PATCH",
            "/api/v1/namespaces/default/configmaps/greeting",
            body={"data": {"greeting.txt": str_at(config, "data", "greeting.txt").replace(FIRST, SECOND)}},
            content_type="application/merge-patch+json",
        )
        fleet.skerry("device", "set", "boiler", "setpoint=42.5", data="cloud")
        register = fleet.register(SETPOINT_REGISTER)
        stage.claim(
            "While cut, the setpoint waits and the old one stands", f"register {register}", holds=register == 600
        )

    def power_cut(self) -> None:
        stage, fleet = self.stage, self.fleet
        stage.step("Kill the agent of eu-1 with SIGKILL, and start it again while it is offline")
        fleet.stage.kill("eu-1")
        time.sleep(1.0)
        without_agent = fleet.greeters()
        began = time.monotonic()
        fleet.start_agent("eu-1")
        stage.wait_for("the local agent to answer", self._local_devices)
        back = time.monotonic() - began
        stage.claim("The agent is back from its own memory, offline", f"{back:.2f} s", holds=True)
        stage.claim(
            "Its pods never stopped",
            f"{len(without_agent)} processes, same pids while the agent was dead",
            holds=len(without_agent) == 3 and without_agent == self.processes,
        )
        cut = '"cut": true' in fleet.skerry("link", "status", "-o", "json", data="eu-1")
        local = fleet.skerry("device", "get", "boiler", data="eu-1")
        pods = fleet.skerry("get", "pods", data="eu-1")
        stage.claim(
            "The local CLI shows devices and pods with no cloud",
            f"{len(local.splitlines()) - 1} properties, {pods.count('greeter-eu')} pods, link still cut: {cut}",
            holds="setpoint" in local and pods.count("greeter-eu") == 2 and cut,
        )
        left = OFFLINE_S - (time.monotonic() - self.cut_at)
        deadline = time.monotonic() + max(0.0, left)
        stage.note("still offline: the sensor goes on, and its readings wait at the gateway")
        stage.wait_for("the offline period to pass", lambda: time.monotonic() >= deadline, OFFLINE_S + 5)

    def heal(self) -> None:
        stage, fleet = self.stage, self.fleet
        stage.step("Heal the link, and watch everything converge")
        began = time.monotonic()
        fleet.skerry("link", "heal", data="eu-1")
        stage.wait_for("the setpoint in the PLC", lambda: fleet.register(SETPOINT_REGISTER) == 425)
        seconds = time.monotonic() - began
        stage.claim(
            "The setpoint of the offline period is in the PLC's register, as an independent program reads it",
            f"register 425 (tenths), {seconds:.1f} s after healing",
            holds=True,
        )
        stage.wait_for("the node to be Ready again", lambda: fleet.node_ready("eu-1"))
        pod = next(name_of(pod) for pod in fleet.pods("eu"))
        stage.wait_for(
            "the app to read its new text", lambda: SECOND in fleet.skerry("logs", pod, "--tail", "2", data="cloud")
        )
        stage.claim(
            "The ConfigMap's change is in the running app, seen in its log through the cloud",
            f"{time.monotonic() - began:.1f} s after healing",
            holds=True,
        )
        now = fleet.greeters()
        restarts = sum(
            int_at(container, "restartCount")
            for each in fleet.pods()
            for container in maps_at(each, "status", "containerStatuses")
        )
        stage.claim(
            "Pods are untouched by the cut, the kill and the return",
            f"{len(now)} processes, same pids and start times; {restarts} restarts",
            holds=len(now) == 3 and now == self.processes and restarts == 0,
        )

    def compare_readings(self) -> None:
        stage, fleet = self.stage, self.fleet
        stage.step("Compare what the sensor sent with what the cloud holds")
        sensor = stage.processes.pop("sensor")
        sensor.send_signal(signal.SIGTERM)
        sensor.wait(40)
        sent = int(stage.log_of("sensor").read_text().split()[-1])
        stage.wait_for(
            f"reading {sent} in the cloud", lambda: sent in fleet.readings("mast", "temperature")[-50:], 20
        )
        held = fleet.readings("mast", "temperature")
        missing = set(range(1, sent + 1)) - set(held)
        twice = len(held) - len(set(held))
        offline = len(held) - self.held_at_cut
        stage.claim("Readings lost", f"{len(missing)} of {sent}", holds=not missing)
        stage.claim("Readings kept twice", f"{twice} of {sent}", holds=twice == 0)
        stage.claim(
            "Readings are in order, those of the offline period too",
            f"{sent} readings, {offline} of them since the cut",
            holds=held == sorted(held) and offline > OFFLINE_S * 5,
        )

    # --- looking ---

    def _running(self) -> int:
        """Pods whose every container runs: a pod that fails again and again is in phase Running, too."""
        return sum(is_true(pod, "Ready") for pod in self.fleet.pods())

    def _local_devices(self) -> bool:
        try:
            listed = self.fleet.gateway("eu-1").request("GET", "/apis/devices.kubeedge.io/v1beta1/devices").obj
        except SkerryError:
            return False
        return len(maps_at(listed, "items")) == 2


def tell_how_to_reach(stage: Stage) -> None:
    directory = stage.directory
    stage.console.print(
        f"""
The fleet is left running. Reach it with
  export KUBECONFIG={directory}/cloud/admin.kubeconfig
  kubectl get nodes,pods,devices -o wide
  {BIN}/skerry device watch
and on the gateways, as if you stood there:
  {BIN}/skerry device list --data {directory}/eu-1
  {BIN}/skerry link cut --data {directory}/eu-1
Stop it with
  {sys.executable} {HERE / "demo.py"} --stop --directory {directory}""",
        highlight=False,
        soft_wrap=True,
    )


def stop_kept(stage: Stage) -> bool:
    """End the fleet that an earlier run left running; False when there is none."""
    if not stage.take_over():
        return False
    try:
        Fleet(stage).leave()
    except (DemoError, SkerryError) as error:
        stage.console.print(f"while stopping: {error}", highlight=False)
    stage.stop_all()
    return True


def play(stage: Stage, *, broker: str, keep: bool) -> int:
    began = time.monotonic()
    demo = Demo(stage, broker=broker)
    failure = ""
    kept = False
    try:
        try:
            with stage:
                demo.run()
        except (DemoError, SkerryError) as error:
            failure = str(error)
        except KeyboardInterrupt:
            failure = "interrupted"
        stage.finish_step()
        stage.print_steps()
        if stage.claims:
            stage.console.print()
            stage.console.print(claims_table([(claim.text, claim.figure, claim.holds) for claim in stage.claims]))
        if failure:
            stage.console.print(f"[bold red]The demo could not go on:[/bold red] {failure}", highlight=False)
        elif keep:
            demo.fleet.start_sensor()
            stage.hand_over()
            kept = True
            tell_how_to_reach(stage)
    finally:
        if not kept:
            try:
                demo.fleet.leave()
            except (DemoError, SkerryError) as error:
                stage.console.print(f"while leaving: {error}", highlight=False)
            stage.stop_all()
    failed = [claim for claim in stage.claims if not claim.holds]
    held = len(stage.claims) - len(failed)
    stage.console.print(f"\n{held} of {len(stage.claims)} claims hold; {time.monotonic() - began:.0f} s in all")
    return 1 if failed or failure else 0


def main() -> int:
    parser = argparse.ArgumentParser(description="One fleet on real parts.")
    parser.add_argument("--keep", action="store_true", help="leave the fleet running")
    parser.add_argument("--stop", action="store_true", help="stop a fleet that was left running")
    parser.add_argument(
        "--broker", choices=["any", "mosquitto", "own"], default="any", help="any: mosquitto if there"
    )
    parser.add_argument("--directory", type=Path, default=HERE.parents[1] / ".demo")
    given = parser.parse_args()
    directory = given.directory.resolve()
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda signum, _: sys.exit(128 + signum))
    stopped = stop_kept(Stage(directory))
    if given.stop:
        print("stopped" if stopped else f"no fleet of {directory} is running")
        return 0
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    return play(Stage(directory), broker=given.broker, keep=given.keep)


if __name__ == "__main__":
    sys.exit(main())
