"""What a container may say (`pkg/apis/core/validation`). Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from skerry.errors import Cause
from skerry.frozen import Frozen
from skerry.objects.json import Json, JsonObject, bool_at, int_at, list_at, map_at, maps_at, str_at
from skerry.objects.names import config_key_faults, label_1123_faults, port_name_faults
from skerry.validation.amounts import validate_resource_field, validate_resources
from skerry.validation.faults import (
    at_least,
    duplicate,
    forbidden,
    invalid,
    named,
    not_found,
    one_of,
    port_number,
    required,
    too_many,
)
from skerry.validation.security import validate_container_security

_RESTART: Final = ("Always", "Never", "OnFailure")
_RULES_MAX: Final = 20
_CODES_MAX: Final = 255
_PROTOCOLS: Final = ("SCTP", "TCP", "UDP")
_PULL: Final = ("Always", "IfNotPresent", "Never")
_HANDLERS: Final = ("exec", "httpGet", "tcpSocket", "grpc")
_SOURCES: Final = ("fieldRef", "resourceFieldRef", "configMapKeyRef", "secretKeyRef", "fileKeyRef")
_ENV_NAME: Final = re.compile(r"[ -<>-~]+")
_ENV_TEXT: Final = "a valid environment variable name must consist only of printable ASCII characters other than '='"
_HEADER: Final = re.compile("[-A-Za-z0-9]+")
_HEADER_TEXT: Final = (
    "a valid HTTP header must consist of alphanumeric characters or '-' (e.g. 'X-Header-Name', regex used for "
    "validation is '[-A-Za-z0-9]+')"
)
_PROPAGATION: Final = ("Bidirectional", "HostToContainer", "None")


class ContainerContext(Frozen):
    """What of its pod a container may refer to."""

    volumes: frozenset[str]
    host_network: bool
    restart_policy: str
    grace_s: int | None = None
    """`terminationGracePeriodSeconds`; None where the pod does not say."""


def validate_container(
    field: str, container: JsonObject, context: ContainerContext, *, init: bool
) -> Iterator[Cause]:
    """The faults of one container."""
    yield from named(f"{field}.name", str_at(container, "name"), label_1123_faults)
    image = str_at(container, "image")
    if not image:
        yield required(f"{field}.image")
    elif image.strip() != image:
        yield invalid(f"{field}.image", image, "must not have leading or trailing whitespace")
    yield from one_of(f"{field}.imagePullPolicy", str_at(container, "imagePullPolicy"), _PULL)
    words = ("File", "FallbackToLogsOnError")
    yield from one_of(f"{field}.terminationMessagePolicy", str_at(container, "terminationMessagePolicy"), words)
    yield from _validate_ports(f"{field}.ports", maps_at(container, "ports"), context)
    yield from _validate_env(f"{field}.env", maps_at(container, "env"))
    yield from _validate_env_from(f"{field}.envFrom", maps_at(container, "envFrom"))
    secured = map_at(container, "securityContext")
    privileged = bool_at(secured, "privileged")
    mounts = maps_at(container, "volumeMounts")
    yield from _validate_mounts(f"{field}.volumeMounts", mounts, context, privileged=privileged)
    yield from validate_container_security(f"{field}.securityContext", secured)
    yield from validate_resources(f"{field}.resources", map_at(container, "resources"))
    yield from _validate_resize_policy(f"{field}.resizePolicy", container, context, init=init)
    restart = str_at(container, "restartPolicy")
    yield from one_of(f"{field}.restartPolicy", restart, _RESTART, needed=False)
    yield from _validate_restart_rules(f"{field}.restartPolicyRules", container, init=init)
    for name in ("livenessProbe", "readinessProbe", "startupProbe"):
        probe = container.get(name)
        if not isinstance(probe, dict):
            continue
        if init and restart != "Always":
            yield forbidden(f"{field}.{name}", "may not be set for init containers without restartPolicy=Always")
        else:
            yield from _validate_probe(f"{field}.{name}", probe, live=name != "readinessProbe")
    for hook in ("postStart", "preStop"):
        handler = map_at(container, "lifecycle").get(hook)
        if isinstance(handler, dict):
            yield from _validate_handler(f"{field}.lifecycle.{hook}", handler, (*_HANDLERS[:3], "sleep"))
            yield from _validate_sleep(f"{field}.lifecycle.{hook}.sleep", handler.get("sleep"), context)


def _validate_restart_rules(field: str, container: JsonObject, *, init: bool) -> Iterator[Cause]:
    """Exit codes after which it starts again whatever its policy says, which it therefore has to say."""
    rules, restart = maps_at(container, "restartPolicyRules"), str_at(container, "restartPolicy")
    if rules and not restart:
        yield required(f"{field.removesuffix('Rules')}", "must specify restartPolicy when restart rules are used")
    if len(rules) > _RULES_MAX:
        yield too_many(field, len(rules), _RULES_MAX)
    for index, rule in enumerate(rules[:_RULES_MAX]):
        here = f"{field}[{index}]"
        yield from one_of(f"{here}.action", str_at(rule, "action"), ("Restart",))
        codes = rule.get("exitCodes")
        if not isinstance(codes, dict):
            yield required(f"{here}.exitCodes", "must be specified")
            continue
        yield from one_of(f"{here}.exitCodes.operator", str_at(codes, "operator"), ("In", "NotIn"))
        values = list_at(codes, "values")
        if len(values) > _CODES_MAX:
            yield too_many(f"{here}.exitCodes.values", len(values), _CODES_MAX)


def _validate_ports(field: str, ports: list[JsonObject], context: ContainerContext) -> Iterator[Cause]:
    seen: set[str] = set()
    for index, port in enumerate(ports):
        here = f"{field}[{index}]"
        name = str_at(port, "name")
        yield from named(f"{here}.name", name, port_name_faults, needed=False)
        if name and name in seen:
            yield duplicate(f"{here}.name", name)
        seen.add(name)
        number = int_at(port, "containerPort")
        if number == 0:
            yield required(f"{here}.containerPort")
        yield from port_number(f"{here}.containerPort", number or None)
        yield from port_number(f"{here}.hostPort", port.get("hostPort"))
        if context.host_network and int_at(port, "hostPort") not in (0, number):
            yield invalid(
                f"{here}.hostPort", port["hostPort"], "must match `containerPort` when `hostNetwork` is true"
            )
        yield from one_of(f"{here}.protocol", str_at(port, "protocol"), _PROTOCOLS)


def _validate_env(field: str, variables: list[JsonObject]) -> Iterator[Cause]:
    for index, variable in enumerate(variables):
        here = f"{field}[{index}]"
        name = str_at(variable, "name")
        if not name:
            yield required(f"{here}.name")
        elif not _ENV_NAME.fullmatch(name):
            yield invalid(f"{here}.name", name, _ENV_TEXT)
        source = variable.get("valueFrom")
        if isinstance(source, dict):
            yield from _validate_source(f"{here}.valueFrom", source, value=str_at(variable, "value"))


def _validate_source(field: str, source: JsonObject, *, value: str) -> Iterator[Cause]:
    given = [name for name in _SOURCES if name in source]
    if value and given:
        yield invalid(field, "", "may not be specified when `value` is not empty")
    elif not given:
        text = (
            "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`"
        )
        yield invalid(field, "", text)
    elif len(given) > 1:
        yield invalid(field, "", "may not have more than one field specified at a time")
    for name in ("configMapKeyRef", "secretKeyRef"):
        ref = source.get(name)
        if isinstance(ref, dict):
            if not str_at(ref, "name"):
                yield required(f"{field}.{name}.name")
            yield from named(f"{field}.{name}.key", str_at(ref, "key"), config_key_faults)
    ref = source.get("fieldRef")
    if isinstance(ref, dict):
        path = str_at(ref, "fieldPath")
        if not path:
            yield required(f"{field}.fieldRef.fieldPath")
        elif not _FIELD_PATH.fullmatch(path):
            yield invalid(
                f"{field}.fieldRef.fieldPath", path, "error converting fieldPath: field label not supported: " + path
            )
    ref = source.get("resourceFieldRef")
    if isinstance(ref, dict):
        yield from validate_resource_field(f"{field}.resourceFieldRef", ref, of_volume=False)


_FIELD_PATH: Final = re.compile(
    r"metadata\.(name|namespace|uid|labels|annotations)|metadata\.(labels|annotations)\['[^']+'\]"
    r"|spec\.(nodeName|serviceAccountName)|status\.(hostIPs?|podIPs?)"
)


def _validate_env_from(field: str, sources: list[JsonObject]) -> Iterator[Cause]:
    for index, source in enumerate(sources):
        here = f"{field}[{index}]"
        prefix = str_at(source, "prefix")
        if prefix and not _ENV_NAME.fullmatch(prefix):
            yield invalid(f"{here}.prefix", prefix, _ENV_TEXT)
        given = [name for name in ("configMapRef", "secretRef") if name in source]
        if not given:
            yield invalid(here, "", "must specify one of: `configMapRef` or `secretRef`")
        elif len(given) > 1:
            yield invalid(here, "", "may not have more than one field specified at a time")
        yield from (required(f"{here}.{name}.name") for name in given if not str_at(source, name, "name"))


def _validate_mounts(
    field: str, mounts: list[JsonObject], context: ContainerContext, *, privileged: bool
) -> Iterator[Cause]:
    seen: set[str] = set()
    for index, mount in enumerate(mounts):
        here = f"{field}[{index}]"
        name, path = str_at(mount, "name"), str_at(mount, "mountPath")
        if not name:
            yield required(f"{here}.name")
        elif name not in context.volumes:
            yield not_found(f"{here}.name", name)
        if not path:
            yield required(f"{here}.mountPath")
        elif path in seen:
            yield invalid(f"{here}.mountPath", path, "must be unique")
        seen.add(path)
        if mount.get("subPath") and mount.get("subPathExpr"):
            yield invalid(
                f"{here}.subPathExpr", mount["subPathExpr"], "subPathExpr and subPath are mutually exclusive"
            )
        for sub in ("subPath", "subPathExpr"):
            yield from relative_path(f"{here}.{sub}", str_at(mount, sub))
        yield from _validate_propagation(here, mount, privileged=privileged)


def _validate_propagation(field: str, mount: JsonObject, *, privileged: bool) -> Iterator[Cause]:
    spread, read_only = str_at(mount, "mountPropagation"), str_at(mount, "recursiveReadOnly")
    yield from one_of(f"{field}.mountPropagation", spread, _PROPAGATION, needed=False)
    if spread == "Bidirectional" and not privileged:
        text = "Bidirectional mount propagation is available only to privileged containers"
        yield forbidden(f"{field}.mountPropagation", text)
    here = f"{field}.recursiveReadOnly"
    yield from one_of(here, read_only, ("Disabled", "Enabled", "IfPossible"), needed=False)
    if read_only in ("Enabled", "IfPossible"):
        if not bool_at(mount, "readOnly"):
            yield forbidden(here, "may only be specified when readOnly is true")
        if spread not in ("", "None"):
            yield forbidden(here, "may only be specified when mountPropagation is None or not specified")


def relative_path(field: str, path: str) -> Iterator[Cause]:
    """A path below some directory that must not lead out of it."""
    if path.startswith("/"):
        yield invalid(field, path, "must be a relative path")
    if ".." in path.split("/"):
        yield invalid(field, path, "must not contain '..'")


def _validate_resize_policy(
    field: str, container: JsonObject, context: ContainerContext, *, init: bool
) -> Iterator[Cause]:
    policies = maps_at(container, "resizePolicy")
    if policies and init and str_at(container, "restartPolicy") != "Always":
        yield invalid(field, list(policies), "must not be set for init containers")
        return
    seen: set[str] = set()
    for policy in policies:
        resource, restart = str_at(policy, "resourceName"), str_at(policy, "restartPolicy")
        if resource in seen:
            yield duplicate(field, resource)
        seen.add(resource)
        yield from one_of(field, resource, ("cpu", "memory"))
        yield from one_of(field, restart, ("NotRequired", "RestartContainer"))
        if restart == "RestartContainer" and context.restart_policy == "Never" and not init:
            yield invalid(field, restart, "must be 'NotRequired' when `restartPolicy` is 'Never'")


def _validate_probe(field: str, probe: JsonObject, *, live: bool) -> Iterator[Cause]:
    yield from _validate_handler(field, probe, _HANDLERS)
    for name in ("initialDelaySeconds", "timeoutSeconds", "periodSeconds", "successThreshold", "failureThreshold"):
        yield from at_least(field, probe, name, 0)
    if live and int_at(probe, "successThreshold", default=1) != 1:
        yield invalid(f"{field}.successThreshold", probe["successThreshold"], "must be 1")
    if live:
        yield from at_least(field, probe, "terminationGracePeriodSeconds", 1)
    elif "terminationGracePeriodSeconds" in probe:
        here = f"{field}.terminationGracePeriodSeconds"
        yield invalid(here, probe["terminationGracePeriodSeconds"], "must not be set for readinessProbes")


def _validate_sleep(field: str, action: Json, context: ContainerContext) -> Iterator[Cause]:
    if isinstance(action, dict) and context.grace_s is not None:
        seconds = int_at(action, "seconds")
        if not 0 <= seconds <= context.grace_s:
            text = f"must be non-negative and less than terminationGracePeriodSeconds ({context.grace_s})"
            yield invalid(field, seconds, text)


def _validate_handler(field: str, handler: JsonObject, names: tuple[str, ...]) -> Iterator[Cause]:
    given = [name for name in names if isinstance(handler.get(name), dict)]
    if not given:
        yield required(field, "must specify a handler type")
    for extra in given[1:]:
        yield forbidden(f"{field}.{extra}", "may not specify more than 1 handler type")
    for name in given[:1]:
        here, action = f"{field}.{name}", map_at(handler, name)
        if name == "exec" and not action.get("command"):
            yield required(f"{here}.command")
        if name in ("httpGet", "tcpSocket"):
            yield from _validate_port_or_name(f"{here}.port", action.get("port"))
        if name == "httpGet":
            yield from one_of(f"{here}.scheme", str_at(action, "scheme"), ("HTTP", "HTTPS"))
            for header in maps_at(action, "httpHeaders"):
                if not _HEADER.fullmatch(str_at(header, "name")):
                    yield invalid(f"{here}.httpHeaders", str_at(header, "name"), _HEADER_TEXT)
        if name == "grpc":
            yield from port_number(f"{here}.port", action.get("port"))


def _validate_port_or_name(field: str, port: Json) -> Iterator[Cause]:
    if isinstance(port, str):
        yield from named(field, port, port_name_faults)
    else:
        yield from port_number(field, port if isinstance(port, int) else 0)
