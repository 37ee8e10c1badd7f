"""What the cloud asks of this gateway for rules: streams of kind `rules`, each answered when the thing is done.
Keeps nothing.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING

from edgecore.rules.services import Services
from skerry.errors import UnavailableError
from skerry.objects.json import JsonObject
from skerry.objects.rule_calls import CALL_BYTES_MAX, PUBLISHED, Publish, ServiceRequest, call_of

if TYPE_CHECKING:
    from edgecore.rules.shell import GatewayRules


class RuleCalls:
    """A source of streams."""

    def __init__(self, node: str, rules: GatewayRules | None, services: Services) -> None:
        """`rules`: None without a broker."""
        self._node = node
        self._rules = rules
        self._services = services

    async def __call__(self, params: JsonObject, body: bytes) -> AsyncGenerator[bytes]:
        """One answer. Raises `BadRequestError` for what makes no sense, `UnavailableError` for what can't be done,
        `UncertainError` for what may have been."""
        assert len(body) <= CALL_BYTES_MAX, "bounded where it is gathered"
        match call_of(params):
            case Publish(topic=topic):
                if self._rules is None:
                    raise UnavailableError(f"node {self._node} has no MQTT broker (edgecore run --mqtt-broker)")
                await self._rules.publish(topic, body)
                yield PUBLISHED
            case ServiceRequest() as asked:
                yield (await self._services.ask(asked, body)).encode()
