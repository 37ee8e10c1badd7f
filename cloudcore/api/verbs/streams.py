"""Conversations with pods: exec, attach and port-forward. What is asked, of whom; the rest is `api.streaming`'s."""

from __future__ import annotations

from cloudcore.api.call import Call, Command, Ports, Reply
from cloudcore.api.verbs.pods import container_of, pod_of
from skerry.errors import BadRequestError
from skerry.objects.json import JsonObject, str_at
from skerry.objects.meta import uid_of
from skerry.objects.pod_streams import COMMAND_BYTES_MAX, Session, Whose

PORTS_MAX = 32
"""In the URL of a port-forward over channels: two of 255 for each, and more than anybody asks for."""


async def exec_(call: Call) -> Reply:
    """A command in a container (core/v1 PodExecOptions)."""
    command = call.query.every("command")
    if not command or not command[0]:
        raise BadRequestError("you must specify at least one command for the container")
    if sum(len(word.encode()) + 4 for word in command) > COMMAND_BYTES_MAX:
        raise BadRequestError(f"a command of more than {COMMAND_BYTES_MAX} bytes can't be sent: copy a script")
    return _command(call, command)


async def attach(call: Call) -> Reply:
    """To the first process of a container (core/v1 PodAttachOptions)."""
    return _command(call, ())


def _command(call: Call, command: tuple[str, ...]) -> Reply:
    pod = pod_of(call)
    container = container_of(call, pod)
    tty = call.query.flag("tty")
    # Clients that open their channels themselves say which; the others get both, as PodExecOptions defaults them.
    opened = "" if call.upgrade == "spdy" else "true"
    session = Session(
        whose=_whose(call, pod),
        container=container,
        command=command,
        stdin=call.query.flag("stdin"),
        stdout=call.query.flag("stdout", opened),
        stderr=call.query.flag("stderr", opened) and not tty,
        tty=tty,
    )
    if not (session.stdin or session.stdout or session.stderr):
        raise BadRequestError("you must specify at least 1 of stdin, stdout, stderr")
    return Command(node=_node(call, pod), session=session)


async def portforward(call: Call) -> Reply:
    """To ports of a pod (core/v1 PodPortForwardOptions); which, a client that speaks SPDY says later."""
    pod = pod_of(call)
    texts = [text for each in call.query.every("ports") for text in each.split(",") if text]
    for text in texts:
        if not text.isdecimal() or not 1 <= int(text) <= 65_535:
            raise BadRequestError(f"unable to parse {text!r} as a port: a number from 1 to 65535")
    if len(texts) > PORTS_MAX:
        raise BadRequestError(f"{len(texts)} ports at once: at most {PORTS_MAX} are forwarded")
    return Ports(node=_node(call, pod), whose=_whose(call, pod), ports=tuple(int(text) for text in texts))


def _whose(call: Call, pod: JsonObject) -> Whose:
    return Whose(namespace=call.target.namespace, pod=call.target.name, uid=uid_of(pod), by=call.actor.name)


def _node(call: Call, pod: JsonObject) -> str:
    node = str_at(pod, "spec", "nodeName")
    if not node:
        raise BadRequestError(f"pod {call.target.name} does not have a host assigned")
    return node
