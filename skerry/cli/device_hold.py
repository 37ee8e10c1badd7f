"""`skerry device hold|release`: leave a device alone while somebody works on it, in the cloud or on its gateway."""

from __future__ import annotations

import time
from typing import Final

import click

from skerry.cli.client import path_of
from skerry.cli.device_history import moment_ahead
from skerry.cli.device_objects import DEVICES, complete_devices, find_twin
from skerry.cli.options import namespace_option
from skerry.cli.output import say
from skerry.cli.target import Target, with_target
from skerry.errors import NotFoundError
from skerry.objects.holds import HOLD, HOLD_UNTIL, holding_of
from skerry.objects.json import JsonObject
from skerry.objects.times import time_text

_MERGE_PATCH: Final = "application/merge-patch+json"


@click.command("hold")
@click.argument("name", shell_complete=complete_devices)
@namespace_option
@click.option("--reason", required=True, help="Why, for whoever wonders.")
@click.option("--until", default="", help="It ends by itself: in 30m, 2h, or at 2026-12-01T16:00:00Z.")
@with_target
def hold(target: Target, name: str, namespace: str, reason: str, until: str) -> None:
    """Pause polls and writes of a device: `skerry device hold boiler --reason 'new pump' --until 2h`.

    What is wanted of it waits until it is released, or until then.
    """
    client = target.client()
    place = namespace or client.namespace
    end = time_text(moment_ahead(until, round(time.time() * 1000))) if until else ""
    if client.local:
        body: JsonObject = {"reason": reason}
        body |= {"until": end} if end else {}
        client.request("PUT", path_of(DEVICES, place, name, "hold"), body=body)
    else:
        annotations: JsonObject = {HOLD: reason, HOLD_UNTIL: end or None}
        patch: JsonObject = {"metadata": {"annotations": annotations}}
        client.request("PATCH", path_of(DEVICES, place, name), body=patch, content_type=_MERGE_PATCH)
    say(f"{name} is held until {end or 'it is released'}: {reason}")


@click.command("release")
@click.argument("name", shell_complete=complete_devices)
@namespace_option
@with_target
def release(target: Target, name: str, namespace: str) -> None:
    """Go on with a device that was held. On the gateway itself this ends a hold of the cloud's, too."""
    client = target.client()
    place = namespace or client.namespace
    if holding_of(find_twin(client, place, name).device) is None:
        raise NotFoundError(f"{name} is not held")
    if client.local:
        client.request("DELETE", path_of(DEVICES, place, name, "hold"))
    else:
        annotations: JsonObject = {HOLD: None, HOLD_UNTIL: None}
        patch: JsonObject = {"metadata": {"annotations": annotations}}
        client.request("PATCH", path_of(DEVICES, place, name), body=patch, content_type=_MERGE_PATCH)
    say(f"{name} is released")
