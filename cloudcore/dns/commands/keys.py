"""`skerry dns keys`: make keys of zones, change what they do, and tell the parent's DS."""

from __future__ import annotations

from pathlib import Path

import click

from cloudcore.dns.commands.ask import F, told
from cloudcore.dns.keys import STATES, KeyState, generate, read_keys, set_state
from skerry.cli.output import print_table, say
from skerry.errors import NotFoundError


def keys_option(command: F) -> F:
    return click.option(
        "--keys",
        "directory",
        type=click.Path(path_type=Path),
        required=True,
        envvar="SKERRY_DNS_DNSSEC_KEYS",
        help="The directory of keys (--dnssec-keys of the server).",
    )(command)


@click.group("keys")
def keys() -> None:
    """Keys that zones are signed with. A server reads them at a start and at `skerry dns reload`."""


@keys.command("generate")
@click.argument("zone")
@keys_option
@told
def generate_key(zone: str, directory: Path) -> None:
    """Make a key for ZONE: it signs where there is none yet, else it is published, to be activated later."""
    made = generate(directory, zone)
    say(f"{made.zone} key {made.tag} {made.state}")
    say(f"{made.zone} IN DS {made.ds()}")


@keys.command("list")
@keys_option
@told
def list_keys(directory: Path) -> None:
    """List all keys."""
    print_table(["ZONE", "TAG", "STATE"], [[each.zone, str(each.tag), each.state] for each in read_keys(directory)])


@keys.command("ds")
@click.argument("zone")
@keys_option
@told
def ds(zone: str, directory: Path) -> None:
    """Tell the DS records of ZONE, for whoever has the zone above."""
    wanted = zone.lower().rstrip(".") + "."
    found = [each for each in read_keys(directory) if each.zone == wanted and each.state != "retired"]
    if not found:
        raise NotFoundError(f"{wanted} has no key in {directory}")
    for each in found:
        say(f"{wanted} IN DS {each.ds()}")


@keys.command("set")
@click.argument("zone")
@click.argument("tag", type=int)
@click.argument("state", type=click.Choice(STATES))
@keys_option
@told
def set_key(zone: str, tag: int, state: KeyState, directory: Path) -> None:
    """Let the key TAG of ZONE be published, active (the one before is retired), or retired."""
    made = set_state(directory, zone, tag, state)
    say(f"{made.zone} key {made.tag} {made.state}")
