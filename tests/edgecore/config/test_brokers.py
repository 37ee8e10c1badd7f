"""Settings of brokers that are refused before anything starts."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from cloudcore.pki.certificates import issue_server, new_authority
from edgecore.config.agent import EdgeSettings
from edgecore.config.brokers import broker_of, check_broker_files, embedded_of, homeassistant_prefix_of
from skerry.errors import InvalidError


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
