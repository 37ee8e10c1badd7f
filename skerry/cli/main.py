"""The `skerry` command: works against the cloud and, on a gateway, against the local agent while offline.

Commands are imported when they are called, so that completion and `--help` answer at once.
"""

from __future__ import annotations

import importlib
from typing import Final

import click

from skerry import VERSION
from skerry.cli.target import target_options

_COMMANDS: Final = {
    "apply": "skerry.cli.apply:apply",
    "attach": "skerry.cli.into:attach",
    "command": "skerry.cli.command:command",
    "completion": "skerry.cli.completion:completion",
    "cp": "skerry.cli.copying:cp",
    "delete": "skerry.cli.get:delete",
    "describe": "skerry.cli.describe:describe",
    "device": "skerry.cli.device:device",
    "dns": "skerry.cli.dns:dns",
    "exec": "skerry.cli.into:exec_",
    "federate": "skerry.cli.federate:federate",
    "get": "skerry.cli.get:get",
    "link": "skerry.cli.link:link",
    "logs": "skerry.cli.logs:logs",
    "node": "skerry.cli.node:node",
    "pod": "skerry.cli.command:pod",
    "port-forward": "skerry.cli.forward:port_forward",
    "region": "skerry.cli.region:region",
    "rollout": "skerry.cli.rollout:rollout",
    "rule": "skerry.cli.rule:rule",
    "token": "skerry.cli.token:token",
    "upgrade": "skerry.cli.gateway_acts:upgrade",
}


class _LazyGroup(click.Group):
    """Knows its commands by name; imports one when it is wanted."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        place = _COMMANDS.get(cmd_name)
        if place is None:
            return None
        module, _, attribute = place.partition(":")
        command = getattr(importlib.import_module(module), attribute)
        assert isinstance(command, click.Command)
        return command


@click.command(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(VERSION, "-V", "--version", prog_name="skerry")
@target_options
def main() -> None:
    """Keep fleets of edge gateways working: from the cloud when it is there, alone when it is not.

    \b
    Exit codes: 0 done, 2 usage, 3 not found, 4 conflict, 5 refused, 6 not in time, 7 out of reach or queued.
    """


if __name__ == "__main__":
    main()
