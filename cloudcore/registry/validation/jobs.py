"""What Jobs may say, and what may change of them (`pkg/apis/batch/validation`). Pure."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Final

from cloudcore.registry.job_selectors import (
    CONTROLLER_UID,
    JOB_NAME,
    LEGACY_CONTROLLER_UID,
    LEGACY_JOB_NAME,
    lacks_selector,
)
from cloudcore.registry.validation.job_indexes import indexes_fault
from skerry.errors import BadRequestError, Cause
from skerry.objects.conditions import is_true
from skerry.objects.json import (
    Json,
    JsonObject,
    bool_at,
    clone,
    dig,
    int_at,
    list_at,
    map_at,
    maps_at,
    str_at,
    str_map_at,
)
from skerry.objects.meta import name_of, uid_of
from skerry.objects.names import label_1123_faults, qualified_name_faults, subdomain_faults
from skerry.objects.select import label_selector
from skerry.validation.faults import at_least, duplicate, immutable, invalid, required, too_many, unsupported
from skerry.validation.pods import validate_pod_template

_COUNTS: Final = (
    "parallelism",
    "completions",
    "activeDeadlineSeconds",
    "backoffLimit",
    "ttlSecondsAfterFinished",
    "backoffLimitPerIndex",
    "maxFailedIndexes",
)
_INDEXED_MAX: Final = 100_000
"""Pods at once, or failed indexes, of an Indexed Job (kube's `maxParallelismForIndexedJob`)."""
_MANY_PARALLEL_MAX: Final = 10_000
"""The same where it has more completions than that, and a limit for each index."""
_RULES_MAX: Final = 20
_PATTERNS_MAX: Final = 20
_CODES_MAX: Final = 255
_INDEXES_LENGTH_MAX: Final = 64 * 1024
_MANAGER_LENGTH_MAX: Final = 63
_ACTIONS: Final = ("Count", "FailIndex", "FailJob", "Ignore")
_RESTARTS: Final = ("OnFailure", "Never")
_NEVER_CHANGES: Final = ("completionMode", "podFailurePolicy", "backoffLimitPerIndex", "managedBy", "successPolicy")


def validate_job(obj: JsonObject, old: JsonObject | None) -> Iterator[Cause]:
    spec = map_at(obj, "spec")
    yield from _validate_labels(obj, old)
    yield from validate_job_spec("spec", spec)
    yield from _validate_selector(spec)
    completions = int_at(spec, "completions")
    if str_at(spec, "completionMode") == "Indexed" and completions > 0:
        hostname = f"{name_of(obj)}-{completions - 1}"
        if label_1123_faults(hostname):
            text = f"will not able to create pod with invalid DNS label: {hostname}"
            yield invalid("metadata.name", name_of(obj), text)
    if old is not None:
        yield from _validate_change(spec, old)


def _validate_labels(obj: JsonObject, old: JsonObject | None) -> Iterator[Cause]:
    """The labels and the selector are the generated ones, unless they are the writer's own."""
    spec = map_at(obj, "spec")
    if bool_at(spec, "manualSelector") or not isinstance(spec.get("selector"), dict):
        return
    wanted = {LEGACY_CONTROLLER_UID: uid_of(obj), LEGACY_JOB_NAME: name_of(obj)}
    had = (
        wanted.keys()
        if old is None or lacks_selector(old)
        else str_map_at(old, "spec", "template", "metadata", "labels").keys()
    )
    if old is None or lacks_selector(old) or {CONTROLLER_UID, JOB_NAME} <= had:
        wanted |= {CONTROLLER_UID: uid_of(obj), JOB_NAME: name_of(obj)}
    labels = str_map_at(spec, "template", "metadata", "labels")
    for name, value in wanted.items():
        field = "spec.template.metadata.labels"
        if name not in labels:
            yield required(field, f"must be '{value}'")
        elif labels[name] != value:
            yield invalid(f"{field}[{name}]", labels[name], f"must be '{value}'")
    try:
        matches = label_selector(map_at(spec, "selector")).matches(wanted)
    except BadRequestError:
        return
    if not matches:
        yield invalid("spec.selector", map_at(spec, "selector"), "`selector` not auto-generated")


def _validate_selector(spec: JsonObject) -> Iterator[Cause]:
    if not isinstance(spec.get("selector"), dict):
        yield required("spec.selector")
        return
    labels = str_map_at(spec, "template", "metadata", "labels")
    try:
        if not label_selector(map_at(spec, "selector")).matches(labels):
            yield invalid("spec.template.metadata.labels", {**labels}, "`selector` does not match template `labels`")
    except BadRequestError as error:
        yield invalid("spec.selector", map_at(spec, "selector"), str(error))


def validate_job_spec(field: str, spec: JsonObject) -> Iterator[Cause]:
    """Of a Job, or of a CronJob's template."""
    for name in _COUNTS:
        yield from at_least(field, spec, name, 0)
    if "maxFailedIndexes" in spec and "backoffLimitPerIndex" not in spec:
        yield required(f"{field}.backoffLimitPerIndex", "when maxFailedIndexes is specified")
    yield from _validate_manager(f"{field}.managedBy", spec.get("managedBy"))
    yield from _validate_mode(field, spec)
    policy = spec.get("podFailurePolicy")
    if isinstance(policy, dict):
        yield from _validate_failure_policy(f"{field}.podFailurePolicy.rules", spec)
    if isinstance(spec.get("successPolicy"), dict):
        if str_at(spec, "completionMode") != "Indexed":
            yield invalid(f"{field}.successPolicy", map_at(spec, "successPolicy"), "requires indexed completion mode")
        else:
            yield from _validate_success_policy(f"{field}.successPolicy.rules", spec)
    replacement = str_at(spec, "podReplacementPolicy")
    words = ("Failed",) if isinstance(policy, dict) else ("Failed", "TerminatingOrFailed")
    if "podReplacementPolicy" in spec and replacement not in words:
        yield unsupported(f"{field}.podReplacementPolicy", replacement, words)
    yield from validate_pod_template(f"{field}.template", map_at(spec, "template"))
    yield from _validate_restart(f"{field}.template.spec.restartPolicy", spec, has_policy=isinstance(policy, dict))


def _validate_restart(field: str, spec: JsonObject, *, has_policy: bool) -> Iterator[Cause]:
    restart = str_at(spec, "template", "spec", "restartPolicy")
    if restart in ("", "Always"):
        # The default for pods: the writer may not have said anything.
        yield required(field, "valid values: " + ", ".join(json.dumps(word) for word in _RESTARTS))
    elif restart not in _RESTARTS:
        yield unsupported(field, restart, _RESTARTS)
    elif has_policy and restart != "Never":
        yield invalid(field, restart, 'only "Never" is supported when podFailurePolicy is specified')


def _validate_manager(field: str, manager: Json) -> Iterator[Cause]:
    if not isinstance(manager, str):
        return
    domain, slash, path = manager.partition("/")
    if not manager:
        yield required(field)
    elif not slash or not domain or not path:
        yield invalid(field, manager, 'must be a domain-prefixed path (such as "acme.io/foo")')
    else:
        for fault in subdomain_faults(domain):
            yield invalid(field, domain, fault)
    if len(manager) > _MANAGER_LENGTH_MAX:
        yield Cause(
            field=field,
            reason="FieldValueTooLong",
            message=f"Too long: may not be more than {_MANAGER_LENGTH_MAX} bytes",
        )


def _validate_mode(field: str, spec: JsonObject) -> Iterator[Cause]:
    mode = str_at(spec, "completionMode", default="NonIndexed")
    if mode not in ("NonIndexed", "Indexed"):
        yield unsupported(f"{field}.completionMode", mode, ("NonIndexed", "Indexed"))
    elif mode == "NonIndexed":
        for name in ("backoffLimitPerIndex", "maxFailedIndexes"):
            if name in spec:
                yield invalid(f"{field}.{name}", spec[name], "requires indexed completion mode")
    else:
        yield from _validate_indexed(field, spec)


def _validate_indexed(field: str, spec: JsonObject) -> Iterator[Cause]:
    parallelism, lost = int_at(spec, "parallelism"), int_at(spec, "maxFailedIndexes")
    if "completions" not in spec:
        yield required(f"{field}.completions", "when completion mode is Indexed")
    if parallelism > _INDEXED_MAX:
        text = f"must be less than or equal to {_INDEXED_MAX} when completion mode is Indexed"
        yield invalid(f"{field}.parallelism", parallelism, text)
    completions = int_at(spec, "completions")
    if "completions" in spec and lost > completions:
        yield invalid(f"{field}.maxFailedIndexes", lost, "must be less than or equal to completions")
    if lost > _INDEXED_MAX:
        yield invalid(f"{field}.maxFailedIndexes", lost, f"must be less than or equal to {_INDEXED_MAX}")
    if completions <= _INDEXED_MAX or "backoffLimitPerIndex" not in spec:
        return
    if "maxFailedIndexes" not in spec:
        text = f"must be specified when completions is above {_INDEXED_MAX}"
        yield required(f"{field}.maxFailedIndexes", text)
    text = (
        f"must be less than or equal to {_MANY_PARALLEL_MAX} when completions are above {_INDEXED_MAX} "
        "and used with backoff limit per index"
    )
    for name, value in (("parallelism", parallelism), ("maxFailedIndexes", lost)):
        if value > _MANY_PARALLEL_MAX:
            yield invalid(f"{field}.{name}", value, text)


def job_warnings(obj: JsonObject, old: JsonObject | None) -> Iterator[str]:
    """What is allowed of a Job, or of a CronJob, and yet not what the writer may think."""
    spec = map_at(obj, "spec")
    if str_at(obj, "kind") == "CronJob":
        spec = map_at(spec, "jobTemplate", "spec")
    if old is None and (wrong := label_1123_faults(name_of(obj))):
        yield (
            "metadata.name: this is used in Pod names and hostnames, which can result in surprising behavior; "
            f"a DNS label is recommended: [{' '.join(wrong)}]"
        )
    is_large = int_at(spec, "completions") > _INDEXED_MAX and int_at(spec, "parallelism") > _MANY_PARALLEL_MAX
    if (
        is_large
        and str_at(spec, "completionMode") == "Indexed"
        and (old is None or obj.get("spec") != old.get("spec"))
    ):
        yield (
            "In Indexed Jobs with a number of completions higher than 10^5 and a parallelism higher than 10^4, "
            "Kubernetes might not be able to track completedIndexes when a big number of indexes fail"
        )


# --- policies ---


def _validate_failure_policy(field: str, spec: JsonObject) -> Iterator[Cause]:
    rules = maps_at(spec, "podFailurePolicy", "rules")
    if len(rules) > _RULES_MAX:
        yield too_many(field, len(rules), _RULES_MAX)
    pod = map_at(spec, "template", "spec")
    containers = [str_at(each, "name") for kind in ("containers", "initContainers") for each in maps_at(pod, kind)]
    for number, rule in enumerate(rules):
        at = f"{field}[{number}]"
        action = str_at(rule, "action")
        if not action:
            yield required(f"{at}.action", f"valid values: {_quoted(_ACTIONS)}")
        elif action not in _ACTIONS:
            yield unsupported(f"{at}.action", action, _ACTIONS)
        elif action == "FailIndex" and "backoffLimitPerIndex" not in spec:
            yield invalid(f"{at}.action", action, "requires the backoffLimitPerIndex to be set")
        codes, patterns = rule.get("onExitCodes"), maps_at(rule, "onPodConditions")
        if isinstance(codes, dict):
            yield from _validate_codes(f"{at}.onExitCodes", codes, containers)
        yield from _validate_patterns(f"{at}.onPodConditions", patterns)
        if isinstance(codes, dict) == bool(patterns):
            text = "both OnExitCodes and OnPodConditions is not supported"
            if not patterns:
                text = "one of OnExitCodes and OnPodConditions is required"
            yield _bare(at, f"specifying {text}")


def _validate_patterns(field: str, patterns: Sequence[JsonObject]) -> Iterator[Cause]:
    if len(patterns) > _PATTERNS_MAX:
        yield too_many(field, len(patterns), _PATTERNS_MAX)
    words = ("False", "True", "Unknown")
    for number, pattern in enumerate(patterns):
        for fault in qualified_name_faults(str_at(pattern, "type")):
            yield invalid(f"{field}[{number}].type", str_at(pattern, "type"), fault)
        status = str_at(pattern, "status")
        if not status:
            yield required(f"{field}[{number}].status", f"valid values: {_quoted(words)}")
        elif status not in words:
            yield unsupported(f"{field}[{number}].status", status, words)


def _validate_codes(field: str, codes: JsonObject, containers: Sequence[str]) -> Iterator[Cause]:
    operator = str_at(codes, "operator")
    if not operator:
        yield required(f"{field}.operator", f"valid values: {_quoted(('In', 'NotIn'))}")
    elif operator not in ("In", "NotIn"):
        yield unsupported(f"{field}.operator", operator, ("In", "NotIn"))
    name = dig(codes, "containerName")
    if isinstance(name, str) and name not in containers:
        text = "must be one of the container or initContainer names in the pod template"
        yield invalid(f"{field}.containerName", name, text)
    values = [each for each in list_at(codes, "values") if isinstance(each, int)]
    shown: list[Json] = [*values]
    if not values:
        yield invalid(f"{field}.values", shown, "at least one value is required")
    elif len(values) > _CODES_MAX:
        yield too_many(f"{field}.values", len(values), _CODES_MAX)
    seen: set[int] = set()
    for number, value in enumerate(values):
        if operator == "In" and value == 0:
            yield invalid(f"{field}.values[{number}]", value, "must not be 0 for the In operator")
        if value in seen:
            yield duplicate(f"{field}.values[{number}]", value)
        seen.add(value)
    if values != sorted(values):
        yield invalid(f"{field}.values", shown, "must be ordered")


def _validate_success_policy(field: str, spec: JsonObject) -> Iterator[Cause]:
    rules = maps_at(spec, "successPolicy", "rules")
    completions = int_at(spec, "completions")
    if not rules:
        yield required(field, "at least one rules must be specified when the successPolicy is specified")
    if len(rules) > _RULES_MAX:
        yield too_many(field, len(rules), _RULES_MAX)
    for number, rule in enumerate(rules):
        at = f"{field}[{number}]"
        indexes, count = dig(rule, "succeededIndexes"), dig(rule, "succeededCount")
        if indexes is None and count is None:
            yield required(at, "at least one of succeededCount or succeededIndexes must be specified")
        total = 0
        if isinstance(indexes, str):
            if len(indexes) > _INDEXES_LENGTH_MAX:
                yield Cause(
                    field=f"{at}.succeededIndexes",
                    reason="FieldValueTooLong",
                    message=f"Too long: may not be more than {_INDEXES_LENGTH_MAX} bytes",
                )
            total, fault = indexes_fault(indexes, completions)
            if fault:
                yield invalid(f"{at}.succeededIndexes", indexes, f"error parsing succeededIndexes: {fault}")
        if isinstance(count, int):
            yield from at_least(at, rule, "succeededCount", 0)
            text = "must be less than or equal to"
            if count > completions:
                what = f"{text} {completions} (the number of specified completions)"
                yield invalid(f"{at}.succeededCount", count, what)
            if isinstance(indexes, str) and count > total:
                what = f"{text} {total} (the number of indexes in the specified succeededIndexes field)"
                yield invalid(f"{at}.succeededCount", count, what)


# --- changes ---


def _validate_change(spec: JsonObject, old: JsonObject) -> Iterator[Cause]:
    before = map_at(old, "spec")
    completions = spec.get("completions")
    if str_at(spec, "completionMode") != "Indexed":
        yield from immutable("spec.completions", completions, before.get("completions"))
    elif completions not in (None, before.get("completions"), spec.get("parallelism")):
        yield invalid("spec.completions", completions, "can only be modified in tandem with spec.parallelism")
    if not lacks_selector(old):
        yield from immutable("spec.selector", spec.get("selector"), before.get("selector"))
        yield from immutable("spec.template", map_at(spec, "template"), _template_that_may_be(spec, old))
    for name in _NEVER_CHANGES:
        yield from immutable(f"spec.{name}", spec.get(name), before.get(name))


def _template_that_may_be(spec: JsonObject, old: JsonObject) -> JsonObject:
    """The old template with what may change of it as the new one has it. Of a Job that is suspended, has no pods and
    was never started or has told that it is suspended, that is where its pods go and what their containers may use
    (the feature gates MutableSchedulingDirectivesForSuspendedJobs and MutablePodResourcesForSuspendedJobs)."""
    template = map_at(old, "spec", "template")
    rests = not str_at(old, "status", "startTime") or is_true(old, "Suspended")
    if not bool_at(old, "spec", "suspend") or not rests or int_at(old, "status", "active"):
        return template
    wanted, allowed = map_at(spec, "template"), clone(template)
    allowed["metadata"] = dict(map_at(allowed, "metadata"))
    _take(map_at(allowed, "metadata"), map_at(wanted, "metadata"), ("annotations", "labels"))
    if not allowed["metadata"] and "metadata" not in wanted:
        del allowed["metadata"]
    pod, wanted_pod = map_at(allowed, "spec"), map_at(wanted, "spec")
    _take(pod, wanted_pod, ("nodeSelector", "tolerations", "schedulingGates"))
    affinity, wanted_affinity = dict(map_at(pod, "affinity")), map_at(wanted_pod, "affinity")
    _take(affinity, wanted_affinity, ("nodeAffinity",))
    if affinity or "affinity" in wanted_pod:
        pod["affinity"] = affinity
    else:
        pod.pop("affinity", None)
    for kind in ("containers", "initContainers"):
        for container, wanted_container in zip(maps_at(pod, kind), maps_at(wanted_pod, kind), strict=False):
            _take(container, wanted_container, ("resources",))
    return allowed


def _take(into: JsonObject, source: JsonObject, names: Sequence[str]) -> None:
    for name in names:
        if name in source:
            into[name] = source[name]
        else:
            into.pop(name, None)


def _quoted(words: Sequence[str]) -> str:
    """As Go's %q shows a list."""
    return "[" + " ".join(json.dumps(word) for word in words) + "]"


def _bare(field: str, detail: str) -> Cause:
    """A value that is too large to be shown."""
    return Cause(field=field, reason="FieldValueInvalid", message=f"Invalid value: {detail}")
