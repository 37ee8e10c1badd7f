"""Messages of rules through cut links, power cuts and a killed cloud, in virtual time: none lost, none twice in
line."""

from __future__ import annotations

import pytest

from skerry.objects.json import JsonObject, map_at, str_at
from skerry.testkit import Fleet
from skerry.testkit.simulated.fleet import SimulatedFleet

URL = "http://mes.example/batches"


def endpoint(name: str, type_: str) -> JsonObject:
    return {
        "apiVersion": "rules.kubeedge.io/v1",
        "kind": "RuleEndpoint",
        "metadata": {"name": name},
        "spec": {"ruleEndpointType": type_},
    }


RULE: JsonObject = {
    "apiVersion": "rules.kubeedge.io/v1",
    "kind": "Rule",
    "metadata": {"name": "up"},
    "spec": {
        "source": "mqtt",
        "sourceResource": {"topic": "batches", "node_name": "eu-1"},
        "target": "cloud",
        "targetResource": {"resource": URL},
    },
}


@pytest.fixture
def plant(fleet: Fleet) -> SimulatedFleet:
    """A gateway with a broker, whose messages on default/batches go to an application in the cloud."""
    assert isinstance(fleet, SimulatedFleet)
    fleet.cloud.targets[URL] = 200
    fleet.broker()
    edge = fleet.edge("eu-1")
    fleet.apply([endpoint("mqtt", "eventbus"), endpoint("cloud", "rest"), RULE])
    say(fleet, "first")
    fleet.eventually(lambda: say_until_heard(fleet), message="the rule is heard")
    fleet.eventually(lambda: edge.in_step)
    fleet.wait(5)
    fleet.cloud.posted.clear()
    return fleet


def say(fleet: Fleet, text: str) -> None:
    fleet.broker().publish("default/batches", text)


def say_until_heard(fleet: SimulatedFleet) -> bool:
    say(fleet, "first")
    return bool(fleet.cloud.posted)


def got(fleet: SimulatedFleet) -> list[str]:
    return [body.decode() for _, body, _ in fleet.cloud.posted]


def test_an_hour_without_a_link_and_a_power_cut_in_it_lose_nothing_and_repeat_nothing(plant: SimulatedFleet) -> None:
    edge = plant.edge("eu-1")
    edge.link.cut()
    for number in range(60):
        say(plant, f"m{number}")
        if number == 30:
            edge.power_cycle(off_s=20)
        plant.wait(60)
    assert not got(plant)
    edge.link.heal()
    plant.eventually(lambda: len(got(plant)) >= 60, within_s=300)
    plant.wait(30)
    assert got(plant) == [f"m{number}" for number in range(60)]
    keys = {headers["Idempotency-Key"] for _, _, headers in plant.cloud.posted}
    assert len(keys) == 60
    assert not plant.list("RuleMessage")


def test_a_target_that_is_away_for_an_hour_finds_everything_in_order_though_the_cloud_was_killed(
    plant: SimulatedFleet,
) -> None:
    del plant.cloud.targets[URL]
    for number in range(30):
        say(plant, f"m{number}")
        plant.wait(60)
    plant.cloud.kill()
    for number in range(30, 60):
        say(plant, f"m{number}")
        plant.wait(60)
    plant.cloud.start()
    plant.cloud.targets[URL] = 204
    plant.eventually(lambda: len(got(plant)) >= 60, within_s=900)
    assert got(plant) == [f"m{number}" for number in range(60)]


def test_power_cuts_at_any_moment_put_no_message_into_the_clouds_queue_twice(plant: SimulatedFleet) -> None:
    """The target is away, so that the queue can be seen."""
    del plant.cloud.targets[URL]
    edge = plant.edge("eu-1")
    for number in range(40):
        say(plant, f"m{number}")
        plant.wait(0.001 * number)  # heard, stored, acknowledged, sent, received: the cut comes in between
        if number % 2:
            edge.power_cycle()
        plant.wait(2)
    plant.eventually(lambda: len(queue(plant)) >= 40, within_s=300)
    plant.wait(60)
    assert sorted(queue(plant)) == sorted(f"m{number}" for number in range(40))


def queue(fleet: Fleet) -> list[str]:
    return [str_at(map_at(message, "spec"), "payload") for message in fleet.list("RuleMessage")]
