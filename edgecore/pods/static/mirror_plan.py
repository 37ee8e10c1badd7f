"""What the cloud is asked so that it shows a gateway's static pods as they are: pure, from what both have."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TypeAlias

from edgecore.pods.static.manifest import StaticPod
from skerry.errors import BadRequestError
from skerry.frozen import Frozen
from skerry.objects.cloud_calls import CallHead, CloudAnswer
from skerry.objects.json import JsonObject, decode_object, encode_object, str_at
from skerry.objects.meta import Key, being_deleted, name_of, namespace_of, uid_of
from skerry.objects.mirror_pods import mirror_of, mirrored_uid

_HEADERS = (("content-type", "application/json"), ("accept", "application/json"))


class Make(Frozen):
    """Make a mirror of it."""

    static: StaticPod


class Drop(Frozen):
    """Let go of this life of a mirror."""

    key: Key
    uid: str


Step: TypeAlias = Make | Drop


def plan(
    static: Mapping[Key, StaticPod], held: Iterable[JsonObject], lives: Callable[[str], bool]
) -> Iterator[tuple[Key, tuple[Step, ...]]]:
    """Steps by pod, in order; none for those that are as they are to be. `held`: pods as the cloud shows them to the
    gateway; `lives`: something of a static pod with this uid is left."""
    shown = {Key("pods", namespace_of(pod), name_of(pod)): pod for pod in held}
    for key, pod in sorted(shown.items()):
        of, found = mirrored_uid(pod), static.get(key)
        if not of:
            continue  # a pod of the cloud's own; where it has the name of a static pod, that goes without a mirror
        if found is not None and found.uid == of and not being_deleted(pod):
            continue
        if found is None and lives(of) and not being_deleted(pod):
            continue  # it ends, and its mirror tells how
        drop = Drop(key=key, uid=uid_of(pod))
        yield key, (drop,) if found is None else (drop, Make(static=found))
    for key, found in sorted(static.items()):
        if key not in shown:
            yield key, (Make(static=found),)


def request_for(step: Step, node_uid: str) -> tuple[CallHead, bytes]:
    """What the cloud's API is asked, in the gateway's own name."""
    match step:
        case Make(static=static):
            body = encode_object(mirror_of(static.pod, node_uid))
            path = f"/api/v1/namespaces/{static.key.namespace}/pods"
            return CallHead(method="POST", path=path, headers=_HEADERS, body_bytes=len(body), own=True), body
        case Drop(key=key, uid=uid):
            options: JsonObject = {
                "apiVersion": "v1",
                "kind": "DeleteOptions",
                "gracePeriodSeconds": 0,
                "preconditions": {"uid": uid},
            }
            body = encode_object(options)
            path = f"/api/v1/namespaces/{key.namespace}/pods/{key.name}"
            return CallHead(method="DELETE", path=path, headers=_HEADERS, body_bytes=len(body), own=True), body


def check(step: Step, answer: CloudAnswer) -> None:
    """Raises `BadRequestError` with the cloud's words where it did not do it. One that is gone, or another by now,
    was let go of."""
    if answer.code < 300 or (isinstance(step, Drop) and answer.code in (404, 409)):
        return
    try:
        said = str_at(decode_object(answer.body), "message")
    except (ValueError, AssertionError):
        said = ""
    raise BadRequestError(said or f"the cloud answers {json.dumps(answer.code)}")
