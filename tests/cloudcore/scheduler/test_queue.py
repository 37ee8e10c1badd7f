"""The scheduler's queue."""

from cloudcore.scheduler.ask import Ask, ask_of
from cloudcore.scheduler.queue import PodQueue
from skerry.frozen import replace
from skerry.objects.meta import Key


def ask(name: str, priority: int = 0) -> Ask:
    return ask_of({"metadata": {"name": name, "namespace": "d"}, "spec": {"priority": priority}})


def names(queue: PodQueue, now: float = 0) -> list[str]:
    found: list[str] = []
    while (taken := queue.take(now)) is not None:
        found.append(taken.key.name)
    return found


def test_the_higher_priority_goes_first_then_the_older():
    queue = PodQueue()
    for each in (ask("a"), ask("b", 10), ask("c"), ask("d", 10)):
        queue.put(each)
    assert names(queue) == ["b", "d", "a", "c"]


def test_what_fits_nowhere_waits_for_a_change_and_then_out_its_backoff():
    queue = PodQueue()
    queue.put(ask("a"))
    assert names(queue) == ["a"]
    queue.put_aside(Key("pods", "d", "a"), 0)
    queue.put(ask("a"))
    assert names(queue, 50) == [], "nothing has changed"
    queue.wake(50)
    assert names(queue, 50) == ["a"]
    queue.put_aside(Key("pods", "d", "a"), 50)
    queue.wake(50.5)
    assert names(queue, 51.9) == []
    assert queue.next_due(51) == 52
    assert names(queue, 52) == ["a"]


def test_a_pod_that_changed_is_tried_at_once():
    queue = PodQueue()
    queue.put(ask("a"))
    names(queue)
    queue.put_aside(Key("pods", "d", "a"), 0)
    queue.put(replace(ask("a"), priority=5))
    assert names(queue) == ["a"]


def test_a_pod_that_is_gone_is_not_tried():
    queue = PodQueue()
    queue.put(ask("a"))
    queue.drop(Key("pods", "d", "a"))
    assert names(queue) == []
    assert queue.next_due(0) is None
    assert len(queue) == 0


def test_after_five_minutes_everything_is_tried_again():
    queue = PodQueue()
    queue.put(ask("a"))
    names(queue)
    queue.put_aside(Key("pods", "d", "a"), 0)
    assert queue.next_due(0) == 300
    assert names(queue, 300) == ["a"]
