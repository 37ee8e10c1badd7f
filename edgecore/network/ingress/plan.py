"""What the proxy is to do: from Ingresses and what a gateway knows of services to hosts, paths and pools. Pure.

A host's rules from all Ingresses are put together; where two ask for the same host and path, the older Ingress has
it and the other is told so. A request belongs to the host that it names, else to the wildcard that covers it by one
label, else to the rules without a host; there to the exact path, else to the longest prefix by whole elements, else
to the host's default backend, else to the default backend of all. The rules of networking.k8s.io/v1; what they leave
open is as in ingress-nginx (docs/decisions/0391). Everything is bounded, and the oldest Ingresses come first.
"""

from __future__ import annotations

import hashlib
import ipaddress
import re
from base64 import b64decode
from collections.abc import Callable, Iterable, Mapping
from typing import Final, Literal, TypeAlias
from urllib.parse import unquote_to_bytes

from edgecore.network.balancing import Backend, nearest
from edgecore.network.directory import Directory
from edgecore.network.ingress.annotations import Options, Rewrite, options_of
from skerry.errors import BadRequestError
from skerry.frozen import Frozen, replace
from skerry.objects.ingresses import class_name_of, default_certificate_of, is_ours, parameters_of
from skerry.objects.json import JsonObject, int_at, map_at, maps_at, str_at, str_map_at, strs_at
from skerry.objects.members import Member, is_headless
from skerry.objects.meta import Key, annotations_of, being_deleted, name_of, namespace_of, uid_of
from skerry.objects.names import subdomain_faults
from skerry.objects.times import parse_time

INGRESSES_MAX: Final = 1024
PATHS_MAX: Final = 8192
POOLS_MAX: Final = 1024
SERVERS_MAX: Final = 256
CERTIFICATES_MAX: Final = 1024
PATH_LENGTH_MAX: Final = 1024
ANY_HOST: Final = ""
_UNFIT: Final = re.compile(rb"[\x00-\x20\x7f]")
_STRIPPING: Final = re.compile(r"(/[A-Za-z0-9._~/-]*?)(?:\(/\|\$\)\(\.\*\)|/\?\(\.\*\)|\(\.\*\))\$?")
"""Patterns of paths that ingress-nginx's documentation has with rewrite-target: `/app(/|$)(.*)`, `/app/?(.*)`."""

Reason = Literal["Conflict", "NotSupported", "NoService", "NoCertificate", "TooMany"]


class Note(Frozen, order=True):
    """Something that people have to know about an Ingress."""

    ingress: Key
    uid: str
    reason: Reason
    message: str


class Pool(Frozen):
    """Those who answer for some paths, and how they are asked."""

    name: str
    servers: tuple[Backend, ...]
    options: Options
    to_https: bool = False
    """Requests in the clear are sent to TLS."""
    stripped: str = ""
    """What of the path the rewriting takes away."""
    raw: bool = False
    """What comes is passed on as it is: TLS that the app ends itself."""


class Host(Frozen):
    """The paths of one host; `*.` begins a wildcard, `ANY_HOST` is what no other covers."""

    name: str
    exact: tuple[tuple[str, str], ...]
    """Paths and pools, sorted."""
    prefixes: tuple[tuple[str, str], ...]
    """The same; each path ends in a slash."""


class Certificate(Frozen, hidden=("pem",)):
    """A certificate with its key, and for which hosts it is shown."""

    secret: str
    """Namespace/name."""
    hosts: tuple[str, ...]
    """() for those that it names itself."""
    pem: bytes


class Plan(Frozen):
    """All of it."""

    hosts: tuple[Host, ...] = ()
    pools: tuple[Pool, ...] = ()
    certificates: tuple[Certificate, ...] = ()
    default_certificate: Certificate | None = None
    default_pool: str = ""
    """For what nobody else answers; "": that is not found."""
    passed: tuple[tuple[str, str], ...] = ()
    """Hosts whose TLS is passed on, and the pools, sorted."""
    served: tuple[str, ...] = ()
    """`namespace/name/uid` of the Ingresses in it."""
    notes: tuple[Note, ...] = ()


