"""What a driver is: code that speaks to real devices, and the values that leave it.

No value without quality and time; no wrong value, rather none. A driver never raises for a sick device: it
returns a reading with bad quality and a reason. Forms: `modbus`, `mqtt`, `http`, `virtual`,
and what others write (`devices.mapper`). All pass the suite of `skerry.testkit.drivers`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Literal, Protocol

from skerry.frozen import Frozen, field
from skerry.objects.desired import OnReconnect, Policy
from skerry.objects.json import Json, JsonObject
from skerry.objects.meta import Key
from skerry.objects.twins import Quality, Value


class Reading(Frozen):
    """One value of one property, or the reason why there is none."""

    device: Key
    prop: str
    value: Value | None
    """None exactly when quality is `bad`."""
    quality: Quality
    reason: str
    """"" when good; else for people: `unit 3 silent for 2.0 s`, `exception 2: illegal data address`."""
    source_ms: int
    """When the device says (or the middle of request and response), wall clock milliseconds."""
    monotonic_s: float
    """The same instant on the monotonic clock."""
    source_seq: int | None = None
    """The device's own number of this reading, where it gives one: repetitions are recognised by it."""
    redelivered: bool = False
    """Whoever delivered it says that it may have done so before (MQTT's DUP flag)."""
    receipt: int = 0
    """What to hand to `Driver.stored` once this reading is durable; 0: nobody waits for it."""


class Fallback(Frozen):
    """What is wanted by itself when the cloud was not heard for so long."""

    value: str
    after_s: float


class TwinConfig(Frozen):
    """How a property's twin behaves: `twin` in the visitor's configData (docs/reference/devices.md)."""

    policy: Policy = "newest"
    """Who wins a true conflict of desired values."""
    on_reconnect: OnReconnect = "apply"
    """What becomes of a desired value that the cloud was given while the gateway was away, where its writer did not
    say."""
    write_interval_ms: int = 0
    """The device is written no more often than this, whatever is wanted: some wear out."""
    tolerance: float = 0.0
    """Within it, a value read back is the value wanted."""
    fallback: Fallback | None = None
    deadband: float = 0.0
    """Reported only when the value moved by more than this (or `silence_ms_max` passed)."""
    silence_ms_max: int = 60_000
    """Reported at least this often while it is read, so that a quiet value differs from a dead gateway."""
    every_reading: bool = False
    """Every reading is kept as history (sensors that tell by themselves), not only changes."""


class PropertyConfig(Frozen):
    """One property with everything a driver needs: the instance's visitor merged over the model's."""

    name: str
    type: str
    """INT, FLOAT, DOUBLE, STRING, BOOLEAN, BYTES (KubeEdge v1beta1)."""
    writable: bool
    unit: str
    minimum: float | None
    maximum: float | None
    collect_ms: int
    visitor: JsonObject
    twin: TwinConfig = TwinConfig()
    report_to_cloud: bool = True

    def quality_of(self, value: Value) -> tuple[Quality, str]:
        """Of a value that was told in time, and why it is not good: outside of the model's range it is uncertain."""
        if isinstance(value, int | float) and not isinstance(value, bool):
            if self.minimum is not None and value < self.minimum:
                return "uncertain", f"below the minimum of {self.minimum:g}"
            if self.maximum is not None and value > self.maximum:
                return "uncertain", f"above the maximum of {self.maximum:g}"
        return "good", ""


class DeviceConfig(Frozen, hidden=("secret",)):
    """One device as a driver sees it."""

    device: Key
    protocol: str
    """The driver's name."""
    protocol_config: JsonObject
    properties: tuple[PropertyConfig, ...]
    named: str = ""
    """The protocol as the manifest names it."""
    secret: Mapping[str, bytes] = field(default_factory=dict[str, bytes])
    """What the Secret holds that the device's `secretRef` names. Never shown, logged or told."""


WriteState = Literal["verified", "applied", "refused", "failed"]
"""`verified` means read back and equal within tolerance, `applied` accepted but not readable; after `refused` asking
again is useless, after `failed` it is not."""


