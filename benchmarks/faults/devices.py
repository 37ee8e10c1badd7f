"""Devices under load, and drivers that start before or after the agent."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

import yaml

from benchmarks.faults.case import Case, Figure, exactly
from benchmarks.faults.ground import DEVICES, FLAGS, NODE, Ground, add_device, ground
from skerry.errors import UnavailableError
from skerry.testkit.real.power import Machine
from skerry.testkit.real.programs import until

REPORTING, CYCLE_MS = 30, 333
LOAD_S = 30.0
PLC = Path(__file__).parents[2] / "examples" / "04-plc"
PLC_PORT = 5020
SETPOINT_REGISTER = 2


def telemetry() -> Sequence[Figure]:
    """Ninety readings a second from one gateway, all kept."""
    with ground(*FLAGS) as here:
        for number in range(REPORTING):
            add_device(here, f"meter-{number}", "level", cycle_ms=CYCLE_MS)
        time.sleep(3.0)
        first = [here.history(f"meter-{n}", "level") for n in range(REPORTING)]
        began, revision, cpu_s = time.monotonic(), here.revision(), here.cloud_cpu_s()
        time.sleep(LOAD_S)
        took = time.monotonic() - began
        writes, used_s = here.revision() - revision, here.cloud_cpu_s() - cpu_s
        kept = [here.history(f"meter-{n}", "level") for n in range(REPORTING)]
        reports = sum(len(new) - len(old) for new, old in zip(kept, first, strict=True))
        holes = sum(numbers != list(range(1, len(numbers) + 1)) for numbers in kept)
        return [
            Figure(what="readings kept in the cloud's history", value=reports / took, unit="/s", at_least=80),
            exactly("series with a reading missing, twice or out of order", holes, 0),
            Figure(what="changes committed to the control store, per reading", value=writes / reports, at_most=0.5),
            Figure(what="the cloud's processor time", value=100 * used_s / took, unit="% of a core", at_most=50),
        ]


def restarts() -> Sequence[Figure]:
    """PLC and agent end and start, in each order; a value that is set meanwhile arrives without anybody's help."""
    with ground(*FLAGS) as here:
        plc = Plc(here)
        plc.start()
        for obj in yaml.safe_load_all((PLC / "device.yaml").read_text()):
            if obj["kind"] == "Device":
                obj["spec"]["nodeName"] = NODE
                obj["spec"]["protocol"]["configData"]["tcp"]["port"] = PLC_PORT
            kind = "devicemodels" if obj["kind"] == "DeviceModel" else "devices"
            here.rig.cloud.create(f"{DEVICES}/{kind}", obj)
        until(lambda: here.ack("boiler-1", "setpoint") == "verified", "the first value to be verified", within_s=60)
        figures: list[Figure] = []
        orders = ("plc, then agent", "agent, then plc", "plc alone", "agent alone")
        for number, order in enumerate(orders):
            wanted = 30 + number
            if "plc" in order:
                plc.kill()
            if "agent" in order:
                here.edge.stop(signal.SIGKILL)
            here.set_point("boiler-1", "setpoint", str(wanted))
            began = time.monotonic()
            for who in order.split(", then "):
                if who.startswith("plc"):
                    plc.start()
                else:
                    here.edge.start()
                time.sleep(0.5)
            until(
                lambda wanted=wanted: (
                    plc.register(SETPOINT_REGISTER) == wanted * 10 and here.ack("boiler-1", "setpoint") == "verified"
                ),
                f"the value {wanted} in the PLC ({order})",
                within_s=60,
            )
            took = time.monotonic() - began
            figures.append(Figure(what=f"{order}: value in the PLC after", value=took, unit="s", at_most=15))
        return figures


class Plc:
    """The example's PLC, an independent program on libmodbus, at the gateway's site."""

    def __init__(self, here: Ground) -> None:
        built = subprocess.run(
            [PLC / "build.sh", here.rig.directory / "plc"], capture_output=True, text=True, check=False
        )
        if built.returncode:
            raise UnavailableError(f"the PLC can't be built: {built.stderr.strip()}")
        self._program = built.stdout.strip()
        self._state = here.rig.directory / "plc" / "state"
        self._machine: Machine = here.rig.machine("plc", site=NODE)
        self._machine.power_on()

    def start(self) -> None:
        self._machine.start("plc", [self._program, str(PLC_PORT), self._state])

    def kill(self) -> None:
        self._machine.signal("plc", signal.SIGKILL)
        self._machine.wait("plc")

    def register(self, number: int) -> int:
        """As the PLC's own client reads it over Modbus; -1 when it does not answer."""
        try:
            return int(self._machine.run("read", [self._program, "read", str(PLC_PORT), str(number)]))
        except UnavailableError:
            return -1


CASES = (
    Case(
        number=4,
        name="telemetry",
        title=f"{REPORTING} devices, 3 readings a second each",
        method=f"Virtual devices on one gateway, every reading kept, for {LOAD_S:.0f} s. Writes are counted by "
        "the control store's revisions; until values that move were told in turn it was 0.96 a reading.",
        kubeedge="kube-apiserver at 1300 % CPU (#3761)",
        run=telemetry,
    ),
    Case(
        number=13,
        name="restarts",
        title="Driver and agent restart in either order",
        method="The PLC of examples/04-plc and the agent (whose driver speaks to it) are killed; a setpoint is set "
        "while they are down; both are "
        "started in each order. The register is read by the PLC's own client.",
        kubeedge="mapper lost until it is restarted (#5021, PR #6597)",
        run=restarts,
    ),
)
