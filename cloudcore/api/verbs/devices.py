"""What only the gateway of a device can answer: why a value is what it is, what it is just now, how its line does.

Subresources of ours on KubeEdge's Device: GET `devices/NAME/explain?property=P` (with `value=V` also what writing
that would do), POST `devices/NAME/read`, GET `devices/NAME/line`, GET `devices/NAME/checkup`; and on Kubernetes'
Node: GET `nodes/NAME/discovery`. All are asked of the gateway while the caller waits, and nothing is kept of them
(docs/decisions/0290). The local API of a gateway has the same paths, and `/skerry/discovery`.
"""

from __future__ import annotations

from cloudcore.api.call import Call, Reply
from cloudcore.api.writing import parse, plain_reply
from cloudcore.registry.refusals import not_found
from skerry.errors import BadRequestError
from skerry.objects.device_questions import Checkup, OfLine, Question, discover_of, explain_of, read_of
from skerry.objects.json import Json, JsonObject, str_at
from skerry.objects.meta import uid_of


async def explain(call: Call) -> Reply:
    """How the newest value of a property came to be."""
    node, uid = _place(call)
    asked = {name: call.query.text(name) for name in ("property", "value") if name in call.query.values}
    query: JsonObject = {**asked}
    question = explain_of(query, namespace=call.target.namespace, device=call.target.name, uid=uid)
    return await _answered(call, node, question, code=200)


async def read(call: Call) -> Reply:
    """Properties as they are now; a POST, because it makes the gateway ask the device."""
    node, uid = _place(call)
    body: Json = call.body().value if call.raw_body else {}
    if not isinstance(body, dict):
        raise BadRequestError("the body must be an object: properties, freshMs, timeoutSeconds")
    question = read_of(body, namespace=call.target.namespace, device=call.target.name, uid=uid)
    return await _answered(call, node, question, code=201)


async def line(call: Call) -> Reply:
    """The figures of the line that the device is on."""
    node, uid = _place(call)
    question = OfLine(namespace=call.target.namespace, device=call.target.name, uid=uid)
    return await _answered(call, node, question, code=200)


async def checkup(call: Call) -> Reply:
    """All that the gateway knows of the device's health."""
    node, uid = _place(call)
    question = Checkup(namespace=call.target.namespace, device=call.target.name, uid=uid)
    return await _answered(call, node, question, code=200)


def _place(call: Call) -> tuple[str, str]:
    """(the node that it is on, its uid)."""
    stored = call.parts.objects.read(call.key)
    if stored is None:
        raise not_found(call.kind, call.target.name)
    device = parse(stored.body)
    node = str_at(device, "spec", "nodeName")
    if not node:
        raise BadRequestError(f'device "{call.target.name}" is on no node yet (its spec.nodeName is empty)')
    return node, uid_of(device)


async def discovery(call: Call) -> Reply:
    """What speaks on the broker of a Node's gateway and is no Device yet; a subresource of Node."""
    if call.parts.objects.read(call.key) is None:
        raise not_found(call.kind, call.target.name)
    query: JsonObject = {
        name: call.query.text(name) for name in ("namespace", "seconds") if name in call.query.values
    }
    return await _answered(call, call.target.name, discover_of(query), code=200)


async def _answered(call: Call, node: str, question: Question, *, code: int) -> Reply:
    return plain_reply(call, await call.parts.devices.ask(node, question), code=code)
