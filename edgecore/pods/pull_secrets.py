"""Credentials for registries out of pull secrets: pure.

Types `kubernetes.io/dockerconfigjson` and `kubernetes.io/dockercfg`, read as a kubelet reads them: `auth` is
base64 of USER:PASSWORD and wins over the two fields; what can't be read is left out, of one registry or of a Secret.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Sequence
from typing import Final

from edgecore.pods.port import Credentials
from skerry.errors import InvalidError
from skerry.frozen import replace
from skerry.objects.json import Json, JsonObject, map_at, maps_at, read_json, str_at
from skerry.objects.meta import name_of, namespace_of, uid_of

CONFIG_JSON: Final = ".dockerconfigjson"
CONFIG: Final = ".dockercfg"


def pull_secrets_of(pod: JsonObject) -> tuple[str, ...]:
    """Names of the Secrets that a pod names; admission has put those of its ServiceAccount there."""
    return tuple(name for each in maps_at(pod, "spec", "imagePullSecrets") if (name := str_at(each, "name")))


def credentials_of(pod: JsonObject, find: Callable[[str, str], JsonObject | None]) -> tuple[Credentials, ...]:
    """Of all its pull secrets that are here; `find` gives the object of a resource and name."""
    found: list[Credentials] = []
    for name in pull_secrets_of(pod):
        secret = find("secrets", name)
        if secret is not None:
            found += credentials_in(secret)
    return tuple(found)


def credentials_in(secret: JsonObject) -> Sequence[Credentials]:
    """Of one Secret; none where it has none."""
    data = map_at(secret, "data")
    said = _decoded(data.get(CONFIG))
    found = _all(said if isinstance(said, dict) else {})
    if CONFIG_JSON in data:
        found = credentials_of_config(_decoded(data[CONFIG_JSON]))
    name = "/".join((namespace_of(secret), name_of(secret), uid_of(secret)))
    return [replace(each, secret=name) for each in found]


def credentials_of_config(config: Json) -> Sequence[Credentials]:
    """Of Docker's config.json."""
    return _all(map_at(config, "auths") if isinstance(config, dict) else {})


def _all(registries: JsonObject) -> Sequence[Credentials]:
    return [made for registry, entry in registries.items() if (made := _credentials(registry, entry)) is not None]


def _decoded(value: Json) -> Json:
    if not isinstance(value, str):
        return None
    try:
        return read_json(base64.b64decode(value, validate=True))
    except (binascii.Error, InvalidError):
        return None


def _credentials(registry: str, entry: Json) -> Credentials | None:
    username, password = str_at(entry, "username"), str_at(entry, "password")
    auth = str_at(entry, "auth")
    if auth:
        try:
            username, sign, password = base64.b64decode(auth, validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            return None
        if not sign:
            return None
        password = password.rstrip("\0")
    token = str_at(entry, "identitytoken")
    if not registry or not (username or token):
        return None
    return Credentials(registry=registry, username=username, password=password, identity_token=token)
