"""The push queue: each key once, prompt ones first."""

from __future__ import annotations

import sys

from skerry.objects.meta import Key
from skerry.sync.queue import PushQueue


def test_a_key_keeps_its_place_and_prompt_keys_go_first() -> None:
    queue = PushQueue()
    first, second, device = Key("configmaps", "ns", "a"), Key("pods", "ns", "b"), Key("devices", "ns", "d")
    for keys in ((first,), (second, device), (first, device)):
        queue.add(keys, lambda key: key.resource == "devices")
    assert len(queue) == 3
    order: list[Key] = []
    while queue:
        order.append(queue.first())
        queue.take(order[-1])
        assert order[-1] not in queue
    assert order == [device, first, second]


def test_a_queue_that_was_long_gives_its_room_back() -> None:
    queue = PushQueue()
    keys = [Key("configmaps", "ns", f"c-{number}") for number in range(1000)]
    queue.add(keys, lambda key: key.name > "c-5")
    for key in keys:
        queue.take(key)
    new = PushQueue()
    assert sys.getsizeof(queue._keys) == sys.getsizeof(new._keys)
    assert sys.getsizeof(queue._prompt) == sys.getsizeof(new._prompt)
