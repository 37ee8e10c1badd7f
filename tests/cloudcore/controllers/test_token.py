"""Secrets that hold a ServiceAccount's token, and the keys that gateways are told."""

import base64
from collections.abc import AsyncIterator

import pytest

from cloudcore.controllers.token.controller import TokenController
from cloudcore.pki.service_tokens import ServiceTokens
from cloudcore.pki.token_keys import new_token_keys
from skerry.objects.account_tokens import SECRET_TYPE, TokenReader, keys_in, token_of_secret
from skerry.objects.json import JsonObject, decode_object, str_at
from tests.cloudcore.worlds import World, make_world

ANNOTATION = "kubernetes.io/service-account.name"


def secret(account: str = "app", **annotations: str) -> JsonObject:
    return {
        "metadata": {"name": "s", "annotations": {ANNOTATION: account, **annotations}},
        "type": SECRET_TYPE,
    }


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with make_world() as made:
        await made.create("namespaces", {"metadata": {"name": "d"}})
        yield made


def signer(world: World) -> ServiceTokens:
    return ServiceTokens(new_token_keys(), world.clock, world.ids)


async def test_a_secret_is_filled_once(world: World):
    tokens = signer(world)
    controller = TokenController(world.tools, signer=tokens, ca_pem="PEM")
    account = await world.create("serviceaccounts", {"metadata": {"name": "app"}})
    await world.create("secrets", secret())
    await world.settle(controller)
    made = world.get("secrets", "s")
    assert base64.b64decode(str_at(made, "data", "ca.crt")) == b"PEM"
    assert base64.b64decode(str_at(made, "data", "namespace")) == b"d"
    uid = str_at(account, "metadata", "uid")
    assert str_at(made, "metadata", "annotations", "kubernetes.io/service-account.uid") == uid
    claims = tokens.verify(token_of_secret(made))
    assert (claims.namespace, claims.account, claims.account_uid) == ("d", "app", uid)
    await world.settle(controller)
    assert world.get("secrets", "s") == made


async def test_a_secret_without_its_account_goes(world: World):
    controller = TokenController(world.tools, signer=signer(world), ca_pem="PEM")
    await world.create("secrets", secret())
    await world.settle(controller)
    assert world.names("secrets") == []
    await world.create("serviceaccounts", {"metadata": {"name": "app"}})
    await world.create("secrets", secret(**{"kubernetes.io/service-account.uid": "of another"}))
    await world.settle(controller)
    assert world.names("secrets") == []
    await world.create("secrets", secret())
    await world.settle(controller)
    assert world.names("secrets") == ["s"]
    await world.delete("serviceaccounts", "app")
    await world.settle(controller)
    assert world.names("secrets") == []


async def test_a_token_by_a_key_that_was_retired_is_replaced(world: World):
    await world.create("serviceaccounts", {"metadata": {"name": "app"}})
    await world.create("secrets", secret())
    await world.settle(TokenController(world.tools, signer=signer(world), ca_pem="PEM"))
    old = token_of_secret(world.get("secrets", "s"))
    tokens = signer(world)
    # A start looks at all there is.
    await TokenController(world.tools, signer=tokens, ca_pem="PEM").reconcile(world.key("secrets", "s"))
    assert token_of_secret(world.get("secrets", "s")) != old
    assert tokens.is_ours(token_of_secret(world.get("secrets", "s")))


async def test_other_secrets_are_left_alone(world: World):
    made = await world.create("secrets", {"metadata": {"name": "s", "annotations": {ANNOTATION: "none"}}})
    await world.settle(TokenController(world.tools, signer=signer(world), ca_pem="PEM"))
    assert world.get("secrets", "s") == made


async def test_gateways_are_told_the_keys_and_told_again(world: World):
    tokens = signer(world)
    controller = TokenController(world.tools, signer=tokens, ca_pem="PEM")
    await world.create("namespaces", {"metadata": {"name": "kube-system"}})
    await world.settle(controller)
    told = world.get("configmaps", "skerry-token-keys", namespace="kube-system")
    token = tokens.of_secret(namespace="a", account="b", account_uid="u", secret="s")
    keys = keys_in(decode_object(str_at(told, "data", "jwks.json").encode()))
    assert TokenReader(keys).read(token).account == "b"
    key = world.key("configmaps", "skerry-token-keys", "kube-system")
    await world.objects.delete(world.kind("configmaps"), key)
    await world.settle(controller)
    assert world.get("configmaps", "skerry-token-keys", namespace="kube-system")["data"] == told["data"]
