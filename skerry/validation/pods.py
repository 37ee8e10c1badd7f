"""What pods and pod templates may say (`pkg/apis/core/validation`), as far as users meet it. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from skerry.errors import Cause
from skerry.objects.hosts import is_address
from skerry.objects.json import JsonObject, bool_at, int_at, map_at, maps_at, str_at, str_map_at, strs_at
from skerry.objects.names import label_1123_faults, label_key_faults, qualified_name_faults, subdomain_faults
from skerry.validation.containers import ContainerContext, validate_container
from skerry.validation.faults import (
    at_least,
    duplicate,
    forbidden,
    invalid,
    named,
    not_found,
    one_of,
    required,
)
from skerry.validation.metadata import validate_labels
from skerry.validation.security import validate_pod_security
from skerry.validation.volumes import validate_volumes

_DNS: Final = ("ClusterFirst", "ClusterFirstWithHostNet", "Default", "None")
_RESTART: Final = ("Always", "OnFailure", "Never")
_EFFECTS: Final = ("NoSchedule", "PreferNoSchedule", "NoExecute")
_SYSCTL: Final = r"([a-z0-9]([-_a-z0-9]*[a-z0-9])?[\./])*[a-z0-9]([-_a-z0-9]*[a-z0-9])?"
_SYSCTL_LENGTH_MAX: Final = 253
_SERVERS_MAX: Final = 3
_SEARCHES_MAX: Final = 32
_SEARCH_LENGTH_MAX: Final = 2048
_ADDRESS_TEXT: Final = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"


def validate_pod(obj: JsonObject, *, new: bool) -> Iterator[Cause]:
    yield from validate_pod_spec("spec", map_at(obj, "spec"))
    if new and maps_at(obj, "spec", "ephemeralContainers"):
        yield forbidden("spec.ephemeralContainers", "cannot be set on create")
    if new and str_at(obj, "spec", "nodeName") and maps_at(obj, "spec", "schedulingGates"):
        yield forbidden("spec.nodeName", "cannot be set until all schedulingGates have been cleared")


def validate_pod_template(field: str, template: JsonObject) -> Iterator[Cause]:
    yield from validate_labels(f"{field}.metadata.labels", str_map_at(template, "metadata", "labels"))
    yield from validate_pod_spec(f"{field}.spec", map_at(template, "spec"))
    if maps_at(template, "spec", "ephemeralContainers"):
        yield forbidden(f"{field}.spec.ephemeralContainers", "ephemeral containers not allowed in pod template")


def validate_pod_spec(field: str, spec: JsonObject) -> Iterator[Cause]:
    """The faults of a pod's spec that starts at `field`."""
    volumes = maps_at(spec, "volumes")
    yield from validate_volumes(f"{field}.volumes", volumes)
    context = ContainerContext(
        volumes=frozenset(str_at(volume, "name") for volume in volumes),
        host_network=bool_at(spec, "hostNetwork"),
        restart_policy=str_at(spec, "restartPolicy"),
        grace_s=int_at(spec, "terminationGracePeriodSeconds") if "terminationGracePeriodSeconds" in spec else None,
    )
    yield from _validate_containers(field, spec, context)
    yield from one_of(f"{field}.restartPolicy", str_at(spec, "restartPolicy"), _RESTART)
    yield from one_of(f"{field}.dnsPolicy", str_at(spec, "dnsPolicy"), _DNS)
    if str_at(spec, "dnsPolicy") == "None" and not map_at(spec, "dnsConfig").get("nameservers"):
        text = "must provide at least one DNS nameserver when `dnsPolicy` is None"
        yield required(f"{field}.dnsConfig.nameservers", text)
    yield from at_least(field, spec, "terminationGracePeriodSeconds", 0)
    if "activeDeadlineSeconds" in spec and not 1 <= int_at(spec, "activeDeadlineSeconds") <= 2**31 - 1:
        text = "must be between 1 and 2147483647, inclusive"
        yield invalid(f"{field}.activeDeadlineSeconds", spec["activeDeadlineSeconds"], text)
    yield from validate_labels(f"{field}.nodeSelector", str_map_at(spec, "nodeSelector"))
    yield from _validate_names(field, spec)
    yield from _validate_tolerations(f"{field}.tolerations", maps_at(spec, "tolerations"))
    yield from _validate_sysctls(f"{field}.securityContext.sysctls", maps_at(spec, "securityContext", "sysctls"))
    yield from validate_pod_security(field, spec)
    yield from _validate_resolver(f"{field}.dnsConfig", map_at(spec, "dnsConfig"))
    yield from _validate_aliases(f"{field}.hostAliases", maps_at(spec, "hostAliases"))
    yield from _validate_gates(field, spec)
    yield from _validate_affinity(f"{field}.affinity", map_at(spec, "affinity"))
    yield from _validate_spread(f"{field}.topologySpreadConstraints", maps_at(spec, "topologySpreadConstraints"))


