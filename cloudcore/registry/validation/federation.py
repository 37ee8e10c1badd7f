"""What members, federated types and preferences for replicas may say, as KubeFed's webhooks refuse it. Pure."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Iterator
from typing import Final
from urllib.parse import urlsplit

from skerry.errors import Cause, InvalidError
from skerry.objects.federation import PUSH, is_pulling
from skerry.objects.json import JsonObject, bool_at, int_at, map_at, str_at, strs_at
from skerry.objects.meta import name_of
from skerry.objects.names import label_1035_faults, label_1123_faults, subdomain_faults
from skerry.objects.placement_policies import read_policy, targets_of
from skerry.objects.rollout_policies import read_rollout_policy
from skerry.validation.faults import duplicate, forbidden, immutable, invalid, named, one_of, required

_VALIDATIONS: Final = ("*", "SubjectName", "ValidityPeriod")
_REPLICAS_MAX: Final = 1_000_000
_MEMBER_LENGTH_MAX: Final = 50
"""A member's name is part of names, and of a certificate's."""


def validate_member(obj: JsonObject, old: JsonObject | None) -> Iterator[Cause]:
    name = name_of(obj)
    yield from named("metadata.name", name, label_1123_faults)
    if len(name) > _MEMBER_LENGTH_MAX:
        yield invalid("metadata.name", name, f"must be no more than {_MEMBER_LENGTH_MAX} characters")
    spec = map_at(obj, "spec")
    if old is not None:
        before = str_at(old, "spec", "syncMode") or PUSH
        yield from immutable("spec.syncMode", str_at(spec, "syncMode") or PUSH, before)
    if not is_pulling(obj):
        yield from _endpoint(str_at(spec, "apiEndpoint"))
        if not (secret := str_at(spec, "secretRef", "name")):
            yield required("spec.secretRef.name", "a Secret with a token, or a kubeconfig")
        else:
            yield from named("spec.secretRef.name", secret, subdomain_faults)
    bundle = str_at(spec, "caBundle")
    try:
        base64.b64decode(bundle, validate=True)
    except (ValueError, binascii.Error):
        yield invalid("spec.caBundle", bundle[:40], "must be base64")
    if proxy := str_at(spec, "proxyURL"):
        parts = urlsplit(proxy)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            yield invalid("spec.proxyURL", proxy, "must be an http:// or https:// URL")
    given = strs_at(spec, "disabledTLSValidations")
    for at, each in enumerate(given):
        yield from one_of(f"spec.disabledTLSValidations[{at}]", each, _VALIDATIONS)
        if each in given[:at]:
            yield duplicate(f"spec.disabledTLSValidations[{at}]", each)
    if "*" in given and len(given) > 1:
        yield forbidden("spec.disabledTLSValidations", 'when "*" is given, it is the only one')


def validate_policy(obj: JsonObject, old: JsonObject | None) -> Iterator[Cause]:
    yield from _targets(obj)
    yield from _readable(obj, read_policy)


def validate_rollout_policy(obj: JsonObject, old: JsonObject | None) -> Iterator[Cause]:
    yield from _targets(obj)
    yield from _readable(obj, read_rollout_policy)
    if old is not None and bool_at(obj, "spec", "dryRun") and not bool_at(old, "spec", "dryRun"):
        yield forbidden("spec.dryRun", "everybody would get the newest version at once: try with a policy of its own")


def validate_revision(obj: JsonObject, old: JsonObject | None) -> Iterator[Cause]:
    """What was there can't be changed afterwards; who approves or stops it changes nothing else."""
    if old is not None:
        for field in ("source", "data", "sealed"):
            mine, theirs = map_at(obj, "spec", field), map_at(old, "spec", field)
            # The cloud seals again what was lost; admission lets nobody else.
            again = field == "sealed" and str_at(mine, "secretName") == str_at(theirs, "secretName")
            if mine != theirs and not again:
                yield forbidden(f"spec.{field}", "a revision is what was declared, and can't be changed")
        renumbered = int_at(obj, "spec", "revision") != int_at(old, "spec", "revision")
        if bool_at(old, "spec", "aborted") and not bool_at(obj, "spec", "aborted") and not renumbered:
            yield forbidden("spec.aborted", "what was stopped stays so: declare another version, or undo")
    for at, wave in enumerate(strs_at(map_at(obj, "spec"), "approved")):
        yield from named(f"spec.approved[{at}]", wave, label_1123_faults)


def _targets(obj: JsonObject) -> Iterator[Cause]:
    targets = targets_of(obj)
    if not targets:
        yield required("spec.targets", "kind and name of a federated object")
    for at, target in enumerate(targets):
        if not target.kind.startswith("Federated"):
            yield invalid(f"spec.targets[{at}].kind", target.kind, "is a federated kind, such as FederatedDeployment")


