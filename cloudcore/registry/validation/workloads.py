"""What workloads may say (`pkg/apis/apps/validation`, ReplicationController's), as far as users meet it. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from skerry.errors import BadRequestError, Cause
from skerry.objects.json import Json, JsonObject, int_at, map_at, maps_at, str_at, str_map_at
from skerry.objects.meta import name_of
from skerry.objects.select import LabelSelector, label_selector
from skerry.validation.faults import (
    at_least,
    forbidden,
    immutable,
    invalid,
    one_of,
    required,
    unsupported,
)
from skerry.validation.pods import validate_pod_template

_PERCENT: Final = re.compile(r"[0-9]+%")
_STATEFUL_MAY_CHANGE: Final = (
    "replicas",
    "ordinals",
    "template",
    "updateStrategy",
    "revisionHistoryLimit",
    "persistentVolumeClaimRetentionPolicy",
    "minReadySeconds",
)


def validate_deployment(obj: JsonObject, old: JsonObject | None) -> Iterator[Cause]:
    spec = map_at(obj, "spec")
    yield from _validate_replicas(spec)
    yield from _validate_owned_template(spec, "Deployment", old)
    strategy = map_at(spec, "strategy")
    kind = str_at(strategy, "type")
    yield from one_of("spec.strategy.type", kind, ("Recreate", "RollingUpdate"))
    if kind == "Recreate" and "rollingUpdate" in strategy:
        text = "may not be specified when strategy `type` is 'Recreate'"
        yield forbidden("spec.strategy.rollingUpdate", text)
    elif kind == "RollingUpdate":
        yield from _validate_rolling("spec.strategy.rollingUpdate", map_at(strategy, "rollingUpdate"))
    for name in ("minReadySeconds", "revisionHistoryLimit", "progressDeadlineSeconds"):
        yield from at_least("spec", spec, name, 0)
    deadline = int_at(spec, "progressDeadlineSeconds", default=600)
    if deadline <= int_at(spec, "minReadySeconds"):
        yield invalid("spec.progressDeadlineSeconds", deadline, "must be greater than minReadySeconds")
    yield from _validate_same_selector(spec, old)


def validate_replicaset(obj: JsonObject, old: JsonObject | None) -> Iterator[Cause]:
    spec = map_at(obj, "spec")
    yield from _validate_replicas(spec)
    yield from at_least("spec", spec, "minReadySeconds", 0)
    yield from _validate_owned_template(spec, "ReplicaSet", old)
    yield from _validate_same_selector(spec, old)


def validate_statefulset(obj: JsonObject, old: JsonObject | None) -> Iterator[Cause]:
    spec = map_at(obj, "spec")
    policy = str_at(spec, "podManagementPolicy")
    if not policy:
        yield required("spec.podManagementPolicy")
    elif policy not in ("OrderedReady", "Parallel"):
        yield invalid("spec.podManagementPolicy", policy, "must be 'OrderedReady' or 'Parallel'")
    yield from _validate_stateful_strategy("spec.updateStrategy", map_at(spec, "updateStrategy"))
    retention = map_at(spec, "persistentVolumeClaimRetentionPolicy")
    for name in ("whenDeleted", "whenScaled"):
        field = f"spec.persistentVolumeClaimRetentionPolicy.{name}"
        yield from one_of(field, str_at(retention, name), ("Retain", "Delete"), needed=False)
    yield from _validate_replicas(spec)
    yield from at_least("spec", spec, "minReadySeconds", 0)
    yield from at_least("spec.ordinals", map_at(spec, "ordinals"), "start", 0)
    yield from at_least("spec", spec, "revisionHistoryLimit", 0)
    yield from _validate_owned_template(spec, "StatefulSet", old)
    if old is not None:
        before = map_at(old, "spec")
        kept = {*spec, *before} - set(_STATEFUL_MAY_CHANGE)
        if any(spec.get(name) != before.get(name) for name in kept):
            listed = ", ".join(f"'{name}'" for name in _STATEFUL_MAY_CHANGE[:-1])
            text = f"updates to statefulset spec for fields other than {listed} and 'minReadySeconds' are forbidden"
            yield forbidden("spec", text)


def _validate_stateful_strategy(field: str, strategy: JsonObject) -> Iterator[Cause]:
    rolling = map_at(strategy, "rollingUpdate")
    match str_at(strategy, "type"):
        case "":
            yield required(f"{field}.type")
        case "OnDelete":
            if "rollingUpdate" in strategy:
                yield invalid(f"{field}.rollingUpdate", rolling, "only allowed for updateStrategy 'RollingUpdate'")
        case "RollingUpdate":
            yield from at_least(f"{field}.rollingUpdate", rolling, "partition", 0)
            unavailable = rolling.get("maxUnavailable")
            yield from _validate_amount(f"{field}.rollingUpdate.maxUnavailable", unavailable, percent_max=100)
            if _is_zero(unavailable):
                yield invalid(f"{field}.rollingUpdate.maxUnavailable", unavailable, "cannot be 0")
        case _:
            yield invalid(field, strategy, "must be 'RollingUpdate' or 'OnDelete'")


def validate_daemonset(obj: JsonObject, old: JsonObject | None) -> Iterator[Cause]:
    spec = map_at(obj, "spec")
    yield from _validate_owned_template(spec, "DaemonSet", old)
    yield from at_least("spec", spec, "minReadySeconds", 0)
    yield from _validate_daemon_strategy("spec.updateStrategy", map_at(spec, "updateStrategy"))
    yield from at_least("spec", spec, "revisionHistoryLimit", 0)
    yield from _validate_same_selector(spec, old)


def _validate_daemon_strategy(field: str, strategy: JsonObject) -> Iterator[Cause]:
    kind = str_at(strategy, "type")
    if kind == "OnDelete":
        return
    if kind != "RollingUpdate":
        yield unsupported(field, strategy, ("RollingUpdate", "OnDelete"))
        return
    rolling = strategy.get("rollingUpdate")
    if not isinstance(rolling, dict):
        yield required(f"{field}.rollingUpdate")
        return
    unavailable, surge = rolling.get("maxUnavailable"), rolling.get("maxSurge")
    yield from _validate_amount(f"{field}.rollingUpdate.maxUnavailable", unavailable, percent_max=100)
    yield from _validate_amount(f"{field}.rollingUpdate.maxSurge", surge, percent_max=100)
    if _is_zero(unavailable) and _is_zero(surge):
        yield required(f"{field}.rollingUpdate.maxUnavailable", "cannot be 0 when maxSurge is 0")
    elif not _is_zero(unavailable) and not _is_zero(surge):
        yield invalid(f"{field}.rollingUpdate.maxSurge", surge, "may not be set when maxUnavailable is non-zero")


def validate_replication_controller(obj: JsonObject, _old: JsonObject | None) -> Iterator[Cause]:
    spec = map_at(obj, "spec")
    yield from _validate_replicas(spec)
    yield from at_least("spec", spec, "minReadySeconds", 0)
    selector = str_map_at(spec, "selector")
    if not selector:
        yield required("spec.selector")
    template = spec.get("template")
    if not isinstance(template, dict):
        yield required("spec.template")
        return
    labels = str_map_at(template, "metadata", "labels")
    if any(labels.get(key) != value for key, value in selector.items()):
        yield invalid("spec.template.metadata.labels", {**labels}, "`selector` does not match template `labels`")
    yield from validate_pod_template("spec.template", template)
    yield from _validate_always(template, "ReplicationController")


def _validate_replicas(spec: JsonObject) -> Iterator[Cause]:
    yield from at_least("spec", spec, "replicas", 0)


def _validate_owned_template(spec: JsonObject, owner: str, old: JsonObject | None) -> Iterator[Cause]:
    """Selector and template of a workload: the pods it makes must be those it selects. A template that stays is not
    judged anew: one that an older release took could not be scaled, nor deleted in the foreground."""
    selector = spec.get("selector")
    template = map_at(spec, "template")
    if not isinstance(selector, dict):
        yield required("spec.selector")
    elif not map_at(selector, "matchLabels") and not selector.get("matchExpressions"):
        yield invalid("spec.selector", selector, f"empty selector is invalid for {owner.lower()}")
    else:
        parsed = _selector(selector)
        labels = str_map_at(template, "metadata", "labels")
        if isinstance(parsed, str):
            yield invalid("spec.selector", selector, parsed)
        elif not parsed.matches(labels):
            yield invalid("spec.template.metadata.labels", {**labels}, "`selector` does not match template `labels`")
    if old is None or template != map_at(old, "spec", "template"):
        yield from validate_pod_template("spec.template", _with_claims(template, spec))
        # A Deployment's pods are those of its ReplicaSets.
        yield from _validate_always(template, "ReplicaSet" if owner == "Deployment" else owner)


def _with_claims(template: JsonObject, spec: JsonObject) -> JsonObject:
    """The template with the volumes that a StatefulSet's pods have beside it, or in place of its own."""
    names = [name_of(each) for each in maps_at(spec, "volumeClaimTemplates")]
    if not names:
        return template
    pod = map_at(template, "spec")
    volumes: list[Json] = [each for each in maps_at(pod, "volumes") if str_at(each, "name") not in names]
    volumes.extend({"name": name, "persistentVolumeClaim": {"claimName": name}} for name in names)
    return {**template, "spec": {**pod, "volumes": volumes}}


