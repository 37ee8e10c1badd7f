"""What pods alone have: binding, eviction and logs."""

from __future__ import annotations

import json
import re
from typing import Final

from cloudcore.api.call import Call, Reply, Stream
from cloudcore.api.verbs.delete import delete_options
from cloudcore.api.writing import parse, plain_reply
from cloudcore.registry.port import DeleteOptions, WriteOptions
from cloudcore.registry.refusals import not_found
from skerry.errors import BadRequestError, Cause, InvalidError
from skerry.frozen import replace
from skerry.objects.disruption import disrupted
from skerry.objects.json import Json, JsonObject, encode_object, map_at, maps_at, str_at
from skerry.objects.logs import LogRequest
from skerry.objects.meta import revision_of, uid_of
from skerry.objects.times import parse_time

_CREATED: Final[JsonObject] = {
    "kind": "Status",
    "apiVersion": "v1",
    "metadata": {},
    "status": "Success",
    "code": 201,
}


async def bind(call: Call) -> Reply:
    """POST core/v1 Binding: assigns a pod to a node."""
    binding = _body(call, "Binding")
    node = str_at(binding, "target", "name")
    annotations = map_at(binding, "metadata", "annotations")

    def transform(current: JsonObject) -> JsonObject:
        metadata = dict(map_at(current, "metadata"))
        if annotations:
            metadata["annotations"] = {**map_at(metadata, "annotations"), **annotations}
        return {**current, "metadata": metadata, "spec": {**map_at(current, "spec"), "nodeName": node}}

    await call.parts.objects.update(call.kind, call.key, transform, call.write_options(), subresource="binding")
    return plain_reply(call, dict(_CREATED), code=201)


async def evict(call: Call) -> Reply:
    """POST policy/v1 Eviction: a graceful deletion. No disruption budget is enforced, since nothing counts them."""
    eviction = _body(call, "Eviction")
    name = str_at(eviction, "metadata", "name")
    if name and name != call.target.name:
        raise BadRequestError("name in URL does not match name in Eviction object")
    said = replace(delete_options(_with_body(call, map_at(eviction, "deleteOptions"))), actor=call.actor)
    told = await _disrupt(call, said)
    if told is not None and said.revision is not None:
        said = replace(said, revision=revision_of(told))
    await call.parts.objects.delete(call.kind, call.key, said)
    return plain_reply(call, dict(_CREATED), code=201)


async def _disrupt(call: Call, said: DeleteOptions) -> JsonObject | None:
    """Tell in the pod's status why it ends; as it is then. None where nothing is to be written, or may be."""
    if said.dry_run:
        return None
    now_ms = call.parts.clock.wall_ms()

    def transform(current: JsonObject) -> JsonObject:
        if said.uid and uid_of(current) != said.uid:
            return current  # the deletion says so
        told = disrupted(current, reason="EvictionByEvictionAPI", message="Eviction API: evicting", now_ms=now_ms)
        if said.revision is None:
            return told
        return {**told, "metadata": {**map_at(told, "metadata"), "resourceVersion": str(said.revision)}}

    options = WriteOptions(actor=call.actor)
    try:
        return (await call.parts.objects.update(call.kind, call.key, transform, options, subresource="status")).obj
    except InvalidError:  # of an older release, by rules of this one: it goes all the same
        return None


def _with_body(call: Call, options: JsonObject) -> Call:
    """The same call with the DeleteOptions inside the eviction as its body."""
    return replace(call, raw_body=encode_object(options) if options else b"", content_type="application/json")


def _body(call: Call, kind: str) -> JsonObject:
    value: Json = call.body().value
    if not isinstance(value, dict) or str_at(value, "kind", default=kind) != kind:
        raise BadRequestError(f"the object provided is unrecognized (must be of type {kind})")
    return value


async def log(call: Call) -> Reply:
    """GET of a container's log: text, as the gateway has it, followed when asked."""
    pod = pod_of(call)
    container = container_of(call, pod)
    node = str_at(pod, "spec", "nodeName")
    if not node:
        raise BadRequestError(
            f'container "{container}" in pod "{call.target.name}" is waiting to start: the pod has no node yet'
        )
    pieces = call.parts.logs.read(node, _log_request(call, pod, container))
    return Stream(pieces=pieces, media_type="text/plain", framed=False)


def _log_request(call: Call, pod: JsonObject, container: str) -> LogRequest:
    since = call.query.text("sinceTime")
    if since:
        parse_time(since)
    if since and call.query.text("sinceSeconds"):
        raise BadRequestError("at most one of `sinceTime` or `sinceSeconds` may be specified")
    return LogRequest(
        namespace=call.target.namespace,
        pod=call.target.name,
        uid=uid_of(pod),
        container=container,
        follow=call.query.flag("follow"),
        previous=call.query.flag("previous"),
        timestamps=call.query.flag("timestamps"),
        tail_lines=_number(call, "tailLines", least=0),
        since_s=_number(call, "sinceSeconds", least=1),
        since_time=since,
        limit_bytes=_number(call, "limitBytes", least=1),
        stream=_stream(call),
    )


def _stream(call: Call) -> str:
    """core/v1 PodLogOptions.stream, as `LogRequest` has it."""
    match call.query.text("stream"):
        case "" | "All":
            return ""
        case "Stdout" | "Stderr" as asked:
            if call.query.text("tailLines"):
                # Kubernetes' words; theirs is the hope in it.
                text = "`tailLines` and specific `stream` are mutually exclusive" + " for" + " now"
                raise _invalid_option("tailLines", "FieldValueForbidden", f"Forbidden: {text}")
            return asked.lower()
        case other:
            text = f'Unsupported value: {json.dumps(other)}: supported values: "All", "Stderr", "Stdout"'
            raise _invalid_option("stream", "FieldValueNotSupported", text)


def _invalid_option(field: str, reason: str, text: str) -> InvalidError:
    return InvalidError(
        f'PodLogOptions "" is invalid: {field}: {text}', [Cause(field=field, reason=reason, message=text)]
    )


def _number(call: Call, name: str, *, least: int) -> int | None:
    text = call.query.text(name)
    if not text:
        return None
    if not re.fullmatch(r"-?\d{1,18}", text):
        raise BadRequestError(f'{name}: strconv.ParseInt: parsing "{text}": invalid syntax')
    if int(text) < least:
        raise BadRequestError(f"{name}: Invalid value: {text}: must be greater than or equal to {least}")
    return int(text)


def pod_of(call: Call) -> JsonObject:
    """The pod that the URL names. Raises `NotFoundError`."""
    stored = call.parts.objects.read(call.key)
    if stored is None:
        raise not_found(call.kind, call.target.name)
    return parse(stored.body)


def container_of(call: Call, pod: JsonObject) -> str:
    """The container that the query names, or the only one. Raises `BadRequestError`, as the API server words it."""
    names, init, ephemeral = (
        [str_at(each, "name") for each in maps_at(pod, "spec", field)]
        for field in ("containers", "initContainers", "ephemeralContainers")
    )
    asked = call.query.text("container")
    name = call.target.name
    if asked:
        if asked not in (*names, *init, *ephemeral):
            raise BadRequestError(f"container {asked} is not valid for pod {name}")
        return asked
    if len(names) == 1:
        return names[0]
    others = f" or one of the init containers: [{' '.join(init)}]" if init else ""
    raise BadRequestError(
        f"a container name must be specified for pod {name}, choose one of: [{' '.join(names)}]{others}"
    )