NO_PLAN: Final = Plan()
Lookup: TypeAlias = "Callable[[Key], JsonObject | None]"
"""Objects of the edge store: classes, Secrets, ConfigMaps."""
Checked = Callable[[bytes], str]
"""What is wrong with a certificate and its key; "" for nothing."""


def plan_of(ingresses: Iterable[JsonObject], directory: Directory, lookup: Lookup, checked: Checked) -> Plan:
    """The plan for the Ingresses that this gateway was given."""
    making = _Making(directory, lookup, checked)
    found = sorted((each for each in ingresses if not being_deleted(each)), key=_age)
    for number, ingress in enumerate(found):
        if number >= INGRESSES_MAX:
            making.note(ingress, "TooMany", f"a gateway serves {INGRESSES_MAX} Ingresses, and older ones come first")
            continue
        making.accept(ingress)
    return making.plan()


def _age(ingress: JsonObject) -> tuple[int, str, str]:
    try:
        made_ms = parse_time(str_at(ingress, "metadata", "creationTimestamp"))
    except BadRequestError:
        made_ms = 0
    return made_ms, namespace_of(ingress), name_of(ingress)


def key_of(ingress: JsonObject) -> Key:
    return Key("ingresses.networking.k8s.io", namespace_of(ingress), name_of(ingress))


class _Path(Frozen):
    """One path of a rule, as it was understood."""

    exact: bool
    path: str
    stripped: str = ""
    rewrite: Rewrite | None = None


class _UnfitError(ValueError):
    """Inside this module: why a path, a host or a backend can't be served."""