def _readable(obj: JsonObject, read: Callable[[JsonObject], object]) -> Iterator[Cause]:
    try:
        read(obj)
    except InvalidError as error:
        field, _, message = str(error).partition(": ")
        yield Cause(field=field, reason="FieldValueInvalid", message=f"Invalid value: {message}")


def _endpoint(text: str) -> Iterator[Cause]:
    if not text:
        yield required("spec.apiEndpoint", "where the API of the member is (or syncMode: Pull)")
        return
    try:
        parts = urlsplit(text if "://" in text else f"https://{text}")
        good = parts.scheme == "https" and bool(parts.hostname) and not parts.query and parts.port != 0
    except ValueError:
        good = False
    if not good:
        yield invalid("spec.apiEndpoint", text, "must be a host, host:port or https:// URL")


def validate_type(obj: JsonObject, old: JsonObject | None) -> Iterator[Cause]:
    target, federated = map_at(obj, "spec", "targetType"), map_at(obj, "spec", "federatedType")
    yield from _type_named("spec.targetType", target)
    yield from _type_named("spec.federatedType", federated, needs_domain=True)
    if "statusType" in map_at(obj, "spec"):
        yield from _type_named("spec.statusType", map_at(obj, "spec", "statusType"), needs_domain=True)
    plural, group = str_at(target, "pluralName"), str_at(target, "group")
    wanted = f"{plural}.{group}" if group else plural
    if plural and name_of(obj) != wanted:
        yield invalid("metadata.name", name_of(obj), f"must be {wanted}, the target's plural name and group")
    is_cluster = str_at(target, "scope") == "Cluster"
    if is_cluster != (str_at(federated, "scope") == "Cluster") and wanted != "namespaces":
        yield invalid("spec.federatedType.scope", str_at(federated, "scope"), "must be that of the target")
    if wanted == "namespaces" and str_at(federated, "scope") != "Namespaced":
        yield invalid(
            "spec.federatedType.scope",
            str_at(federated, "scope"),
            "must be Namespaced: a FederatedNamespace is in the namespace that it federates",
        )
    if old is not None:
        for field in ("targetType", "federatedType"):
            for part in ("group", "version", "kind", "pluralName", "scope"):
                if (field, part) == ("targetType", "version"):
                    continue  # a custom resource that moves on to its next version
                yield from immutable(
                    f"spec.{field}.{part}", str_at(obj, "spec", field, part), str_at(old, "spec", field, part)
                )


def _type_named(field: str, named_type: JsonObject, *, needs_domain: bool = False) -> Iterator[Cause]:
    """`needs_domain`: its group is a domain of somebody, as those of custom resources are."""
    yield from named(f"{field}.pluralName", str_at(named_type, "pluralName"), label_1035_faults)
    yield from named(f"{field}.version", str_at(named_type, "version"), label_1035_faults)
    kind, group = str_at(named_type, "kind"), str_at(named_type, "group")
    if not kind:
        yield required(f"{field}.kind")
    yield from [invalid(f"{field}.kind", kind, fault) for fault in label_1035_faults(kind.lower()) if kind]
    if group:
        yield from named(f"{field}.group", group, subdomain_faults)
    if needs_domain and not group:
        yield required(f"{field}.group", "such as types.kubefed.io")
    elif needs_domain and "." not in group:
        yield invalid(f"{field}.group", group, "should be a domain with at least one dot")


def validate_preference(obj: JsonObject, _old: JsonObject | None) -> Iterator[Cause]:
    spec = map_at(obj, "spec")
    total = int_at(spec, "totalReplicas")
    if not 0 <= total <= _REPLICAS_MAX:
        yield invalid("spec.totalReplicas", total, f"must be between 0 and {_REPLICAS_MAX}")
    for name in sorted(map_at(spec, "clusters")):
        share = map_at(spec, "clusters", name)
        at = f"spec.clusters[{name}]"
        for field in ("minReplicas", "maxReplicas", "weight"):
            value = share.get(field)
            if isinstance(value, int) and not 0 <= value <= _REPLICAS_MAX:
                yield invalid(f"{at}.{field}", value, f"must be between 0 and {_REPLICAS_MAX}")
        most = share.get("maxReplicas")
        if isinstance(most, int) and int_at(share, "minReplicas") > most:
            yield invalid(f"{at}.minReplicas", int_at(share, "minReplicas"), "must not be more than maxReplicas")


def preference_warnings(obj: JsonObject) -> Iterator[str]:
    """Names that no member can have: KubeFed takes them, and its guide has some."""
    for name in sorted(map_at(obj, "spec", "clusters")):
        if name != "*" and label_1123_faults(name):
            yield f"spec.clusters[{name}]: no member can have this name (lower-case letters, digits and '-')"
