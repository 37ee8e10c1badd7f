"""What a test of a fleet is written against: one face, whichever backend stands behind it.

All of it is plain and synchronous: a test says what happens, and `eventually` lets time pass. In the simulated
backend time is virtual and an hour takes about a second; in the real one it is everybody's. Names of kinds are
given as to kubectl (`pod`, `pods`, `deploy`, `devices.devices.kubeedge.io`); objects are plain dictionaries, as the
API's JSON has them. Times are seconds since the fleet was opened, unless they say `_ms` (milliseconds since 1970).

Source of the promises that a test may rely on: docs/explanation/session.md.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, MutableMapping, Sequence
from pathlib import Path
from typing import Literal, Protocol, TypeAlias, TypeVar

from skerry.errors import CallerError, SkerryError
from skerry.frozen import Frozen
from skerry.objects.json import Json, JsonObject

T = TypeVar("T")

Manifest: TypeAlias = "str | Path | Mapping[str, object] | Sequence[Manifest]"
"""What `apply` takes: a file or directory by its path, YAML or JSON text (it has a line end), an object, or several
of these."""

BootClock: TypeAlias = Literal["kept", "1970"]
"""What a gateway's wall clock says after a power cycle: the time, from a battery; or 1970, without one."""


class UnsupportedError(SkerryError):
    """This backend can't do it by its nature; the text says which one can."""


class BackendError(SkerryError):
    """The backend can't run here (no network namespaces, a program that is missing); the text says what it needs."""


class ApplyError(CallerError):
    """Manifests that were refused. The text has a line for each refusal, in kubectl's words."""


class ContainerView(Frozen):
    """One container as the gateway's runtime has it now."""

    name: str
    id: str
    """Changes with every start: the same id means that it was never restarted."""
    attempt: int
    """0 for the first run."""
    running: bool
    started_ms: int
    exit_code: int
    """Of the end, when it is not running."""
    env: Mapping[str, str]
    """What it was started with; empty where the runtime doesn't say."""


class PodView(Frozen):
    """One pod on a gateway: what the gateway says of it, and what runs."""

    namespace: str
    name: str
    uid: str
    phase: str
    """Pending, Running, Succeeded, Failed."""
    ready: bool
    message: str
    """Why it is not ready, for people; "" when it is."""
    containers: tuple[ContainerView, ...]

    @property
    def restarts(self) -> int:
        """Of all containers together."""
        return sum(container.attempt for container in self.containers)

    @property
    def running(self) -> bool:
        """Every container runs."""
        return bool(self.containers) and all(container.running for container in self.containers)


class TwinView(Frozen):
    """One property of one device, as somebody sees it (the gateway or the cloud). Values are text, as in the API."""

    device: str
    prop: str
    desired: str | None
    reported: str | None
    quality: str
    """`good`, `stale`, `bad`; "" before the first value."""
    state: str
    """What became of the desired value: pending, sent, applied, verified, refused, failed, expired; "" for none."""
    reason: str
    """Why there is no value, or why the desired one was not carried out; "" when all is well."""
    reported_ms: int
    """When the value was read, by the clock of who tells."""


class ReadingView(Frozen):
    """One reading in the cloud's history."""

    number: int
    """Grows in the order in which readings took effect."""
    at_ms: int
    """When it was read, by the cloud's clock."""
    value: str | None
    """None: there was none then; `quality` is `bad`."""
    quality: str
    sequence: int
    """The gateway's own number of it: each is there once, in order; 0 where it gives none."""


class FaultView(Frozen):
    """One thing that a test did to a fleet: a fault, or the end of one."""

    at_s: float
    who: str
    """A gateway, `cloud`, `plc boiler` ..."""
    what: str


class LinkFaults(Protocol):
    """The link between one gateway and its cloud, and what can be done to it. Faults add up until `heal`."""

    @property
    def state(self) -> str:
        """For people: `healthy`, `cut`, `half-open (up)`, `64 kbit/s, 5 % loss` ..."""
        ...

    def cut(self) -> None:
        """Both ends notice at once, and dialling fails."""
        ...

    def half_open(self, *, up: bool = True, down: bool = True) -> None:
        """What goes up (to the cloud), down, or both ways vanishes without a word; nobody is told."""
        ...

    def slow(self, *, kbit: float | None = None, loss: float = 0.0, delay_ms: float = 0.0) -> None:
        """Limit the bandwidth (kilobits a second each way; None: no limit), lose this share of packets (they are sent
        again, as TCP does: loss is delay), and add a delay to each way."""
        ...

    def heal(self) -> None:
        """Undo all of it. The gateway dials again by its own rules."""
        ...

    @property
    def bytes_up(self) -> int:
        """Payload that went towards the cloud since the gateway was made; what is in the frames, without TLS and TCP
        where the backend can tell them apart."""
        ...

    @property
    def bytes_down(self) -> int: ...