def _validate_containers(field: str, spec: JsonObject, context: ContainerContext) -> Iterator[Cause]:
    containers = maps_at(spec, "containers")
    if not containers:
        yield required(f"{field}.containers")
    seen: set[str] = set()
    for name in ("containers", "initContainers", "ephemeralContainers"):
        for index, container in enumerate(maps_at(spec, name)):
            here = f"{field}.{name}[{index}]"
            if name == "ephemeralContainers":
                yield from _validate_ephemeral(here, container, spec, context)
            else:
                yield from validate_container(here, container, context, init=name == "initContainers")
            container_name = str_at(container, "name")
            if container_name in seen:
                yield duplicate(f"{here}.name", container_name)
            seen.add(container_name)
    yield from _validate_host_ports(field, containers)


_EPHEMERAL: Final = frozenset(
    {
        *("name", "image", "command", "args", "workingDir", "envFrom", "env", "volumeMounts", "volumeDevices"),
        *("terminationMessagePath", "terminationMessagePolicy", "imagePullPolicy", "securityContext"),
        *("stdin", "stdinOnce", "tty", "targetContainerName"),
    }
)
"""All that an ephemeral container may have: nobody may rely on one, so it has no ports, probes, resources, hooks."""
_NOT_FOR_EPHEMERAL: Final = "cannot be set for an Ephemeral Container"


def _validate_ephemeral(
    field: str, container: JsonObject, spec: JsonObject, context: ContainerContext
) -> Iterator[Cause]:
    allowed = {name: value for name, value in container.items() if name in _EPHEMERAL}
    yield from validate_container(field, allowed, context, init=False)
    others = [str_at(each, "name") for name in ("containers", "initContainers") for each in maps_at(spec, name)]
    target = str_at(container, "targetContainerName")
    if target and target not in others:
        yield not_found(f"{field}.targetContainerName", target)
    for name in sorted(container.keys() - _EPHEMERAL):
        if container[name] not in (None, "", {}, []):
            yield forbidden(f"{field}.{name}", _NOT_FOR_EPHEMERAL)
    for index, mount in enumerate(maps_at(container, "volumeMounts")):
        for name in ("subPath", "subPathExpr"):
            if str_at(mount, name):
                yield forbidden(f"{field}.volumeMounts[{index}].{name}", _NOT_FOR_EPHEMERAL)


def _validate_host_ports(field: str, containers: list[JsonObject]) -> Iterator[Cause]:
    seen: set[str] = set()
    for index, container in enumerate(containers):
        for number, port in enumerate(maps_at(container, "ports")):
            if int_at(port, "hostPort"):
                bound = f"{str_at(port, 'protocol')}/{str_at(port, 'hostIP')}/{int_at(port, 'hostPort')}"
                if bound in seen:
                    yield duplicate(f"{field}.containers[{index}].ports[{number}].hostPort", bound)
                seen.add(bound)


def _validate_names(field: str, spec: JsonObject) -> Iterator[Cause]:
    for name, check in (
        ("nodeName", subdomain_faults),
        ("serviceAccountName", subdomain_faults),
        ("hostname", label_1123_faults),
        ("subdomain", label_1123_faults),
        ("priorityClassName", subdomain_faults),
        ("runtimeClassName", subdomain_faults),
    ):
        yield from named(f"{field}.{name}", str_at(spec, name), check, needed=False)


