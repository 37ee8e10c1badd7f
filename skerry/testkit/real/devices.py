"""PLCs and brokers of a fleet of real processes: programs on the network of every site, steered from the test."""

from __future__ import annotations

import base64
import time
from collections.abc import Iterator, MutableMapping, Sequence
from typing import ClassVar, cast

from skerry.objects.json import Json, int_at, list_at
from skerry.testkit import arguments
from skerry.testkit.mqtt import Devices, payload_of, topic_of
from skerry.testkit.real.power import Steward
from skerry.testkit.real.transcript import Transcript


class SiteDevice:
    """What PLCs and brokers have alike."""

    kind: ClassVar[str]

    def __init__(self, name: str, port: int, steward: Steward, transcript: Transcript) -> None:
        self.name, self._port, self._steward, self._transcript = name, port, steward, transcript
        self._began_wall_s = time.time() - transcript.now_s

    @property
    def host(self) -> str:
        return "127.0.0.1"

    @property
    def port(self) -> int:
        return self._port

    def listen(self, namespace: str, host: str) -> None:
        """Be there in one more network. Raises `UnavailableError` when the port is another's."""
        self._steward.order({"do": "listen", "namespace": namespace, "host": host})

    def stop(self) -> None:
        self._steward.order({"do": "stop"})
        self._fault("stopped")

    def start(self) -> None:
        self._steward.order({"do": "start"})
        self._fault("started")

    def _fault(self, what: str) -> None:
        self._transcript.fault(f"{self.kind} {self.name}", what)

    def _since_began_s(self, wall: object) -> float:
        return float(str(wall)) - self._began_wall_s


class RealPlc(SiteDevice):
    """Implements `skerry.testkit.Plc`."""

    kind = "plc"

    def __init__(self, name: str, port: int, steward: Steward, transcript: Transcript) -> None:
        super().__init__(name, port, steward, transcript)
        self.holding = Registers(steward, "holding", 0xFFFF)
        self.input = Registers(steward, "input", 0xFFFF)
        self.coils = Registers(steward, "coils", 1)
        self.discrete = Registers(steward, "discrete", 1)

    @property
    def writes(self) -> Sequence[tuple[float, str, int, tuple[int, ...]]]:
        told = cast("list[list[object]]", self._steward.order({"do": "writes"})["writes"])
        return [
            (self._since_began_s(at), str(table), int(str(address)), tuple(cast("list[int]", values)))
            for at, table, address, values in told
        ]

    def silence(self, *, silent: bool = True) -> None:
        self._steward.order({"do": "silence", "silent": silent})
        self._fault("falls silent" if silent else "answers again")


class RealBroker(SiteDevice):
    """Implements `skerry.testkit.Broker`."""

    kind = "broker"

    def publish(self, topic: str, payload: object, *, retain: bool = False) -> None:
        data = base64.b64encode(payload_of(payload)).decode()
        self._steward.order({"do": "publish", "topic": topic_of(topic), "payload": data, "retain": retain})

    def repeat(self, topic: str, payload: Json, *, every_s: float = 1.0) -> None:
        between_s = arguments.number(every_s, "repeat(every_s=...)", least=0.01)
        payload_of(payload)
        self._steward.order({"do": "repeat", "topic": topic_of(topic), "document": payload, "every_s": between_s})

    def obey(self, command_topic: str, topic: str, *, path: str = "$", template: str = "${value}") -> None:
        Devices().obeys(topic_of(command_topic), topic_of(topic), path, template)  # to refuse it here and now
        self._steward.order(
            {"do": "obey", "command_topic": command_topic, "topic": topic, "path": path, "template": template}
        )

    @property
    def published(self) -> Sequence[tuple[float, str, bytes]]:
        told = cast("list[list[object]]", self._steward.order({"do": "published"})["published"])
        return [(self._since_began_s(at_s), str(topic), base64.b64decode(str(data))) for at_s, topic, data in told]


class Registers(MutableMapping[int, int]):
    """One table of a PLC. What was never set is 0."""

    def __init__(self, steward: Steward, table: str, most: int) -> None:
        self._steward, self._table, self._most = steward, table, most

    def __getitem__(self, address: int) -> int:
        return int_at(self._steward.order({"do": "get", "table": self._table, "address": address}), "value")

    def __setitem__(self, address: int, value: int) -> None:
        at = arguments.address(address, self._table)
        held = arguments.place(value, self._most, f"{self._table}[{at}]")
        self._steward.order({"do": "set", "table": self._table, "address": at, "value": held})

    def __delitem__(self, address: int) -> None:
        self._steward.order({"do": "unset", "table": self._table, "address": address})

    def __iter__(self) -> Iterator[int]:
        held = self._steward.order({"do": "held", "table": self._table})
        return iter([int(str(each)) for each in list_at(held, "addresses")])

    def __len__(self) -> int:
        return sum(1 for _ in self)
