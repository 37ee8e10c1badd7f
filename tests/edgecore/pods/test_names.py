"""By which names pods know themselves and others."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgecore.pods.name_files import gateway_resolver, hosts_mount
from edgecore.pods.names import hostname_of, hosts_text, hosts_text_of_gateway, parse_resolv, resolver_of
from edgecore.pods.port import DnsConfig
from skerry.objects.json import Json, JsonObject
from tests.edgecore.pods.pods_of import container, pod, pod_with

GATEWAY = DnsConfig(servers=("192.0.2.1",), searches=("site.example",), options=("timeout:1",))
ALIASES: Json = [{"ip": "192.0.2.9", "hostnames": ["plc", "plc.site"]}]


@pytest.mark.parametrize(
    ("spec", "hostname"),
    [
        ({}, "web"),
        ({"hostname": "h"}, "h"),
        ({"hostNetwork": True, "hostname": "h"}, "gate-1"),
        ({"hostname": "h", "subdomain": "s"}, "h"),
        ({"hostname": "h", "subdomain": "s", "setHostnameAsFQDN": True}, "h.s.default.svc.cluster.local"),
        ({"setHostnameAsFQDN": True}, "web"),
        ({"hostnameOverride": "o", "hostname": "h"}, "o"),
    ],
)
def test_hostnames(spec: dict[str, Json], hostname: str) -> None:
    assert hostname_of(pod_with(spec), node="gate-1", domain="cluster.local") == hostname


def test_a_long_name_is_cut_to_a_hostname() -> None:
    assert hostname_of(pod(name="a" * 62 + "-b"), node="gate-1", domain="d") == "a" * 62


def test_hosts_name_the_pod_and_what_it_adds() -> None:
    text = hosts_text(pod(hostname="h", subdomain="s", hostAliases=ALIASES), ["10.1.0.2"], domain="cluster.local")
    assert text.startswith("# Kubernetes-managed hosts file.\n127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost")
    assert "\n10.1.0.2\th.s.default.svc.cluster.local\th\n" in text
    assert text.endswith("\n\n# Entries added by HostAliases.\n192.0.2.9\tplc\tplc.site\n")
    assert hosts_text(pod(), ["10.1.0.2"], domain="d").endswith("10.1.0.2\tweb\n")
    own = hosts_text_of_gateway(pod(hostAliases=ALIASES), "127.0.0.1 localhost\n")
    assert own.splitlines()[:2] == ["# Kubernetes-managed hosts file (host network).", "127.0.0.1 localhost"]
    assert own.endswith("192.0.2.9\tplc\tplc.site\n")


def test_a_container_with_its_own_hosts_file_keeps_it(tmp_path: Path) -> None:
    own = container(volumeMounts=[{"name": "h", "mountPath": "/etc/hosts"}])
    made = hosts_mount(pod(own), own, tmp_path / "p", addresses=("10.1.0.2",), domain="d", root=tmp_path)
    assert made == ()
    (mount,) = hosts_mount(pod(), container(), tmp_path / "p", addresses=("10.1.0.2",), domain="d", root=tmp_path)
    assert (mount.container_path, mount.host_path.read_text().splitlines()[-1]) == ("/etc/hosts", "10.1.0.2\tweb")


def dns(servers: tuple[str, ...] = ("10.96.0.10",), /, **spec: Json) -> DnsConfig | None:
    return resolver_of(pod_with(spec), GATEWAY, servers=servers, domain="cluster.local").config


def test_names_of_the_cluster_are_asked_for_first() -> None:
    searches = ("default.svc.cluster.local", "svc.cluster.local", "cluster.local", "site.example")
    wanted = DnsConfig(servers=("10.96.0.10",), searches=searches, options=("ndots:5",))
    assert dns() == wanted == dns(dnsPolicy="ClusterFirst")
    assert dns(dnsPolicy="ClusterFirstWithHostNet", hostNetwork=True) == wanted
    assert dns(hostNetwork=True) == GATEWAY == dns(dnsPolicy="Default") == dns(())
    assert resolver_of(pod(dnsPolicy="Default"), DnsConfig(), servers=(), domain="d").config is None


def test_a_pod_adds_to_its_resolver_and_says_options_anew() -> None:
    config: JsonObject = {
        "nameservers": ["10.96.0.10", "192.0.2.7"],
        "searches": ["more.example"],
        "options": [{"name": "ndots", "value": "2"}, {"name": "edns0"}],
    }
    got = dns(dnsConfig=config)
    assert got is not None
    assert got.servers == ("10.96.0.10", "192.0.2.7")
    assert got.searches[-1] == "more.example"
    assert got.options == ("ndots:2", "edns0")
    assert dns(dnsPolicy="None", dnsConfig=config) == DnsConfig(
        servers=("10.96.0.10", "192.0.2.7"), searches=("more.example",), options=("ndots:2", "edns0")
    )


def test_a_resolver_has_room_for_three_servers_and_so_many_searches() -> None:
    many: JsonObject = {
        "nameservers": ["1.1.1.1", "2.2.2.2", "3.3.3.3"],
        "searches": [f"s{n}" * 40 for n in range(40)],
    }
    got = dns(dnsConfig=many)
    assert got is not None and len(got.servers) == 3
    assert len(" ".join(got.searches)) <= 2048 and len(got.searches) <= 32
    told = resolver_of(pod(dnsConfig=many), GATEWAY, servers=("10.96.0.10",), domain="d").omitted()
    assert told.startswith(
        "Search Line limits were exceeded, some search paths have been omitted, the applied search"
    )
    assert told.endswith("the applied nameserver line is: 10.96.0.10 1.1.1.1 2.2.2.2")
    assert resolver_of(pod(), GATEWAY, servers=(), domain="d").omitted() == ""


def test_the_gateways_resolver_is_read_behind_its_stub(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    text = "# c\nnameserver 192.0.2.1 # x\ndomain a\nsearch site.example\noptions timeout:1\n\n; y\n"
    (tmp_path / "etc/resolv.conf").write_text(text)
    assert gateway_resolver(tmp_path) == GATEWAY == parse_resolv(text)
    (tmp_path / "etc/resolv.conf").write_text("nameserver 127.0.0.53\n")
    assert gateway_resolver(tmp_path).servers == ("127.0.0.53",)
    (tmp_path / "run/systemd/resolve").mkdir(parents=True)
    (tmp_path / "run/systemd/resolve/resolv.conf").write_text(text)
    assert gateway_resolver(tmp_path) == GATEWAY
    assert gateway_resolver(tmp_path / "none") == DnsConfig()