class EdgeClock(Protocol):
    """A gateway's wall clock. Its monotonic clock goes on whatever the wall says."""

    @property
    def wall_ms(self) -> int: ...

    def step(self, seconds: float) -> None:
        """Set it forward, or back when negative."""
        ...


class Edge(Protocol):
    """One gateway."""

    @property
    def name(self) -> str: ...
    @property
    def link(self) -> LinkFaults: ...
    @property
    def clock(self) -> EdgeClock: ...

    @property
    def connected(self) -> bool:
        """The agent runs, and as far as it knows it has a session with the cloud."""
        ...

    @property
    def in_step(self) -> bool:
        """Connected, and it holds what the cloud wants it to hold."""
        ...

    @property
    def running(self) -> bool:
        """The agent's process lives."""
        ...

    @property
    def powered(self) -> bool: ...

    @property
    def waiting(self) -> int:
        """Reports in the outbox that the cloud has not acknowledged."""
        ...

    def kill(self) -> None:
        """SIGKILL to the agent. Its pods go on; nothing supervises them until `start`."""
        ...

    def start(self) -> None:
        """Start the agent again after `kill`, or the gateway after `power_off`. Nothing when it runs."""
        ...

    def power_off(self) -> None:
        """Everything on the gateway stops at once: what was not synced to the disk is lost."""
        ...

    def power_cycle(self, off_s: float = 0.0, *, clock: BootClock = "kept") -> None:
        """Power off, wait, boot. Returns when the agent has been started, not when its pods run."""
        ...

    def get(self, kind: str, name: str, namespace: str = "default") -> JsonObject | None:
        """An object as the gateway's local API shows it, link or no link; None when it is not there."""
        ...

    def list(self, kind: str, namespace: str = "") -> list[JsonObject]:
        """Objects as the gateway's local API shows them; "" for all namespaces."""
        ...

    def pods(self) -> Sequence[PodView]:
        """Pods that run here or should, by namespace and name. Empty while there is no power."""
        ...

    def pod(self, prefix: str, namespace: str = "default") -> PodView | None:
        """The first pod whose name begins so: a Deployment's pods have suffixes."""
        ...

    def twin(self, device: str, prop: str, namespace: str = "default") -> TwinView | None:
        """As the gateway sees it; None when it knows no such device or property."""
        ...

    def set_desired(self, device: str, prop: str, value: str, namespace: str = "default") -> None:
        """Want a value, on the gateway itself: works without a link."""
        ...


class Backup(Protocol):
    """A copy of the cloud's store, as `Cloud.backup` made it."""

    @property
    def taken_s(self) -> float: ...


class Cloud(Protocol):
    """The control plane."""

    @property
    def running(self) -> bool: ...

    @property
    def connected(self) -> Sequence[str]:
        """Names of the gateways that the cloud has a session with."""
        ...

    def kill(self) -> None:
        """SIGKILL: what was acknowledged is in the store, the rest is gone."""
        ...

    def start(self) -> None: ...

    def backup(self) -> Backup: ...

    def restore_backup(self, backup: Backup) -> None:
        """Stop, put the store back to what it was then, start."""
        ...

    def get(self, kind: str, name: str, namespace: str = "default") -> JsonObject | None: ...
    def list(self, kind: str, namespace: str = "") -> list[JsonObject]: ...

    def twin(self, device: str, prop: str, namespace: str = "default") -> TwinView | None:
        """As the cloud sees it."""
        ...

    def history(self, device: str, prop: str, namespace: str = "default") -> Sequence[ReadingView]:
        """Every reading that the cloud has of the property, in the order in which they took effect."""
        ...

    def node_ready(self, name: str) -> str:
        """`True`, `False` or `Unknown` as the Node's condition says; "" without one."""
        ...


class Plc(Protocol):
    """A Modbus device on the network of the gateways. Its memory is plain: what is written is read."""

    @property
    def host(self) -> str:
        """Where gateways reach it; goes into a Device's `tcp.ip`."""
        ...

    @property
    def port(self) -> int: ...

    @property
    def holding(self) -> MutableMapping[int, int]:
        """Holding registers by address from 0; unsigned 16 bit. What was never set is 0."""
        ...

    @property
    def input(self) -> MutableMapping[int, int]: ...

    @property
    def coils(self) -> MutableMapping[int, int]:
        """0 or 1."""
        ...

    @property
    def discrete(self) -> MutableMapping[int, int]: ...

    @property
    def writes(self) -> Sequence[tuple[float, str, int, tuple[int, ...]]]:
        """What gateways wrote: (time, `holding` or `coils`, first address, values), in order."""
        ...

    def stop(self) -> None:
        """Connections break, and new ones are refused."""
        ...

    def start(self) -> None: ...

    def silence(self, *, silent: bool = True) -> None:
        """Take requests and don't answer them."""
        ...


