"""`skerry token`: who may join, once, under which name.

A token is made here, on the operator's side: the cloud is given its hash alone, in a Secret that only those who
may write Secrets in kube-system can make.
"""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Sequence

import click

from skerry.cli.client import Client, path_of
from skerry.cli.logs import seconds_of
from skerry.cli.output import print_data, print_table, say
from skerry.cli.target import Target, with_target
from skerry.errors import BadRequestError
from skerry.objects.enrolment import (
    TOKEN_NAMESPACE,
    TOKEN_SECRET_TYPE,
    JoinToken,
    der_of_pem,
    grant_of,
    pin_of,
    spki_of_certificate,
    token_secret,
    token_secret_name,
    valid_node_name,
)
from skerry.objects.json import maps_at
from skerry.objects.meta import name_of
from skerry.objects.scheme import Kind
from skerry.objects.times import time_text

_SECRETS = Kind(group="", version="v1", kind="Secret", plural="secrets", namespaced=True)
_LABEL = re.compile(r"([^=\s]+)=([^=\s]*)")


@click.group("token")
def token() -> None:
    """Join tokens: one line that lets one gateway join, once, under one name."""


@token.command("create")
@click.argument("node")
@click.option("--ttl", default="24h", help="How long it may be used: 30m, 24h, 7d.")
@click.option(
    "--label", "labels", multiple=True, help="KEY=VALUE for the Node, such as topology.kubernetes.io/region=eu."
)
@with_target
def create(target: Target, node: str, ttl: str, labels: Sequence[str]) -> None:
    """Print a one-time token for the gateway NODE. Nothing but the token goes to standard output."""
    if not valid_node_name(node):
        raise BadRequestError(
            f"{node!r} can't be a node's name: use lower-case letters, digits, '-' and '.', at most 52 characters"
        )
    lifetime_s = seconds_of(ttl)
    client = _cloud(target)
    assert client.cluster is not None
    made = JoinToken(
        id=secrets.token_hex(5), secret=secrets.token_hex(16), pin=_pin(client.cluster.ca_pem), node=node
    )
    expires = time_text(int(time.time() * 1000) + lifetime_s * 1000)
    body = token_secret(made, expires=expires, labels=dict(label_of(text) for text in labels))
    client.request("POST", path_of(_SECRETS, TOKEN_NAMESPACE), query={"fieldManager": "skerry"}, body=body)
    say(str(made))


@token.command("list")
@click.option("-o", "--output", "form", type=click.Choice(["table", "json", "yaml"]), default="table")
@with_target
def list_tokens(target: Target, form: str) -> None:
    """List tokens: for whom, until when, used or not. Secrets are not shown; nobody holds them but their bearers."""
    query = {"fieldSelector": f"type={TOKEN_SECRET_TYPE}"}
    listed = _cloud(target).request("GET", path_of(_SECRETS, TOKEN_NAMESPACE), query=query).obj
    rows: list[list[str]] = []
    now = time_text(int(time.time() * 1000))
    for secret in maps_at(listed, "items"):
        grant = grant_of(secret)
        if grant is None:
            continue
        state = f"used {grant.used_at}" if grant.used_at else "expired" if grant.expires <= now else "unused"
        rows.append([name_of(secret).removeprefix("join-token-"), grant.node, grant.expires, state])
    if form == "table":
        print_table(["ID", "NODE", "EXPIRES", "STATE"], rows)
    else:
        print_data([{"id": r[0], "node": r[1], "expires": r[2], "state": r[3]} for r in rows], form)


@token.command("delete")
@click.argument("token_id")
@with_target
def delete(target: Target, token_id: str) -> None:
    """Take a token back. Gateways that have joined with it stay."""
    _cloud(target).request("DELETE", path_of(_SECRETS, TOKEN_NAMESPACE, token_secret_name(token_id)))
    say(f"token {token_id} deleted")


def _cloud(target: Target) -> Client:
    client = target.client()
    if client.local:
        raise BadRequestError("tokens are made in the cloud: name it with --kubeconfig, or cloudcore's --data")
    return client


def pin_of_cloud(client: Client) -> str:
    """Of the CA that a kubeconfig names; the cloud of a local agent has none."""
    if client.cluster is None:
        raise BadRequestError("tokens are made in the cloud: name it with --kubeconfig, or cloudcore's --data")
    return _pin(client.cluster.ca_pem)


def _pin(ca_pem: bytes) -> str:
    if not ca_pem:
        raise BadRequestError(
            "this kubeconfig names no CA, so the gateway could not know the cloud; use cloudcore's own"
        )
    # The first is the authority that signs.
    return pin_of(spki_of_certificate(der_of_pem(ca_pem.decode())))


def label_of(text: str) -> tuple[str, str]:
    match = _LABEL.fullmatch(text)
    if match is None:
        raise BadRequestError(f"--label {text}: write KEY=VALUE")
    return match[1], match[2]
