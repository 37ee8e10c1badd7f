"""Requests to devices, and the answers that are waited for.

MQTT 5 carries with a request where it is to be answered and a correlation that the answer repeats (4.10); for devices
and brokers without it both are in the payload (`correlationPath`). An answer whose correlation nobody waits for, one
that came too late, belongs to nobody: it is never taken for the answer to another request. In memory; an agent that
ends while it waits does not know what became of its request.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Final

from devices.mqtt.config import Broker, MqttProperty, Response
from devices.mqtt.port import Delivery
from devices.payload import at_path, read_payload, text_of
from devices.port import WriteResult
from skerry.errors import InvalidError
from skerry.frozen import Frozen
from skerry.objects.json import read_json
from skerry.objects.twins import Value, format_value, same_value

EXCERPT_MAX: Final = 200
"""Characters of a device's own words that a reason quotes."""


class Request(Frozen):
    """One that waits for its answer."""

    topic: str
    correlation: str
    response: Response
    answer: asyncio.Future[Delivery]


@dataclass(slots=True)
class Requests:
    """What is waited for, of each broker."""

    begun: str
    """Part of every correlation: no answer to a request of an earlier process is taken for one of these."""
    waiting: dict[Broker, list[Request]] = field(default_factory=dict[Broker, list[Request]])
    count: int = 0

    def ask(self, broker: Broker, topic: str, response: Response) -> Request:
        """A new request, of which `topic` is where its answer comes. `forget` it afterwards."""
        self.count += 1
        made = Request(
            topic=topic,
            correlation=f"{self.begun}-{self.count:x}",
            response=response,
            answer=asyncio.get_running_loop().create_future(),
        )
        self.waiting.setdefault(broker, []).append(made)
        return made

    def forget(self, broker: Broker, request: Request) -> None:
        """It is answered, or nobody waits any more."""
        left = self.waiting.get(broker, [])
        if request in left:
            left.remove(request)
        if not left:
            self.waiting.pop(broker, None)

    def heard(self, broker: Broker, delivery: Delivery) -> None:
        """Hand an answer to who waits for it."""
        if delivery.retained:
            return  # an old one, whosever it was
        for request in self.waiting.get(broker, []):
            if request.topic == delivery.topic and _belongs(request, delivery) and not request.answer.done():
                request.answer.set_result(delivery)
                return


def _belongs(request: Request, delivery: Delivery) -> bool:
    if delivery.correlation:
        return delivery.correlation == request.correlation.encode()
    path = request.response.correlation
    if path is None:
        return False
    try:
        return text_of(at_path(read_json(delivery.payload), path)) == request.correlation
    except (InvalidError, UnicodeDecodeError):
        return False


class Verdict(Frozen):
    """What an answer says."""

    accepted: bool
    reason: str
    value: Value | None
    """The value that is in force, where the answer tells it."""


def judge(prop: MqttProperty, response: Response, payload: bytes) -> Verdict:
    """What an answer says. Pure."""
    if response.status is None and response.value is None and response.reason is None:
        return Verdict(accepted=True, reason="", value=None)
    try:
        document = read_json(payload, "the answer")
    except (InvalidError, UnicodeDecodeError) as error:
        return Verdict(accepted=False, reason=f"the device's answer can't be read: {error}", value=None)
    words = text_of(at_path(document, response.reason)) if response.reason is not None else None
    if response.status is not None:
        status = text_of(at_path(document, response.status))
        if status not in response.ok:
            said = "it did not say how it went" if status is None else f"the device said {status[:EXCERPT_MAX]}"
            return Verdict(accepted=False, reason=(words or said)[:EXCERPT_MAX], value=None)
    if response.value is None:
        return Verdict(accepted=True, reason="", value=None)
    layout = prop.layout_of_answer()
    try:
        said = read_payload(payload, prop.config.type, layout)
    except InvalidError as error:
        return Verdict(accepted=True, reason=f"the value in its answer can't be read: {error}", value=None)
    return Verdict(accepted=True, reason="", value=said.value if said else None)


def outcome(prop: MqttProperty, verdict: Verdict, wanted: Value) -> WriteResult | None:
    """What a write has come to by its answer; None when that leaves open whether the value is in force. Pure."""
    if not verdict.accepted:
        return WriteResult(state="refused", reason=verdict.reason, read_back=None)
    if verdict.value is None:
        return None
    is_so = same_value(
        prop.config.type, format_value(verdict.value), format_value(wanted), prop.config.twin.tolerance
    )
    if is_so:
        return WriteResult(state="verified", reason="", read_back=None)
    reason = f"the device answered that it has {format_value(verdict.value)[:EXCERPT_MAX]}"
    return WriteResult(state="refused", reason=reason, read_back=None)
