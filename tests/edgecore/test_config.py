"""Settings of the agent that are refused before anything starts."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path

import pytest

from cloudcore.pki.certificates import issue_server, new_authority
from edgecore.config import (
    DMI_SOCKET,
    MIB,
    EdgeSettings,
    broker_of,
    cgroup_root_of,
    check_broker_files,
    cluster_dns_of,
    dmi_socket_of,
    embedded_of,
    homeassistant_prefix_of,
    ingress_of,
    labels_of,
    node_ip_of,
    reserved_of,
)
from edgecore.network.ingress.settings import IngressSettings
from edgecore.store.port import DAY_MS, OutboxBudgets
from skerry.errors import InvalidError
from skerry.settings import resolve
from skerry.sync.ports import SyncSettings


def test_labels_are_pairs() -> None:
    assert labels_of(("site=north", "topology.kubernetes.io/region=eu")) == {
        "site": "north",
        "topology.kubernetes.io/region": "eu",
    }
    with pytest.raises(InvalidError, match="NAME=VALUE"):
        labels_of(("site",))


@pytest.mark.parametrize("text", ["a=b=c", "-a=b", "a/b/c=d", f"a={'b' * 64}"])
def test_a_label_that_the_cloud_would_refuse_is_refused_at_the_start(text: str) -> None:
    with pytest.raises(InvalidError, match=re.escape(f"--label {text!r}: ")):
        labels_of((text,))


def test_a_nodes_address_is_an_address() -> None:
    assert node_ip_of(("10.0.0.7",)) == ("10.0.0.7",)
    assert node_ip_of(("10.0.0.7", "FD00::0:1")) == ("10.0.0.7", "fd00::1")
    with pytest.raises(InvalidError, match=r"--node-ip 300\.1\.1\.1: write an IPv4 or IPv6 address"):
        node_ip_of(("300.1.1.1",))
    with pytest.raises(InvalidError, match="one of each"):
        node_ip_of(("10.0.0.7", "10.0.0.8"))


def test_a_label_that_only_the_cloud_gives_is_refused_with_the_way_to_give_it() -> None:
    with pytest.raises(InvalidError, match=r"node-restriction.kubernetes.io/vault: .*skerry token create --label"):
        labels_of(("node-restriction.kubernetes.io/vault=yes",))


def test_the_defaults_are_those_of_the_store() -> None:
    assert EdgeSettings().budgets() == OutboxBudgets()


def test_each_class_has_its_room_and_time() -> None:
    environ = {
        "SKERRY_TELEMETRY_MIB": "1",
        "SKERRY_TELEMETRY_DAYS": "0.5",
        "SKERRY_EVENT_MIB": "2",
        "SKERRY_EVENT_DAYS": "2",
        "SKERRY_ALARM_MIB": "3",
        "SKERRY_ALARM_DAYS": "3",
        "SKERRY_MESSAGE_MIB": "4",
        "SKERRY_MESSAGE_DAYS": "4",
        "SKERRY_FREE_FLOOR_MIB": "6",
        "SKERRY_PUSH_MIB": "5",
    }
    budgets = resolve(EdgeSettings, {}, environ).budgets()
    assert budgets == OutboxBudgets(
        telemetry=MIB,
        telemetry_ttl_ms=DAY_MS // 2,
        event=2 * MIB,
        event_ttl_ms=2 * DAY_MS,
        alarm=3 * MIB,
        alarm_ttl_ms=3 * DAY_MS,
        message=4 * MIB,
        message_ttl_ms=4 * DAY_MS,
        free_floor=6 * MIB,
        push=5 * MIB,
    )
    assert budgets.times() == {
        "telemetry": DAY_MS // 2,
        "event": 2 * DAY_MS,
        "alarm": 3 * DAY_MS,
        "message": 4 * DAY_MS,
    }


@pytest.mark.parametrize("name", ["SKERRY_TELEMETRY_DAYS", "SKERRY_ALARM_MIB", "SKERRY_FREE_FLOOR_MIB"])
@pytest.mark.parametrize("value", ["-1", "much"])
def test_a_budget_that_is_none_is_refused_by_its_name(name: str, value: str) -> None:
    with pytest.raises(InvalidError, match=name):
        resolve(EdgeSettings, {}, {name: value})


def test_the_backlogs_rate_is_a_setting_and_none_is_refused_by_its_name(tmp_path: Path) -> None:
    assert EdgeSettings().sync() == SyncSettings()
    given = tmp_path / "edge.yaml"
    given.write_text("backlog_bytes_s: 4096\n")
    assert resolve(EdgeSettings, {"config": str(given)}, {}).sync() == SyncSettings(backlog_bytes_s=4096)
    assert resolve(EdgeSettings, {"backlog_bytes_s": "2048"}, {}).sync().backlog_bytes_s == 2048
    with pytest.raises(InvalidError, match="SKERRY_BACKLOG_BYTES_S: 0 is below 1024"):
        resolve(EdgeSettings, {}, {"SKERRY_BACKLOG_BYTES_S": "0"})


def settings_with(**given: str) -> EdgeSettings:
    return EdgeSettings(**given)  # type: ignore[arg-type]


def test_the_broker_is_a_url_and_its_password_a_file() -> None:
    assert broker_of(settings_with()) is None and broker_of(settings_with(mqtt_broker="none")) is None
    plain = broker_of(settings_with(mqtt_broker="mqtt://127.0.0.1"))
    assert plain is not None and (plain.host, plain.port, plain.tls) == ("127.0.0.1", 1883, False)
    secure = broker_of(settings_with(mqtt_broker="mqtts://b:8884", mqtt_ca_file="/ca", mqtt_username="ann"))
    assert secure is not None and (secure.port, secure.tls, secure.ca_file, secure.username) == (
        8884,
        True,
        "/ca",
        "ann",
    )


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"mqtt_username": "ann"}, "--mqtt-username: of no use without --mqtt-broker"),
        ({"mqtt_broker": "127.0.0.1:1883"}, "write mqtt://HOST"),
        ({"mqtt_broker": "mqtt://h:99999"}, "write mqtt://HOST"),
        ({"mqtt_broker": "mqtt://h/x"}, "write mqtt://HOST"),
        ({"mqtt_broker": "mqtt://ann:secret@h"}, "a password belongs into a file"),
        ({"mqtt_broker": "mqtt://h", "mqtt_password_file": "/p"}, "--mqtt-username: required"),
        ({"mqtt_broker": "mqtts://h", "mqtt_cert_file": "/c"}, "belong together"),
        ({"mqtt_broker": "mqtt://h", "mqtt_ca_file": "/c"}, "certificates are for mqtts://"),
        ({"mqtt_broker": "embedded", "mqtt_username": "ann"}, "of no use with --mqtt-broker embedded"),
        ({"mqtt_listen_cert_file": "/c"}, "--mqtt-listen-cert-file: of no use without --mqtt-broker embedded"),
        ({"mqtt_socket": "/s"}, "--mqtt-socket: of no use without --mqtt-broker embedded"),
        ({"mqtt_listen_client_ca_file": "/c"}, "--mqtt-listen-client-ca-file: of no use without --mqtt-broker"),
        (
            {"mqtt_broker": "embedded", "mqtt_listen_client_ca_file": "/c"},
            "--mqtt-listen-client-ca-file: of no use without an address with TLS",
        ),
        (
            {"mqtt_broker": "embedded", "mqtt_socket_group": "g"},
            "--mqtt-socket-group: of no use",
        ),
        ({"mqtt_broker": "embedded", "mqtt_socket": "s"}, "write a path that begins with /"),
    ],
)
def test_a_mistake_in_the_brokers_settings_is_named_without_its_secrets(given: dict[str, str], says: str) -> None:
    with pytest.raises(InvalidError) as refusal:
        broker_of(settings_with(**given))
    assert says in str(refusal.value) and "secret" not in str(refusal.value)


def embedded(*listen: str, **given: str) -> EdgeSettings:
    return EdgeSettings(mqtt_broker="embedded", data=Path("/d"), mqtt_listen=listen, **given)  # type: ignore[arg-type]


def test_the_embedded_broker_is_on_loopback_and_the_agent_has_a_user_of_its_own() -> None:
    assert embedded_of(EdgeSettings()) == ()
    made = broker_of(EdgeSettings(mqtt_broker="embedded", data=Path("/d")))
    assert made is not None and (made.host, made.port, made.tls) == ("127.0.0.1", 1883, False)
    assert (made.username, made.password_file) == ("edgecore", "/d/mqtt/edgecore.password")
    both = embedded("[::1]:1884", "10.0.0.1:8883", mqtt_listen_cert_file="/c", mqtt_listen_key_file="/k")
    assert [(each.host, each.port, each.is_loopback) for each in embedded_of(both)] == [
        ("::1", 1884, True),
        ("10.0.0.1", 8883, False),
    ]


@pytest.mark.parametrize(
    ("listen", "says"),
    [
        ((), "the first is on loopback"),
        (("0.0.0.0:1883",), "the first is on loopback"),
        (("127.0.0.1:1883", "10.0.0.1:1883"), "would cross the network in the clear"),
        (("localhost:1883",), "write ADDRESS:PORT"),
        (("127.0.0.1",), "write ADDRESS:PORT"),
        (("127.0.0.1:0",), "a port is 1 to 65535"),
    ],
)
def test_where_the_embedded_broker_may_not_listen_is_said(listen: tuple[str, ...], says: str) -> None:
    with pytest.raises(InvalidError, match=says):
        embedded_of(embedded(*listen))
    with pytest.raises(InvalidError, match="belong together"):
        embedded_of(embedded("127.0.0.1:1", mqtt_listen_cert_file="/c"))


def test_home_assistant_is_told_where_a_prefix_and_a_broker_are_given() -> None:
    there = {"mqtt_broker": "mqtt://h"}
    assert homeassistant_prefix_of(settings_with(**there)) == ""
    assert homeassistant_prefix_of(settings_with(**there, homeassistant_prefix="home/ha")) == "home/ha"
    with pytest.raises(InvalidError, match="of no use without --mqtt-broker"):
        homeassistant_prefix_of(settings_with(homeassistant_prefix="homeassistant"))
    with pytest.raises(InvalidError, match="write the start of a topic"):
        homeassistant_prefix_of(settings_with(**there, homeassistant_prefix="homeassistant/#"))


def test_mappers_are_served_where_kubeedge_would_or_where_it_is_said() -> None:
    assert dmi_socket_of(settings_with()) == (DMI_SOCKET if DMI_SOCKET.parent.is_dir() else None)
    assert dmi_socket_of(settings_with(dmi_socket="none")) is None
    assert dmi_socket_of(settings_with(dmi_socket="/run/dmi.sock")) == Path("/run/dmi.sock")
    with pytest.raises(InvalidError, match=r"--dmi-socket 'dmi\.sock': write auto, none or an absolute path"):
        dmi_socket_of(settings_with(dmi_socket="dmi.sock"))


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


def test_what_is_reserved_for_the_system_is_named_by_resource() -> None:
    assert reserved_of(("cpu=100m", "memory=256Mi")) == {"cpu": "100m", "memory": "256Mi"}
    for text in ("cpu", "gpu=1", "memory=much", "cpu=-1"):
        with pytest.raises(InvalidError, match="--system-reserved"):
            reserved_of((text,))


def test_a_root_of_cgroups_is_a_path() -> None:
    assert (cgroup_root_of("/"), cgroup_root_of("/site/two")) == ("/", "/site/two")
    for text in ("", "site", "/site/../other", "//"):
        with pytest.raises(InvalidError, match="--cgroup-root"):
            cgroup_root_of(text)


NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Certificates and keys as a plant has them, and what is none."""
    directory = tmp_path_factory.mktemp("files")
    authority = new_authority(name="plant", now=NOW)
    (directory / "ca").write_text(authority.pem)
    for name in ("one", "two"):
        made = issue_server(authority, names=["127.0.0.1"], now=NOW)
        (directory / f"{name}.pem").write_text(made.certificate_pem)
        (directory / f"{name}.key").write_text(made.key_pem)
    (directory / "password").write_text("secret\n")
    (directory / "text").write_text("no certificate\nat all\n")
    return directory


