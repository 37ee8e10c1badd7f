"""`skerry logs`: what containers wrote, fetched through the gateways' own sessions; locally from a gateway's disk."""

from __future__ import annotations

import sys
from collections.abc import Callable

import click

from skerry.cli.client import Client, path_of
from skerry.cli.log_streams import Source, Streams, Wanted, running
from skerry.cli.options import namespace_option
from skerry.cli.output import say
from skerry.cli.pods import POD, complete_containers, complete_pods, container_in, containers_of, find_pod
from skerry.cli.target import Target, with_target
from skerry.errors import BadRequestError
from skerry.frozen import Frozen
from skerry.objects.json import JsonObject, maps_at
from skerry.objects.meta import name_of, namespace_of, uid_of
from skerry.objects.times import parse_time

_COLOURS = ("cyan", "yellow", "green", "magenta", "blue")
_REQUESTS_MAX = 20


class _Asked(Frozen):
    pod: str
    selector: str
    container: str
    every_container: bool
    prefix: bool
    requests_max: int


@click.command("logs")
@click.argument("pod", required=False, default="", shell_complete=complete_pods)
@namespace_option
@click.option("-l", "--selector", default="", help="Of all pods with these labels, and with -f of those that come.")
@click.option("-c", "--container", default="", help="Which container.", shell_complete=complete_containers)
@click.option("--all-containers", "every_container", is_flag=True, help="Of all containers of each pod.")
@click.option("--prefix", is_flag=True, help="Begin each line with its pod and container; so where they are several.")
@click.option(
    "-f", "--follow", is_flag=True, help="Stay, and show lines as they are written, over restarts and cuts."
)
@click.option("-p", "--previous", is_flag=True, help="Of the run before the last restart.")
@click.option("--tail", type=click.IntRange(min=-1), default=None, help="Only the last N lines of each; -1 for all.")
@click.option("--since", default="", help="Only lines newer than this: 90s, 15m, 2h.")
@click.option("--since-time", default="", help="Only lines after this time (RFC 3339).")
@click.option("--limit-bytes", type=click.IntRange(min=1), default=None, help="At most so many bytes of each.")
@click.option("--timestamps", is_flag=True, help="Begin each line with its time.")
@click.option("--max-log-requests", "requests_max", default=_REQUESTS_MAX, show_default=True, help="At once.")
@with_target
def logs(
    target: Target,
    pod: str,
    namespace: str,
    selector: str,
    container: str,
    every_container: bool,
    prefix: bool,
    follow: bool,
    previous: bool,
    tail: int | None,
    since: str,
    since_time: str,
    limit_bytes: int | None,
    timestamps: bool,
    requests_max: int,
) -> None:
    """Print logs: `skerry logs pump -f`, `skerry logs deploy/web`, `skerry logs -l app=web --all-containers -f`."""
    if bool(pod) == bool(selector):
        raise BadRequestError("name a pod, or choose pods by their labels with -l")
    if since and since_time:
        raise BadRequestError("at most one of --since and --since-time may be used")
    query: dict[str, str] = {}
    if tail is not None and tail >= 0:
        query["tailLines"] = str(tail)
    elif tail is None and selector:
        query["tailLines"] = "10"  # as kubectl: several logs from their beginnings are seldom meant
    if since:
        query["sinceSeconds"] = str(seconds_of(since))
    if since_time:
        parse_time(since_time)  # refused here, by name
        query["sinceTime"] = since_time
    if limit_bytes is not None:
        query["limitBytes"] = str(limit_bytes)
    flags = {"follow": follow, "previous": previous}
    query |= {name: "true" for name, wanted in flags.items() if wanted}
    asked = _Asked(
        pod=pod,
        selector=selector,
        container=container,
        every_container=every_container,
        prefix=prefix or bool(selector) or every_container,
        requests_max=requests_max,
    )
    _show(target.client(), namespace, asked, Wanted(query=query, follow=follow, timestamps=timestamps))


def _show(client: Client, namespace: str, asked: _Asked, wanted: Wanted) -> None:
    place = namespace or client.namespace
    if not asked.selector and not asked.every_container and not wanted.follow:
        # One log as it is: nothing has to be found in it.
        found = find_pod(client, place, asked.pod)
        name = container_in(found, asked.container, quiet=False)
        query = {**wanted.query, "container": name, **({"timestamps": "true"} if wanted.timestamps else {})}
        for chunk in client.chunks(path_of(POD, place, name_of(found), "log"), query=query):
            sys.stdout.buffer.write(chunk)
            sys.stdout.buffer.flush()
        return

    def chosen(pod: JsonObject) -> list[str]:
        if asked.every_container:
            return containers_of(pod)
        return [container_in(pod, asked.container, quiet=bool(asked.selector))]

    streams = Streams(client, wanted, sources_max=asked.requests_max)
    if asked.selector:
        found_pods = maps_at(
            client.request("GET", path_of(POD, place), query={"labelSelector": asked.selector}).obj, "items"
        )
        sources = [source for pod in found_pods for source in running(pod, chosen)]
        if not sources and not wanted.follow:
            say(f"No pods with {asked.selector} have logs in namespace {place}.", err=True)
            return
    else:
        pod = find_pod(client, place, asked.pod)
        sources = [
            Source(namespace=namespace_of(pod) or place, pod=name_of(pod), uid=uid_of(pod), container=name)
            for name in chosen(pod)
            if not asked.every_container or name in {source.container for source in running(pod, chosen)}
        ]
    for source in sources:
        streams.add(source)
    if asked.selector and wanted.follow:
        streams.watch(place, asked.selector, chosen)
    streams.run(_printer(asked.prefix))


def _printer(with_prefix: bool) -> Callable[[Source, bytes], None]:
    colours: dict[str, str] = {}

    def show(source: Source, line: bytes) -> None:
        if with_prefix:
            colour = colours.setdefault(source.pod, _COLOURS[len(colours) % len(_COLOURS)])
            say(source.prefix, fg=colour, nl=False)
            sys.stdout.flush()
        sys.stdout.buffer.write(line if line.endswith(b"\n") else line + b"\n")
        sys.stdout.buffer.flush()

    return show


def seconds_of(text: str) -> int:
    """`90s`, `15m`, `2h`, `1d` in seconds. Raises `BadRequestError` for anything else."""
    units = {"s": 1, "m": 60, "h": 3600, "d": 86400}
    number, unit = text[:-1], text[-1:]
    if unit not in units or not number.isdecimal() or int(number) == 0:
        raise BadRequestError(f"{text!r} is not a duration: write 90s, 15m, 2h or 1d")
    return int(number) * units[unit]