class _Making:
    """A plan on its way."""

    def __init__(self, directory: Directory, lookup: Lookup, checked: Checked) -> None:
        self._directory = directory
        self._lookup = lookup
        self._checked = checked
        self._accepted: list[tuple[JsonObject, Options]] = []
        self._exact: dict[str, dict[str, tuple[str, Key]]] = {}
        self._prefixes: dict[str, dict[str, tuple[str, Key]]] = {}
        """By host and path: the pool, and whose Ingress asked first."""
        self._defaults: dict[str, str] = {}
        """By host: the pool for paths that nobody asks for."""
        self._pools: dict[str, Pool] = {}
        self._certificates: dict[str, Certificate] = {}
        self._secure: dict[str, str] = {}
        """By host: the Secret of its certificate."""
        self._default_certificate: Certificate | None = None
        self._default_pool = ""
        self._passed: dict[str, tuple[str, Key]] = {}
        """By host: the pool that ends its TLS, and whose Ingress asked first."""
        self._served: list[str] = []
        self._notes: dict[Note, None] = {}
        self._paths = 0

    def note(self, ingress: JsonObject, reason: Reason, message: str) -> None:
        self._notes[Note(ingress=key_of(ingress), uid=uid_of(ingress), reason=reason, message=message[:1000])] = None

    def accept(self, ingress: JsonObject) -> None:
        ingress_class = self._lookup(Key("ingressclasses.networking.k8s.io", "", class_name_of(ingress)))
        if ingress_class is None or not is_ours(ingress_class):
            return  # on its way here, or out
        options, faults = options_of(annotations_of(ingress), self._class_defaults(ingress_class))
        for fault in faults:
            self.note(ingress, "NotSupported", fault.text)
        if any(fault.refuses for fault in faults):
            return
        self._take_default_certificate(ingress, ingress_class)
        if options.passthrough:
            for rule in maps_at(ingress, "spec", "rules"):
                self._secure.setdefault(str_at(rule, "host"), "")  # its app shows a certificate
        else:
            self._take_certificates(ingress)
        self._accepted.append((ingress, options))

    def plan(self) -> Plan:
        for ingress, options in self._accepted:  # all certificates are known: they say which hosts are secure
            self._take_rules(ingress, options)
            self._served.append(f"{namespace_of(ingress)}/{name_of(ingress)}/{uid_of(ingress)}")
        names = sorted({*self._exact, *self._prefixes, *self._defaults} - {ANY_HOST})
        hosts = [self._host(name) for name in (*names, ANY_HOST)]
        return Plan(
            hosts=tuple(host for host in hosts if host.exact or host.prefixes),
            pools=tuple(pool for _, pool in sorted(self._pools.items())),
            certificates=tuple(each for _, each in sorted(self._certificates.items())),
            default_certificate=self._default_certificate,
            default_pool=self._default_pool,
            passed=tuple(sorted((host, pool) for host, (pool, _) in self._passed.items())),
            served=tuple(sorted(self._served)),
            notes=tuple(sorted(self._notes)),
        )

    def _host(self, name: str) -> Host:
        prefixes = {path: pool for path, (pool, _) in self._prefixes.get(name, {}).items()}
        if name in self._defaults:
            prefixes.setdefault("/", self._defaults[name])
        exact = {path: pool for path, (pool, _) in self._exact.get(name, {}).items()}
        return Host(name=name, exact=tuple(sorted(exact.items())), prefixes=tuple(sorted(prefixes.items())))

    def _class_defaults(self, ingress_class: JsonObject) -> Mapping[str, str]:
        key = parameters_of(ingress_class)
        held = None if key is None else self._lookup(key)
        return str_map_at(held, "data") if held is not None else {}

    # --- certificates ---

    def _take_default_certificate(self, ingress: JsonObject, ingress_class: JsonObject) -> None:
        key = default_certificate_of(ingress_class)
        if key is None or self._default_certificate is not None:
            return
        try:
            self._default_certificate = self._certificate(key)
        except _UnfitError as error:
            self.note(ingress, "NoCertificate", f"default certificate of class {name_of(ingress_class)}: {error}")

    def _take_certificates(self, ingress: JsonObject) -> None:
        for tls in maps_at(ingress, "spec", "tls"):
            hosts = [host for host in strs_at(tls, "hosts") if _is_host(host)]
            for host in {*strs_at(tls, "hosts")} - {*hosts}:
                self.note(ingress, "NotSupported", f"spec.tls: {host[:80]!r} is no host")
            name = str_at(tls, "secretName")
            if not name:
                for host in hosts:
                    self._secure.setdefault(host, "")  # with the default certificate
                continue
            key = Key("secrets", namespace_of(ingress), name)
            try:
                self._show(ingress, self._certificate(key), hosts)
            except _UnfitError as error:
                self.note(ingress, "NoCertificate", f"{error}; its hosts are shown the default certificate")
                for host in hosts:
                    self._secure.setdefault(host, "")

    def _show(self, ingress: JsonObject, certificate: Certificate, hosts: list[str]) -> None:
        """For the hosts that no older Ingress has a certificate for."""
        if not hosts:
            hosts = [host for rule in maps_at(ingress, "spec", "rules") if _is_host(host := str_at(rule, "host"))]
        mine: list[str] = []
        for host in dict.fromkeys(hosts):
            held = self._secure.setdefault(host, certificate.secret)
            if held == certificate.secret:
                mine.append(host)
            else:
                what = f"Secret {held}" if held else "the default certificate"
                self.note(ingress, "Conflict", f"host {host} is shown {what} for an older Ingress")
        if not mine and hosts:
            return
        held_before = self._certificates.get(certificate.secret)
        if held_before is None and len(self._certificates) >= CERTIFICATES_MAX:
            self.note(ingress, "TooMany", f"a gateway shows {CERTIFICATES_MAX} certificates; older Ingresses first")
            return
        before = held_before.hosts if held_before is not None else ()
        shown = tuple(sorted({*before, *mine}))
        self._certificates[certificate.secret] = replace(certificate, hosts=shown)

    def _certificate(self, key: Key) -> Certificate:
        """Raises `_UnfitError`."""
        where = f"Secret {key.namespace}/{key.name}"
        secret = self._lookup(key)
        if secret is None:
            raise _UnfitError(f"{where} is not there")
        pem = b"\n".join(_decoded(str_at(secret, "data", name)) for name in ("tls.crt", "tls.key"))
        fault = self._checked(pem)
        if fault:
            raise _UnfitError(f"{where}: {fault}")
        return Certificate(secret=f"{key.namespace}/{key.name}", hosts=(), pem=pem)

    # --- rules ---

    def _take_rules(self, ingress: JsonObject, options: Options) -> None:
        rules = maps_at(ingress, "spec", "rules")
        default = map_at(ingress, "spec", "defaultBackend")
        if default:
            self._take_default(ingress, default, options, [str_at(rule, "host") for rule in rules])
        for rule in rules:
            host = str_at(rule, "host")
            if host and not _is_host(host):
                self.note(ingress, "NotSupported", f"{host[:80]!r} is no host")
                continue
            if options.passthrough and not self._pass_on(ingress, rule, options):
                continue
            if host in self._passed and not options.passthrough:
                self._note_passed(ingress, host)
            for path in maps_at(rule, "http", "paths"):
                try:
                    self._take_path(ingress, host, path, options)
                except _UnfitError as error:
                    self.note(ingress, "NotSupported", f"{host or '*'}{str_at(path, 'path')[:80]}: {error}")

    def _pass_on(self, ingress: JsonObject, rule: JsonObject, options: Options) -> bool:
        """TLS for this host to the backend of its path `/`, as ingress-nginx; whether that is done."""
        host, mine = str_at(rule, "host"), key_of(ingress)
        if not host:
            self.note(ingress, "NotSupported", "ssl-passthrough needs a host: clients name it before anything else")
            return False
        owners = {owner for held in (self._exact, self._prefixes) for _, owner in held.get(host, {}).values()} - {
            mine
        }
        if owners:
            other = min(owners)
            what = f"TLS for {host} is not passed on: its paths belong to {other.namespace}/{other.name}"
            self.note(ingress, "Conflict", what)
            return False
        if host in self._passed:
            if self._passed[host][1] != mine:
                self._note_passed(ingress, host)
            return self._passed[host][1] == mine
        root = next((each for each in maps_at(rule, "http", "paths") if str_at(each, "path") in ("/", "")), None)
        try:
            if root is None:
                raise _UnfitError("ssl-passthrough goes to the backend of path /, and there is none")
            asked = Options(
                allowed=options.allowed, denied=options.denied, connect_s=options.connect_s, answer_s=options.answer_s
            )
            whole = _Path(exact=False, path="/")
            self._passed[host] = self._pool(ingress, host, whole, map_at(root, "backend"), asked, raw=True), mine
        except _UnfitError as error:
            self.note(ingress, "NotSupported", f"{host}: {error}")
            return False
        return True

    def _note_passed(self, ingress: JsonObject, host: str) -> None:
        other = self._passed[host][1]
        what = f"TLS for {host} is passed on to a backend of the Ingress {other.namespace}/{other.name}"
        self.note(ingress, "Conflict", what)

    def _take_default(self, ingress: JsonObject, backend: JsonObject, options: Options, hosts: Iterable[str]) -> None:
        """For the hosts of its rules, and where it is the oldest, for all that nobody else answers for."""
        try:
            for host in dict.fromkeys(hosts):
                if _is_host(host) and host not in self._defaults:
                    self._defaults[host] = self._pool(ingress, host, _Path(exact=False, path="/"), backend, options)
            if not self._default_pool:
                path = _Path(exact=False, path="/")
                self._default_pool = self._pool(ingress, ANY_HOST, path, backend, options)
        except _UnfitError as error:
            self.note(ingress, "NotSupported", f"default backend: {error}")

    def _take_path(self, ingress: JsonObject, host: str, path: JsonObject, options: Options) -> None:
        """Raises `_UnfitError`."""
        understood = _understood(path, options)
        held = (self._exact if understood.exact else self._prefixes).setdefault(host, {})
        if understood.path in held:
            other = held[understood.path][1]
            if other != key_of(ingress):
                kind = "Exact" if understood.exact else "Prefix"
                self.note(
                    ingress,
                    "Conflict",
                    f"{host or '*'}{str_at(path, 'path')[:200]} ({kind}) belongs to the older Ingress "
                    f"{other.namespace}/{other.name}",
                )
            return
        if self._paths >= PATHS_MAX:
            self.note(ingress, "TooMany", f"a gateway serves {PATHS_MAX} paths, and older Ingresses come first")
            return
        pool = self._pool(ingress, host, understood, map_at(path, "backend"), options)
        self._paths += 1
        held[understood.path] = (pool, key_of(ingress))

    def _pool(
        self,
        ingress: JsonObject,
        host: str,
        path: _Path,
        backend: JsonObject,
        options: Options,
        *,
        raw: bool = False,
    ) -> str:
        """The name of the pool, made where there is none. Raises `_UnfitError`."""
        service = map_at(backend, "service")
        if not service:
            what = str_at(backend, "resource", "kind") or "nothing"
            raise _UnfitError(f"a backend is a Service here, and this is a resource ({what})")
        name, port = str_at(service, "name"), map_at(service, "port")
        secure = _covered(host, self._secure)
        to_https = not raw and (options.force_ssl_redirect or (options.ssl_redirect and secure))
        asked = replace(options, rewrite=path.rewrite, ssl_redirect=True, force_ssl_redirect=False)
        label = f"{namespace_of(ingress)}/{name}:{str_at(port, 'name') or int_at(port, 'number')}"
        made = Pool(name="", servers=(), options=asked, to_https=to_https, stripped=path.stripped, raw=raw)
        digest = hashlib.blake2s(repr((label, made)).encode(), digest_size=5).hexdigest()
        pool = f"{namespace_of(ingress)}:{name}:{digest}"
        if pool in self._pools:
            return pool
        if len(self._pools) >= POOLS_MAX:
            raise _UnfitError(f"a gateway asks {POOLS_MAX} services, and older Ingresses come first")
        servers, told = self._servers(ingress, name, port)
        self._pools[pool] = replace(made, name=pool, servers=servers, options=_as_told(asked, told))
        return pool

    def _servers(self, ingress: JsonObject, name: str, port: JsonObject) -> tuple[tuple[Backend, ...], str]:
        """Ready endpoints, and the protocol that the Service says they speak. One that is not there is told of, and
        is answered for with 503."""
        namespace = namespace_of(ingress)
        if subdomain_faults(name):
            raise _UnfitError(f"{name[:80]!r} is no Service's name")
        service = self._directory.service(namespace, name)
        if service is None:
            self.note(ingress, "NoService", f"Service {name} is not there, or no pods of its namespace are here")
            return (), ""
        if str_at(service, "spec", "type") == "ExternalName":
            raise _UnfitError(f"Service {name} is of type ExternalName, which the proxy does not follow")
        found = _port_of(service, port)
        if found is None:
            shown = str_at(port, "name") or int_at(port, "number")
            self.note(ingress, "NoService", f"Service {name} has no port {shown}")
            return (), ""
        near = str_at(service, "spec", "trafficDistribution") == "PreferSameNode"
        local = str_at(service, "spec", "internalTrafficPolicy") == "Local"
        own = self._directory.own_pods()
        members = [each for each in self._directory.members(namespace, name) if _may_be_asked(each, own)]
        used = nearest(self._directory, members, near=near, local=local)
        servers = {
            Backend(address=each.address, port=at.number)
            for each in used
            for at in each.ports
            if at.name == str_at(found, "name") and at.protocol == "TCP" and 0 < at.number < 65_536
        }
        if len(servers) > SERVERS_MAX:
            self.note(ingress, "TooMany", f"Service {name}: {SERVERS_MAX} of {len(servers)} endpoints are asked")
        return tuple(sorted(servers)[:SERVERS_MAX]), str_at(found, "appProtocol")


