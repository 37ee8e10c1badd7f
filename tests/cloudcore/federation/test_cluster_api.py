"""How a member that is dialled is reached: by what is in its Secret, and by nothing else."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from cloudcore.federation.cluster_api import access_of
from skerry.errors import InvalidError

MEMBER: Any = {"spec": {"apiEndpoint": "far:6443", "caBundle": base64.b64encode(b"CA").decode()}}


def secret(**data: str) -> Any:
    return {"data": {name: base64.b64encode(text.encode()).decode() for name, text in data.items()}}


def kubeconfig(user: Any) -> str:
    return json.dumps(
        {
            "clusters": [{"name": "c", "cluster": {"server": "https://else"}}],
            "users": [{"name": "u", "user": user}],
            "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
            "current-context": "x",
        }
    )


def test_a_token_is_shown_to_the_endpoint_of_the_member() -> None:
    found = access_of(MEMBER, secret(token="t\n"))
    assert (found.url, found.token, found.ca_pem) == ("https://far:6443", "t", "CA")


def test_a_kubeconfig_gives_who_we_are_and_not_where() -> None:
    found = access_of(MEMBER, secret(kubeconfig=kubeconfig({"token": "t"})))
    assert (found.url, found.token) == ("https://far:6443", "t")


@pytest.mark.parametrize("field", ["exec", "auth-provider", "tokenFile", "client-certificate", "client-key"])
def test_a_kubeconfig_that_reads_files_or_runs_programs_is_refused(field: str) -> None:
    with pytest.raises(InvalidError, match=f"has {field}"):
        access_of(MEMBER, secret(kubeconfig=kubeconfig({field: "/etc/shadow"})))


@pytest.mark.parametrize(("data", "said"), [({}, "neither a token"), ({"kubeconfig": "- {"}, "can't be read")])
def test_a_secret_that_says_nothing_is_told(data: Any, said: str) -> None:
    with pytest.raises(InvalidError, match=said):
        access_of(MEMBER, secret(**data))
