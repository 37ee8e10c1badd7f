"""What a container's environment, command and arguments are in the end.

Pure. Values come from the pod, from ConfigMaps and Secrets of its namespace, and from the pod's own fields
(Kubernetes API: EnvVar, EnvVarSource, EnvFromSource; `$(VAR)` as the kubelet expands it).
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Mapping, Sequence
from decimal import ROUND_CEILING, Decimal
from typing import Final, TypeAlias

from edgecore.pods.containers import wanted_of
from skerry.errors import InvalidError, UnansweredError
from skerry.frozen import Frozen
from skerry.objects.json import JsonObject, bool_at, int_at, map_at, maps_at, str_at, str_map_at, strs_at
from skerry.objects.meta import annotations_of, labels_of, name_of, namespace_of, uid_of
from skerry.objects.quantity import Quantity, parse_quantity

Finder: TypeAlias = "Callable[[str, str], JsonObject | None]"
"""(resource, name) -> the object of the pod's namespace, or of none, as this gateway has it."""


Tokens: TypeAlias = "Callable[[JsonObject, str, int], str]"
"""(pod, audience, seconds) -> a token of its ServiceAccount, as its volume asks for it. Raises `UnavailableError`,
`UnansweredError` where nobody can be asked now, and `AwaitedError` while somebody is asked."""


def no_tokens(_pod: JsonObject, _audience: str, _seconds: int) -> str:
    """Where nobody gives any."""
    raise UnansweredError("failed to fetch token: this gateway gets no tokens")


class ConfigError(InvalidError):
    """Something that a container names is not there (yet). The text is the kubelet's."""


class NodeFacts(Frozen):
    """What pods may ask of their node."""

    name: str
    address: str
    allocatable: Mapping[str, str]
    """Quantities by resource: what a container may use that has no limit."""
    capacity_bytes: int = 0
    """Memory of the gateway, what is reserved for the system included; 0: as much as is allocatable."""
    cluster_dns: tuple[str, ...] = ()
    """Who answers for the names of Services, at addresses that pods reach; () for nobody."""
    cluster_domain: str = "cluster.local"

    @property
    def memory_bytes(self) -> int:
        return self.capacity_bytes or parse_quantity(self.allocatable.get("memory", "0")).units


