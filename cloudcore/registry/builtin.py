"""The rules of every kind served: `Rules` and what the API asks of schemas, from definitions, defaults, validation.

Built-in kinds follow Kubernetes' definitions, custom kinds their CustomResourceDefinition. Keeps nothing but
compiled shapes, which only save time.
"""

from __future__ import annotations

from typing import Final

from cloudcore.registry.custom import CustomKind, CustomKinds, Scale
from cloudcore.registry.defaults import DEFAULTS
from cloudcore.registry.definitions import OBJECT_META, Definitions, definitions
from cloudcore.registry.go_fields import go_fields
from cloudcore.registry.port import Subresource
from cloudcore.registry.schema import Decoded, Shape, Shapes, Walk, decode
from cloudcore.registry.structural import pruned, set_defaults, validate
from cloudcore.registry.validation import CHECKS, STATUS_CHECKS, STATUS_DECIDES
from cloudcore.registry.validation.definitions import rules_not_evaluated
from cloudcore.registry.validation.federation import preference_warnings
from cloudcore.registry.validation.gslb import global_service_warnings
from cloudcore.registry.validation.jobs import job_warnings
from cloudcore.registry.validation.pod_changes import validate_pod_change
from skerry.errors import BadRequestError, Cause, NotFoundError
from skerry.objects.json import Json, JsonObject, map_at
from skerry.objects.patches import MergeRules, OpenApiRules
from skerry.objects.pod_defaults import mirror_service_account
from skerry.objects.scheme import Kind
from skerry.validation.metadata import validate_metadata
from skerry.validation.pods import validate_pod

_DEFINITION: Final = ("apiextensions.k8s.io", "CustomResourceDefinition")
_WORKLOADS: Final = frozenset(
    {
        ("", "ReplicationController"),
        ("apps", "Deployment"),
        ("apps", "ReplicaSet"),
        ("apps", "StatefulSet"),
        ("apps", "DaemonSet"),
        ("batch", "Job"),
        ("batch", "CronJob"),
    }
)
"""What is judged of them is what they ask for. One that stays is not judged anew: an older release may have taken
what is refused now, and it could neither be labelled nor let go."""
_DROPPED_META: Final = ("managedFields", "selfLink")
"""Ownership of fields is not kept, and self links are gone from Kubernetes; what a client sends back is let go."""


