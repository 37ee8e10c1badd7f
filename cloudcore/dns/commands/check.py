"""`skerry dns check`: zone files, before a server reads them."""

from __future__ import annotations

from pathlib import Path

import click

from cloudcore.dns.commands.ask import ask, control_option, told
from cloudcore.dns.zone import warnings
from cloudcore.dns.zonefile import read_zone
from skerry.cli.output import say
from skerry.dns.names import text_of
from skerry.errors import SkerryError
from skerry.objects.json import list_at


@click.command("check")
@click.argument("files", nargs=-1, type=click.Path(path_type=Path))
@control_option
@told
def check(files: tuple[Path, ...], control: Path) -> None:
    """Check zone FILES, or without any what the server on this machine has. Exit code 5: something is wrong."""
    if not files:
        found = [str(line) for line in list_at(ask(control, do="check"), "problems")]
        for line in found:
            say(line)
        if not found:
            say("nothing is wrong")
        raise click.exceptions.Exit(5 if found else 0)
    wrong = False
    for path in files:
        try:
            zone = read_zone(path)
        except SkerryError as error:
            say(str(error))
            wrong = True
            continue
        for line in warnings(zone):
            say(f"{path}: {line}")
            wrong = True
        say(f"{path}: {text_of(zone.origin)} serial {zone.serial}, {zone.records} records")
    raise click.exceptions.Exit(5 if wrong else 0)
