"""Puts device rules that name no gateway where the device is that they follow, and moves them with it.

The gateway is written to the rule's status (`nodeName`), by which the hub sends it there. Where the device is missing
or on no gateway the rule is on none, and its condition `Ready` says why: no gateway is there to tell. Keeps nothing;
what a crash leaves undone is done after the next start.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from cloudcore.runtime.informer import RULES_BY_DEVICE, Keys, Seen
from cloudcore.runtime.manager import Tools
from skerry.errors import NotFoundError
from skerry.objects.conditions import Condition, with_condition
from skerry.objects.device_models import DEVICES
from skerry.objects.device_rule_reports import DEVICE_RULES
from skerry.objects.device_rules import followed_device, node_of_rule
from skerry.objects.json import JsonObject, map_at, maps_at, str_at
from skerry.objects.meta import Key, namespace_of, uid_of


class DeviceRuleController:
    """See the module."""

    name = "devicerule-controller"
    workers = 1

    def __init__(self, tools: Tools) -> None:
        self._tools = tools
        self._kind = tools.kind(DEVICE_RULES)

    def watches(self) -> Sequence[Keys]:
        return [
            Keys(resource=DEVICE_RULES, keys=lambda change: [] if change.deleted else [change.key]),
            Keys(resource=DEVICES, keys=self._followers),
        ]

    async def reconcile(self, key: Key) -> float | None:
        cache = self._tools.cache
        stored = cache.read(key)
        if stored is None or self._placed(cache.obj(stored)) == cache.obj(stored):
            return None

        def transform(current: JsonObject) -> JsonObject:
            return self._placed(current) if uid_of(current) == stored.uid else current

        try:
            await self._tools.objects.update(self._kind, key, transform, subresource="status")
        except NotFoundError:
            return None
        return None

    def _placed(self, rule: JsonObject) -> JsonObject:
        """The rule where it belongs now."""
        status, name = map_at(rule, "status"), followed_device(rule)
        if not name:
            if "nodeName" not in status:
                return rule
            return {**rule, "status": {field: value for field, value in status.items() if field != "nodeName"}}
        device = self._device(Key(DEVICES, namespace_of(rule), name))
        node = str_at(device, "spec", "nodeName")
        if node and node == node_of_rule(rule):
            return rule
        if node:
            said = Condition(
                type="Ready", status="Unknown", reason="NotTold", message=f"gateway {node} has not told of it yet"
            )
        else:
            why = "is not there" if device is None else "is on no gateway"
            message = f"device {name}, whose gateway it follows, {why}"
            said = Condition(type="Ready", status="False", reason="NoGateway", message=message)
        conditions = with_condition(maps_at(status, "conditions"), said, now_ms=self._tools.clock.wall_ms())
        return {**rule, "status": {**status, "nodeName": node, "conditions": conditions}}

    def _device(self, key: Key) -> JsonObject | None:
        stored = self._tools.cache.read(key)
        return None if stored is None else self._tools.cache.obj(stored)

    def _followers(self, change: Seen) -> Iterable[Key]:
        """The rules that follow a device which came, went or moved."""
        before, after = (str_at(obj, "spec", "nodeName") for obj in (change.before, change.after))
        if before == after and (change.before is None) == (change.after is None):
            return []
        place = f"{change.key.namespace}/{change.key.name}"
        return [stored.key for stored in self._tools.cache.indexed(RULES_BY_DEVICE, place)]