def _validate_tolerations(field: str, tolerations: list[JsonObject]) -> Iterator[Cause]:
    for index, toleration in enumerate(tolerations):
        here = f"{field}[{index}]"
        key, operator = str_at(toleration, "key"), str_at(toleration, "operator")
        yield from named(f"{here}.key", key, label_key_faults, needed=False)
        if not key and operator != "Exists":
            text = 'operator must be Exists when `key` is empty, which means "match all values and all keys"'
            yield invalid(f"{here}.operator", operator, text)
        if "tolerationSeconds" in toleration and str_at(toleration, "effect") != "NoExecute":
            text = "effect must be 'NoExecute' when `tolerationSeconds` is set"
            yield invalid(f"{here}.effect", str_at(toleration, "effect"), text)
        yield from one_of(f"{here}.operator", operator, ("Equal", "Exists"), needed=False)
        if operator == "Exists" and str_at(toleration, "value"):
            yield invalid(f"{here}.operator", toleration["value"], "value must be empty when `operator` is 'Exists'")
        yield from one_of(f"{here}.effect", str_at(toleration, "effect"), _EFFECTS, needed=False)


def _validate_sysctls(field: str, sysctls: list[JsonObject]) -> Iterator[Cause]:
    seen: set[str] = set()
    for index, sysctl in enumerate(sysctls):
        name = str_at(sysctl, "name")
        here = f"{field}[{index}].name"
        if not name:
            yield required(here)
        elif len(name) > _SYSCTL_LENGTH_MAX or not re.fullmatch(_SYSCTL, name):
            text = f"must have at most {_SYSCTL_LENGTH_MAX} characters and match regex ^{_SYSCTL}$"
            yield invalid(here, name, text)
        elif name in seen:
            yield duplicate(here, name)
        seen.add(name)


def _is_address(text: str) -> bool:
    """As Kubernetes reads the older of its fields: an octet may begin with zeros, and there are no zones."""
    if "%" in text:
        return False
    octets = text.split(".")
    plain = ".".join(each.lstrip("0") or "0" for each in octets) if all(map(str.isdecimal, octets)) else text
    return is_address(plain)


def _validate_resolver(field: str, config: JsonObject) -> Iterator[Cause]:
    """What resolvers of C libraries can hold (`resolv.conf(5)`) and names that may be searched in."""
    servers, searches = strs_at(config, "nameservers"), strs_at(config, "searches")
    if len(servers) > _SERVERS_MAX:
        yield invalid(f"{field}.nameservers", [*servers], f"must not have more than {_SERVERS_MAX} nameservers")
    for index, server in enumerate(servers):
        if not _is_address(server):
            yield invalid(f"{field}.nameservers[{index}]", server, _ADDRESS_TEXT)
    if len(searches) > _SEARCHES_MAX:
        yield invalid(f"{field}.searches", [*searches], f"must not have more than {_SEARCHES_MAX} search paths")
    if len(" ".join(searches)) > _SEARCH_LENGTH_MAX:
        text = f"must not have more than {_SEARCH_LENGTH_MAX} characters (including spaces) in the search list"
        yield invalid(f"{field}.searches", [*searches], text)
    for index, search in enumerate(searches):
        bare = search.removesuffix(".").replace("_", "a")
        for fault in subdomain_faults(bare) if bare or search != "." else []:
            yield invalid(f"{field}.searches[{index}]", search, fault)
    for index, option in enumerate(maps_at(config, "options")):
        if not str_at(option, "name"):
            yield required(f"{field}.options[{index}]", "must not be empty")


def _validate_aliases(field: str, aliases: list[JsonObject]) -> Iterator[Cause]:
    for index, alias in enumerate(aliases):
        if not _is_address(str_at(alias, "ip")):
            yield invalid(f"{field}[{index}].ip", str_at(alias, "ip"), _ADDRESS_TEXT)
        for number, name in enumerate(strs_at(alias, "hostnames")):
            yield from named(f"{field}[{index}].hostnames[{number}]", name, subdomain_faults)


def _validate_gates(field: str, spec: JsonObject) -> Iterator[Cause]:
    for name, key in (("readinessGates", "conditionType"), ("schedulingGates", "name")):
        seen: set[str] = set()
        for index, gate in enumerate(maps_at(spec, name)):
            here, text = f"{field}.{name}[{index}].{key}", str_at(gate, key)
            yield from named(here, text, qualified_name_faults)
            if name == "schedulingGates" and text in seen:
                yield duplicate(f"{field}.{name}[{index}]", text)
            seen.add(text)


