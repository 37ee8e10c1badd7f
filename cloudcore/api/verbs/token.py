"""POST serviceaccounts/NAME/token: a TokenRequest, answered."""

from __future__ import annotations

from cloudcore.api.call import Call, Reply
from cloudcore.api.writing import plain_reply
from skerry.errors import BadRequestError
from skerry.objects.json import str_at


async def token(call: Call) -> Reply:
    value = call.body().value
    if not isinstance(value, dict) or str_at(value, "kind", default="TokenRequest") != "TokenRequest":
        raise BadRequestError("the object provided is unrecognized (must be of type TokenRequest)")
    answer = await call.parts.reviews.issue_token(call.target.namespace, call.target.name, value, call.actor)
    return plain_reply(call, answer, code=201)
