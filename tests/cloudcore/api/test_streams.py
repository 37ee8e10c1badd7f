"""What exec, attach and port-forward ask of a gateway, and who may ask."""

from __future__ import annotations

from typing import Any

import pytest

from cloudcore.api.call import Command, Ports
from skerry.objects.pod_streams import COMMAND_BYTES_MAX
from tests.cloudcore.api.conftest import ApiWorld

PODS = "/api/v1/namespaces/default/pods"


async def a_pod(world: ApiWorld, name: str = "web", *, node: str = "eu-1", **fields: Any) -> None:
    containers = [{"name": name, "image": "i"} for name in fields.pop("containers", ["app"])]
    spec = {"nodeName": node, "containers": containers, **fields}
    await world.post(PODS, {"metadata": {"name": name}, "spec": spec})


async def test_a_command_is_asked_of_the_pods_node_with_all_its_words(world: ApiWorld) -> None:
    await a_pod(world)
    reply = await world.reply("POST", f"{PODS}/web/exec?command=sh&command=-c&command=echo+a%26b&stdin=true&tty=1")
    assert isinstance(reply, Command)
    session = reply.session
    assert (reply.node, session.container, session.command) == ("eu-1", "app", ("sh", "-c", "echo a&b"))
    assert (session.stdin, session.stdout, session.stderr, session.tty) == (True, True, False, True)
    assert (session.whose.namespace, session.whose.pod, session.kind) == ("default", "web", "exec")
    assert session.whose.uid and session.whose.by
    reply = await world.reply("GET", f"{PODS}/web/attach?stdout=false")
    assert isinstance(reply, Command)
    assert (reply.session.kind, reply.session.stdout, reply.session.stderr) == ("attach", False, True)
    reply = await world.reply("GET", f"{PODS}/web/portforward?ports=80,81&ports=82")
    assert isinstance(reply, Ports)
    assert (reply.node, reply.ports) == ("eu-1", (80, 81, 82))


@pytest.mark.parametrize(
    ("pod", "path", "why"),
    [
        ("web", "exec", "at least one command"),
        ("web", f"exec?command={'x' * COMMAND_BYTES_MAX}", "copy a script"),
        ("web", "exec?command=ls&container=nope", "container nope is not valid for pod web"),
        ("web", "exec?command=ls&stdout=0&stderr=0", "at least 1 of stdin, stdout, stderr"),
        (
            "both",
            "exec?command=ls",
            "must be specified for pod both, choose one of: [a b] or one of the init containers: [i]",
        ),
        ("both", "log", "choose one of: [a b] or one of the init containers: [i]"),
        ("nowhere", "attach", "pod nowhere does not have a host assigned"),
        ("web", "portforward?ports=http", "unable to parse 'http' as a port"),
        ("web", "portforward?ports=70000", "unable to parse"),
        ("web", "portforward?" + "&".join(f"ports={n}" for n in range(1, 40)), "at most 32"),
    ],
)
async def test_what_makes_no_sense_is_refused_as_kubernetes_words_it(
    world: ApiWorld, pod: str, path: str, why: str
) -> None:
    await a_pod(world)
    await a_pod(world, "both", containers=["a", "b"], initContainers=[{"name": "i", "image": "i"}])
    await a_pod(world, "nowhere", node="")
    replied = await world.ask("GET", f"{PODS}/{pod}/{path}")
    assert (replied.code, why in replied.message) == (400, True), replied.message


async def test_whoever_begins_with_get_needs_the_right_to_create_as_well(world: ApiWorld) -> None:
    await a_pod(world)
    for stream in ("exec?command=ls", "attach", "portforward"):
        world.gate.asked.clear()
        await world.reply("GET", f"{PODS}/web/{stream}")
        assert [(each.verb, each.subresource) for each in world.gate.asked] == [
            ("create", stream.partition("?")[0]),
            ("get", stream.partition("?")[0]),
        ]
        world.gate.asked.clear()
        await world.reply("POST", f"{PODS}/web/{stream}")
        assert [each.verb for each in world.gate.asked] == ["create"]
