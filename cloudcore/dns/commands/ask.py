"""Commands that ask a running server over its unix socket (`cloudcore.dns.control`)."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Final, ParamSpec, TypeVar

import click

from skerry.cli.output import print_data, print_table, say
from skerry.cli.target import failures_told
from skerry.errors import BadRequestError, UnavailableError
from skerry.objects.json import JsonObject, bool_at, float_at, int_at, list_at, map_at, maps_at, str_at
from skerry.objects.times import human_duration

CONTROL: Final = "/run/skerry-dns.sock"
ASK_S_MAX: Final = 120.0
"""A reload of everything is the longest."""
P = ParamSpec("P")
F = TypeVar("F", bound=Callable[..., None])


def control_option(command: F) -> F:
    return click.option(
        "--control",
        type=click.Path(path_type=Path),
        default=CONTROL,
        show_default=True,
        envvar="SKERRY_DNS_CONTROL",
        help="The server's unix socket.",
    )(command)


def told(command: Callable[P, None]) -> Callable[P, None]:
    """Failures become messages and exit codes, as everywhere in `skerry`."""

    @wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        with failures_told():
            command(*args, **kwargs)

    return run


def output_option(command: F) -> F:
    words = ["table", "wide", "json", "yaml"]
    return click.option(
        "-o", "--output", type=click.Choice(words), default="table", help="wide: a table with more columns."
    )(command)


def ask(control: Path, **question: str) -> JsonObject:
    """The server's answer. Raises `UnavailableError` where there is none, `BadRequestError` with what it says."""
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as server:
            server.settimeout(ASK_S_MAX)
            server.connect(str(control))
            server.sendall(json.dumps(question).encode() + b"\n")
            answer = b""
            while not answer.endswith(b"\n") and (piece := server.recv(65536)):
                answer += piece
        told: JsonObject = json.loads(answer)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UnavailableError(f"no DNS server answers at {control}: {reason} (see --control)") from error
    if "error" in told:
        raise BadRequestError(str_at(told, "error"))
    return map_at(told, "ok")


def _tell_problems(told: JsonObject) -> None:
    for line in list_at(told, "problems"):
        say(f"problem: {line}", err=True)


@click.command("zones")
@control_option
@output_option
@told
def zones(control: Path, output: str) -> None:
    """List the zones that are served, with their serials."""
    told = ask(control, do="zones")
    if output in ("json", "yaml"):
        print_data(told, output)
        return
    names = ["serial", "records", "names", "delegations", *(["services"] if output == "wide" else [])]
    rows = [[str_at(row, "zone"), *(str(int_at(row, name)) for name in names)] for row in maps_at(told, "zones")]
    print_table(["ZONE", *(name.upper() for name in names)], rows)
    _tell_problems(told)


@click.command("records")
@click.argument("zone")
@click.argument("name", default="")
@click.option("--type", "kind", default="", help="Only this type.")
@control_option
@output_option
@told
def records(zone: str, name: str, kind: str, control: Path, output: str) -> None:
    """Show the records of ZONE, or of one NAME in it, as they are served."""
    told = ask(control, do="records", zone=zone, name=name, type=kind)
    if output in ("json", "yaml"):
        print_data(told, output)
        return
    rows = [
        [str_at(row, "name"), str(int_at(row, "ttl")), str_at(row, "type"), str_at(row, "data")]
        for row in maps_at(told, "records")
    ]
    print_table(["NAME", "TTL", "TYPE", "DATA"], rows)


@click.command("dump")
@click.argument("zone")
@control_option
@told
def dump(zone: str, control: Path) -> None:
    """Write ZONE as a master file, which other servers read."""
    say(str_at(ask(control, do="dump", zone=zone), "text"), nl=False)


