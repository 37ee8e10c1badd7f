"""What installed packages add to the CLI, which knows no drivers itself. It is imported when it is called.

An entry point `device.bus = "devices.commands.bus:bus"` of the group `skerry.commands` adds the command `bus` to
`skerry device`. One of the group `skerry.devices` answers a question about devices for commands of our own:
`preview`, what a gateway would make of a Device (`devices.commands.preview`).
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from importlib.metadata import EntryPoint, entry_points
from typing import Final, Protocol, cast

import click

from skerry.daemon import missing_library
from skerry.objects.json import JsonObject

ENTRY_POINTS: Final = "skerry.commands"
ANSWERS: Final = "skerry.devices"


class Preview(Protocol):
    """See `devices.commands.preview.preview`."""

    def __call__(self, device: JsonObject, model: JsonObject, wanted: Mapping[str, str], /) -> JsonObject: ...


def previewed(device: JsonObject, model: JsonObject, wanted: Mapping[str, str]) -> JsonObject | None:
    """What a gateway would make of a Device; None where no drivers are installed here."""
    for point in entry_points(group=ANSWERS, name="preview"):
        try:
            return cast(Preview, point.load())(device, model, wanted)
        except ImportError:
            return None
    return None


class PluggedGroup(click.Group):
    """A group whose own commands come before those of the same name that others add."""

    @cached_property
    def _plugged(self) -> dict[str, EntryPoint]:
        prefix = f"{self.name}."
        found = entry_points(group=ENTRY_POINTS)
        return {point.name.removeprefix(prefix): point for point in found if point.name.startswith(prefix)}

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted({*super().list_commands(ctx), *self._plugged})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        own = super().get_command(ctx, cmd_name)
        point = self._plugged.get(cmd_name)
        if own is not None or point is None:
            return own
        try:
            command = point.load()
        except ImportError as error:
            said = missing_library(error, f"skerry {self.name} {cmd_name}", "edge")
            return _refusing(cmd_name, said or f"skerry {self.name} {cmd_name} can't be loaded: {error}")
        assert isinstance(command, click.Command)
        return command


def _refusing(name: str, reason: str) -> click.Command:
    """A command that can only say why it isn't there: the help of its group shows that, and goes on."""

    def refuse() -> None:
        raise click.UsageError(reason)

    whatever = {"ignore_unknown_options": True, "allow_extra_args": True}
    return click.Command(
        name, callback=refuse, context_settings=whatever, add_help_option=False, short_help=f"({reason})"
    )
