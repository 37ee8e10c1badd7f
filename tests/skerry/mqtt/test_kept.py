from __future__ import annotations

import gc
import tracemalloc

import pytest

from skerry.frozen import replace
from skerry.mqtt.kept import Message
from skerry.mqtt.limits import Limits
from skerry.mqtt.packets import NONE, Properties
from skerry.mqtt.routing import Retained

FULL = Properties(
    content_type="c" * 2000,
    response_topic="r" * 2000,
    correlation=b"7" * 2000,
    user=tuple((f"{number}" + "k" * 100, f"{number}" + "v" * 100) for number in range(64)),
)


def anew(properties: Properties, number: int) -> Properties:
    """As it comes from the network: every text is another object."""
    if properties is NONE:
        return NONE
    return replace(
        properties,
        user=tuple((f"{name}{number}", f"{value}{number}") for name, value in properties.user),
        content_type=f"{properties.content_type}{number}",
        response_topic=f"{properties.response_topic}{number}",
        correlation=(properties.correlation or b"") + b"%d" % number,
    )


@pytest.mark.parametrize(
    ("topic", "properties"),
    [
        ("t", NONE),
        ("t", FULL),
        ("t", Properties(content_type="c")),
        ("t", Properties(user=tuple((f"{number}k", f"{number}v") for number in range(64)))),
        ("\N{GRINNING FACE}" * 500, NONE),
        ("/".join(f"level {number}" for number in range(128)), NONE),
    ],
)
def test_what_is_retained_counts_for_what_it_takes(topic: str, properties: Properties) -> None:
    """Bounds that do not count properties or levels are no bounds."""
    held = Retained(Limits(retained=1000, retained_bytes=1 << 40))
    gc.collect()
    tracemalloc.start()
    try:
        for number in range(100):
            own = anew(properties, number)
            held.put(Message(topic=f"{number}{topic}", payload=b"%d" % number, qos=1, retain=True, properties=own))
        gc.collect()
        taken = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert 0.4 * held.bytes < taken < 1.1 * held.bytes


def test_a_queue_counts_properties_too() -> None:
    plain = Message(topic="t", payload=b"x", qos=1)
    said = replace(plain, properties=Properties(user=(("k" * 1000, "v" * 15000),)))
    assert said.size - plain.size >= 16000
    assert (
        replace(plain, properties=Properties(correlation=b"x" * 900, content_type="c" * 90)).size >= plain.size + 990
    )
