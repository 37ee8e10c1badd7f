"""Tokens of ServiceAccounts against a real cloud: a library that knows nothing of us checks
them by what the cloud publishes (OpenID Connect Discovery)."""

from __future__ import annotations

import base64
import json
import ssl
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from typing import Any

import jwt
import pytest

from skerry.objects.json import Json, JsonObject, str_at
from tests.system.cloud_process import CloudProcess, cloud_process

pytestmark = [pytest.mark.system, pytest.mark.timeout(180)]

API = "https://kubernetes.default.svc"
BOT = "system:serviceaccount:default:bot"
LEGACY = """
apiVersion: v1
kind: Secret
metadata:
  name: bot-token
  annotations: {kubernetes.io/service-account.name: bot}
type: kubernetes.io/service-account-token
"""


@pytest.fixture
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CloudProcess]:
    with cloud_process(tmp_path_factory.mktemp("tokens") / "cloud") as made:
        yield made


def published(cloud: CloudProcess, asker: str, url: str) -> Any:
    context = ssl.create_default_context(cafile=str(cloud.data / "pki" / "ca.crt"))
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {asker}"})
    with urllib.request.urlopen(request, context=context, timeout=20) as answer:
        assert answer.headers.get_all("Cache-Control") == ["public, max-age=3600"]
        return json.load(answer)


def checked(cloud: CloudProcess, asker: str, token: str, audience: str) -> dict[str, Any]:
    """What a relying party reads that was told the address of the issuer alone."""
    issuer = published(cloud, asker, f"https://{cloud.https}/.well-known/openid-configuration")
    keys = jwt.PyJWKSet.from_dict(published(cloud, asker, issuer["jwks_uri"]))
    key = keys[jwt.get_unverified_header(token)["kid"]]
    return jwt.decode(
        token,
        key,
        algorithms=issuer["id_token_signing_alg_values_supported"],
        audience=audience,
        issuer=issuer["issuer"],
    )


def token_of(cloud: CloudProcess, *audiences: str) -> str:
    spec: JsonObject = {"expirationSeconds": 1200, "audiences": list[Json](audiences)}
    path = "/api/v1/namespaces/default/serviceaccounts/bot/token"
    return str_at(cloud.ask("POST", path, {"spec": spec}), "status", "token")


def reviewed(cloud: CloudProcess, token: str) -> str:
    """Whose the cloud says that it is."""
    review: JsonObject = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": {"token": token}}
    answer = cloud.ask("POST", "/apis/authentication.k8s.io/v1/tokenreviews", review)
    return str_at(answer, "status", "user", "username")


def in_secret(cloud: CloudProcess) -> str:
    deadline = time.monotonic() + 30
    while True:
        written = cloud.kubectl("get", "secret", "bot-token", "-o", "jsonpath={.data.token}")
        if written:
            return base64.b64decode(written).decode()
        assert time.monotonic() < deadline, "the Secret gets no token"
        time.sleep(0.1)


def test_tokens_are_checked_by_strangers_and_outlive_a_rotation_of_their_key(cloud: CloudProcess) -> None:
    cloud.kubectl("create", "serviceaccount", "bot")
    cloud.kubectl("apply", "-f", "-", stdin=LEGACY)
    own, vault, kept = token_of(cloud), token_of(cloud, "vault"), in_secret(cloud)
    said = checked(cloud, own, own, API)
    assert said["sub"] == BOT
    assert said["kubernetes.io"]["serviceaccount"]["name"] == "bot"
    rotated = ("token-key", "rotate", "--algorithm", "RS256", "--data", str(cloud.data))
    subprocess.run([sys.executable, "-m", "cloudcore.main", *rotated], check=True, capture_output=True, timeout=60)
    cloud.stop()
    cloud.start()
    newer = token_of(cloud)
    assert jwt.get_unverified_header(newer)["alg"] == "RS256"
    for token, audience in ((newer, API), (own, API), (vault, "vault")):
        assert checked(cloud, newer, token, audience)["sub"] == BOT
    assert [reviewed(cloud, token) for token in (newer, own, kept, vault)] == [BOT, BOT, BOT, ""]
    cloud.kubectl("delete", "serviceaccount", "bot")
    assert [reviewed(cloud, token) for token in (newer, own, kept)] == ["", "", ""]