class Broker(Protocol):
    """An MQTT broker on the network of the gateways, and the devices that speak through it. Sessions and what is
    retained outlive a stop. Nobody is asked for a password; of real processes, files that a Device names for one
    have to be there all the same."""

    @property
    def host(self) -> str:
        """Where gateways reach it; goes into a Device's `host`."""
        ...

    @property
    def port(self) -> int: ...

    def publish(self, topic: str, payload: object, *, retain: bool = False) -> None:
        """A device tells something once, with QoS 1. Text and bytes are sent as they are, anything else as JSON."""
        ...

    def repeat(self, topic: str, payload: Json, *, every_s: float = 1.0) -> None:
        """A device tells this now and every so often, until the next `repeat` of the topic; None: nothing more. The
        texts `${n}` and `${at}` in it become the number of the message and the time in seconds since 1970."""
        ...

    def obey(self, command_topic: str, topic: str, *, path: str = "$", template: str = "${value}") -> None:
        """A device does what it is told: the value that a gateway publishes on `command_topic`, in the form of
        `template`, takes the place `path` of what is told on `topic`, which is told at once."""
        ...

    @property
    def published(self) -> Sequence[tuple[float, str, bytes]]:
        """What gateways published: (time, topic, payload), in order."""
        ...

    def stop(self) -> None:
        """Connections break, and new ones are refused; devices are silent meanwhile."""
        ...

    def start(self) -> None: ...


class Fleet(Protocol):
    """A cloud and its gateways."""

    @property
    def backend(self) -> str:
        """`simulated` or `real`."""
        ...

    @property
    def seed(self) -> int: ...
    @property
    def cloud(self) -> Cloud: ...

    @property
    def edges(self) -> Mapping[str, Edge]:
        """By name, in the order in which they were made."""
        ...

    def edge(self, name: str = "edge-1", *, labels: Mapping[str, str] | None = None, devices: Manifest = ()) -> Edge:
        """The gateway of this name. The first call makes it, joins it and waits until its node is Ready; `labels` are
        its node's, and Devices of the `devices` manifests are applied with this gateway as their node. Later calls
        give the same one. Raises `InvalidError` for other labels than it has, and for what no Node can be called."""
        ...

    def apply(self, *manifests: Manifest, namespace: str = "default") -> Sequence[JsonObject]:
        """What `kubectl apply` does, unknown fields refused: the objects as they are now. Raises `ApplyError`."""
        ...

    def get(self, kind: str, name: str, namespace: str = "default") -> JsonObject | None:
        """As the cloud has it; None when it is not there."""
        ...

    def list(self, kind: str, namespace: str = "") -> list[JsonObject]: ...

    def patch(self, kind: str, name: str, patch: Mapping[str, object], namespace: str = "default") -> JsonObject:
        """A JSON merge patch (RFC 7386)."""
        ...

    def delete(self, kind: str, name: str, namespace: str = "default") -> bool:
        """False when it was not there."""
        ...

    def set_desired(self, device: str, prop: str, value: str, namespace: str = "default") -> None:
        """What `skerry device set` does in the cloud."""
        ...

    def plc(self, name: str = "plc", *, port: int = 502) -> Plc:
        """The Modbus device of this name; the first call puts it on the network."""
        ...

    def broker(self, name: str = "broker", *, port: int = 1883) -> Broker:
        """The MQTT broker of this name; the first call puts it on the network."""
        ...

    @property
    def pace(self) -> float:
        """How long this fleet's heartbeats are, as a share of the product's own: 1 where time costs nothing. What is
        to last so many heartbeats lasts that share of its time."""
        ...

    @property
    def now_s(self) -> float:
        """Seconds since the fleet was opened."""
        ...

    def wait(self, seconds: float) -> None:
        """Let time pass."""
        ...

    def eventually(
        self,
        condition: Callable[[], T],
        within_s: float = 60.0,
        *,
        every_s: float | None = None,
        message: str = "",
    ) -> T:
        """Let time pass until the condition gives something true, and give that; otherwise an `AssertionError` that
        tells what was seen on the way. A condition that raises `AssertionError`, `LookupError`, `UnavailableError`
        or `StopIteration` (`next` of what is not there), or that asks None for an attribute or item, is not true
        yet."""
        ...

    def throughout(
        self,
        condition: Callable[[], object],
        for_s: float = 60.0,
        *,
        every_s: float | None = None,
        message: str = "",
    ) -> None:
        """Let time pass, and fail at the first look at which the condition is not true."""
        ...

    @property
    def faults(self) -> Sequence[FaultView]:
        """What was done to this fleet, in order: links cut and healed, power, clocks, crashes."""
        ...

    @property
    def transcript(self) -> Sequence[str]:
        """What happened, a line each, the newest last: faults, links, frames, starts and stops of containers."""
        ...

    def close(self) -> None:
        """End everything. Safe to call twice."""
        ...
