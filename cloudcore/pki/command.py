"""`cloudcore ca`: which authorities there are, a new one, and the end of an old one.

A rotation has three steps, any time apart. `rotate` makes a new authority; from its next start the cloud signs with
it, tells every gateway (the ConfigMap kube-root-ca.crt) to get a new certificate, and goes on accepting what the old
one signed. A gateway that was away finds a server certificate that it can check, asks for it by name, and catches
up. `list` says who is left. `retire` ends the old authority. Keeps the files of `cloudcore.pki.directory`.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from cryptography import x509

from cloudcore.pki.directory import Pki, open_pki, retire, rotate
from skerry.cli import kubeconfig
from skerry.cli.client import Client
from skerry.errors import InvalidError, SkerryError, UnavailableError
from skerry.objects.enrolment import NODE_AUTHORITY_ANNOTATION
from skerry.objects.federation import CORE_GROUP, NAMESPACE, SESSION_PREFIX, is_pulling
from skerry.objects.json import maps_at, str_at
from skerry.objects.meta import name_of

NAMED_MAX: Final = 10
"""Nodes named in a refusal; the others are counted."""
_MEMBERS_PATH: Final = f"/apis/{CORE_GROUP}/v1beta1/namespaces/{NAMESPACE}/kubefedclusters"
NOT_KNOWN: Final = ""
"""Where nodes stand of whom it is not known who signed their gateway's certificate."""


def main(argv: Sequence[str]) -> int:
    """Run `cloudcore ca ...`; the exit code."""
    parser = argparse.ArgumentParser(prog="cloudcore ca", description="The certificate authorities of this cloud.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, text in (
        ("list", "show the authorities, and how many gateways and regions have a certificate by each"),
        ("rotate", "make a new authority that signs from the next start on; the old one stays good"),
        ("retire", "end a former authority, by its id"),
    ):
        command = commands.add_parser(name, help=text, description=text)
        command.add_argument("--data", type=Path, required=True, help="cloudcore's directory")
        if name == "retire":
            command.add_argument("id", help="as `cloudcore ca list` shows it")
            command.add_argument(
                "--force",
                action="store_true",
                help="also where gateways or regions need it: they have to join again",
            )
    arguments = parser.parse_args(argv)
    try:
        sys.stdout.write(_run(arguments))
    except SkerryError as error:
        sys.stderr.write(f"cloudcore ca {arguments.command}: {error}\n")
        return 1
    return 0


def _run(arguments: argparse.Namespace) -> str:
    data: Path = arguments.data
    match arguments.command:
        case "rotate":
            pki = rotate(data, now=datetime.now(UTC).replace(microsecond=0))
            return (
                f"authority {pki.authority.id} signs from the next start of cloudcore on; "
                f"{pki.former[0].id} stays good until it is retired\n"
            )
        case "retire":
            if not arguments.force:
                _check_unneeded(data, arguments.id)
            retire(data, arguments.id)
            return f"authority {arguments.id} is trusted no more, from the next start of cloudcore on\n"
        case _:
            return _listed(data, open_pki(data, now=None))


def _listed(data: Path, pki: Pki) -> str:
    try:
        nodes = nodes_by_authority(data, pki)
    except SkerryError:
        nodes = None  # cloudcore does not run; the files say the rest
    lines = [f"{'ID':<16}  {'STATE':<7}  {'SINCE':<20}  {'UNTIL':<20}  NODES"]
    for authority in pki.authorities:
        state = "signs" if authority is pki.authority else "former"
        certificate = authority.certificate
        since, until = (f"{at:%Y-%m-%d %H:%M:%SZ}" for at in _life(certificate))
        count = "unknown" if nodes is None else str(len(nodes.get(authority.id, ())))
        lines.append(f"{authority.id:<16}  {state:<7}  {since:<20}  {until:<20}  {count}")
    if nodes is not None and (open_ones := nodes.get(NOT_KNOWN)):
        lines.append(f"not known until their gateways connect: {_named(open_ones)}")
    return "\n".join(lines) + "\n"


def _life(certificate: x509.Certificate) -> tuple[datetime, datetime]:
    return certificate.not_valid_before_utc, certificate.not_valid_after_utc


def nodes_by_authority(data: Path, pki: Pki) -> dict[str, list[str]]:
    """Names of the nodes whose gateway's certificate each authority signed, and of regions (`region/NAME`), as the
    running cloud knows it.

    A session that opens notes it on the Node. One that does not say, or names an authority that is none any more,
    stands under `NOT_KNOWN`: its gateway has not been here since. Raises `UnavailableError` when no cloud answers.
    """
    client = Client(cluster=kubeconfig.load(data / "admin.kubeconfig"))
    try:
        nodes = maps_at(client.request("GET", "/api/v1/nodes").obj, "items")
        members = maps_at(client.request("GET", _MEMBERS_PATH).obj, "items")
    except OSError as error:
        raise UnavailableError(f"cloudcore does not answer: {error}") from error
    found: dict[str, list[str]] = {}
    known = {authority.id for authority in pki.authorities}
    named = [(name_of(node), node) for node in nodes]
    named += [(f"{SESSION_PREFIX}{name_of(member)}", member) for member in members if is_pulling(member)]
    for name, obj in named:
        signed_by = str_at(obj, "metadata", "annotations", NODE_AUTHORITY_ANNOTATION)
        found.setdefault(signed_by if signed_by in known else NOT_KNOWN, []).append(name)
    return found


def _named(nodes: Sequence[str]) -> str:
    more = f" and {len(nodes) - NAMED_MAX} more" if len(nodes) > NAMED_MAX else ""
    return f"{', '.join(nodes[:NAMED_MAX])}{more}"


def _check_unneeded(data: Path, authority: str) -> None:
    try:
        by_authority = nodes_by_authority(data, open_pki(data, now=None))
    except SkerryError as error:
        raise InvalidError(
            f"which gateways still need {authority} is not known, as the cloud can't be asked ({error}); "
            "start cloudcore, or add --force"
        ) from error
    if nodes := by_authority.get(authority):
        raise InvalidError(
            f"{len(nodes)} gateways and regions still have a certificate by {authority}: {_named(nodes)}; "
            "they get a new one when they connect; with --force those that have not must join again"
        )
    if nodes := by_authority.get(NOT_KNOWN):
        raise InvalidError(
            f"who signed the certificate of {len(nodes)} gateways and regions is not known: {_named(nodes)}; it is "
            "noted when they connect; delete Nodes that have no gateway, unjoin regions that are no more, or add "
            f"--force: who still needs {authority} must join again then"
        )
