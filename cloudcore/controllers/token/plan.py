"""What becomes of a Secret that is to hold a ServiceAccount's token. Pure.

The rules are those of Kubernetes' token controller: a Secret of type kubernetes.io/service-account-token that names
an account is filled with a token, the API's authorities and the namespace, and goes with its account.
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Final

from skerry.frozen import Frozen
from skerry.objects.account_tokens import SECRET_TYPE, token_of_secret
from skerry.objects.json import JsonObject, map_at, str_at, str_map_at
from skerry.objects.meta import annotations_of, namespace_of

ACCOUNT: Final = "kubernetes.io/service-account.name"
ACCOUNT_UID: Final = "kubernetes.io/service-account.uid"


class Account(Frozen):
    """A ServiceAccount that is there and stays."""

    name: str
    uid: str


class Filling(Frozen):
    """What goes into a Secret."""

    ca_pem: str
    token: Callable[[], str]
    """A new one."""
    is_ours: Callable[[str], bool]
    """Whether a token is signed by a key that is still good."""


def is_for_token(secret: JsonObject) -> bool:
    return str_at(secret, "type") == SECRET_TYPE


def account_of(secret: JsonObject) -> str:
    """The name of the account whose token it is to hold."""
    return annotations_of(secret).get(ACCOUNT, "")


def fits(secret: JsonObject, account: Account | None) -> bool:
    """Whether the Secret may stay: its account is there, and is the one that it was made for."""
    if account is None:
        return False
    uid = annotations_of(secret).get(ACCOUNT_UID, "")
    return uid in ("", account.uid)


def filled(secret: JsonObject, account: Account, filling: Filling) -> JsonObject:
    """The Secret with all that belongs into it; the same object where nothing is missing."""
    data, wanted = str_map_at(secret, "data"), {}
    for name, text in (("ca.crt", filling.ca_pem), ("namespace", namespace_of(secret))):
        wanted[name] = base64.b64encode(text.encode()).decode("ascii")
    wanted["token"] = data.get("token", "")
    if not filling.is_ours(token_of_secret(secret)):
        wanted["token"] = base64.b64encode(filling.token().encode()).decode("ascii")
    annotations = {ACCOUNT: account.name, ACCOUNT_UID: account.uid}
    if annotations.items() <= annotations_of(secret).items() and wanted.items() <= data.items():
        return secret
    metadata = map_at(secret, "metadata")
    return {
        **secret,
        "metadata": {**metadata, "annotations": {**map_at(metadata, "annotations"), **annotations}},
        "data": {**map_at(secret, "data"), **wanted},
    }
