"""What the API asks of schemas, answered by the rules of kinds. Keeps nothing."""

from __future__ import annotations

from typing import Final

from cloudcore.api.ports import Decoded, ScalePaths
from cloudcore.registry.builtin import KindRules
from skerry.forms.tables.custom import PrinterColumn
from skerry.objects.json import JsonObject
from skerry.objects.patches import MergeRules
from skerry.objects.scheme import Kind

_BUILTIN_SCALE: Final = ScalePaths()


class KindShapes:
    """Implements `cloudcore.api.ports.Shapes`."""

    def __init__(self, rules: KindRules) -> None:
        self._rules = rules

    def decode(self, kind: Kind, obj: JsonObject) -> Decoded:
        return self._rules.decode(kind, obj)

    def merge_rules(self, kind: Kind) -> MergeRules:
        return self._rules.merge_rules(kind)

    def scale_paths(self, kind: Kind) -> ScalePaths:
        scale = self._rules.scale(kind)
        if scale is None:
            return _BUILTIN_SCALE
        return ScalePaths(replicas=scale.replicas, status_replicas=scale.status_replicas, selector=scale.selector)

    def columns(self, kind: Kind) -> tuple[PrinterColumn, ...]:
        custom = self._rules.custom(kind)
        return tuple(
            PrinterColumn(
                name=column.name,
                type=column.type,
                json_path=column.json_path,
                format=column.format,
                description=column.description,
                priority=column.priority,
            )
            for column in (custom.columns if custom else ())
        )