def _validate_affinity(field: str, affinity: JsonObject) -> Iterator[Cause]:
    node = map_at(affinity, "nodeAffinity")
    here = f"{field}.nodeAffinity"
    needed = node.get("requiredDuringSchedulingIgnoredDuringExecution")
    if isinstance(needed, dict):
        terms = maps_at(needed, "nodeSelectorTerms")
        where = f"{here}.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms"
        if not terms:
            yield required(where, "must have at least one node selector term")
        for index, term in enumerate(terms):
            yield from _validate_node_term(f"{where}[{index}]", term)
    where = f"{here}.preferredDuringSchedulingIgnoredDuringExecution"
    for index, wish in enumerate(maps_at(node, "preferredDuringSchedulingIgnoredDuringExecution")):
        yield from _validate_weight(f"{where}[{index}]", wish)
        yield from _validate_node_term(f"{where}[{index}].preference", map_at(wish, "preference"))
    for name in ("podAffinity", "podAntiAffinity"):
        yield from _validate_pod_affinity(f"{field}.{name}", map_at(affinity, name))


def _validate_pod_affinity(field: str, affinity: JsonObject) -> Iterator[Cause]:
    where = f"{field}.requiredDuringSchedulingIgnoredDuringExecution"
    for index, term in enumerate(maps_at(affinity, "requiredDuringSchedulingIgnoredDuringExecution")):
        yield from _validate_topology(f"{where}[{index}]", term)
    where = f"{field}.preferredDuringSchedulingIgnoredDuringExecution"
    for index, wish in enumerate(maps_at(affinity, "preferredDuringSchedulingIgnoredDuringExecution")):
        yield from _validate_weight(f"{where}[{index}]", wish)
        yield from _validate_topology(f"{where}[{index}].podAffinityTerm", map_at(wish, "podAffinityTerm"))


def _validate_weight(field: str, wish: JsonObject) -> Iterator[Cause]:
    if not 1 <= int_at(wish, "weight") <= 100:
        yield invalid(f"{field}.weight", int_at(wish, "weight"), "must be in the range 1-100")


def _validate_topology(field: str, term: JsonObject) -> Iterator[Cause]:
    key = str_at(term, "topologyKey")
    if not key:
        yield required(f"{field}.topologyKey", "can not be empty")
    yield from named(f"{field}.topologyKey", key, label_key_faults, needed=False)


def _validate_node_term(field: str, term: JsonObject) -> Iterator[Cause]:
    for index, expression in enumerate(maps_at(term, "matchExpressions")):
        here = f"{field}.matchExpressions[{index}]"
        operator, values = str_at(expression, "operator"), expression.get("values")
        count = len(values) if isinstance(values, list) else 0
        yield from named(f"{here}.key", str_at(expression, "key"), label_key_faults)
        if operator in ("In", "NotIn") and not count:
            yield required(f"{here}.values", "must be specified when `operator` is 'In' or 'NotIn'")
        elif operator in ("Exists", "DoesNotExist") and count:
            yield forbidden(f"{here}.values", "may not be specified when `operator` is 'Exists' or 'DoesNotExist'")
        elif operator in ("Gt", "Lt") and count != 1:
            text = "must be specified single value when `operator` is 'Lt' or 'Gt'"
            yield required(f"{here}.values", text)
        elif operator not in ("In", "NotIn", "Exists", "DoesNotExist", "Gt", "Lt"):
            yield invalid(f"{here}.operator", operator, "not a valid selector operator")
    for index, wanted in enumerate(maps_at(term, "matchFields")):
        yield from _validate_node_field(f"{field}.matchFields[{index}]", wanted)


def _validate_node_field(field: str, wanted: JsonObject) -> Iterator[Cause]:
    key, operator, values = str_at(wanted, "key"), str_at(wanted, "operator"), strs_at(wanted, "values")
    if operator not in ("In", "NotIn"):
        yield invalid(f"{field}.operator", operator, "not a valid selector operator")
    elif len(values) != 1:
        text = "must be only one value when `operator` is 'In' or 'NotIn' for node field selector"
        yield required(f"{field}.values", text)
    if key != "metadata.name":
        yield invalid(f"{field}.key", key, "not a valid field selector key")
        return
    for index, name in enumerate(values):
        yield from named(f"{field}.values[{index}]", name, subdomain_faults)


def _validate_spread(field: str, constraints: list[JsonObject]) -> Iterator[Cause]:
    for index, constraint in enumerate(constraints):
        here = f"{field}[{index}]"
        yield from at_least(here, {"maxSkew": int_at(constraint, "maxSkew")}, "maxSkew", 1)
        yield from _validate_topology(here, constraint)
        words = ("DoNotSchedule", "ScheduleAnyway")
        yield from one_of(f"{here}.whenUnsatisfiable", str_at(constraint, "whenUnsatisfiable"), words)