def at_the_broker(files: Path, **said: str) -> EdgeSettings:
    named = {name: str(files / value) for name, value in said.items()}
    return settings_with(mqtt_broker="mqtts://b", mqtt_username="ann", **named)


def test_files_that_brokers_are_known_by_are_read_before_anything_starts(files: Path) -> None:
    check_broker_files(settings_with())
    check_broker_files(settings_with(mqtt_broker="embedded"))
    keys = {"mqtt_cert_file": "one.pem", "mqtt_key_file": "one.key"}
    check_broker_files(at_the_broker(files, mqtt_ca_file="ca", mqtt_password_file="password", **keys))


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ({"mqtt_password_file": "none"}, "--mqtt-password-file: .*none can't be read"),
        ({"mqtt_password_file": "text"}, "--mqtt-password-file: .*text is empty, or more than a line"),
        ({"mqtt_ca_file": "none"}, "--mqtt-ca-file: .*none can't be read"),
        ({"mqtt_ca_file": "text"}, "--mqtt-ca-file: .*text has no certificates of authorities"),
        ({"mqtt_cert_file": "one.pem", "mqtt_key_file": "two.key"}, "--mqtt-cert-file, --mqtt-key-file: .*its key"),
        ({"mqtt_cert_file": "one.pem", "mqtt_key_file": "none"}, "--mqtt-key-file: .*none can't be read"),
    ],
)
def test_a_file_for_the_broker_that_is_of_no_use_is_named_with_its_setting(
    files: Path, said: dict[str, str], message: str
) -> None:
    with pytest.raises(InvalidError, match=message):
        check_broker_files(at_the_broker(files, **said))
