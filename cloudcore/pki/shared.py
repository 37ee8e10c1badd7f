"""One CA for several cloudcores on one database.

The database keeps the certificates of the cloud's authorities in a Secret (kube-system/skerry-ca), so that no replica
of another cloud can join by mistake; and, where the replicas are given a cluster key, the authorities' keys and the
token key as well, sealed with it (AES-256-GCM). So a replica needs two things, the database and the key, and neither
alone gives away the cloud: a backup of the database can't sign certificates. Without a cluster key DIR/pki is copied
from replica to replica.

Each replica keeps its own DIR/pki, and starts from that. A rotation of the authority, made on one of them, reaches
the others when they start again; so does one of the keys of tokens, where there is a cluster key.

The Secret is written with optimistic concurrency: of two replicas that start at
once on an empty database one makes the CA. A crash before that leaves nothing, and after it the next start finds it.
"""

from __future__ import annotations

import base64
import binascii
import logging
import os
import stat
from pathlib import Path
from typing import Final

import orjson
from cryptography import x509
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from cloudcore.pki.certificates import Authority, key_pem
from cloudcore.pki.directory import Material, Pki, keep_pki, new_material, open_pki
from cloudcore.pki.serving import now_of
from cloudcore.pki.token_keys import TokenKeys, is_newer, token_keys_in
from cloudcore.registry.bodies import body_of, object_of
from cloudcore.store.port import ABSENT, Batch, Put, Store, Stored
from skerry.errors import AlreadyExistsError, ConflictError, InvalidError, UnavailableError
from skerry.frozen import Frozen, replace
from skerry.objects.enrolment import authority_id
from skerry.objects.json import JsonObject, map_at, maps_at, str_at
from skerry.objects.meta import Key
from skerry.objects.times import time_text
from skerry.ports import Clock, Ids

log: Final = logging.getLogger(__name__)

SECRET: Final = Key("secrets", "kube-system", "skerry-ca")
KEY_BYTES: Final = 32
_NONCE_BYTES: Final = 12
_TRIES: Final = 8
"""Replicas that start at once and write the Secret before each other."""
_HOW: Final = "see docs/howto/postgresql.md"


class Sealed(Frozen):
    """What the Secret says."""

    bundle_pem: str
    """Certificates: the authority that signs first, then the former ones."""
    box: bytes = b""
    """Nonce and ciphertext of the keys; empty: no replica with a cluster key has started yet."""


def read_cluster_key(path: Path) -> bytes:
    """The key in a file: 32 random bytes as base64. Raises `InvalidError`, `UnavailableError`."""
    try:
        mode = path.stat().st_mode
        text = path.read_bytes()
    except OSError as error:
        raise UnavailableError(f"--cluster-key: {path}: {error.strerror}") from error
    if mode & (stat.S_IROTH | stat.S_IWOTH | stat.S_IWGRP):
        raise InvalidError(f"--cluster-key: others may read or write {path}: chmod 600 it")
    try:
        key = base64.b64decode(text.strip(), validate=True)
    except binascii.Error:
        key = b""
    if len(key) != KEY_BYTES:
        raise InvalidError(
            f"--cluster-key: {path} must hold {KEY_BYTES} random bytes as base64 (openssl rand -base64 {KEY_BYTES})"
        )
    return key


def seal(material: Material, key: bytes, nonce: bytes) -> Sealed:
    """Pure: the nonce must be new each time."""
    secret = orjson.dumps(
        {
            "authorities": [
                {"certificate": each.pem, "key": key_pem(each.key)} for each in (material.authority, *material.former)
            ],
            "sa.key": material.token_keys.pem,
        }
    )
    bundle_pem = _bundle(material)
    return Sealed(bundle_pem=bundle_pem, box=nonce + AESGCM(key).encrypt(nonce, secret, bundle_pem.encode()))


def unseal(sealed: Sealed, key: bytes) -> Material:
    """Raises `InvalidError` when it was sealed with another key, or changed since."""
    nonce, ciphertext = sealed.box[:_NONCE_BYTES], sealed.box[_NONCE_BYTES:]
    try:
        opened: JsonObject = orjson.loads(AESGCM(key).decrypt(nonce, ciphertext, sealed.bundle_pem.encode()))
    except (InvalidTag, ValueError):
        raise InvalidError("--cluster-key: the cloud's keys in the database are sealed with another key") from None
    authorities = tuple(
        Authority(
            certificate=x509.load_pem_x509_certificate(str_at(each, "certificate").encode()),
            key=_key(str_at(each, "key")),
        )
        for each in maps_at(opened, "authorities")
    )
    token_keys = token_keys_in(str_at(opened, "sa.key"))
    return Material(authority=authorities[0], former=authorities[1:], token_keys=token_keys)


