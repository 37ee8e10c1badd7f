"""`skerry dns`: ask a DNS server on this machine. What it does needs the cloud's code, which adds the commands."""

from __future__ import annotations

import click

from skerry.cli.plugged import PluggedGroup


@click.command("dns", cls=PluggedGroup)
def dns() -> None:
    """The DNS server on this machine (`cloudcore dns`): zones, records, and why it answers as it does."""
