"""The work queue, without a clock."""

from hypothesis import given
from hypothesis import strategies as st

from cloudcore.runtime.backoff import Backoff, BackoffSettings
from cloudcore.runtime.workqueue import WorkQueue


def test_a_key_added_twice_is_worked_on_once():
    queue: WorkQueue[str] = WorkQueue()
    queue.add("a")
    queue.add("a")
    assert len(queue) == 1
    assert queue.take(0) == "a"
    queue.done("a")
    assert queue.take(0) is None
    assert queue.next_due(0) is None


def test_a_key_added_while_it_is_worked_on_comes_again_and_never_to_two_workers():
    queue: WorkQueue[str] = WorkQueue()
    queue.add("a")
    assert queue.take(0) == "a"
    queue.add("a")
    assert queue.take(0) is None
    queue.done("a")
    assert queue.take(0) == "a"


def test_keys_come_in_the_order_they_were_added():
    queue: WorkQueue[str] = WorkQueue()
    for key in "cab":
        queue.add(key)
    assert [queue.take(0) for _ in range(3)] == ["c", "a", "b"]


def test_of_several_instants_the_earliest_counts():
    queue: WorkQueue[str] = WorkQueue()
    queue.add_at("a", 9)
    queue.add_at("a", 5)
    queue.add_at("a", 7)
    assert queue.next_due(0) == 5
    assert queue.take(4.9) is None
    assert queue.take(5) == "a"
    queue.done("a")
    assert queue.take(100) is None


def test_a_failing_key_waits_longer_each_time_until_it_succeeds():
    queue: WorkQueue[str] = WorkQueue(BackoffSettings(first_s=1, most_s=3))
    now = 0.0
    delays = []
    queue.add("a")
    for _ in range(4):
        assert queue.take(now) == "a"
        delays.append(queue.failed("a", now))
        assert queue.take(now) is None
        now += delays[-1]
    assert delays == [1, 2, 3, 3]
    assert queue.take(now) == "a"
    queue.done("a")
    queue.add("a")
    queue.take(now)
    assert queue.failed("a", now) == 1


def test_a_thousand_failures_do_not_overflow():
    backoff: Backoff[str] = Backoff()
    for _ in range(2000):
        backoff.failed("a")
    assert backoff.failed("a") == 60
    assert backoff.failures("a") == 2001


@given(st.lists(st.tuples(st.sampled_from(["add", "later", "take", "done", "fail"]), st.sampled_from("abc"))))
def test_no_key_is_lost_and_none_is_worked_on_twice_at_a_time(steps):
    queue: WorkQueue[str] = WorkQueue()
    owed: set[str] = set()
    flying: set[str] = set()
    for now, (step, key) in enumerate(steps):
        if step == "add":
            queue.add(key)
            owed.add(key)
        elif step == "later":
            queue.add_at(key, now + 2)
            owed.add(key)
        elif step == "take":
            taken = queue.take(now)
            if taken is not None:
                assert taken not in flying
                flying.add(taken)
                owed.discard(taken)
        elif key in flying:
            flying.discard(key)
            if step == "done":
                queue.done(key)
            else:
                queue.failed(key, now)
                owed.add(key)
    for key in flying:
        queue.done(key)
    found = set()
    while (taken := queue.take(10**9)) is not None:
        found.add(taken)
        queue.done(taken)
    assert owed <= found