async def shared_pki(store: Store, data: Path, key: bytes | None, *, clock: Clock, ids: Ids) -> Pki:
    """The PKI of the cloud that this database belongs to, in DIR/pki; the first replica makes it.

    Raises `InvalidError` when this replica can't be one of that cloud, `UnavailableError` as the store does.
    """
    local = open_pki(data, now=None) if (data / "pki").exists() else None
    mine = None if local is None else _material(local)
    made = mine or new_material(now=now_of(clock))
    for _ in range(_TRIES):
        stored = await store.get(SECRET)
        write: Put | None
        if stored is None:
            chosen, write = made, _put(made, key, None, uid=ids.uid(), now=time_text(clock.wall_ms()))
        else:
            chosen, write = _agreed(mine, stored, key, data)
        try:
            if write is not None:
                await store.commit(Batch(writes=(write,)))
        except (ConflictError, AlreadyExistsError):
            continue
        return local if local is not None and chosen is mine else keep_pki(data, chosen)
    raise UnavailableError("the Secret kube-system/skerry-ca changes all the time: is somebody deleting it?")


def _agreed(mine: Material | None, stored: Stored, key: bytes | None, data: Path) -> tuple[Material, Put | None]:
    """What this replica is to use, and what the Secret has to become (None: it stays)."""
    sealed = _read(stored)
    if mine is None:
        return _received(sealed, key, "this database belongs to a cloud already"), None
    local, kept = _ids(_bundle(mine)), _ids(sealed.bundle_pem)
    if not set(local) & set(kept):
        raise InvalidError(
            f"{data / 'pki'} is of another cloud (CA {local[0]}) than this database (CA {kept[0]}): "
            f"start with the --data of this cloud, or an empty one ({_HOW})"
        )
    theirs = unseal(sealed, key) if key is not None and sealed.box else None
    tokens = mine.token_keys if theirs is None else _newest(mine.token_keys, theirs.token_keys)
    mine = mine if tokens is mine.token_keys else replace(mine, token_keys=tokens)
    if set(local) == set(kept) and local[0] == kept[0]:
        told = key is None or (theirs is not None and theirs.token_keys.ids == tokens.ids)
        return mine, None if told else _put(mine, key, stored)
    if is_newer(local, kept):
        return mine, _put(mine, key, stored)
    if local[0] not in kept:
        log.warning(
            "the authority made here by `cloudcore ca rotate` is dropped, as another replica came first with one "
            "dropped=%s signs=%s",
            local[0],
            kept[0],
        )
    received = _received(sealed, key, "the cloud's authority was changed on another replica")
    if received.token_keys.ids == tokens.ids:
        return received, None
    made = replace(received, token_keys=tokens)
    return made, _put(made, key, stored)


def _newest(mine: TokenKeys, theirs: TokenKeys) -> TokenKeys:
    """The keys of tokens that a replica is to have: its own only where they are what the others' became."""
    if mine.ids == theirs.ids or is_newer(mine.ids, theirs.ids):
        return mine
    return theirs


def _received(sealed: Sealed, key: bytes | None, why: str) -> Material:
    if key is None:
        raise InvalidError(
            f"{why}: give this replica the --cluster-key, or copy DIR/pki from another replica ({_HOW})"
        )
    if not sealed.box:
        raise InvalidError(
            f"{why}, and its keys are not in the database yet: start the replica that has them with --cluster-key, "
            f"or copy its DIR/pki here ({_HOW})"
        )
    return unseal(sealed, key)


def _put(material: Material, key: bytes | None, stored: Stored | None, *, uid: str = "", now: str = "") -> Put:
    sealed = Sealed(bundle_pem=_bundle(material)) if key is None else seal(material, key, os.urandom(_NONCE_BYTES))
    data: JsonObject = {"ca.crt": base64.b64encode(sealed.bundle_pem.encode()).decode()}
    if sealed.box:
        data["sealed"] = base64.b64encode(sealed.box).decode()
    if stored is not None:
        body = body_of({**object_of(stored.body), "data": data})
        return Put(key=SECRET, uid=stored.uid, body=body, expected=stored.revision)
    metadata: JsonObject = {
        "name": SECRET.name,
        "namespace": SECRET.namespace,
        "uid": uid,
        "creationTimestamp": now,
    }
    obj: JsonObject = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": metadata,
        "type": "skerry.dev/ca",
        "data": data,
    }
    return Put(key=SECRET, uid=uid, body=body_of(obj), expected=ABSENT)


def _read(stored: Stored) -> Sealed:
    data = map_at(object_of(stored.body), "data")
    try:
        bundle_pem = base64.b64decode(str_at(data, "ca.crt"), validate=True).decode("ascii")
        _ids(bundle_pem)
        box = base64.b64decode(str_at(data, "sealed"), validate=True)
    except ValueError as error:
        raise InvalidError(
            f"the Secret kube-system/skerry-ca is damaged ({error}): delete it, and start a replica that has DIR/pki"
        ) from error
    return Sealed(bundle_pem=bundle_pem, box=box)


def _ids(bundle_pem: str) -> list[str]:
    certificates = x509.load_pem_x509_certificates(bundle_pem.encode())
    return [
        authority_id(
            certificate.public_key().public_bytes(
                serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
            )
        )
        for certificate in certificates
    ]


def _bundle(material: Material) -> str:
    return "".join(each.pem for each in (material.authority, *material.former))


def _material(pki: Pki) -> Material:
    return Material(authority=pki.authority, former=pki.former, token_keys=pki.token_keys)


def _key(pem: str) -> ec.EllipticCurvePrivateKey:
    key = serialization.load_pem_private_key(pem.encode(), password=None)
    assert isinstance(key, ec.EllipticCurvePrivateKey), "what was sealed are keys of ours"
    return key