class KindRules:
    """See the module. Implements `cloudcore.registry.rules.Rules`."""

    def __init__(self, custom: CustomKinds, known: Definitions | None = None) -> None:
        self._custom = custom
        self._definitions = known or definitions()
        self._shapes = Shapes(self._definitions, go_fields())

    # --- reading -------------------------------------------------------------------------------------------------

    def decode(self, kind: Kind, obj: JsonObject) -> Decoded:
        """The object with unknown fields pruned (and named) and every value in its one form.

        Raises `BadRequestError` in the API server's words when a field has a type that its kind does not allow.
        """
        custom = self._custom.of(kind)
        if custom is not None:
            return self._decode_custom(custom, obj)
        decoded = decode(self._shape(kind), obj, kind=kind.kind, version=kind.version)
        _drop_meta(decoded.obj)
        return decoded

    def merge_rules(self, kind: Kind) -> MergeRules:
        """How strategic merge patches merge into this kind."""
        return OpenApiRules.of(self._definitions.raw, self._definitions.name_of(kind) or "")

    def custom(self, kind: Kind) -> CustomKind | None:
        """What the kind's definition says; None for a built-in kind."""
        return self._custom.of(kind)

    def scale(self, kind: Kind) -> Scale | None:
        """Where a custom kind's scale subresource finds its numbers; None for built-in kinds."""
        custom = self._custom.of(kind)
        return custom.scale if custom else None

    # --- writing -------------------------------------------------------------------------------------------------

    def defaulted(self, kind: Kind, obj: JsonObject) -> JsonObject:
        done = self.decode(kind, obj).obj
        complete = DEFAULTS.get((kind.group, kind.kind))
        if complete is not None and not kind.custom:
            complete(done)
        return done

    def filled(self, kind: Kind, obj: JsonObject) -> JsonObject:
        if kind.custom:
            return obj
        shape = self._shape(kind)
        # Decoding copies; the object given stays as it is.
        done = decode(shape, obj, kind=kind.kind, version=kind.version).obj
        if not kind.group and kind.kind == "Pod":
            mirror_service_account(map_at(done, "spec"))
        shape.fill(done)
        return done

    def validate(
        self, kind: Kind, obj: JsonObject, old: JsonObject | None, subresource: Subresource
    ) -> tuple[Cause, ...]:
        causes = [*validate_metadata(kind, obj, old)]
        custom = self._custom.of(kind)
        if custom is not None:
            causes += validate(custom.schema, obj)
        elif (kind.group, kind.kind) == ("", "Pod"):
            # Statuses come every few seconds; a spec that stays needs no second look.
            if old is None or map_at(obj, "spec") != map_at(old, "spec"):
                causes += validate_pod(obj, new=old is None)
            if old is not None:
                causes += validate_pod_change(obj, old, subresource)
        else:
            check = CHECKS.get((kind.group, kind.kind))
            # A status is written by controllers that see the object as it is, old faults included; but not where
            # it is a decision that others act on.
            judged = subresource in ("", "scale") or kind.resource in STATUS_DECIDES
            if check is not None and judged and not self._asks_the_same(kind, obj, old):
                causes += check(obj, old)
            check_status = STATUS_CHECKS.get((kind.group, kind.kind)) if subresource == "status" else None
            if check_status is not None and old is not None:
                causes += check_status(obj, old)
        return tuple(causes)

    def warnings(self, kind: Kind, obj: JsonObject, old: JsonObject | None) -> tuple[str, ...]:
        texts: list[str] = []
        custom = self._custom.of(kind)
        if custom is not None and custom.deprecation:
            texts.append(custom.deprecation)
        if not kind.acted_on and old is None:
            texts.append(
                f"{kind.kind} objects are kept and served, but nothing in this control plane acts on them yet"
            )
        if (kind.group, kind.kind) == ("skerry.dev", "GlobalService"):
            texts += global_service_warnings(obj)
        if (kind.group, kind.kind) == ("scheduling.kubefed.io", "ReplicaSchedulingPreference"):
            texts += preference_warnings(obj)
        if kind.group == "batch":
            texts += job_warnings(obj, old)
        if (kind.group, kind.kind) == _DEFINITION and rules_not_evaluated(obj):
            texts.append("x-kubernetes-validations are kept and published, but not evaluated by this control plane")
        return tuple(texts)

    def _asks_the_same(self, kind: Kind, obj: JsonObject, old: JsonObject | None) -> bool:
        """A workload as it was, or as it is with defaults that the release which took it did not know."""
        if old is None or (kind.group, kind.kind) not in _WORKLOADS:
            return False
        spec = map_at(obj, "spec")
        if spec == map_at(old, "spec"):
            return True
        try:
            return spec == map_at(self.filled(kind, self.defaulted(kind, old)), "spec")
        except BadRequestError:
            # What was taken once cannot even be read now: what is written in its place is judged.
            return False

    def _shape(self, kind: Kind) -> Shape:
        name = self._definitions.name_of(kind)
        if name is None:
            # A custom kind that was withdrawn while the request was under way.
            raise NotFoundError("the server could not find the requested resource")
        return self._shapes.named(name)

    # --- custom kinds --------------------------------------------------------------------------------------------

    def _decode_custom(self, custom: CustomKind, obj: JsonObject) -> Decoded:
        kind = custom.kind
        shape = _CustomShape(custom.schema, self._shapes.named(OBJECT_META))
        decoded = decode(shape, obj, kind=kind.kind, version=kind.version)
        set_defaults(custom.schema, decoded.obj)
        _drop_meta(decoded.obj)
        return decoded


class _CustomShape(Shape):
    """A custom object: its schema says what there is, metadata (of embedded objects, too) is that of all objects."""

    __slots__ = ("_meta", "_schema")

    def __init__(self, schema: JsonObject, meta: Shape) -> None:
        super().__init__("v1.CustomObject")
        self._schema = schema
        self._meta = meta

    def decode(self, value: Json, walk: Walk) -> Json:
        assert isinstance(value, dict), "custom objects are objects"
        return pruned(self._schema, value, walk, self._meta.decode)


def _drop_meta(obj: JsonObject) -> None:
    meta = map_at(obj, "metadata")
    for name in _DROPPED_META:
        meta.pop(name, None)