def _as_told(options: Options, app_protocol: str) -> Options:
    """What the Service says counts where the Ingress says nothing (KEP-3726, and the names before it)."""
    if options.protocol != "http":
        return options
    match app_protocol.lower():
        case "kubernetes.io/h2c" | "grpc":
            return replace(options, protocol="grpc")
        case "https" | "kubernetes.io/wss":
            return replace(options, protocol="https")
        case _:
            return options


def _may_be_asked(member: Member, own: set[str]) -> bool:
    """An endpoint that somebody wrote must not be the gateway itself: its own services trust who is on it."""
    if member.address in own:
        return True
    address = ipaddress.ip_address(member.address)
    return not (address.is_loopback or address.is_link_local or address.is_multicast or address.is_unspecified)


def _port_of(service: JsonObject, port: JsonObject) -> JsonObject | None:
    """By name or number. Of a headless Service, whose port is that of its pods, too."""
    name, number = str_at(port, "name"), int_at(port, "number")
    for each in maps_at(service, "spec", "ports"):
        if str_at(each, "protocol", default="TCP") != "TCP":
            continue
        if (name and str_at(each, "name") == name) or (number and int_at(each, "port") == number):
            return each
    if number and is_headless(service):
        return next((each for each in maps_at(service, "spec", "ports") if each.get("targetPort") == number), None)
    return None


