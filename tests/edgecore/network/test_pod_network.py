"""A gateway that connects its pods itself: when, with what, and which ways lead to the site's other pods."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from edgecore.network.cni import OUR_FILE, configuration, mtu_in, others, pod_ranges, ranges_in
from edgecore.network.directory import Directory
from edgecore.network.pod_file import files_in, is_other
from edgecore.network.routes import (
    Connected,
    Route,
    clash,
    connected_in,
    masquerade_iptables,
    masquerade_nft,
    route_changes,
    wanted_routes,
)
from skerry.errors import InvalidError
from skerry.objects.meta import Key
from skerry.objects.node_routes import NodeRoute

OWN = ("10.244.1.0/24",)


def told(node: str, range_: str, gateway: str, zone: str = "north") -> NodeRoute:
    return NodeRoute(node=node, zone=zone, range=range_, gateway=gateway)


def wanted(*routes: NodeRoute) -> list[tuple[str, str]]:
    return [(each.range, each.gateway) for each in wanted_routes(routes, node="me", zone="north", own=OWN)]


def test_the_configuration_bridges_pods_of_one_range_with_hairpins_and_ports() -> None:
    made: Any = json.loads(configuration(["10.244.1.0/24", "fd00::/64"], ["bridge", "firewall"], owner="/d"))
    bridge, portmap, firewall = made["plugins"]
    assert (bridge["type"], bridge["hairpinMode"], bridge["isGateway"], bridge["ipMasq"]) == (
        "bridge",
        True,
        True,
        False,
    )
    assert bridge["ipam"]["ranges"] == [[{"subnet": "10.244.1.0/24"}], [{"subnet": "fd00::/64"}]]
    assert bridge["ipam"]["routes"] == [{"dst": "0.0.0.0/0"}, {"dst": "::/0"}]
    assert portmap["capabilities"] == {"portMappings": True} and firewall == {"type": "firewall"}
    assert len(json.loads(configuration(OWN, [], owner="/d"))["plugins"]) == 2


def test_whatever_connects_pods_is_somebody_elses_but_for_loopback() -> None:
    flannel = json.dumps({"plugins": [{"type": "flannel"}]})
    loopback = json.dumps({"type": "loopback"})
    files = {OUR_FILE: "{}", "99-lo.conf": loopback, "README": "x", "10-f.conflist": flannel, "50-odd.conf": "{"}
    assert others(files) == ["10-f.conflist", "50-odd.conf"]
    assert others({OUR_FILE: "{}", "99-lo.conf": loopback}) == []


@pytest.mark.parametrize("texts", [["10.0.0.1/24"], ["x"], ["10.0.0.0/30"], ["10.0.0.0/24", "10.1.0.0/24"]])
def test_ranges_that_can_be_none_are_refused(texts: list[str]) -> None:
    with pytest.raises(InvalidError):
        pod_ranges(texts)


def test_ways_lead_to_the_site_and_never_astray() -> None:
    assert wanted(told("b", "10.244.2.0/24", "192.0.2.2")) == [("10.244.2.0/24", "192.0.2.2")]
    assert wanted(told("me", "10.244.1.0/24", "192.0.2.1"), told("c", "10.244.3.0/24", "192.0.2.3", "south")) == []
    for astray in ("0.0.0.0/0", "10.244.0.0/16", "192.0.2.0/24", "fd00::/64", "x", "10.244.2.1/24"):
        assert wanted(told("b", astray, "192.0.2.2")) == []
    twice = (told("c", "10.244.2.0/24", "192.0.2.3"), told("b", "10.244.2.0/24", "192.0.2.2"))
    assert wanted(*twice) == [("10.244.2.0/24", "192.0.2.2")]
    assert wanted_routes([told("b", "10.244.2.0/24", "192.0.2.2", "")], node="me", zone="", own=OWN) == []


def test_only_what_differs_is_changed() -> None:
    held = [Route(range="10.244.2.0/24", gateway="192.0.2.2"), Route(range="10.244.3.0/24", gateway="192.0.2.3")]
    new = [Route(range="10.244.2.0/24", gateway="192.0.2.9"), Route(range="10.244.4.0/24", gateway="192.0.2.4")]
    assert [" ".join(each) for each in route_changes(4, held, new)] == [
        "route del 10.244.3.0/24 proto 115",
        "route replace 10.244.2.0/24 via 192.0.2.9 proto 115",
        "route replace 10.244.4.0/24 via 192.0.2.4 proto 115",
    ]
    assert route_changes(4, new, new) == [] == route_changes(6, [], new)


def test_what_leaves_the_site_has_the_gateways_address() -> None:
    text = masquerade_nft("t", 4, OWN, ["10.244.2.0/24"])
    assert "ip saddr { 10.244.1.0/24 } ip daddr != { 10.244.1.0/24, 10.244.2.0/24, 224.0.0.0/4 } masquerade" in text
    assert masquerade_nft("t", 6, OWN, []) == "add table ip6 t\ndelete table ip6 t\n"
    assert masquerade_iptables(4, OWN, ["10.244.2.0/24"]).splitlines()[2:-1] == [
        "-A SKERRY-PODS -d 10.244.1.0/24 -j RETURN",
        "-A SKERRY-PODS -d 10.244.2.0/24 -j RETURN",
        "-A SKERRY-PODS -d 224.0.0.0/4 -j RETURN",
        "-A SKERRY-PODS -s 10.244.1.0/24 -j MASQUERADE",
    ]


def test_a_gateway_knows_its_ranges_and_those_of_its_site_from_its_store() -> None:
    directory = Directory("me")
    directory.put(Key("nodes", "", "me"), {"spec": {"podCIDRs": [*OWN]}})
    slice_: Any = {
        "metadata": {
            "name": "b.ipv4.pods",
            "namespace": "kube-system",
            "labels": {"skerry.dev/pod-ranges-of": "b"},
            "annotations": {"skerry.dev/pod-ranges": "10.244.2.0/24"},
        },
        "addressType": "IPv4",
        "endpoints": [{"addresses": ["192.0.2.2"], "nodeName": "b", "zone": "north"}],
    }
    key = Key("endpointslices.discovery.k8s.io", "kube-system", "b.ipv4.pods")
    directory.put(key, slice_)
    assert directory.ranges == OWN
    assert directory.routes() == [told("b", "10.244.2.0/24", "192.0.2.2")]
    directory.delete(key)
    assert directory.routes() == []


def test_others_files_are_found_where_they_are(tmp_path: Path) -> None:
    (tmp_path / "10-x.conf").write_text("{}")
    (tmp_path / "sub").mkdir()
    assert files_in(tmp_path) == {"10-x.conf": "{}"} and files_in(tmp_path / "none") == {}


ADDRESSES = json.dumps(
    [
        {"ifname": "lo", "addr_info": [{"local": "169.254.20.10", "prefixlen": 32}]},
        {
            "ifname": "eth0",
            "addr_info": [{"local": "10.244.0.7", "prefixlen": 22}, {"local": "fe80::1", "prefixlen": 64}],
        },
        {"ifname": "skerry0", "addr_info": [{"local": "10.88.0.1", "prefixlen": 24}]},
        {"ifname": "tun0", "addr_info": [{"local": "fd00::7", "prefixlen": 64}]},
        {"ifname": "down0"},
    ]
)


def test_addresses_of_the_sites_own_network_are_no_pods() -> None:
    connected = connected_in(ADDRESSES, but=("skerry0", "lo"))
    assert [each.network for each in connected] == ["10.244.0.0/22", "fd00::/64"]
    assert clash(["10.244.1.0/24"], connected).startswith(
        "pods can't have addresses of 10.244.1.0/24: eth0 is on 10.244.0.0/22 with 10.244.0.7"
    )
    assert clash(["10.88.0.0/24", "fd01::/64"], connected) == "" != clash(["fd00::/60"], connected)
    lan = [Connected(interface="eth1", address="10.244.2.9", network="10.244.2.0/25")]
    routes = [told("b", "10.244.2.0/24", "192.0.2.2"), told("c", "10.244.3.0/24", "192.0.2.3")]
    found = wanted_routes(routes, node="me", zone="north", own=OWN, connected=lan)
    assert [each.range for each in found] == ["10.244.3.0/24"], "no way over a network that we are on"


def test_pods_have_packets_of_the_size_that_the_way_out_takes() -> None:
    assert mtu_in(configuration(OWN, [], owner="/d", mtu=1420)) == 1420
    assert mtu_in(configuration(OWN, [], owner="/d")) == mtu_in("{") == mtu_in("{}") == 0


def test_the_file_is_another_one_where_ranges_are_and_nobody_else_connects_pods(tmp_path: Path) -> None:
    assert is_other(tmp_path / "none", OWN)
    file = tmp_path / OUR_FILE
    for text in ("{", "{}", '{"plugins": [{"ipam": {"ranges": 7}}]}', configuration(["10.1.0.0/24"], [], owner="/d")):
        file.write_text(text)
        assert is_other(tmp_path, OWN)
    file.write_text(configuration([*OWN, "fd00::/64"], [], owner="/d"))
    assert ranges_in(file.read_text()) == (*OWN, "fd00::/64")
    assert not is_other(tmp_path, [*OWN, "fd00::/64"]) and is_other(tmp_path, OWN)
    (tmp_path / "10-f.conflist").write_text('{"plugins": [{"type": "flannel"}]}')
    assert not is_other(tmp_path, OWN)
