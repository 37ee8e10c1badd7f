"""A plan as HAProxy reads it: its configuration, its maps, its list of certificates. Pure.

Nothing that a user wrote is taken over as it is. Hosts and paths go into map files, whose fields cannot hold a space
or a line's end by the time they are here; the few values that go into the configuration itself are numbers, networks
in their canonical form, or matched by a pattern and quoted. Certificates are files of their own.

Each pool has some servers more than it needs, so that endpoints come and go over the runtime socket (`changes`)
without another process; the endpoint that was on a server stays on it.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from edgecore.network.balancing import Backend
from edgecore.network.ingress.annotations import Options, Sticky
from edgecore.network.ingress.plan import ANY_HOST, Certificate, Plan, Pool
from skerry.frozen import Frozen

CONFIG: Final = "haproxy.cfg"
MASTER_SOCKET: Final = "master.sock"
WORKER_SOCKET: Final = "worker.sock"
TLS_SOCKET: Final = "tls.sock"
"""From the frontend that looks at names alone to the one that ends TLS."""
SLOTS_MIN: Final = 4
_SUITES: Final = ("TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256")
_WORDS_MAX: Final = 16
"""Networks on one line: HAProxy takes 64 words."""
_NOT_FOUND: Final = "_none"
_INNER: Final = "_tls"
_FIRST: Final = "\\1"
_QUOTED: Final = re.compile(r"[!-~]*")
_NAME: Final = re.compile(r"[a-z0-9.:-]{1,400}")

Slots = Mapping[str, tuple[Backend | None, ...]]
"""By pool: who is on each of its servers."""


class Door(Frozen):
    """How the proxy is run."""

    http_port: int = 80
    https_port: int = 443
    addresses: tuple[str, ...] = ("*",)
    """What it binds; `*` and `::` for all."""
    connections_max: int = 4096
    threads: int = 1
    user: str = ""
    """Whom its worker runs as; "": as whoever starts it."""
    group: str = ""


class Files(Frozen, hidden=("private",)):
    """What is written for HAProxy, by name."""

    config: str
    maps: Mapping[str, str]
    private: Mapping[str, bytes]
    """Certificates with their keys."""


# --- servers ----------------------------------------------------------------------------------------------


def slots_of(plan: Plan, before: Slots) -> dict[str, tuple[Backend | None, ...]]:
    """Who is on which server now. A pool grows by doubling, and shrinks when it is much too large."""
    return {pool.name: _slots(pool.servers, before.get(pool.name, ())) for pool in plan.pools}


def _slots(servers: Sequence[Backend], before: tuple[Backend | None, ...]) -> tuple[Backend | None, ...]:
    count = max(len(before), SLOTS_MIN)
    if len(servers) > count or count > 8 * max(len(servers), 1) > SLOTS_MIN:
        count = max(SLOTS_MIN, 1 << (len(servers) + 1).bit_length())
    kept: list[Backend | None] = [each if each in servers else None for each in before[:count]]
    kept += [None] * (count - len(kept))
    new = iter([each for each in servers if each not in kept])
    return tuple(each if each is not None else next(new, None) for each in kept)


def changes(before: Slots, after: Slots) -> list[str] | None:
    """Commands to the runtime socket; None where pools or their sizes are others, which takes a new process."""
    if {name: len(slots) for name, slots in before.items()} != {name: len(slots) for name, slots in after.items()}:
        return None
    found: list[str] = []
    for name, slots in after.items():
        for number, (old, new) in enumerate(zip(before[name], slots, strict=True), 1):
            if old == new:
                continue
            server = f"{name}/s{number}"
            if new is None:
                found.append(f"set server {server} state maint")
                continue
            found.append(f"set server {server} state maint")
            found.append(f"set server {server} addr {new.address} port {new.port}")
            found.append(f"set server {server} state ready")
            found.append(f"set server {server} health up")
    return found


# --- files ------------------------------------------------------------------------------------------------


def files_of(plan: Plan, slots: Slots, door: Door, *, place: str) -> Files:
    """`place` is the folder of this generation, below the one that HAProxy runs in."""
    lines = [*_global(door), *_defaults(), *_frontends(plan, door, place), *_nobody()]
    for pool in plan.pools:
        lines += _pool(pool, slots[pool.name], door)
    exact, prefixes, hosts, wildcards = list[str](), list[str](), list[str](), list[str]()
    for number, host in enumerate(plan.hosts):
        site = "any" if host.name == ANY_HOST else f"h{number}"
        if host.name.startswith("*."):
            wildcards.append(f"{host.name[1:]} {site}")
        elif host.name != ANY_HOST:
            hosts.append(f"{host.name} {site}")
        exact += [f"{site}{path} {pool}" for path, pool in host.exact]
        prefixes += [f"{site}{path} {pool}" for path, pool in host.prefixes]
    private = {f"c{number}.pem": each.pem for number, each in enumerate(plan.certificates)}
    if plan.default_certificate is not None:
        private["default.pem"] = plan.default_certificate.pem
    maps = {"hosts.map": hosts, "wildcards.map": wildcards, "exact.map": exact, "prefixes.map": prefixes}
    maps |= _passed(plan)
    maps["certificates.list"] = [*_certificates(plan, place)]
    return Files(
        config="\n".join(lines) + "\n",
        maps={name: "".join(f"{line}\n" for line in found) for name, found in maps.items()},
        private=private,
    )


def _passed(plan: Plan) -> dict[str, list[str]]:
    """Names whose TLS is passed on. A host of its own comes before a wildcard that would pass it on."""
    if not plan.passed:
        return {}
    passed = dict(plan.passed)
    own = {host.name: _INNER for host in plan.hosts if host.name and not host.name.startswith("*.")}
    return {
        "passed.map": [f"{name} {pool}" for name, pool in sorted({**own, **passed}.items()) if name[:2] != "*."],
        "passed-wildcards.map": [f"{name[1:]} {pool}" for name, pool in plan.passed if name[:2] == "*."],
    }


def _certificates(plan: Plan, place: str) -> Iterator[str]:
    default = f"{place}/default.pem" if plan.default_certificate is not None else "default.pem"
    yield default  # the first is for whom no other fits
    for number, each in enumerate(plan.certificates):
        yield " ".join([f"{place}/c{number}.pem", *_hosts(each)])


def _hosts(certificate: Certificate) -> tuple[str, ...]:
    assert all(_NAME.fullmatch(host.removeprefix("*.")) for host in certificate.hosts), "hosts are names"
    return certificate.hosts


def _global(door: Door) -> Iterator[str]:
    yield "global"
    yield f"    stats socket unix@{WORKER_SOCKET} mode 600 level admin expose-fd listeners"
    yield "    stats timeout 30s"
    yield f"    maxconn {door.connections_max}"
    yield f"    nbthread {door.threads}"
    yield "    hard-stop-after 1h"
    yield "    mworker-max-reloads 20"
    yield "    ssl-default-bind-options ssl-min-ver TLSv1.2 no-tls-tickets"
    yield "    ssl-default-bind-ciphers ECDHE+AESGCM:ECDHE+CHACHA20"
    yield f"    ssl-default-bind-ciphersuites {':'.join(_SUITES)}"
    yield "    ssl-server-verify none"  # as ingress-nginx: pods show certificates of their own making
    yield "    tune.ssl.cachesize 2000"
    if door.user:
        yield f"    user {door.user}"
        yield f"    group {door.group}"


def _defaults() -> Iterator[str]:
    yield "defaults"
    yield "    mode http"
    yield "    option redispatch"
    yield "    option splice-auto"
    yield "    balance roundrobin"
    yield "    retries 3"
    yield "    retry-on conn-failure empty-response"
    yield "    timeout http-request 15s"
    yield "    timeout http-keep-alive 60s"
    yield "    timeout client 60s"
    yield "    timeout client-fin 30s"
    yield "    timeout connect 5s"
    yield "    timeout server 60s"
    yield "    timeout queue 10s"
    yield "    timeout tunnel 1h"
    yield "    timeout check 3s"


def _frontends(plan: Plan, door: Door, place: str) -> Iterator[str]:
    yield "frontend http"
    for address in door.addresses:
        yield f"    bind {_bind(address, door.http_port)}"
    yield from _routing(plan, place)
    shown = f"ssl crt-list {place}/certificates.list alpn h2,http/1.1"
    if plan.passed:
        yield from _passing(door, place)
        owner = f" user {door.user} group {door.group}" if door.user else ""
        yield "frontend https"
        yield f"    bind unix@{TLS_SOCKET} mode 600{owner} accept-proxy {shown}"
    else:
        yield "frontend https"
        for address in door.addresses:
            yield f"    bind {_bind(address, door.https_port)} {shown}"
    yield from _routing(plan, place)


def _passing(door: Door, place: str) -> Iterator[str]:
    """Looks at the name that a client asks for, and at nothing else."""
    yield "frontend names"
    yield "    mode tcp"
    for address in door.addresses:
        yield f"    bind {_bind(address, door.https_port)}"
    yield "    tcp-request inspect-delay 5s"
    yield "    tcp-request content accept if { req.ssl_hello_type 1 }"
    one = f"req.ssl_sni,lower,map_str({place}/passed.map)"
    many = f"req.ssl_sni,lower,regsub(^[^.]+,),map_str({place}/passed-wildcards.map)"
    for found in (one, many):
        yield f"    use_backend %[{found}] if {{ {found} -m found }}"
    yield f"    default_backend {_INNER}"
    yield f"backend {_INNER}"
    yield "    mode tcp"
    yield "    retry-on conn-failure"
    yield "    timeout server 1h"
    yield f"    server inner unix@{TLS_SOCKET} send-proxy-v2"


def _bind(address: str, port: int) -> str:
    return f"ipv6@[{address}]:{port} v6only" if ":" in address else f"{address}:{port}"


def _routing(plan: Plan, place: str) -> Iterator[str]:
    """Which pool a request is for; told to the app as the proxy itself saw it."""
    # Past a NUL a path is compared no further, and the app would see the rest; a step up would leave the path.
    yield "    http-request deny deny_status 400 if { path -m sub -i %00 }"
    yield "    http-request deny deny_status 400 if { path,url_dec -m reg (^|/)\\.\\.(/|$) }"
    yield "    http-request set-var(txn.host) req.hdr(host),host_only,lower"
    yield f"    http-request set-var(txn.site) var(txn.host),map_str({place}/hosts.map)"
    yield (
        f"    http-request set-var(txn.site) var(txn.host),regsub(^[^.]+,),map_str({place}/wildcards.map)"
        " if ! { var(txn.site) -m found }"
    )
    yield "    http-request set-var(txn.site) str(any) if ! { var(txn.site) -m found }"
    yield "    http-request set-var(txn.path) path,url_dec,regsub(/+,/,g)"
    yield "    http-request set-var(txn.path) str(/) if ! { var(txn.path) -m beg / }"
    yield f"    http-request set-var(txn.pool) var(txn.site),concat(,txn.path),map_str({place}/exact.map)"
    yield (
        f"    http-request set-var(txn.pool) var(txn.site),concat(,txn.path,/),map_beg({place}/prefixes.map)"
        " if ! { var(txn.pool) -m found }"
    )
    yield "    http-request disable-l7-retry unless { method GET HEAD OPTIONS }"  # it may have been carried out
    yield "    http-request del-header Forwarded"
    yield "    http-request del-header Proxy"
    yield "    http-request set-header X-Forwarded-For %[src]"
    yield "    http-request set-header X-Real-IP %[src]"
    yield "    http-request set-header X-Forwarded-Host %[req.hdr(host)]"
    yield "    http-request set-header X-Forwarded-Port %[dst_port]"
    yield "    http-request set-header X-Forwarded-Proto http if ! { ssl_fc }"
    yield "    http-request set-header X-Forwarded-Proto https if { ssl_fc }"
    yield "    http-request set-header X-Forwarded-Scheme %[req.hdr(X-Forwarded-Proto)]"
    yield "    http-request set-header X-Request-ID %[uuid] if ! { req.hdr(X-Request-ID) -m found }"
    yield "    use_backend %[var(txn.pool)] if { var(txn.pool) -m found }"
    yield f"    default_backend {plan.default_pool or _NOT_FOUND}"


def _nobody() -> Iterator[str]:
    yield f"backend {_NOT_FOUND}"
    yield '    http-request return status 404 content-type text/plain string "no Ingress answers for this\\n"'


def _pool(pool: Pool, slots: Sequence[Backend | None], door: Door) -> Iterator[str]:
    options = pool.options
    assert _NAME.fullmatch(pool.name), "made of names"
    yield f"backend {pool.name}"
    if pool.raw:
        yield from _raw(options)
    else:
        yield from _asked(pool, door)
    yield f"    default-server check inter 5s fastinter 1s fall 2 rise 1 {_speaking(options)}".rstrip()
    for number, backend in enumerate(slots, 1):
        where = "127.0.0.1:1" if backend is None else _address(backend)
        yield f"    server s{number} {where}" + (" disabled" if backend is None else "")


def _raw(options: Options) -> Iterator[str]:
    yield "    mode tcp"
    yield "    retry-on conn-failure"
    yield from _networks(options)
    if options.denied:
        yield "    tcp-request content reject if denied"
    if options.allowed:
        yield "    tcp-request content reject unless allowed"
    yield f"    timeout connect {options.connect_s}s"
    yield f"    timeout server {max(options.answer_s, 3600)}s"


def _asked(pool: Pool, door: Door) -> Iterator[str]:
    options = pool.options
    if pool.to_https:
        port = "" if door.https_port == 443 else f":{door.https_port}"
        yield (
            f"    http-request redirect location https://%[req.hdr(host),host_only]{port}%[pathq] code 308"
            " unless { ssl_fc }"
        )
    yield from _guards(options)
    if options.redirect is not None:
        yield f"    http-request redirect location {_literal(options.redirect.url)} code {options.redirect.code}"
    yield from _rewriting(pool)
    if options.sticky is not None:
        yield from _sticky(options.sticky, pool.name)
    yield f"    timeout connect {options.connect_s}s"
    yield f"    timeout server {options.answer_s}s"
    if options.answer_s > 3600:
        yield f"    timeout tunnel {options.answer_s}s"


def _networks(options: Options) -> Iterator[str]:
    for name, networks in (("denied", options.denied), ("allowed", options.allowed)):
        for start in range(0, len(networks), _WORDS_MAX):
            yield f"    acl {name} src {' '.join(networks[start : start + _WORDS_MAX])}"


def _guards(options: Options) -> Iterator[str]:
    yield from _networks(options)
    if options.denied:
        yield "    http-request deny deny_status 403 if denied"
    if options.allowed:
        yield "    http-request deny deny_status 403 unless allowed"
    if options.body_bytes_max:
        too_long = f"req.hdr_val(content-length) gt {options.body_bytes_max}"
        yield f"    http-request deny deny_status 413 if {{ {too_long} }}"


def _rewriting(pool: Pool) -> Iterator[str]:
    rewrite = pool.options.rewrite
    if rewrite is None:
        return
    if not rewrite.capture:
        yield f"    http-request set-path {_literal(rewrite.path)}"
        return
    # Compared as it came: a path whose beginning was encoded keeps it, and the app says that there is no such path.
    stripped = re.escape(pool.stripped).replace("\\-", "-")
    yield f"    http-request replace-path {_quoted(f'^{stripped}/?(.*)$')} {_quoted(rewrite.path + _FIRST)}"


def _sticky(sticky: Sticky, pool: str) -> Iterator[str]:
    words = ["cookie", sticky.name, "insert", "indirect", "nocache", "httponly", "dynamic"]
    words += ["secure"] if sticky.secure else []
    words += ["attr", f"'Max-Age={sticky.age_s}'"] if sticky.age_s else []
    words += ["attr", f"'SameSite={sticky.same_site}'"] if sticky.same_site else []
    yield "    " + " ".join(words)
    yield f"    dynamic-cookie-key {pool}"


def _speaking(options: Options) -> str:
    match options.protocol:
        case "grpc":
            return "proto h2"
        case "https":
            return "ssl verify none sni req.hdr(host),host_only alpn h2,http/1.1"
        case "grpcs":
            return "ssl verify none sni req.hdr(host),host_only alpn h2"
        case "http":
            return ""


def _address(backend: Backend) -> str:
    """An address once more in its canonical form, whoever wrote it."""
    address = ipaddress.ip_address(backend.address)
    return f"[{address}]:{backend.port}" if address.version == 6 else f"{address}:{backend.port}"


def _quoted(text: str) -> str:
    """One word of the configuration, in which nothing means anything."""
    assert _QUOTED.fullmatch(text) and "'" not in text, "matched by a pattern before"
    return f"'{text}'"


def _literal(text: str) -> str:
    """The same where HAProxy would read a format."""
    return _quoted(text.replace("%", "%%"))