@click.command("explain")
@click.argument("name")
@click.argument("kind", metavar="[TYPE]", default="A")
@click.option("--from", "client", default="", metavar="ADDRESS", help="For a client at this address.")
@control_option
@output_option
@told
def explain(name: str, kind: str, client: str, control: Path, output: str) -> None:
    """Say step by step why NAME is answered as it is."""
    told = ask(control, do="explain", name=name, type=kind, **{"from": client})
    if output in ("json", "yaml"):
        print_data(told, output)
        return
    for line in list_at(told, "steps"):
        say(f"- {line}")
    say(f"{str_at(told, 'rcode')}")
    for section in ("answer", "authority", "additional"):
        for line in list_at(told, section):
            say(f"  {section}: {line}")


@click.command("stats")
@control_option
@output_option
@told
def stats(control: Path, output: str) -> None:
    """Count what was answered since the server started."""
    told = ask(control, do="stats")
    if output in ("json", "yaml"):
        print_data(told, output)
        return
    counts = map_at(told, "counts")
    print_table(["COUNT", "VALUE"], [[name, str(int_at(counts, name))] for name in counts])


@click.command("reload")
@control_option
@told
def reload(control: Path) -> None:
    """Read the zone files again; what can't be read stays what it was, and is said."""
    told = ask(control, do="reload")
    changed = [str(zone) for zone in list_at(told, "changed")]
    say(f"changed: {', '.join(changed)}" if changed else "nothing has changed")
    _tell_problems(told)
    if list_at(told, "problems"):
        raise click.exceptions.Exit(5)


@click.command("health")
@control_option
@output_option
@told
def health(control: Path, output: str) -> None:
    """Show who is up, as this server knows it, and what is drained."""
    told = ask(control, do="health")
    if output in ("json", "yaml"):
        print_data(told, output)
        return
    names = ("name", "address", "region", "state", "probe", "reason")
    wide = output == "wide"
    rows = [
        [
            *(str_at(row, name) or "-" for name in names[:4]),
            _surely(row),
            *([str(int_at(row, "weight")), str_at(row, "knownGood") or "-"] if wide else []),
            str_at(row, "reason") or "-",
        ]
        for row in maps_at(told, "endpoints")
    ]
    more = ["WEIGHT", "KNOWN GOOD AGO"] if wide else []
    print_table(["NAME", "ADDRESS", "REGION", "STATE", "PROBE", *more, "REASON"], rows)
    for each in maps_at(told, "drains"):
        end = float_at(each, "until")
        until = f" for {human_duration(max(0.0, end - time.time()))} more" if end else ""
        of = f" of {str_at(each, 'service')}" if str_at(each, "service") else ""
        say(f"drained here: {str_at(each, 'target')}{of}{until} {str_at(each, 'reason')}".rstrip())


def _surely(row: JsonObject) -> str:
    probe = str_at(row, "probe")
    return "-" if not probe else probe if bool_at(row, "sure") else f"{probe} (unsure)"


@click.command("drain")
@click.argument("target")
@click.option("--service", default="", help="Of this name alone.")
@click.option("--for", "duration", default="", help="End it by itself: 90s, 30m, 2h, 1d.")
@click.option("--reason", default="", help="Why, for people.")
@control_option
@told
def drain(target: str, service: str, duration: str, reason: str, control: Path) -> None:
    """Lead nobody to TARGET, an address or a region, as far as this server answers. It is kept over restarts."""
    seconds = _seconds(duration)
    told = ask(control, do="drain", target=target, service=service, seconds=str(seconds), reason=reason)
    count = int_at(told, "drained")
    say(f"{str_at(told, 'target')} is drained: {count} {'endpoint' if count == 1 else 'endpoints'}")


@click.command("undrain")
@click.argument("target")
@click.option("--service", default="", help="Of this name alone.")
@control_option
@told
def undrain(target: str, service: str, control: Path) -> None:
    """End the drain of TARGET."""
    told = ask(control, do="undrain", target=target, service=service)
    say(f"{str_at(told, 'target')} is not drained any more")


_UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


def _seconds(text: str) -> float:
    if not text:
        return 0.0
    number, unit = text[:-1], text[-1]
    if unit not in _UNITS or not number.isdigit() or not int(number):
        raise BadRequestError(f"--for: {text!r} is not a duration as 90s, 30m, 2h or 1d")
    return float(int(number) * _UNITS[unit])
