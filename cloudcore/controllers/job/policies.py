"""What a Job's podFailurePolicy says of a pod, and its successPolicy of the indexes that are done. Pure.

Sentences are Kubernetes' (`pod_failure_policy.go`, `success_policy.go` of its job controller). Keeps nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

from cloudcore.controllers.job.indexes import Indexes, parse_indexes
from cloudcore.controllers.job.model import described
from skerry.frozen import Frozen
from skerry.objects.json import JsonObject, dig, int_at, list_at, map_at, maps_at, str_at


class Match(Frozen, kw_only=False):
    """What the first rule that fits a failed pod makes of it."""

    action: str = ""
    """FailJob, FailIndex, Ignore or Count; "" where no rule fits."""
    message: str = ""
    """Why the Job fails by it."""

    @property
    def counts(self) -> bool:
        return self.action != "Ignore"


_NO_MATCH = Match()


def match_failure(rules: Sequence[JsonObject] | None, pod: JsonObject) -> Match:
    for number, rule in enumerate(rules or ()):
        action = str_at(rule, "action")
        text = f"matching {action} rule at index {number}"
        codes = map_at(rule, "onExitCodes")
        if codes:
            container = _exited(pod, codes)
            if container is not None:
                code = int_at(container, "state", "terminated", "exitCode")
                name = str_at(container, "name")
                return _match(
                    action, f"Container {name} for pod {described(pod)} failed with exit code {code} {text}"
                )
        elif condition := _condition(pod, maps_at(rule, "onPodConditions")):
            return _match(action, f"Pod {described(pod)} has condition {condition} {text}")
    return _NO_MATCH


def _match(action: str, message: str) -> Match:
    return Match(action, message if action == "FailJob" else "")


def _exited(pod: JsonObject, asked: JsonObject) -> JsonObject | None:
    """The status of the first container that ended with such a code; 0 is none."""
    values = list_at(asked, "values")
    for statuses in ("containerStatuses", "initContainerStatuses"):
        for status in maps_at(pod, "status", statuses):
            if str_at(asked, "containerName") not in ("", str_at(status, "name")):
                continue
            code = dig(status, "state", "terminated", "exitCode")
            if isinstance(code, int) and code != 0 and (code in values) == (str_at(asked, "operator") == "In"):
                return status
    return None


def _condition(pod: JsonObject, patterns: Sequence[JsonObject]) -> str:
    """The type of the first condition of the pod that fits one of the patterns; "" for none."""
    wanted = {(str_at(each, "type"), str_at(each, "status", default="True")) for each in patterns}
    for condition in maps_at(pod, "status", "conditions"):
        if (str_at(condition, "type"), str_at(condition, "status")) in wanted:
            return str_at(condition, "type")
    return ""


def match_success(rules: Sequence[JsonObject], completions: int, done: Indexes) -> str:
    """Which rule is met, in a sentence; "" for none."""
    if not done:
        return ""
    for number, rule in enumerate(rules):
        count = dig(rule, "succeededCount")
        asked = dig(rule, "succeededIndexes")
        if isinstance(asked, str):
            wanted = parse_indexes(asked, completions)
            common = wanted.common(done)
            met = bool(wanted) and (common == wanted.total or (isinstance(count, int) and common >= count))
        else:
            met = isinstance(count, int) and done.total >= count
        if met:
            return f"Matched rules at index {number}"
    return ""