class WriteResult(Frozen):
    """What became of one write."""

    state: WriteState
    reason: str
    read_back: Reading | None


class DeviceHealth(Frozen):
    device: Key
    online: bool
    reason: str
    waiting: bool = False
    """Nobody here speaks its protocol, and whoever does has not come yet."""


class Notes(Protocol):
    """What a driver has learned and wants to know again after a restart: a text by name. Losing one costs a little
    work, never a value."""

    def read(self, name: str) -> str:
        """ "" when there is none."""
        ...

    async def write(self, name: str, text: str) -> None: ...


class Step(Frozen):
    """One step between what is on the wire and the value that people see."""

    name: str
    """`words`, `order`, `int16`, `scale`, `range`, `payload`, `path`, `sent` ..."""
    says: str


class Explanation(Frozen):
    """Where a property's value comes from, and how it was made."""

    place: str
    """Where the device keeps it, in the protocol's words."""
    asked: str
    """How it is come by: `every 1 s`, `it tells by itself`."""
    raw: JsonObject
    """What came over the wire with the newest answer, in the protocol's own fields; empty when there was none yet."""
    steps: tuple[Step, ...]
    """From there to the value, and what was thought of it."""
    reading: Reading | None
    """What it came to, or why there is no value; None when nothing was heard yet."""
    error: str = ""
    """The newest failure since this agent serves the property, be it over by now; "" for none."""
    error_ms: int = 0
    """When that was."""
    next_s: float | None = None
    """In how many seconds it is asked for next; None: it isn't."""


class Rehearsal(Frozen):
    """What writing a value would come to, as far as can be said without the device."""

    place: str
    requests: tuple[JsonObject, ...]
    """What would be sent, in order, in the protocol's own fields; empty when it is refused."""
    steps: tuple[Step, ...]
    """From the value to that."""
    refusal: str
    """Why nothing would be sent; "" when it would."""

    def shown(self, value: str) -> JsonObject:
        """As people and programs are told of it; `value`: what was to be written."""
        out: JsonObject = {
            "value": value,
            "place": self.place,
            "steps": steps_shown(self.steps),
            "requests": [*self.requests],
        }
        return out | ({"refusal": self.refusal} if self.refusal else {})


def steps_shown(steps: tuple[Step, ...]) -> list[Json]:
    """Steps as people and programs are told of them."""
    return [{"name": step.name, "says": step.says} for step in steps]


class Driver(Protocol):
    """Serves all devices of one protocol. `configure` may be called again at any time with the whole set."""

    async def configure(self, devices: Sequence[DeviceConfig]) -> Sequence[tuple[Key, str]]:
        """Take over this set; the refusals (device, reason naming the field and the fix) are returned."""
        ...

    async def run(self) -> None:
        """Work until cancelled; nothing is read or written before."""
        ...

    def readings(self) -> AsyncIterator[Reading]:
        """What is read, as it is read. One consumer."""
        ...

    def stored(self, receipts: Sequence[int]) -> None:
        """These readings are durable: what waits for that (an MQTT acknowledgement) may go. Never blocks."""
        ...

    def health(self) -> Sequence[DeviceHealth]: ...

    async def write(self, device: Key, prop: str, value: Value, *, once: bool = False) -> WriteResult:
        """Write, then read back. Never raises for a sick device. With `once` the device gets it never twice, at the
        price of perhaps not at all: for commands, which are not states."""
        ...

    async def read(self, device: Key, prop: str) -> Reading:
        """Read one property now, whatever its cycle. Never raises for a sick device; a device that only tells by
        itself gives a reading of bad quality that says so. One with a receipt is among `readings` too."""
        ...

    def explain(self, device: Key, prop: str) -> Explanation | None:
        """How the newest value came to be, from what is remembered: nothing is asked. None: no such property here."""
        ...

    def rehearse(self, device: Key, prop: str, value: Value) -> Rehearsal | None:
        """What `write` would send and check; nothing is sent. None: no such property here."""
        ...

    async def close(self) -> None: ...
