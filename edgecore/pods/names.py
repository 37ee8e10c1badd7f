"""By which names a pod knows itself and others: its hostname, its /etc/hosts, its resolv.conf. Pure.

(Kubernetes documentation, "DNS for Services and Pods", "Adding entries to Pod /etc/hosts with HostAliases".)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from edgecore.pods.port import DnsConfig
from skerry.frozen import Frozen
from skerry.objects.json import JsonObject, bool_at, map_at, maps_at, str_at, strs_at
from skerry.objects.meta import name_of, namespace_of

HOSTNAME_LENGTH_MAX: Final = 63
SERVERS_MAX: Final = 3
SEARCHES_MAX: Final = 32
SEARCH_LENGTH_MAX: Final = 2048
_DOTS: Final = "ndots:5"
_LOCAL: Final = (
    ("127.0.0.1", "localhost"),
    ("::1", "localhost ip6-localhost ip6-loopback"),
    ("fe00::0", "ip6-localnet"),
    ("fe00::0", "ip6-mcastprefix"),
    ("fe00::1", "ip6-allnodes"),
    ("fe00::2", "ip6-allrouters"),
)


def hostname_of(pod: JsonObject, *, node: str, domain: str) -> str:
    """What `hostname` says in the pod. With the gateway's network it is the gateway's."""
    override = str_at(pod, "spec", "hostnameOverride")
    if override:
        return override
    if bool_at(pod, "spec", "hostNetwork"):
        return node
    full = _full_name(pod, domain)
    return full if full and bool_at(pod, "spec", "setHostnameAsFQDN") else _short_name(pod)


def _short_name(pod: JsonObject) -> str:
    return str_at(pod, "spec", "hostname") or name_of(pod)[:HOSTNAME_LENGTH_MAX].rstrip("-.")


def _full_name(pod: JsonObject, domain: str) -> str:
    """ "" for none: only a subdomain gives one."""
    subdomain = str_at(pod, "spec", "subdomain")
    return f"{_short_name(pod)}.{subdomain}.{namespace_of(pod)}.svc.{domain}" if subdomain else ""


def hosts_text(pod: JsonObject, addresses: Sequence[str], *, domain: str) -> str:
    """/etc/hosts of a pod that has a network of its own."""
    full, short = _full_name(pod, domain), _short_name(pod)
    names = f"{full}\t{short}" if full else short
    lines = [f"{address}\t{name}" for address, name in (*_LOCAL, *((each, names) for each in addresses))]
    return "# Kubernetes-managed hosts file.\n" + "".join(f"{line}\n" for line in lines) + _aliases(pod)


def hosts_text_of_gateway(pod: JsonObject, own: str) -> str:
    """/etc/hosts of a pod that has the gateway's network: the gateway's own, and what the pod adds."""
    return f"# Kubernetes-managed hosts file (host network).\n{own}{_aliases(pod)}"


def _aliases(pod: JsonObject) -> str:
    aliases = maps_at(pod, "spec", "hostAliases")
    if not aliases:
        return ""
    lines = ["\t".join((str_at(each, "ip"), *strs_at(each, "hostnames"))) for each in aliases]
    return "\n# Entries added by HostAliases.\n" + "".join(f"{line}\n" for line in lines)


class _Merged:
    """A resolv.conf that grows: what is there stays in its place, and options may be said anew."""

    def __init__(self, start: DnsConfig) -> None:
        self.servers = [*start.servers]
        self.searches = [*start.searches]
        self.options = {each.partition(":")[0]: each for each in start.options}

    def add(self, more: DnsConfig) -> None:
        self.servers += [each for each in more.servers if each not in self.servers]
        self.searches += [each for each in more.searches if each not in self.searches]
        self.options |= {each.partition(":")[0]: each for each in more.options}

    def done(self) -> Resolver:
        searches: list[str] = []
        for each in self.searches[:SEARCHES_MAX]:
            if len(" ".join((*searches, each))) > SEARCH_LENGTH_MAX:
                break
            searches.append(each)
        servers = self.servers[:SERVERS_MAX]
        config = DnsConfig(servers=tuple(servers), searches=tuple(searches), options=tuple(self.options.values()))
        return Resolver(
            config=config,
            more_servers=len(self.servers) > len(servers),
            more_searches=len(self.searches) > len(searches),
        )


class Resolver(Frozen):
    """How a pod asks for names, and what of it had no room."""

    config: DnsConfig | None
    """None where nobody knows better than the runtime."""
    more_servers: bool = False
    more_searches: bool = False

    def omitted(self) -> str:
        """What a kubelet says of what had no room; "" for nothing."""
        if self.config is None:
            return ""
        told = [
            f"{line} limits were exceeded, some {what} have been omitted, the applied {word} line is: "
            + " ".join(kept)
            for line, what, word, kept, more in (
                ("Search Line", "search paths", "search", self.config.searches, self.more_searches),
                ("Nameserver", "nameservers", "nameserver", self.config.servers, self.more_servers),
            )
            if more
        ]
        return "; ".join(told)


def resolver_of(pod: JsonObject, gateway: DnsConfig, *, servers: Sequence[str], domain: str) -> Resolver:
    """What resolv.conf says. `servers` are those of the cluster's names; without any, a pod that wants them gets the
    gateway's."""
    policy = str_at(pod, "spec", "dnsPolicy", default="ClusterFirst")
    if policy == "ClusterFirst" and bool_at(pod, "spec", "hostNetwork"):
        policy = "Default"
    if policy == "ClusterFirstWithHostNet":
        policy = "ClusterFirst"
    if policy == "ClusterFirst" and not servers:
        policy = "Default"
    own = map_at(pod, "spec", "dnsConfig")
    if policy == "Default" and not own:
        return _Merged(gateway).done() if gateway.servers else Resolver(config=None)
    if policy == "ClusterFirst":
        service = f"svc.{domain}"
        searches = (f"{namespace_of(pod)}.{service}", service, domain, *gateway.searches)
        merged = _Merged(DnsConfig(servers=tuple(servers), searches=searches, options=(_DOTS,)))
    else:
        merged = _Merged(gateway if policy == "Default" else DnsConfig())
    merged.add(
        DnsConfig(
            servers=tuple(strs_at(own, "nameservers")),
            searches=tuple(strs_at(own, "searches")),
            options=tuple(_option(each) for each in maps_at(own, "options")),
        )
    )
    return merged.done()


def _option(option: JsonObject) -> str:
    name, value = str_at(option, "name"), str_at(option, "value")
    return f"{name}:{value}" if value else name


def parse_resolv(text: str) -> DnsConfig:
    """A resolv.conf (resolv.conf(5)): of several search lines the last counts."""
    servers: list[str] = []
    searches: tuple[str, ...] = ()
    options: list[str] = []
    for line in text.splitlines():
        word, *rest = line.split("#")[0].split(";")[0].split() or [""]
        if word == "nameserver" and rest:
            servers.append(rest[0])
        elif word in ("search", "domain"):
            searches = tuple(each.rstrip(".") or each for each in rest)
        elif word == "options":
            options += rest
    return DnsConfig(servers=tuple(servers), searches=searches, options=tuple(options))
