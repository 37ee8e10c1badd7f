"""Credentials out of pull secrets, as `kubectl create secret docker-registry` writes them and as people do."""

from __future__ import annotations

import base64
import json

import pytest

from edgecore.pods.port import Credentials
from edgecore.pods.pull_secrets import credentials_in, credentials_of
from skerry.objects.json import JsonObject


def encoded(value: object) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return base64.b64encode(text.encode()).decode()


def secret(**data: str) -> JsonObject:
    return {
        "metadata": {"name": "s", "namespace": "shop", "uid": "u-1"},
        "data": {f".{name}": value for name, value in data.items()},
    }


ENTRY = {"username": "u", "password": "p"}


def test_both_types_are_read() -> None:
    wanted = [Credentials(registry="r.io", username="u", password="p", secret="shop/s/u-1")]
    assert list(credentials_in(secret(dockerconfigjson=encoded({"auths": {"r.io": ENTRY}})))) == wanted
    assert list(credentials_in(secret(dockercfg=encoded({"r.io": ENTRY})))) == wanted


def test_auth_wins_over_the_fields_and_may_have_colons() -> None:
    (made,) = credentials_in(secret(dockercfg=encoded({"r.io": {**ENTRY, "auth": encoded("me:a:b")}})))
    assert (made.username, made.password) == ("me", "a:b")


def test_a_token_needs_no_user() -> None:
    (made,) = credentials_in(secret(dockercfg=encoded({"r.io": {"identitytoken": "t"}})))
    assert made.identity_token == "t"


@pytest.mark.parametrize(
    "data",
    [
        {},
        {"dockerconfigjson": "not base64!"},
        {"dockerconfigjson": encoded("no json")},
        {"dockerconfigjson": encoded([1])},
        {"dockerconfigjson": encoded({"auths": []})},
        {"dockercfg": encoded({"r.io": "x"})},
        {"dockercfg": encoded({"r.io": {"auth": "###"}})},
        {"dockercfg": encoded({"r.io": {"auth": encoded("no colon")}})},
        {"dockercfg": encoded({"r.io": {"password": "p"}})},
        {"dockercfg": encoded({"": ENTRY})},
    ],
)
def test_what_can_not_be_read_is_left_out(data: dict[str, str]) -> None:
    assert list(credentials_in(secret(**data))) == []


def test_all_secrets_of_a_pod_that_are_here_count() -> None:
    held = {
        "a": secret(dockercfg=encoded({"a.io": ENTRY})),
        "b": secret(dockerconfigjson=encoded({"auths": {"b.io": ENTRY}})),
    }
    pod: JsonObject = {"spec": {"imagePullSecrets": [{"name": "a"}, {"name": "gone"}, {}, {"name": "b"}]}}
    found = credentials_of(pod, lambda resource, name: held.get(name) if resource == "secrets" else None)
    assert [each.registry for each in found] == ["a.io", "b.io"]
