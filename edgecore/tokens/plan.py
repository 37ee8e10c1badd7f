"""Which tokens a pod wants, when one is renewed, and what the cloud is asked for. Pure.

A kubelet's rules (`pkg/kubelet/token`): renewed when four fifths of a token's life are over, or after a day, a little
earlier by chance. Its life is what the token itself says: the one that every pod finds mounted lives for a year, and
a link that costs money need not carry another each hour (docs/decisions/0351).
"""

from __future__ import annotations

import base64
from collections.abc import Iterable
from typing import Final

from skerry.errors import BadRequestError
from skerry.frozen import Frozen
from skerry.objects.cloud_calls import CallHead, CloudAnswer
from skerry.objects.json import Json, JsonObject, decode_object, encode_object, int_at, maps_at, str_at
from skerry.objects.meta import name_of, namespace_of, uid_of
from skerry.objects.times import parse_time

RENEWED_SHARE: Final = 0.8
AGE_MS_MAX: Final = 24 * 3_600_000
JITTER_MS: Final = 10_000
SECONDS: Final = 3600
"""What the API fills in for a volume that names no time."""
FINAL: Final = frozenset({"Succeeded", "Failed"})


class Wanted(Frozen):
    """One token that a pod's volumes name."""

    audience: str
    """"" for the API."""
    seconds: int


class Token(Frozen):
    """One that the cloud gave. Times are wall clock milliseconds, by what is known of the cloud's clock."""

    wanted: Wanted
    text: str
    issued_ms: int
    ends_ms: int
    """It is kept beyond that, where there is no other."""


def wanted_by(pod: JsonObject) -> tuple[Wanted, ...]:
    """Each once, in the order of the volumes; none of a pod that is over."""
    if str_at(pod, "status", "phase") in FINAL:
        return ()
    found: dict[Wanted, None] = {}
    for volume in maps_at(pod, "spec", "volumes"):
        for source in maps_at(volume, "projected", "sources"):
            token = source.get("serviceAccountToken")
            if isinstance(token, dict):
                found[wanted_of(token)] = None
    return tuple(found)


def wanted_of(source: JsonObject) -> Wanted:
    """Of a `serviceAccountToken` source."""
    return Wanted(audience=str_at(source, "audience"), seconds=int_at(source, "expirationSeconds", default=SECONDS))


def renewed_at_ms(token: Token, chance: float) -> int:
    """From when on another is asked for; `chance` from 0 to 1."""
    life_ms = max(0, token.ends_ms - token.issued_ms)
    due_ms = min(round(life_ms * RENEWED_SHARE), AGE_MS_MAX)
    return token.issued_ms + max(0, due_ms - round(JITTER_MS * chance))


def request_for(pod: JsonObject, wanted: Wanted) -> tuple[CallHead, bytes]:
    """What the cloud is asked: a TokenRequest bound to the pod, in the gateway's own name."""
    audiences: list[Json] = [wanted.audience] if wanted.audience else []
    body = encode_object(
        {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenRequest",
            "spec": {
                "audiences": audiences,
                "expirationSeconds": wanted.seconds,
                "boundObjectRef": {"apiVersion": "v1", "kind": "Pod", "name": name_of(pod), "uid": uid_of(pod)},
            },
        }
    )
    account = str_at(pod, "spec", "serviceAccountName") or "default"
    path = f"/api/v1/namespaces/{namespace_of(pod)}/serviceaccounts/{account}/token"
    headers = (("content-type", "application/json"), ("accept", "application/json"))
    return CallHead(method="POST", path=path, headers=headers, body_bytes=len(body), own=True), body


def token_from(answer: CloudAnswer, wanted: Wanted, *, now_ms: int) -> Token:
    """Raises `BadRequestError` with the cloud's words where it gave none."""
    try:
        said = decode_object(answer.body)
    except (ValueError, AssertionError):
        said = {}
    if answer.code != 201:
        raise BadRequestError(str_at(said, "message") or f"the cloud answers {answer.code}")
    text, until = str_at(said, "status", "token"), str_at(said, "status", "expirationTimestamp")
    if not text or not until:
        raise BadRequestError("the cloud's answer has no token in it")
    ends_ms = _end_ms(text) or parse_time(until)
    return Token(wanted=wanted, text=text, issued_ms=now_ms, ends_ms=max(ends_ms, now_ms))


def _end_ms(text: str) -> int:
    """What a token says of its end, unchecked, as it comes from the cloud; 0 for one that says nothing."""
    payload = text.split(".")[1] if text.count(".") == 2 else ""
    try:
        said = decode_object(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    except (ValueError, AssertionError):
        return 0
    return int_at(said, "exp") * 1000


def encode_tokens(tokens: Iterable[Token]) -> bytes:
    """As they are kept."""
    return encode_object(
        {
            "tokens": [
                {
                    "audience": token.wanted.audience,
                    "seconds": token.wanted.seconds,
                    "token": token.text,
                    "issued": token.issued_ms,
                    "ends": token.ends_ms,
                }
                for token in tokens
            ]
        }
    )


def decode_tokens(body: bytes) -> list[Token]:
    """Raises `ValueError` for what was damaged."""
    try:
        rows = maps_at(decode_object(body), "tokens")
    except AssertionError as error:
        raise ValueError("not an object") from error
    return [
        Token(
            wanted=Wanted(audience=str_at(row, "audience"), seconds=int_at(row, "seconds")),
            text=str_at(row, "token"),
            issued_ms=int_at(row, "issued"),
            ends_ms=int_at(row, "ends"),
        )
        for row in rows
        if str_at(row, "token")
    ]