class ApiPlace(Frozen):
    """Of this gateway's own API, as pods reach it."""

    host: str
    port: int

    @property
    def env(self) -> dict[str, str]:
        """What client libraries look for in a pod (Kubernetes' service environment variables)."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        url, port = f"tcp://{host}:{self.port}", str(self.port)
        return {
            "KUBERNETES_SERVICE_HOST": self.host,
            "KUBERNETES_SERVICE_PORT": port,
            "KUBERNETES_SERVICE_PORT_HTTPS": port,
            "KUBERNETES_PORT": url,
        }


class Surroundings(Frozen):
    """Where values come from."""

    pod: JsonObject
    node: NodeFacts
    find: Finder
    tokens: Tokens = no_tokens
    addresses: tuple[str, ...] = ()
    """Of the pod; () where it has those of its node, or none yet."""
    services: Callable[[], Sequence[JsonObject]] = tuple
    """All Services that this gateway has."""
    bundles: Callable[[], Sequence[JsonObject]] = tuple
    """All ClusterTrustBundles that this gateway has."""
    api: ApiPlace | None = None
    """Where the pod finds the Kubernetes API; None: it is not told."""


def environment(container: JsonObject, around: Surroundings) -> tuple[tuple[str, str], ...]:
    """All variables; a later one of a name replaces an earlier. Raises `ConfigError`."""
    env = service_variables(around.pod, around.services())
    if around.api is not None:
        env |= around.api.env
    for source in maps_at(container, "envFrom"):
        env |= _from_source(source, around)
    for variable in maps_at(container, "env"):
        name = str_at(variable, "name")
        origin = map_at(variable, "valueFrom")
        if origin:
            value = _value_from(origin, container, around)
            if value is not None:
                env[name] = value
        else:
            env[name] = expand(str_at(variable, "value"), env)
    return tuple(env.items())


MASTER: Final = "kubernetes"
"""The Service by which pods of all namespaces find the API."""


def service_variables(pod: JsonObject, services: Sequence[JsonObject]) -> dict[str, str]:
    """Where Services are, as variables (Kubernetes documentation, "Service environment variables")."""
    links = bool_at(pod, "spec", "enableServiceLinks", default=True)
    chosen: dict[str, JsonObject] = {}
    for service in services:
        address, name = str_at(service, "spec", "clusterIP"), name_of(service)
        if address in ("", "None"):
            continue
        is_own = namespace_of(service) == namespace_of(pod)
        if is_own and (links or (name == MASTER and namespace_of(service) == "default")):
            chosen[name] = service
        elif namespace_of(service) == "default" and name == MASTER:
            chosen.setdefault(name, service)
    env: dict[str, str] = {}
    for name in sorted(chosen):
        env |= _variables_of(name.upper().replace("-", "_"), chosen[name])
    return env


def _variables_of(prefix: str, service: JsonObject) -> dict[str, str]:
    address, ports = str_at(service, "spec", "clusterIP"), maps_at(service, "spec", "ports")
    if not ports:
        return {}
    first = int_at(ports[0], "port")
    env = {f"{prefix}_SERVICE_HOST": address, f"{prefix}_SERVICE_PORT": str(first)}
    host = f"[{address}]" if ":" in address else address
    for index, port in enumerate(ports):
        number, name = int_at(port, "port"), str_at(port, "name")
        if name:
            env[f"{prefix}_SERVICE_PORT_{name.upper().replace('-', '_')}"] = str(number)
        protocol = str_at(port, "protocol", default="TCP")
        url, part = f"{protocol.lower()}://{host}:{number}", f"{prefix}_PORT_{number}_{protocol.upper()}"
        if index == 0:
            env[f"{prefix}_PORT"] = url
        env |= {part: url, f"{part}_PROTO": protocol.lower(), f"{part}_PORT": str(number), f"{part}_ADDR": address}
    return env


def _from_source(source: JsonObject, around: Surroundings) -> dict[str, str]:
    prefix = str_at(source, "prefix")
    for field, resource in (("configMapRef", "configmaps"), ("secretRef", "secrets")):
        ref = map_at(source, field)
        if ref:
            found = around.find(resource, str_at(ref, "name"))
            if found is not None:
                return {prefix + name: value for name, value in _texts(resource, found).items()}
            if not bool_at(ref, "optional"):
                raise ConfigError(not_found(resource, str_at(ref, "name")))
    return {}


def _value_from(origin: JsonObject, container: JsonObject, around: Surroundings) -> str | None:
    """None for something optional that is not there."""
    for field, resource in (("configMapKeyRef", "configmaps"), ("secretKeyRef", "secrets")):
        ref = map_at(origin, field)
        if ref:
            return _key(ref, resource, around)
    field_ref = map_at(origin, "fieldRef")
    if field_ref:
        return field_value(str_at(field_ref, "fieldPath"), around)
    resource_ref = map_at(origin, "resourceFieldRef")
    if resource_ref:
        return resource_value(resource_ref, container, around)
    raise ConfigError("valueFrom names none of configMapKeyRef, secretKeyRef, fieldRef and resourceFieldRef")


def _key(ref: JsonObject, resource: str, around: Surroundings) -> str | None:
    name, key = str_at(ref, "name"), str_at(ref, "key")
    found = around.find(resource, name)
    if found is None:
        if bool_at(ref, "optional"):
            return None
        raise ConfigError(not_found(resource, name))
    texts = _texts(resource, found)
    if key in texts:
        return texts[key]
    if bool_at(ref, "optional"):
        return None
    kind = "ConfigMap" if resource == "configmaps" else "Secret"
    raise ConfigError(f"couldn't find key {key} in {kind} {namespace_of(around.pod)}/{name}")


def not_found(resource: str, name: str) -> str:
    """As a kubelet says it."""
    return f'{resource.removesuffix("s")} "{name}" not found'


def data_of(resource: str, obj: JsonObject) -> dict[str, bytes]:
    """All entries of a ConfigMap or Secret as bytes."""
    plain = str_map_at(obj, "data") if resource == "configmaps" else {}
    coded = str_map_at(obj, "binaryData" if resource == "configmaps" else "data")
    try:
        decoded = {name: base64.b64decode(value, validate=True) for name, value in coded.items()}
    except binascii.Error as error:
        raise ConfigError(f'{resource.removesuffix("s")} "{name_of(obj)}": {error}') from error
    return {name: value.encode() for name, value in plain.items()} | decoded


def _texts(resource: str, obj: JsonObject) -> dict[str, str]:
    """What of it can be in an environment: of a ConfigMap its `data` alone, as a kubelet has it."""
    if resource == "configmaps":
        return dict(str_map_at(obj, "data"))
    return {name: value.decode(errors="surrogateescape") for name, value in data_of(resource, obj).items()}


_SUBSCRIPT: Final = re.compile(r"metadata\.(labels|annotations)\['(.+)'\]")


def field_value(path: str, around: Surroundings) -> str:
    """A `fieldRef`. Raises `ConfigError` for a path that has no value here."""
    pod = around.pod
    subscript = _SUBSCRIPT.fullmatch(path)
    if subscript:
        of = labels_of(pod) if subscript[1] == "labels" else annotations_of(pod)
        return of.get(subscript[2], "")
    addresses = around.addresses or (around.node.address,)
    values: dict[str, str] = {
        "metadata.name": name_of(pod),
        "metadata.namespace": namespace_of(pod),
        "metadata.uid": uid_of(pod),
        "metadata.labels": _lines(labels_of(pod)),
        "metadata.annotations": _lines(annotations_of(pod)),
        "spec.nodeName": around.node.name,
        "spec.serviceAccountName": str_at(pod, "spec", "serviceAccountName"),
        "status.hostIP": around.node.address,
        "status.hostIPs": around.node.address,
        "status.podIP": addresses[0],
        "status.podIPs": ",".join(addresses),
    }
    if path not in values:
        raise ConfigError(f"unsupported fieldPath: {path}")
    return values[path]


def _lines(values: Mapping[str, str]) -> str:
    """`key="escaped value"`, a line each (downward API volumes)."""
    return "\n".join(f"{name}={_quoted(value)}" for name, value in sorted(values.items()))


_ESCAPES: Final = {"\a": "a", "\b": "b", "\f": "f", "\n": "n", "\r": "r", "\t": "t", "\v": "v", "\\": "\\", '"': '"'}


def _quoted(text: str) -> str:
    """As Go's strconv.Quote writes it."""
    return '"' + "".join(map(_escaped, text)) + '"'


