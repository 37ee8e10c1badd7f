"""`skerry logs`: what a container wrote, fetched through the gateway's own session; locally from its disk."""

from __future__ import annotations

import sys

import click

from skerry.cli.client import path_of
from skerry.cli.options import namespace_option
from skerry.cli.pods import complete_containers, complete_pods
from skerry.cli.target import Target, with_target
from skerry.errors import BadRequestError
from skerry.objects.scheme import Kind

_PODS = Kind(group="", version="v1", kind="Pod", plural="pods", namespaced=True)


@click.command("logs")
@click.argument("pod", shell_complete=complete_pods)
@namespace_option
@click.option(
    "-c",
    "--container",
    default="",
    help="Which container, where the pod has several.",
    shell_complete=complete_containers,
)
@click.option("-f", "--follow", is_flag=True, help="Stay, and show lines as they are written.")
@click.option("-p", "--previous", is_flag=True, help="Of the run before the last restart.")
@click.option("--tail", type=click.IntRange(min=0), default=None, help="Only the last N lines.")
@click.option("--since", default="", help="Only lines newer than this: 90s, 15m, 2h.")
@click.option("--timestamps", is_flag=True)
@with_target
def logs(
    target: Target,
    pod: str,
    namespace: str,
    container: str,
    follow: bool,
    previous: bool,
    tail: int | None,
    since: str,
    timestamps: bool,
) -> None:
    """Print the logs of a pod's container."""
    client = target.client()
    query: dict[str, str] = {}
    if container:
        query["container"] = container
    if tail is not None:
        query["tailLines"] = str(tail)
    if since:
        query["sinceSeconds"] = str(seconds_of(since))
    flags = {"follow": follow, "previous": previous, "timestamps": timestamps}
    query |= {name: "true" for name, wanted in flags.items() if wanted}
    path = path_of(_PODS, namespace or client.namespace, pod.removeprefix("pods/").removeprefix("pod/"), "log")
    for chunk in client.chunks(path, query=query):
        sys.stdout.buffer.write(chunk)
        sys.stdout.buffer.flush()


def seconds_of(text: str) -> int:
    """`90s`, `15m`, `2h`, `1d` in seconds. Raises `BadRequestError` for anything else."""
    units = {"s": 1, "m": 60, "h": 3600, "d": 86400}
    number, unit = text[:-1], text[-1:]
    if unit not in units or not number.isdecimal() or int(number) == 0:
        raise BadRequestError(f"{text!r} is not a duration: write 90s, 15m, 2h or 1d")
    return int(number) * units[unit]