def _is_host(host: str) -> bool:
    return bool(host) and not subdomain_faults(host.removeprefix("*."))


def _covered(host: str, secure: Mapping[str, str]) -> bool:
    """Whether the host has a certificate."""
    return host in secure or f"*.{host.partition('.')[2]}" in secure


def _understood(path: JsonObject, options: Options) -> _Path:
    """Raises `_UnfitError`."""
    text, kind = str_at(path, "path") or "/", str_at(path, "pathType")
    rewrite = options.rewrite
    if rewrite is not None and rewrite.capture:
        return _stripping(text, rewrite)
    if rewrite is not None and rewrite.path and "(" in text:
        raise _UnfitError("a pattern needs $1 or $2 at the end of rewrite-target")
    plain = _plain(text)
    if kind == "Exact":
        return _Path(exact=True, path=plain, rewrite=rewrite)
    return _Path(exact=False, path=_ended(plain), rewrite=rewrite)


def _stripping(text: str, rewrite: Rewrite) -> _Path:
    found = _STRIPPING.fullmatch(text)
    captures = 0 if found is None else text.count("(")
    if found is None or captures != rewrite.capture:
        raise _UnfitError("rewrite-target with $1 or $2 needs a path such as /app(/|$)(.*) or /app/?(.*)")
    return _Path(exact=False, path=_ended(_plain(found[1])), stripped=found[1].rstrip("/"), rewrite=rewrite)


def _plain(text: str) -> str:
    """Decoded, as the path of a request is before it is compared."""
    decoded = unquote_to_bytes(text)
    if not text.startswith("/") or _UNFIT.search(decoded):
        raise _UnfitError("a path begins with a slash and has no spaces or control characters")
    if len(decoded) > PATH_LENGTH_MAX:
        raise _UnfitError(f"a path has at most {PATH_LENGTH_MAX} bytes")
    try:
        return re.sub("/+", "/", decoded.decode())
    except UnicodeDecodeError:
        raise _UnfitError("a path is UTF-8") from None


def _ended(path: str) -> str:
    """A prefix counts by whole elements: with a slash at its end, and one put to the request's, it does."""
    return path if path.endswith("/") else f"{path}/"


def _decoded(text: str) -> bytes:
    try:
        return b64decode(text, validate=True)
    except ValueError:
        return b""