def _escaped(letter: str) -> str:
    code = ord(letter)
    if letter in _ESCAPES:
        return f"\\{_ESCAPES[letter]}"
    if letter.isprintable():
        return letter
    return f"\\x{code:02x}" if code < 0x80 else f"\\u{code:04x}" if code < 0x1_0000 else f"\\U{code:08x}"


def resource_value(ref: JsonObject, container: JsonObject, around: Surroundings) -> str:
    """A `resourceFieldRef`: the quantity in units of its divisor, rounded up. Without a limit, what the node has."""
    which, _, resource = str_at(ref, "resource").partition(".")
    if which not in ("limits", "requests") or not resource:
        raise ConfigError(f"unsupported container resource: {str_at(ref, 'resource')}")
    named = str_at(ref, "containerName")
    if named:
        found = [one.spec for one in wanted_of(around.pod) if one.name == named]
        if not found:
            raise ConfigError(f"no such container: {named}")
        container = found[0]
    text = str_at(container, "resources", which, resource)
    if not text:
        text = around.node.allocatable.get(resource, "0") if which == "limits" else "0"
    try:
        amount, divisor = parse_quantity(text), parse_quantity(str_at(ref, "divisor") or "1")
    except InvalidError as error:
        raise ConfigError(str(error)) from error
    return str(_in_units(amount, divisor))


def _in_units(amount: Quantity, divisor: Quantity) -> int:
    by = Decimal(divisor.nano) if divisor.nano else Decimal(10**9)
    return int((Decimal(amount.nano) / by).to_integral_value(ROUND_CEILING))


_REFERENCE: Final = re.compile(r"\$(\$|\(([^)]*)\))")


def expand(text: str, env: Mapping[str, str]) -> str:
    """`$(NAME)` for variables that are there, `$$` for a dollar; anything else stays as it is."""

    def replaced(found: re.Match[str]) -> str:
        if found[1] == "$":
            return "$"
        return env.get(found[2], found[0])

    return _REFERENCE.sub(replaced, text)


def command_of(container: JsonObject, env: tuple[tuple[str, str], ...]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """`command` and `args`, expanded."""
    variables = dict(env)
    command = tuple(expand(text, variables) for text in strs_at(container, "command"))
    return command, tuple(expand(text, variables) for text in strs_at(container, "args"))
