"""Events: counted when repeated, written anew when old, dropped where nobody could read them."""

from typing import Any

import pytest

from cloudcore.registry.admission import namespace_lifecycle
from cloudcore.runtime.events import EventRecorder, Saying
from skerry.errors import UnavailableError
from tests.cloudcore.worlds import World, make_world

PULLED = Saying(type="Normal", reason="Pulled", message="It is here")


async def told(world: World) -> tuple[EventRecorder, Any]:
    pod = await world.create("pods", {"metadata": {"name": "p"}, "spec": {}})
    return world.tools.recorder("tester"), pod


async def test_an_event_names_its_object_and_who_says_it():
    async with make_world() as world:
        recorder, pod = await told(world)
        await recorder.say(pod, PULLED)
        [event] = world.all("events")
        assert event["involvedObject"] == {
            "kind": "Pod",
            "namespace": "d",
            "name": "p",
            "uid": pod["metadata"]["uid"],
            "apiVersion": "v1",
            "resourceVersion": pod["metadata"]["resourceVersion"],
        }
        assert event["source"] == {"component": "tester"}
        assert (event["type"], event["reason"], event["message"], event["count"]) == (
            "Normal",
            "Pulled",
            "It is here",
            1,
        )


async def test_the_same_thing_said_again_is_counted_until_it_is_old():
    async with make_world() as world:
        recorder, pod = await told(world)
        await recorder.say(pod, PULLED)
        world.clock.advance(60)
        await recorder.say(pod, PULLED)
        [event] = world.all("events")
        assert event["count"] == 2
        assert event["lastTimestamp"] > event["firstTimestamp"]
        world.clock.advance(700)
        await recorder.say(pod, PULLED)
        assert len(world.all("events")) == 2


async def test_an_event_that_expired_is_written_anew():
    async with make_world() as world:
        recorder, pod = await told(world)
        await recorder.say(pod, PULLED)
        [name] = world.names("events")
        await world.delete("events", name)
        await recorder.say(pod, PULLED)
        await recorder.say(pod, PULLED)
        assert len(world.names("events")) == 1


async def test_events_about_what_has_no_namespace_are_in_default():
    async with make_world() as world:
        recorder, _ = await told(world)
        node = await world.create("nodes", {"metadata": {"name": "n"}})
        await recorder.say(node, PULLED)
        [event] = world.all("events")
        assert event["metadata"]["namespace"] == "default"


async def test_a_namespace_that_is_going_takes_no_events_and_that_is_no_error():
    async with make_world(namespace_lifecycle) as world:
        await world.create("namespaces", {"metadata": {"name": "d"}})
        recorder, pod = await told(world)
        await world.delete("namespaces", "d")
        await recorder.say(pod, PULLED)
        assert world.names("events") == []


async def test_a_store_that_is_away_is_told():
    async with make_world() as world:
        recorder, pod = await told(world)

        class Away:
            async def create(self, *_: object) -> object:
                raise UnavailableError("no disk")

        away: Any = Away()
        with pytest.raises(UnavailableError):
            await EventRecorder(away, world.kind("events"), world.clock, component="x").say(pod, PULLED)
        await recorder.say(pod, PULLED)
