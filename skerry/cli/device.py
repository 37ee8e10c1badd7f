"""`skerry device`: look at devices as twins, set what they should do, and find out why they say what they say.

The same commands, with the same words, talk to the cloud and to the agent of a gateway that is offline.
"""

from __future__ import annotations

import click

from skerry.cli.command import call, refresh
from skerry.cli.device_acks import ack, delta
from skerry.cli.device_apply import apply, diff
from skerry.cli.device_conflicts import conflicts
from skerry.cli.device_discover import discover
from skerry.cli.device_doctor import doctor
from skerry.cli.device_export import delete, edit, export
from skerry.cli.device_history import history
from skerry.cli.device_hold import hold, release
from skerry.cli.device_queue import queue
from skerry.cli.device_read import read
from skerry.cli.device_rollback import rollback
from skerry.cli.device_set import set_values, unset
from skerry.cli.device_show import describe, events, get, list_devices, watch
from skerry.cli.device_why import why
from skerry.cli.plugged import PluggedGroup


@click.group("device", cls=PluggedGroup)
def device() -> None:
    """Devices as twins: what is wanted of them, and what they last told."""


for command in (
    *(list_devices, get, describe, events, watch, history, read, why, doctor),
    *(set_values, unset, conflicts, hold, release, call, refresh),
    discover,
    *(diff, apply, export, edit, delete, rollback, ack, delta, queue),
):
    device.add_command(command)
