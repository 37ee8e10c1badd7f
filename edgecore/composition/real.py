"""What a real agent stands on beside its pods, by its settings: dialled ways, drivers, brokers, mappers, files."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgecore.composition.ground import AGENT_VERSION, Ground, PodGround
from edgecore.config.agent import MIB, EdgeSettings
from edgecore.config.brokers import (
    HOMEASSISTANT,
    MQTT,
    USERS,
    agent_password_file,
    broker_of,
    embedded_of,
    homeassistant_prefix_of,
)
from edgecore.config.node import labels_of
from edgecore.config.places import dmi_socket_of, service_bus_port_of
from edgecore.history.file import HistoryFile
from edgecore.link.bandwidth import own_plan
from edgecore.link.cloud_time import AgentClock
from edgecore.link.dial import Dialer, quic_dialer, ways_of, websocket_dialer
from edgecore.link.membership import Membership, load_membership
from edgecore.link.names import CloudNames
from edgecore.link.renewal import CertificateKeeper
from edgecore.store.shell import AsyncEdgeStore
from edgecore.twins.configuring import DriverFactory
from edgecore.twins.drivers import driver_factories
from edgecore.twins.notes import StoredNotes
from skerry.clocks import SystemClock
from skerry.frozen import as_dict, replace
from skerry.ports import Clock, Ids
from skerry.sync.dial import Way
from skerry.transport.identity import Identity
from skerry.transport.proxy import Proxy

if TYPE_CHECKING:
    from devices.mqtt.config import Broker
    from devices.mqtt.port import Connection, Hooks
    from edgecore.bus.discovery import BrokerDiscovery
    from edgecore.bus.port import Open
    from edgecore.dmi.mappers import Sockets
    from edgecore.push.places import Places
    from edgecore.rules.service_bus import BusSettings


def ground_of(
    settings: EdgeSettings,
    membership: Membership,
    below: PodGround,
    certificate: CertificateKeeper,
    proxy: Proxy | None,
) -> Ground:
    """`below`: what pods stand on. Raises `InvalidError`."""
    node, store, time, ids = membership.node, below.store, below.time, below.ids
    dialers = _dialers(settings, store, time, proxy)
    return Ground(
        **as_dict(below),
        labels=labels_of(settings.label),
        clouds=membership.clouds,
        dialer=dialers["websocket"],
        dialers=dialers,
        ways=ways_of(settings.transport, proxied=proxy is not None),
        doubted=certificate.doubt,
        drivers=_drivers(settings, node, store, time, ids),
        sync=settings.sync(),
        collection=settings.collection(),
        rotation=settings.rotation(),
        bandwidth=own_plan(settings.bandwidth),
        broker=_broker(settings, node),
        discovery=_discovery(settings, node, store),
        own_broker=_own_broker(settings, node, time, ids),
        rules=_rules(settings, node),
        service_bus=_service_bus(settings),
        mappers=_mappers(settings),
        home=_home(settings, node),
        history=history_of(settings),
        places=partial(_places, settings, node),
        credentials=settings.device_credentials,
    )


def _dialers(
    settings: EdgeSettings, store: AsyncEdgeStore, time: AgentClock, proxy: Proxy | None
) -> dict[Way, Dialer]:
    def identity() -> Identity:
        return load_membership(settings.data).identity

    clock, names = SystemClock(), CloudNames(store)
    sounds = settings.transport == "auto"
    quic = quic_dialer(identity, clock, time.known_ms, port=settings.quic_port, sounds=sounds)
    return {
        "quic": names.remembering(quic),
        "websocket": names.remembering(websocket_dialer(identity, clock, time.known_ms)),
        "proxy": websocket_dialer(identity, clock, time.known_ms, proxy=proxy),
    }


def _places(settings: EdgeSettings, node: str) -> Places:
    from edgecore.push.places import NetworkPlaces  # only who pushes pays

    return NetworkPlaces(node, credentials=settings.device_credentials)


def _drivers(
    settings: EdgeSettings, node: str, store: AsyncEdgeStore, time: Clock, ids: Ids
) -> Mapping[str, DriverFactory]:
    return driver_factories(
        clock=time,
        ids=ids,
        node=node,
        broker=broker_of(settings),
        notes=StoredNotes(store),
        credentials=settings.device_credentials,
    )


def history_of(settings: EdgeSettings) -> HistoryFile | None:
    """What the gateway itself remembers of its devices: the first to give way on a full disk, and no reason not to
    start. It is opened when something is kept."""
    if not settings.history_mib:
        return None
    return HistoryFile(
        settings.data / "store" / "history.db",
        bytes_max=settings.history_mib * MIB,
        free_floor=2 * settings.free_floor_mib * MIB,
    )


def _mappers(settings: EdgeSettings) -> Sockets | None:
    """How mappers are spoken to. Raises `InvalidError`."""
    path = dmi_socket_of(settings)
    if path is None:
        return None
    from edgecore.dmi.mappers import Sockets
    from edgecore.dmi.server import DmiServer, dial  # gRPC costs memory: only who has a socket for mappers pays

    return Sockets(dial=dial, serve=lambda mappers: DmiServer(mappers, path, settings.dmi_group).run())


def _broker(settings: EdgeSettings, node: str) -> Open | None:
    """How the gateway's MQTT broker is reached. Raises `InvalidError`."""
    broker = broker_of(settings)
    return None if broker is None else _opener(broker, f"skerry-{node}-bus")


