from __future__ import annotations

import re
from pathlib import Path

import pytest

from edgecore.config.agent import EdgeSettings
from edgecore.config.places import DMI_SOCKET, cluster_dns_of, dmi_socket_of, ingress_of, node_ip_of
from edgecore.network.ingress.settings import IngressSettings
from skerry.errors import InvalidError
from skerry.settings import resolve


def test_a_nodes_address_is_an_address() -> None:
    assert node_ip_of(("10.0.0.7",)) == ("10.0.0.7",)
    assert node_ip_of(("10.0.0.7", "FD00::0:1")) == ("10.0.0.7", "fd00::1")
    with pytest.raises(InvalidError, match=r"--node-ip 300\.1\.1\.1: write an IPv4 or IPv6 address"):
        node_ip_of(("300.1.1.1",))
    with pytest.raises(InvalidError, match="one of each"):
        node_ip_of(("10.0.0.7", "10.0.0.8"))


def test_mappers_are_served_where_kubeedge_would_or_where_it_is_said() -> None:
    assert dmi_socket_of(EdgeSettings()) == (DMI_SOCKET if DMI_SOCKET.parent.is_dir() else None)
    assert dmi_socket_of(EdgeSettings(dmi_socket="none")) is None
    assert dmi_socket_of(EdgeSettings(dmi_socket="/run/dmi.sock")) == Path("/run/dmi.sock")
    with pytest.raises(InvalidError, match=r"--dmi-socket 'dmi\.sock': write auto, none or an absolute path"):
        dmi_socket_of(EdgeSettings(dmi_socket="dmi.sock"))


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("none", None),
        ("169.254.20.10", ("169.254.20.10", 53, "cluster.local")),
        ("127.0.0.1:5353", ("127.0.0.1", 5353, "cluster.local")),
        ("fd00::a", ("fd00::a", 53, "cluster.local")),
        ("[fd00::a]:5353", ("fd00::a", 5353, "cluster.local")),
    ],
)
def test_the_cluster_dns_has_an_address(text: str, found: tuple[str, int, str] | None) -> None:
    assert cluster_dns_of(resolve(EdgeSettings, {"cluster_dns": text}, {})) == found


@pytest.mark.parametrize("text", ["0.0.0.0", "::", "dns.local", "127.0.0.1:x", "127.0.0.1:99999", ""])
def test_a_cluster_dns_for_everybody_or_nobody_is_refused(text: str) -> None:
    with pytest.raises(InvalidError, match=re.escape(f"--cluster-dns {text!r}: write one of the gateway's own")):
        cluster_dns_of(resolve(EdgeSettings, {"cluster_dns": text}, {}))
    with pytest.raises(InvalidError, match="--cluster-domain '-': write a domain"):
        cluster_dns_of(resolve(EdgeSettings, {"cluster_dns": "127.0.0.1", "cluster_domain": "-"}, {}))


def test_ingresses_are_served_where_it_is_said() -> None:
    assert ingress_of(resolve(EdgeSettings, {}, {})) is None
    asked = {"ingress": "haproxy", "ingress_http_port": "8080", "ingress_address": "[::1]"}
    found = ingress_of(resolve(EdgeSettings, asked, {}))
    assert found == IngressSettings(http_port=8080, https_port=443, address="::1")


@pytest.mark.parametrize("told", [{"ingress_address": "eth0"}, {"ingress_http_port": "443"}])
def test_ingress_settings_that_cannot_be_are_refused(told: dict[str, str]) -> None:
    with pytest.raises(InvalidError, match="--ingress-"):
        ingress_of(resolve(EdgeSettings, {"ingress": "haproxy", **told}, {}))
