from __future__ import annotations

from skerry.mqtt.limits import Limits
from skerry.mqtt.outbound import Send
from skerry.mqtt.packets import FOREVER, Granted, Properties, Publish, Reason, Subscribe, Unsubscribe, Wanted
from skerry.mqtt.telling import PORTION_BYTES
from tests.skerry.mqtt.table import Client, Table

LASTING = Properties(session_expiry_s=FOREVER)


def stocked(count: int, size: int = 600, limits: Limits | None = None, qos: int = 0) -> Table:
    table = Table(limits)
    publisher = table.client("p")
    for number in range(count):
        publisher.publish(f"r/{number}", b"x" * size, qos=qos, id=1, retain=True)
    return table


def ask(table: Table, client: Client, *wanted: Wanted) -> None:
    """Without the turns in which it is told."""
    packet = Subscribe(packet_id=1, wanted=wanted)
    table.broker.receive(client.number, packet, table.now_s)


def portion(table: Table, client: Client) -> list[Publish]:
    assert table.broker.tell(client.number, table.now_s)
    changes = table.broker.take_changes()
    if changes is not None:
        table.disk.commit(changes)
    sent = [effect for effect in table.broker.take_effects() if isinstance(effect, Send)]
    assert not any(each.droppable for each in sent), "nothing of it is lost to who reads slowly"
    return [each.packet for each in sent if isinstance(each.packet, Publish)]


def told(table: Table, client: Client) -> list[str]:
    topics: list[str] = []
    while client.number in table.broker.behind:
        topics += [packet.topic for packet in portion(table, client)]
    return topics


def test_more_than_a_connection_holds_is_told_in_portions_and_nothing_is_dropped() -> None:
    table = stocked(1000)
    client = table.client("c")
    ask(table, client, Wanted(filter="#"))
    assert [type(effect.packet) for effect in table.broker.take_effects() if isinstance(effect, Send)] == [Granted]
    topics: list[str] = []
    while client.number in table.broker.behind:
        packets = portion(table, client)
        assert sum(len(packet.payload) for packet in packets) <= PORTION_BYTES + 600
        topics += [packet.topic for packet in packets]
    assert len(topics) == len(set(topics)) == 1000
    assert table.broker.figures["publish/messages/dropped"] == 0


def test_one_packet_that_wants_everything_256_times_is_told_it_once() -> None:
    table = stocked(2000, size=1)
    client = table.client("c")
    ask(table, client, *(Wanted(filter="#"),) * 256)
    assert len(table.broker.take_effects()) == 1
    assert len(told(table, client)) == 2000


def test_many_filters_that_match_everything_cost_a_portion_at_a_time() -> None:
    table = stocked(2000, size=1)
    client = table.client("c")
    ask(table, client, *(Wanted(filter=filter) for filter in ("#", "+/#", "r/#", "r/+", "+/+")))
    counts: list[int] = []
    while client.number in table.broker.behind:
        counts.append(len(portion(table, client)))
    assert sum(counts) == 5 * 2000 and max(counts) < 200


def test_what_is_published_meanwhile_comes_once_and_nothing_old_comes_after_it() -> None:
    table = stocked(1000)
    client = table.client("c")
    ask(table, client, Wanted(filter="#"))
    first = [packet.topic for packet in portion(table, client)]
    late = next(f"r/{number}" for number in range(1000) if f"r/{number}" not in first)
    publisher = table.client("q")
    publisher.publish(late, b"new", retain=True)
    publisher.publish("r/not-there-before", b"new", retain=True)
    publisher.publish("r/gone", b"", retain=True)
    client.inbox.clear()
    rest = told(table, client)
    assert late not in rest and "r/not-there-before" not in rest


def test_acknowledged_messages_come_as_fast_as_they_are_acknowledged() -> None:
    """The queue holds less than there is, and drops nothing of it."""
    table = stocked(100, limits=Limits(queue=10, inflight=4), qos=1)
    client = table.client("c", properties=Properties(receive_max=2))
    client.subscribe("#", 1)
    got: list[str] = []
    while packets := client.got(Publish):
        assert len(packets) <= 2
        for packet in packets:
            got.append(packet.topic)
            client.ack(packet)
    assert len(got) == len(set(got)) == 100 and table.broker.figures["publish/messages/dropped"] == 0


def test_who_goes_in_the_middle_is_told_the_rest_when_it_is_back() -> None:
    table = stocked(300)
    client = table.client("c", clean=False, properties=LASTING)
    ask(table, client, Wanted(filter="#"))
    first = [packet.topic for packet in portion(table, client)]
    client.vanish()
    assert not table.broker.behind
    back = table.client("c", clean=False, properties=LASTING)
    rest = [topic for topic, _ in back.messages()]
    assert len(rest) > 100 and sorted(first + rest) == sorted(f"r/{number}" for number in range(300))


def test_a_power_cut_in_the_middle_costs_nothing_of_it() -> None:
    table = stocked(300)
    client = table.client("c", clean=False, properties=LASTING)
    ask(table, client, Wanted(filter="#"))
    portion(table, client)
    assert table.disk.subscriptions["c", "#"].telling
    table.power_cut()
    back = table.client("c", clean=False, properties=LASTING)
    assert len(back.messages()) == 300 and not table.disk.subscriptions["c", "#"].telling
    table.power_cut()
    assert table.client("c", clean=False, properties=LASTING).messages() == []


def test_a_subscription_that_ends_in_the_middle_is_told_no_more() -> None:
    table = stocked(300)
    one, two = table.client("1"), table.client("2")
    for client in (one, two):
        ask(table, client, Wanted(filter="#"))
        portion(table, client)
    table.broker.receive(one.number, Unsubscribe(packet_id=2, filters=("#",)), table.now_s)
    table.rules.unheard = {"#"}
    table.review()
    assert one.messages() == two.messages() == [] and not table.broker.behind


def test_a_small_telling_leaves_no_mark() -> None:
    table = stocked(3)
    client = table.client("c", clean=False, properties=LASTING)
    assert client.subscribe("#") == (0,) and len(client.messages()) == 3
    assert not table.disk.subscriptions["c", "#"].telling
    assert client.subscribe("$share/g/#") == (0,) and client.messages() == []
    assert client.subscribe("r/#/x") == (Reason.BAD_FILTER,)
