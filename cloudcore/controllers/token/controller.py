"""Fills the Secrets that are to hold a ServiceAccount's token, and tells gateways the keys of tokens.

Gateways check tokens of their pods while they are alone, by the ConfigMap kube-system/skerry-token-keys, which every
node's view has. Keeps nothing but the keys it was given; what a crash leaves unmade is made after the next start.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from typing import Protocol

from cloudcore.controllers.token.plan import Account, Filling, account_of, filled, fits, is_for_token
from cloudcore.runtime.informer import Keys, Seen
from cloudcore.runtime.manager import Tools
from skerry.errors import AlreadyExistsError, ForbiddenError, NotFoundError
from skerry.objects.enrolment import TOKEN_KEYS_FIELD, TOKEN_KEYS_NAME, TRUST_NAMESPACE
from skerry.objects.json import JsonObject, encode_object, map_at
from skerry.objects.meta import Key, being_deleted

_KEYS: Key = Key("configmaps", TRUST_NAMESPACE, TOKEN_KEYS_NAME)


class Signer(Protocol):
    """The part of `cloudcore.pki.service_tokens.ServiceTokens` that is used."""

    def of_secret(self, *, namespace: str, account: str, account_uid: str, secret: str) -> str: ...
    def is_ours(self, token: str) -> bool: ...
    @property
    def key_set(self) -> JsonObject: ...


class TokenController:
    """`ca_pem` is the certificate (or bundle) by which pods know the API server."""

    name = "token-controller"
    workers = 2

    def __init__(self, tools: Tools, *, signer: Signer, ca_pem: str) -> None:
        self._tools = tools
        self._signer = signer
        self._ca_pem = ca_pem

    def watches(self) -> Sequence[Keys]:
        return [
            Keys(resource="secrets", keys=self._its_own),
            Keys(resource="serviceaccounts", keys=self._its_secrets),
            Keys(resource="configmaps", keys=lambda change: [_KEYS] if change.key == _KEYS else []),
            Keys(resource="namespaces", keys=lambda change: [_KEYS] if change.key.name == TRUST_NAMESPACE else []),
        ]

    async def reconcile(self, key: Key) -> float | None:
        try:
            if key == _KEYS:
                await self._tell_keys()
            else:
                await self._fill(key)
        except (AlreadyExistsError, ForbiddenError, NotFoundError):
            # Somebody was faster, or the namespace is going.
            return None
        return None

    async def _fill(self, key: Key) -> None:
        kind = self._tools.kind("secrets")
        secret = self._tools.objects.read(key)
        if secret is None:
            return
        obj = self._tools.cache.obj(secret)
        if not is_for_token(obj) or being_deleted(obj):
            return
        account = self._account(key.namespace, account_of(obj))
        if account is None or not fits(obj, account):
            await self._tools.objects.delete(kind, key)
            return
        filling = Filling(
            ca_pem=self._ca_pem,
            is_ours=self._signer.is_ours,
            token=partial(
                self._signer.of_secret,
                namespace=key.namespace,
                account=account.name,
                account_uid=account.uid,
                secret=key.name,
            ),
        )
        if filled(obj, account, filling) is not obj:
            await self._tools.objects.update(kind, key, lambda current: filled(current, account, filling))

    def _account(self, namespace: str, name: str) -> Account | None:
        stored = self._tools.objects.read(Key("serviceaccounts", namespace, name))
        if stored is None or being_deleted(self._tools.cache.obj(stored)):
            return None
        return Account(name=name, uid=stored.uid)

    async def _tell_keys(self) -> None:
        kind = self._tools.kind("configmaps")
        data: JsonObject = {TOKEN_KEYS_FIELD: encode_object(self._signer.key_set).decode()}
        stored = self._tools.objects.read(_KEYS)
        if stored is None:
            obj: JsonObject = {"apiVersion": "v1", "kind": kind.kind, "metadata": {"name": _KEYS.name}, "data": data}
            await self._tools.objects.create(kind, _KEYS.namespace, obj)
        elif map_at(self._tools.cache.obj(stored), "data") != data:
            await self._tools.objects.update(kind, _KEYS, lambda current: {**current, "data": data})

    def _its_own(self, change: Seen) -> Iterable[Key]:
        return [] if change.deleted else [change.key]

    def _its_secrets(self, change: Seen) -> Iterable[Key]:
        cache = self._tools.cache
        return [
            stored.key
            for stored in cache.select("secrets", namespace=change.key.namespace)
            if is_for_token(cache.obj(stored)) and account_of(cache.obj(stored)) == change.key.name
        ]