def _selector(selector: JsonObject) -> LabelSelector | str:
    """The selector, or why it is none."""
    try:
        return label_selector(selector)
    except BadRequestError as error:
        return str(error)


def _validate_always(template: JsonObject, owner: str) -> Iterator[Cause]:
    restart = str_at(template, "spec", "restartPolicy")
    if restart not in ("", "Always"):
        yield unsupported("spec.template.spec.restartPolicy", restart, ("Always",))
    if "activeDeadlineSeconds" in map_at(template, "spec"):
        yield forbidden(
            "spec.template.spec.activeDeadlineSeconds", f"activeDeadlineSeconds in {owner} is not Supported"
        )


def _validate_same_selector(spec: JsonObject, old: JsonObject | None) -> Iterator[Cause]:
    if old is not None:
        yield from immutable("spec.selector", spec.get("selector"), map_at(old, "spec").get("selector"))


def _validate_rolling(field: str, rolling: JsonObject) -> Iterator[Cause]:
    unavailable, surge = rolling.get("maxUnavailable"), rolling.get("maxSurge")
    yield from _validate_amount(f"{field}.maxUnavailable", unavailable, percent_max=100)
    yield from _validate_amount(f"{field}.maxSurge", surge, percent_max=None)
    if _is_zero(unavailable) and _is_zero(surge):
        yield invalid(f"{field}.maxUnavailable", unavailable, "may not be 0 when `maxSurge` is 0")


def _validate_amount(field: str, value: Json, *, percent_max: int | None) -> Iterator[Cause]:
    if isinstance(value, int) and value < 0:
        yield invalid(field, value, "must be greater than or equal to 0")
    elif isinstance(value, str):
        if not _PERCENT.fullmatch(value):
            text = "a valid percent string must be a numeric string followed by an ending '%'"
            yield invalid(field, value, f"{text} (e.g. '1%', or '93%', regex used for validation is '[0-9]+%')")
        elif percent_max is not None and int(value[:-1]) > percent_max:
            yield invalid(field, value, f"must not be greater than {percent_max}%")


def _is_zero(value: Json) -> bool:
    return value == 0 or (isinstance(value, str) and value.rstrip("%").strip("0") == "" and value.endswith("%"))
