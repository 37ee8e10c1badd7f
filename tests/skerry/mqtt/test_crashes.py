"""Whatever is lost with the broker's memory, nothing that it acknowledged is, and nothing of QoS 2 comes twice.

A publisher and a subscriber that keep their side of MQTT (4.3, 4.4) talk through a broker whose commits come when
chance says, whose connections break, and which is killed; what is sent waits for its commit, as in the real shell.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skerry.mqtt.broker import Broker
from skerry.mqtt.kept import Changes
from skerry.mqtt.ledger import joined
from skerry.mqtt.limits import Limits
from skerry.mqtt.outbound import Close, Send
from skerry.mqtt.packets import (
    FOREVER,
    Ack,
    Connack,
    Connect,
    Granted,
    Kind,
    Packet,
    Properties,
    Publish,
    Subscribe,
    Wanted,
)
from tests.skerry.mqtt.table import Disk, Rules


@dataclass
class Publisher:
    """Sends in order, and again what was not acknowledged."""

    todo: deque[Publish]
    under_way: dict[int, Packet] = field(default_factory=dict[int, Packet])
    done: list[bytes] = field(default_factory=list[bytes])

    def begin(self) -> list[Packet]:
        again: list[Packet] = []
        for packet in self.under_way.values():
            if isinstance(packet, Publish):
                packet = Publish(
                    topic="t", payload=packet.payload, qos=packet.qos, packet_id=packet.packet_id, again=True
                )
            again.append(packet)
        return again

    def more(self) -> list[Packet]:
        if not self.todo or len(self.under_way) > 3:
            return []
        packet = self.todo.popleft()
        self.under_way[packet.packet_id] = packet
        return [packet]

    def hear(self, packet: Packet) -> list[Packet]:
        if not isinstance(packet, Ack):
            return []
        held = self.under_way.get(packet.packet_id)
        if packet.kind == Kind.PUBREC and held is not None:
            if isinstance(held, Publish):
                self.done.append(held.payload)  # from here on the message is the broker's
            release = Ack(kind=Kind.PUBREL, packet_id=packet.packet_id)
            self.under_way[packet.packet_id] = release
            return [release]
        if held is not None:
            del self.under_way[packet.packet_id]
            if isinstance(held, Publish):
                self.done.append(held.payload)
        return []


@dataclass
class Hearer:
    got: list[tuple[bytes, int]] = field(default_factory=list[tuple[bytes, int]])
    held: set[int] = field(default_factory=set[int])

    def hear(self, packet: Packet) -> list[Packet]:
        if isinstance(packet, Publish):
            if packet.qos == 1:
                self.got.append((packet.payload, 1))
                return [Ack(kind=Kind.PUBACK, packet_id=packet.packet_id)]
            if packet.packet_id not in self.held:
                self.held.add(packet.packet_id)
                self.got.append((packet.payload, 2))
            return [Ack(kind=Kind.PUBREC, packet_id=packet.packet_id)]
        if isinstance(packet, Ack) and packet.kind == Kind.PUBREL:
            self.held.discard(packet.packet_id)
            return [Ack(kind=Kind.PUBCOMP, packet_id=packet.packet_id)]
        return []


class World:
    def __init__(self, qoses: list[int], window: int) -> None:
        messages = [Publish(topic="t", payload=b"%d" % at, qos=qos, packet_id=at + 1) for at, qos in enumerate(qoses)]
        self.publisher, self.hearer, self.window = Publisher(deque(messages)), Hearer(), window
        self.disk = Disk()
        self.connections: dict[int, Publisher | Hearer] = {}
        self.last = 0
        self.greeted = 0
        """On which connection the publisher was let in: what it sent before, it sends again first."""
        self.broker = self.start()

    def start(self) -> Broker:
        self.unwritten: Changes | None = None
        self.held: deque[Send | Close] = deque()
        self.connections.clear()
        return Broker(Rules(), now_s=0, kept=self.disk.kept(), limits=Limits(inflight=self.window))

    def connect(self, who: Publisher | Hearer) -> None:
        self.last += 1
        self.connections = {number: held for number, held in self.connections.items() if held is not who}
        self.connections[self.last] = who
        name = "p" if who is self.publisher else "h"
        hello = Connect(client=name, clean=False, properties=Properties(session_expiry_s=FOREVER))
        self.broker.connect(self.last, name, hello, assigned="", now_s=0)
        if who is self.hearer:
            self.broker.receive(self.last, Subscribe(packet_id=1, wanted=(Wanted(filter="t", qos=2),)), 0)
        self.gather()

    def say(self, number: int, packets: list[Packet]) -> None:
        for packet in packets:
            self.broker.receive(number, packet, 0)
        self.gather()

    def gather(self) -> None:
        changes = self.broker.take_changes()
        if changes is not None:
            self.unwritten = changes if self.unwritten is None else joined(self.unwritten, changes)
        self.held.extend(self.broker.take_effects())

    def commit(self) -> None:
        if self.unwritten is not None:
            self.disk.commit(self.unwritten)
            self.unwritten = None
        held, self.held = self.held, deque()
        for effect in held:
            who = self.connections.get(effect.connection)
            if who is None or isinstance(effect, Close):
                continue
            if isinstance(effect.packet, Connack) and isinstance(who, Publisher):
                assert effect.packet.resumed or not who.done, "its session is kept"
                self.greeted = effect.connection
                self.say(effect.connection, who.begin())
            elif not isinstance(effect.packet, Granted):
                self.say(effect.connection, who.hear(effect.packet))

    def number_of(self, who: Publisher | Hearer) -> int | None:
        return next((number for number, held in self.connections.items() if held is who), None)

    def step(self, act: str) -> None:
        who: Publisher | Hearer = self.publisher if act.endswith("p") else self.hearer
        number = self.number_of(who)
        if act == "kill":
            self.broker = self.start()
        elif act == "commit":
            self.commit()
        elif act == "say":
            number = self.number_of(self.publisher)
            if number is not None and number == self.greeted:
                self.say(number, self.publisher.more())
        elif act.startswith("cut") and number is not None:
            del self.connections[number]
            self.broker.lost(number, 0)
            self.gather()
        elif act.startswith("connect"):
            self.connect(who)

    def settle(self) -> None:
        for who in (self.hearer, self.publisher):
            self.connect(who)
        for _ in range(400):
            self.step("say")
            self.commit()
            if not (self.publisher.todo or self.publisher.under_way or self.unwritten or self.held):
                break


ACTS = st.lists(
    st.sampled_from(["say", "say", "say", "commit", "commit", "kill", "cut p", "cut h", "connect p", "connect h"]),
    max_size=60,
)


@given(st.lists(st.sampled_from([1, 2]), max_size=20), st.integers(1, 4), ACTS)
@settings(max_examples=100, deadline=None)
def test_nothing_acknowledged_is_lost_and_nothing_of_qos_2_comes_twice(
    qoses: list[int], window: int, acts: list[str]
) -> None:
    world = World(qoses, window)
    world.connect(world.hearer)  # there is a subscription before there are messages
    world.commit()
    world.connect(world.publisher)
    for act in acts:
        world.step(act)
    world.settle()
    payloads = [payload for payload, _ in world.hearer.got]
    assert set(payloads) == {b"%d" % at for at in range(len(qoses))} == set(world.publisher.done)
    twice = [payload for payload, qos in world.hearer.got if qos == 2]
    assert len(twice) == len(set(twice))
    first = [payload for at, payload in enumerate(payloads) if payload not in payloads[:at]]
    for qos in (1, 2):
        of_qos = [payload for payload in first if qoses[int(payload)] == qos]
        assert of_qos == sorted(of_qos, key=int), "order is kept (4.6)"
    assert not world.disk.deliveries and not world.disk.received


@pytest.mark.parametrize("held_back", [1, 2])
def test_an_acknowledgement_waits_for_the_disk(held_back: int) -> None:
    """The rule without which a kill loses: the shell's side of it is in `tests/edgecore/broker`."""
    world = World([held_back], 4)
    world.connect(world.hearer)
    world.commit()
    world.connect(world.publisher)
    world.commit()
    world.commit()
    world.step("say")
    assert world.unwritten is not None and world.publisher.done == []
