"""`skerry link`: look at this gateway's link to the cloud, and cut it to see what happens."""

from __future__ import annotations

import click

from skerry.cli.client import Client
from skerry.cli.output import print_data, say
from skerry.cli.target import Target, with_target
from skerry.errors import BadRequestError
from skerry.objects.json import bool_at, str_at


@click.group("link")
def link() -> None:
    """The link between this gateway and the cloud (asks the local agent: give its --data)."""


@link.command("status")
@click.option("-o", "--output", "form", type=click.Choice(["text", "json", "yaml"]), default="text")
@with_target
def status(target: Target, form: str) -> None:
    """Say whether the gateway is connected, since when, and what it waits for."""
    state = _agent(target).request("GET", "/skerry/link").obj
    if form != "text":
        print_data(state, form)
        return
    word = "cut by hand" if bool_at(state, "cut") else str_at(state, "state", default="unknown")
    say(word, fg="green" if word == "connected" else "yellow")
    for name, value in state.items():
        if name not in ("state", "cut") and value not in (None, ""):
            say(f"  {name}: {value}")


@link.command("cut")
@with_target
def cut(target: Target) -> None:
    """Drop the link and keep it down until `skerry link heal`: for demos and tests of your own apps."""
    _agent(target).request("POST", "/skerry/link/cut", body={})
    say("link cut; `skerry link heal` brings it back")


@link.command("heal")
@with_target
def heal(target: Target) -> None:
    """Let the gateway dial again, at once."""
    _agent(target).request("POST", "/skerry/link/heal", body={})
    say("link healed; the gateway is dialling")


def _agent(target: Target) -> Client:
    client = target.client()
    if not client.local:
        raise BadRequestError("this asks a gateway's own agent: name its data directory with --data, or its --socket")
    return client
