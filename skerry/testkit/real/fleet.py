"""The test kit's face on real processes: what `--skerry-backend real` gives.

A fleet is a rig (`rig`), asked from outside. Times are everybody's. Keeps a line for each thing that was done.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from ipaddress import ip_address
from typing import Final, TypeVar

from skerry.errors import UnavailableError
from skerry.objects.json import JsonObject, str_at
from skerry.sync.ports import SyncSettings
from skerry.testkit import arguments
from skerry.testkit.api import objects_of
from skerry.testkit.face import BackendError, Manifest
from skerry.testkit.fleet import FleetOf
from skerry.testkit.fleets import FleetOptions
from skerry.testkit.real.cloud import RealCloud
from skerry.testkit.real.devices import RealBroker, RealPlc, SiteDevice
from skerry.testkit.real.edge import RealClock, RealEdge, RealLink
from skerry.testkit.real.namespaces import tool
from skerry.testkit.real.rig import Rig, RigSettings, rig
from skerry.testkit.real.transcript import Transcript

DeviceT = TypeVar("DeviceT", bound=SiteDevice)

HEARTBEAT_S: Final = 2.0
"""A test of a dead link should not take minutes; the rules are the same at every heartbeat."""
PACE: Final = HEARTBEAT_S / SyncSettings().heartbeat_s
FLAGS: Final = ("--heartbeat-s", f"{HEARTBEAT_S:g}", "--node-grace-s", "1")


def open_fleet(options: FleetOptions) -> RealFleet:
    """Raises `BackendError` where processes and links can't be had."""
    stack = ExitStack()
    try:
        made = stack.enter_context(rig(RigSettings(cloud_flags=() if options.full_time else FLAGS)))
    except UnavailableError as error:
        stack.close()
        raise BackendError(f"the real backend can't run here: {error}") from error
    return RealFleet(made, options, stack)


class RealFleet(FleetOf[RealEdge, RealPlc, RealBroker]):
    """Implements `skerry.testkit.Fleet`."""

    ready_s_max = 90.0
    look_s = 0.1

    def __init__(self, made: Rig, options: FleetOptions, stack: ExitStack) -> None:
        self._rig, self._transcript, self._stack = made, Transcript(), stack
        super().__init__(options, self._transcript)
        self._cloud = RealCloud(made.cloud, self._transcript)
        self._device_hosts: set[str] = set()
        self._transcript.note("fleet", made.describe)

    @property
    def backend(self) -> str:
        return "real"

    @property
    def cloud(self) -> RealCloud:
        return self._cloud

    def _new_edge(self, name: str, labels: Mapping[str, str]) -> RealEdge:
        clock = RealClock(name, self._rig.directory / f"{name}.clock", self._transcript)
        flags = [word for label, value in labels.items() for word in ("--label", f"{label}={value}")]
        program = self._rig.edge(name, flags=tuple(flags), env=clock.env)
        return RealEdge(program, clock, RealLink(name, self._rig.sites[name].link, self._transcript), labels)

    def _begin(self, edge: RealEdge) -> None:
        for device in (*self._plcs.values(), *self._brokers.values()):
            self._put_at_sites(device, [edge.name])
        self._give_addresses(edge.name, self._device_hosts)
        edge.begin()

    def _apply(
        self, manifests: Sequence[Manifest], namespace: str = "default", *, node: str = ""
    ) -> Sequence[JsonObject]:
        applied = super()._apply(manifests, namespace, node=node)
        hosts = {host for _, obj in objects_of(manifests) if (host := _device_host(obj))}
        for name in self._edges:
            self._give_addresses(name, hosts - self._device_hosts)
        self._device_hosts |= hosts
        return applied

    def _new_plc(self, name: str, port: int) -> RealPlc:
        steward = self._rig.steward(f"plc {name}", "skerry.testkit.real.plc", str(port))
        return self._at_all_sites(RealPlc(name, port, steward, self._transcript))

    def _new_broker(self, name: str, port: int) -> RealBroker:
        steward = self._rig.steward(f"broker {name}", "skerry.testkit.real.broker", str(port))
        return self._at_all_sites(RealBroker(name, port, steward, self._transcript))

    def _at_all_sites(self, device: DeviceT) -> DeviceT:
        self._put_at_sites(device, [""] if self._rig.place is None else self._edges)
        return device

    def _put_at_sites(self, device: SiteDevice, sites: Mapping[str, object] | Sequence[str]) -> None:
        for name in sites:
            namespace = self._rig.sites[name].namespace if name else None
            if namespace is None and name:
                continue  # all sites share this machine's network, where it listens already
            try:
                device.listen(namespace.path if namespace else "", "0.0.0.0" if namespace else "127.0.0.1")
            except UnavailableError as error:
                raise BackendError(f"{device.name} can't listen: {error}; without root choose a free port") from error

    def _give_addresses(self, edge: str, hosts: set[str]) -> None:
        """The PLC is at whatever address the manifests say: at each site that address is its own."""
        namespace = self._rig.sites[edge].namespace
        if namespace is not None:
            for host in sorted(hosts):
                namespace.run(tool("ip"), "addr", "replace", f"{host}/{ip_address(host).max_prefixlen}", "dev", "lo")

    @property
    def pace(self) -> float:
        return 1.0 if self._options.full_time else PACE

    @property
    def now_s(self) -> float:
        return self._transcript.now_s

    def wait(self, seconds: float) -> None:
        time.sleep(arguments.seconds(seconds, "wait(seconds)"))

    def close(self) -> None:
        if self._options.keep and self._rig.logs.exists():
            shutil.copytree(self._rig.logs, self._options.directory / "logs", dirs_exist_ok=True)
        self._stack.close()


def _device_host(obj: JsonObject) -> str:
    """The address of a Modbus TCP device, or of an MQTT device's broker; "" for other objects, and for one that is
    loopback or a name."""
    config = ("spec", "protocol", "configData")
    host = str_at(obj, *config, "tcp", "ip") or str_at(obj, *config, "host")
    try:
        return "" if not host or ip_address(host).is_loopback else host
    except ValueError:
        return ""
