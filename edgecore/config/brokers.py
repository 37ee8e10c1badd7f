"""MQTT brokers by the settings: the gateway's own, or one that is there; and what Home Assistant is told over it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from edgecore.config.agent import EdgeSettings
from edgecore.config.places import Address, address_of
from skerry.errors import InvalidError

if TYPE_CHECKING:
    from devices.mqtt.config import Broker


MQTT: Final = "mqtt"
"""Below the data: what the embedded broker keeps."""
USERS: Final = "users.json"
EMBEDDED: Final = "embedded"
HOMEASSISTANT: Final = "homeassistant"
"""The first level of its topics, where nobody has said otherwise."""


def embedded_of(settings: EdgeSettings) -> tuple[Address, ...]:
    """Where the embedded broker listens; nowhere where there is none. Raises `InvalidError` naming the setting."""
    if settings.mqtt_broker != EMBEDDED:
        for name in ("listen_cert_file", "listen_key_file", "listen_client_ca_file", "socket", "socket_group"):
            if getattr(settings, f"mqtt_{name}"):
                raise InvalidError(f"--mqtt-{name.replace('_', '-')}: of no use without --mqtt-broker {EMBEDDED}")
        return ()
    addresses = tuple(address_of(text) for text in settings.mqtt_listen)
    if not addresses or not addresses[0].is_loopback:
        raise InvalidError("--mqtt-listen: the first is on loopback, e.g. 127.0.0.1:1883: the agent itself uses it")
    if bool(settings.mqtt_listen_cert_file) != bool(settings.mqtt_listen_key_file):
        raise InvalidError("--mqtt-listen-cert-file and --mqtt-listen-key-file belong together")
    if settings.mqtt_listen_client_ca_file and all(each.is_loopback for each in addresses):
        raise InvalidError("--mqtt-listen-client-ca-file: of no use without an address with TLS in --mqtt-listen")
    if settings.mqtt_socket_group and not settings.mqtt_socket:
        raise InvalidError("--mqtt-socket-group: of no use without --mqtt-socket")
    if settings.mqtt_socket and not settings.mqtt_socket.startswith("/"):
        raise InvalidError(f"--mqtt-socket {settings.mqtt_socket!r}: write a path that begins with /")
    for each in addresses:
        if not each.is_loopback and not settings.mqtt_listen_cert_file:
            raise InvalidError(
                f"--mqtt-listen {each.host}:{each.port}: passwords and values would cross the network in the clear; "
                "give --mqtt-listen-cert-file and --mqtt-listen-key-file, or an address on loopback"
            )
    return addresses


def agent_password_file(settings: EdgeSettings) -> Path:
    """The password of the agent itself at the embedded broker: written anew by every start of it."""
    from edgecore.broker.users import AGENT

    return settings.data / MQTT / f"{AGENT}.password"


def broker_of(settings: EdgeSettings) -> Broker | None:
    """The gateway's MQTT broker; None where there is none. Raises `InvalidError` naming the setting."""
    addresses = embedded_of(settings)
    if settings.mqtt_broker in ("", "none", EMBEDDED):
        for name in ("username", "password_file", "ca_file", "cert_file", "key_file"):
            if getattr(settings, f"mqtt_{name}"):
                without = f"with --mqtt-broker {EMBEDDED}" if addresses else "without --mqtt-broker"
                raise InvalidError(f"--mqtt-{name.replace('_', '-')}: of no use {without}")
        if not addresses:
            return None
        from devices.mqtt.config import Broker  # only who has one pays
        from edgecore.broker.users import AGENT

        return Broker(
            host=addresses[0].host,
            port=addresses[0].port,
            username=AGENT,
            password_file=str(agent_password_file(settings)),
        )
    parts = urlsplit(settings.mqtt_broker)
    try:
        port = parts.port
    except ValueError:
        port = 0
    secure = parts.scheme == "mqtts"
    if parts.scheme not in ("mqtt", "mqtts") or not parts.hostname or port == 0 or parts.path.strip("/"):
        raise InvalidError(
            f"--mqtt-broker {settings.mqtt_broker!r}: write mqtt://HOST[:PORT], mqtts://HOST[:PORT] or embedded"
        )
    if parts.username is not None or parts.password is not None:
        raise InvalidError("--mqtt-broker: the user is --mqtt-username, and a password belongs into a file")
    if settings.mqtt_password_file and not settings.mqtt_username:
        raise InvalidError("--mqtt-username: required with --mqtt-password-file")
    if bool(settings.mqtt_cert_file) != bool(settings.mqtt_key_file):
        raise InvalidError("--mqtt-cert-file and --mqtt-key-file belong together")
    if (settings.mqtt_ca_file or settings.mqtt_cert_file) and not secure:
        raise InvalidError("--mqtt-broker: certificates are for mqtts://")
    from devices.mqtt.config import Broker

    return Broker(
        host=parts.hostname,
        port=port or (8883 if secure else 1883),
        username=settings.mqtt_username,
        password_file=settings.mqtt_password_file,
        tls=secure,
        ca_file=settings.mqtt_ca_file,
        cert_file=settings.mqtt_cert_file,
        key_file=settings.mqtt_key_file,
    )


def check_broker_files(settings: EdgeSettings) -> None:
    """What the agent and its broker know each other by can be read, and makes sense. Raises `InvalidError` naming the
    setting."""
    broker = broker_of(settings)
    if broker is None or settings.mqtt_broker == EMBEDDED:
        return
    from devices.credentials import UnusableFileError, read_secret, tls_context

    field = "--mqtt-password-file"
    try:
        if broker.password_file:
            read_secret(broker.password_file)
        field = "--mqtt-ca-file"
        if broker.ca_file:
            tls_context(ca_file=broker.ca_file)
        field = "--mqtt-cert-file, --mqtt-key-file"
        if broker.cert_file:
            tls_context(cert_file=broker.cert_file, key_file=broker.key_file)
    except UnusableFileError as error:
        raise InvalidError(f"{field}: {error}") from error


def homeassistant_prefix_of(settings: EdgeSettings) -> str:
    """The first levels of Home Assistant's topics; "" where it is told nothing. Raises `InvalidError`."""
    prefix = settings.homeassistant_prefix
    if prefix in ("", "none"):
        return ""
    if broker_of(settings) is None:
        raise InvalidError("--homeassistant-prefix: of no use without --mqtt-broker")
    if any(letter in prefix for letter in "+#$\x00") or prefix.startswith("/") or prefix.endswith("/"):
        raise InvalidError(f"--homeassistant-prefix {prefix!r}: write the start of a topic, such as homeassistant")
    return prefix