def _own_broker(
    settings: EdgeSettings, node: str, clock: Clock, ids: Ids
) -> Callable[[], Coroutine[Any, Any, None]] | None:
    """What runs the embedded broker; None where there is none. Raises `InvalidError`, `UnavailableError`."""
    addresses = embedded_of(settings)
    if not addresses:
        return None
    from edgecore.broker.embedded import Embedding, open_embedded  # only who has it pays

    files = (settings.mqtt_listen_cert_file, settings.mqtt_listen_key_file)
    return open_embedded(
        Embedding(
            directory=settings.data / MQTT,
            users_file=settings.data / MQTT / USERS,
            agent_password_file=agent_password_file(settings),
            plain=[(each.host, each.port) for each in addresses if each.is_loopback],
            secure=[(each.host, each.port) for each in addresses if not each.is_loopback],
            tls_files=files if all(files) else None,
            client_ca_file=settings.mqtt_listen_client_ca_file,
            socket=Path(settings.mqtt_socket) if settings.mqtt_socket else None,
            socket_group=settings.mqtt_socket_group,
            version=AGENT_VERSION,
            own_clients=f"skerry-{node}-",
        ),
        clock,
        ids,
    ).run


def _discovery(settings: EdgeSettings, node: str, store: AsyncEdgeStore) -> BrokerDiscovery | None:
    """What listens on the broker when somebody asks. Raises `InvalidError`."""
    broker = broker_of(settings)
    if broker is None:
        return None
    from edgecore.bus.discovery import BrokerDiscovery

    def collect(topics: set[str], seconds: float) -> tuple[dict[str, bytes], tuple[str, ...]]:
        from devices.mqtt import client  # paho costs memory: only who asks pays

        return client.collect(broker, topics, client_id=f"skerry-{node}-discover", seconds=seconds)

    prefix = homeassistant_prefix_of(settings) or HOMEASSISTANT
    return BrokerDiscovery(node=node, broker=broker, prefix=prefix, store=store, collect=collect)


def _rules(settings: EdgeSettings, node: str) -> Open | None:
    """The same for the rules, with a session of their own: their messages are kept while the agent is away."""
    broker = broker_of(settings)
    return None if broker is None else _opener(broker, f"skerry-{node}-rules")


def _service_bus(settings: EdgeSettings) -> BusSettings | None:
    port = service_bus_port_of(settings)
    if port is None:
        return None
    from edgecore.rules.service_bus import BusSettings

    return BusSettings(port=port)


def _home(settings: EdgeSettings, node: str) -> tuple[str, Open] | None:
    """The same for Home Assistant, where it is to be told. Raises `InvalidError`."""
    prefix, broker = homeassistant_prefix_of(settings), broker_of(settings)
    if broker is None or not prefix:
        return None
    from devices.mqtt.config import Presence
    from edgecore.bus.homeassistant import OFFLINE, ONLINE, presence_topic

    presence = Presence(topic=presence_topic(node), online=ONLINE, offline=OFFLINE)
    return prefix, _opener(replace(broker, presence=presence), f"skerry-{node}-home")


def _opener(broker: Broker, client_id: str) -> Open:
    def connect(hooks: Hooks) -> Connection:
        from devices.mqtt.client import PahoConnection  # paho costs memory: only who has a broker pays

        return PahoConnection(broker, client_id, hooks)

    return connect
