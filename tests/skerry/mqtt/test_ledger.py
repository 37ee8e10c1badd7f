from __future__ import annotations

from skerry.mqtt.kept import Changes, DeliveryRow, Message, SessionRow, Stage, Subscription
from skerry.mqtt.ledger import joined
from skerry.mqtt.packets import Wanted


def row(client: str, number: int) -> DeliveryRow:
    return DeliveryRow(
        client=client,
        number=number,
        qos=1,
        retain=False,
        subscription_ids=(),
        packet_id=0,
        stage=Stage.WAITS,
        message=Message(topic="t", payload=b"x", qos=1),
    )


def test_a_disk_that_takes_nothing_for_long_leaves_no_more_than_there_is() -> None:
    """A client that comes, leaves a message behind, and goes, again and again."""
    held = Changes(deliveries=(row("h", 0),))
    for number in range(1, 50):
        came = Changes(
            ended=("c",),
            sessions=(SessionRow(client="c", user="u", expiry_s=9, left_s=None),),
            subscribed=(("c", Subscription(wanted=Wanted(filter="f"))),),
            done=(("h", number - 1),),
            deliveries=(row("h", number),),
            received=(("c", 1),),
            retained=(Message(topic="t", payload=b"%d" % number, qos=0, retain=True),),
        )
        held = joined(held, came)
    assert held.ended == ("c",) and held.done == ()
    assert [each.number for each in held.deliveries] == [49]
    assert len(held.sessions) == len(held.subscribed) == len(held.received) == len(held.retained) == 1


def test_what_is_on_the_disk_is_deleted_from_it() -> None:
    held = joined(Changes(done=(("h", 1),)), Changes(done=(("h", 2),), ended=("other",)))
    assert held.done == (("h", 1), ("h", 2)) and held.ended == ("other",)
    assert joined(held, Changes(ended=("h",))).done == ()
