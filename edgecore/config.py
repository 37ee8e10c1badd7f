"""The agent's settings: read once, in `main`, from flags, `SKERRY_*` variables and a file (`skerry.settings`)."""

from __future__ import annotations

from importlib.util import find_spec
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from edgecore.network.cni import pod_ranges
from edgecore.network.ingress.settings import IngressSettings
from edgecore.pods.dead_runs import DeadRuns
from edgecore.pods.eviction import EvictionSettings
from edgecore.pods.eviction_settings import HARD, eviction_settings
from edgecore.pods.image_collection import CollectionSettings
from edgecore.pods.image_commands import ImageRequest
from edgecore.pods.log_rotation import RotationSettings
from edgecore.pods.runtimes.choice import check
from edgecore.store.port import DAY_MS, OutboxBudgets
from skerry.errors import InvalidError
from skerry.frozen import Frozen
from skerry.objects.names import label_key_faults, label_value_faults, node_may_label, subdomain_faults
from skerry.objects.quantity import Quantity, parse_quantity
from skerry.settings import Settings, setting
from skerry.sync.ports import SyncSettings

if TYPE_CHECKING:
    from devices.mqtt.config import Broker

DATA: Final = Path("/var/lib/skerry/edge")
MIB: Final = 1 << 20
DAYS_MAX: Final = 36_500


class EdgeSettings(Settings):
    """`edgecore run`."""

    data: Path = setting(DATA, help="directory for everything that is kept: identity, store, volumes, logs")
    runtime: str = setting(
        "auto",
        help="what runs pods; process: supervised processes, with nothing to install; containerd; cri: any other "
        "runtime with a CRI socket, such as CRI-O; auto: containerd or CRI-O where the first start finds its socket, "
        "else process, and that from then on",
        choices=("auto", "process", "containerd", "cri"),
    )
    runtime_endpoint: str = setting(
        "",
        help="socket of the container runtime, unix:///PATH; none: /run/containerd/containerd.sock, then "
        "/run/crio/crio.sock",
    )
    image_high_percent: int = setting(
        85,
        help="how full the disk of a container runtime's images may be, in percent, until images go that no "
        "container uses; 100: none does",
        low=1,
        high=100,
    )
    image_low_percent: int = setting(
        80, help="how full that disk is to be then, in percent; below --image-high-percent", low=0, high=99
    )
    image_verification: str = setting(
        "pulled",
        help="whose images need the pod's own credentials; pulled: those that this agent pulled with credentials, as "
        "far as a pod shows neither these nor the same Secret; never: what is here is everybody's",
        choices=("pulled", "never"),
    )
    image_age_s_min: float = setting(
        120.0, help="seconds that an image stays though no container uses it", low=0, high=86_400 * 365
    )
    eviction_hard: tuple[str, ...] = setting(
        HARD,
        help="SIGNAL<VALUE: pods end at once, with a second of grace, while less is available than that, a quantity "
        "or a share; what no pod needs goes first. Signals: memory.available, nodefs.available and nodefs.inodesFree "
        "of DATA's disk, imagefs.available and imagefs.inodesFree of the container runtime's, pid.available; none: "
        "no pod has to go",
    )
    eviction_soft: tuple[str, ...] = setting(
        (), help="the same for when that lasts for the signal's --eviction-soft-grace-period"
    )
    eviction_soft_grace_period: tuple[str, ...] = setting(
        (), help="SIGNAL=DURATION for each signal of --eviction-soft, e.g. memory.available=1m30s"
    )
    eviction_minimum_reclaim: tuple[str, ...] = setting(
        (), help="SIGNAL=VALUE: how much more than its threshold has to be available again, once pods had to go"
    )
    eviction_max_pod_grace_period: int = setting(
        0,
        help="seconds that a pod gets to end for --eviction-soft, if its own grace is not shorter",
        low=0,
        high=86_400,
    )
    eviction_pressure_transition_period_s: float = setting(
        300.0,
        help="seconds that the node keeps MemoryPressure, DiskPressure or PIDPressure after there was too little",
        low=0,
        high=86_400,
    )
    images: str = setting("", help="directory of images for the process runtime; none: DATA/images")
    static_pods: str = setting(
        "/etc/skerry/pods",
        help="directory whose files, one Pod each in YAML or JSON, say what runs here whatever the cloud says; it "
        "may come later; none: there is none",
    )
    node_ip: tuple[str, ...] = setting(
        (),
        help="address to show for this node and its pods, or one of each family (192.0.2.1,2001:db8::1); none: found "
        "from the routes",
    )
    transport: str = setting(
        "auto",
        help="how the cloud is dialled; auto: over QUIC where that works, else WebSocket, else through the proxy; "
        "what worked is tried first the next time",
        choices=("auto", "quic", "websocket"),
    )
    quic_port: int = setting(0, help="UDP port of the cloud's QUIC; 0: the number of its TCP port", low=0, high=65535)
    proxy: str = setting(
        "",
        help="HTTP proxy for when the cloud can't be reached directly, http://[USER:PASSWORD@]HOST:PORT; "
        "none: HTTPS_PROXY is not asked either",
    )
    bandwidth: str = setting(
        "",
        help="what the link to the cloud may carry up at what time of day, e.g. 06:00-22:00 up 64kbit; "
        "none: all that it can, or what the Node's annotation skerry.dev/bandwidth says",
    )
    mqtt_broker: str = setting(
        "",
        help="MQTT broker on which apps and mappers talk about devices in KubeEdge's topics ($hw/events/...), "
        "mqtt://HOST[:PORT] or mqtts://HOST[:PORT]; embedded: the agent is one; none: those topics are not served",
    )
    mqtt_username: str = setting("", help="user at the MQTT broker; none: nobody")
    mqtt_password_file: str = setting("", help="file with the password of the user at the MQTT broker")
    mqtt_ca_file: str = setting("", help="file with the authorities of the MQTT broker; none: the system's")
    mqtt_cert_file: str = setting("", help="file with this gateway's certificate for the MQTT broker")
    mqtt_key_file: str = setting("", help="file with the key of that certificate")
    device_credentials: Path = setting(
        Path("/etc/skerry/devices"),
        help="directory with the files that Devices may name (passwordFile, tokenFile, certFile, keyFile, caFile); "
        "a file elsewhere is not read for them",
    )
    mqtt_listen: tuple[str, ...] = setting(
        ("127.0.0.1:1883",),
        help="HOST:PORT where the embedded broker listens, the first on loopback; others with TLS alone",
    )
    mqtt_listen_cert_file: str = setting("", help="file with the embedded broker's certificate, and those above it")
    mqtt_listen_key_file: str = setting("", help="file with the key of that certificate")
    mqtt_listen_client_ca_file: str = setting(
        "",
        help="file with the authorities of clients' certificates: over TLS a client then needs one, and its common "
        "name is its user, who gives no password; none: passwords",
    )
    mqtt_socket: str = setting("", help="unix socket on which the embedded broker listens as well; none: it does not")
    mqtt_socket_group: str = setting(
        "", help="group whose members may connect to that socket beside the agent's own user; none: nobody"
    )
    homeassistant_prefix: str = setting(
        "",
        help="show every device to Home Assistant over the MQTT broker, on its discovery topics below this prefix: "
        "homeassistant, unless you changed it there; none: it is told nothing",
    )
    dmi_socket: str = setting(
        "auto",
        help="unix socket on which KubeEdge's mappers register; auto: /etc/kubeedge/dmi.sock, where there is that "
        "directory and the extra `dmi` is installed; none: mappers are not served",
    )
    service_bus_port: str = setting(
        "9060",
        help="TCP port of 127.0.0.1 on which applications ask those in the cloud, while a rule from servicebus is "
        "held (9060 in KubeEdge); off: none",
    )
    local_api: str = setting(
        "auto",
        help="ADDRESS:PORT where applications on this gateway find the Kubernetes API, over TLS and with their "
        "ServiceAccount's token (10550 in KubeEdge); pods that reach it are told it as KUBERNETES_SERVICE_HOST; a "
        "link-local one becomes this machine's, for pods with a network of their own; auto: 127.0.0.1:10550, and "
        "169.254.20.11:10550 where pods have one; off: none",
    )
    dmi_group: str = setting("", help="group that may connect to the mappers' socket; none: the agent's user alone")
    cluster_dns: str = setting(
        "none",
        help="ADDRESS[:PORT] where the gateway answers for the names of services and pods, offline too; a link-local "
        "one, 169.254.20.10, becomes this machine's, for pods with a network of their own; none: nowhere",
    )
    cluster_domain: str = setting("cluster.local", help="domain below which those names are")
    pod_network: str = setting(
        "auto",
        help="auto: where the container runtime has no CNI configuration, the gateway connects its pods itself, with "
        "the ranges of addresses that its Node has (cloudcore --cluster-cidr); RANGE[,RANGE], 10.88.0.0/24: with "
        "these; none: never",
    )
    cni_directory: Path = setting(
        Path("/etc/cni/net.d"), help="directory of the container runtime's CNI configurations"
    )
    service_addresses: str = setting(
        "none",
        help="what leads addresses and node ports of Services to pods of this gateway and its site, offline too; "
        "nftables, or iptables: the kernel, which takes root; userspace: the agent itself, node ports alone, which "
        "takes nothing; auto: the first of these that works; none: nobody does",
        choices=("none", "auto", "nftables", "iptables", "userspace"),
    )
    ingress: str = setting(
        "none",
        help="haproxy: Ingresses are served on this gateway by HAProxy, which has to be installed, offline too; "
        "none: they are not",
        choices=("none", "haproxy"),
    )
    ingress_http_port: int = setting(80, help="TCP port for Ingresses in the clear", low=1, high=65535)
    ingress_https_port: int = setting(443, help="TCP port for Ingresses over TLS", low=1, high=65535)
    ingress_address: str = setting("", help="address of this machine on which they are served; none: all of them")
    label: tuple[str, ...] = setting((), help="NAME=VALUE labels of the node, e.g. topology.kubernetes.io/region=eu")
    telemetry_mib: int = setting(512, help="room for readings that wait for the cloud", low=1, high=1 << 20)
    telemetry_days: float = setting(
        30.0, help="days of running that a reading waits for the cloud; 0: for ever", low=0, high=DAYS_MAX
    )
    telemetry_full: str = setting(
        "drop",
        help="what goes when there is no room for readings that wait; drop: the oldest; thin: first all but the "
        "lowest, highest and last of a minute and property, then of ten minutes, then the oldest",
        choices=("drop", "thin"),
    )
    event_mib: int = setting(4, help="room for events that wait for the cloud", low=1, high=1 << 20)
    event_days: float = setting(
        30.0, help="days of running that an event waits for the cloud; 0: for ever", low=0, high=DAYS_MAX
    )
    alarm_mib: int = setting(16, help="room for alarms that wait for the cloud", low=1, high=1 << 20)
    alarm_days: float = setting(
        0.0, help="days of running that an alarm waits for the cloud; 0: for ever", low=0, high=DAYS_MAX
    )
    history_mib: int = setting(
        128,
        help="room for what the gateway itself remembers of its devices, whether the cloud has it or not (some days "
        "of a hundred readings a second); the oldest go. 0: nothing is remembered",
        low=0,
        high=1 << 20,
    )
    push_mib: int = setting(
        16, help="room for readings that wait to be pushed where Devices' pushMethods say", low=1, high=1 << 20
    )
    message_mib: int = setting(16, help="room for messages of rules that wait for the cloud", low=1, high=1 << 20)
    message_days: float = setting(
        7.0, help="days of running that a message of a rule waits for the cloud; 0: for ever", low=0, high=DAYS_MAX
    )
    free_floor_mib: int = setting(
        16,
        help="room that stays free on the disk of the data: below, readings that wait for the cloud are dropped; "
        "0: none",
        low=0,
        high=1 << 20,
    )
    backlog_bytes_s: int = setting(
        SyncSettings().backlog_bytes_s,
        help="how fast readings that piled up are sent once the cloud is back, beside what is read then: bytes a "
        "second, before compression",
        low=1024,
        high=1 << 30,
    )
    cgroup_root: str = setting(
        "/",
        help="cgroup below which those of the pods are, as kubepods; another where several agents share a machine",
    )
    cgroup_driver: str = setting(
        "auto",
        help="who makes cgroups; auto: what the container runtime says it uses, else cgroupfs; it has to be the same",
        choices=("auto", "cgroupfs", "systemd"),
    )
    pod_pids_max: int = setting(
        0, help="processes and threads that a pod may have; 0: as many as it likes", low=0, high=1 << 22
    )
    allowed_unsafe_sysctls: tuple[str, ...] = setting(
        (),
        help="sysctls that pods may set beside the safe ones; one that ends in * stands for all that begin so, e.g. "
        "net.core.somaxconn",
    )
    memory_qos: bool = setting(
        False,
        help="on cgroup v2, keep for containers the memory that they asked for, and slow them down before their "
        "limit ends them",
    )
    system_reserved: tuple[str, ...] = setting(
        (),
        help="NAME=QUANTITY of the gateway that pods may not use, for cpu, memory, ephemeral-storage and pods, e.g. "
        "memory=256Mi",
    )
    log_size_mib: int = setting(10, help="size at which a container's log is rotated", low=1, high=1 << 10)
    log_files: int = setting(5, help="how many files of a container's log are kept", low=1, high=100)
    maximum_dead_containers_per_container: int = setting(
        1, help="how many runs of a container that are over are kept before the newest one", low=0, high=100
    )
    maximum_dead_containers: int = setting(
        200,
        help="how many runs that are over are kept in all: beyond, finished pods lose theirs; -1: any number",
        low=-1,
        high=100_000,
    )
    minimum_container_ttl_duration_s: int = setting(
        0, help="how long a run has to be over before it goes", low=0, high=30 * 86_400
    )
    log_level: str = setting("info", help="what is logged", choices=("debug", "info", "warning", "error"))

    @property
    def images_directory(self) -> Path:
        return Path(self.images) if self.images else self.data / "images"

    def budgets(self) -> OutboxBudgets:
        """Of what waits for the cloud."""
        return OutboxBudgets(
            telemetry=self.telemetry_mib * MIB,
            telemetry_ttl_ms=round(self.telemetry_days * DAY_MS),
            telemetry_full="thin" if self.telemetry_full == "thin" else "drop",
            event=self.event_mib * MIB,
            event_ttl_ms=round(self.event_days * DAY_MS),
            alarm=self.alarm_mib * MIB,
            alarm_ttl_ms=round(self.alarm_days * DAY_MS),
            message=self.message_mib * MIB,
            push=self.push_mib * MIB,
            message_ttl_ms=round(self.message_days * DAY_MS),
            free_floor=self.free_floor_mib * MIB,
        )

    def collection(self) -> CollectionSettings:
        """Of images that no container uses."""
        return CollectionSettings(
            high_percent=self.image_high_percent,
            low_percent=self.image_low_percent,
            age_s_min=self.image_age_s_min,
        )

    def rotation(self) -> RotationSettings:
        """Of containers' logs."""
        return RotationSettings(bytes_max=self.log_size_mib * MIB, files_max=self.log_files)

    def dead(self) -> DeadRuns:
        """Runs that are over, and stay."""
        return DeadRuns(
            per_container=self.maximum_dead_containers_per_container,
            total_max=self.maximum_dead_containers,
            age_ms_min=self.minimum_container_ttl_duration_s * 1000,
        )

    def eviction(self) -> EvictionSettings:
        """Of pods, where the gateway runs short. Raises `InvalidError`."""
        return eviction_settings(
            hard=self.eviction_hard,
            soft=self.eviction_soft,
            soft_grace=self.eviction_soft_grace_period,
            minimum_reclaim=self.eviction_minimum_reclaim,
            transition_s=self.eviction_pressure_transition_period_s,
            grace_s_max=self.eviction_max_pod_grace_period,
        )

    def sync(self) -> SyncSettings:
        """Of the session with the cloud."""
        return SyncSettings(backlog_bytes_s=self.backlog_bytes_s)

    @property
    def socket(self) -> Path:
        """Where the local API listens."""
        return self.data / "edgecore.sock"


class JoinSettings(Settings):
    """`edgecore join`."""

    data: Path = setting(DATA, help="directory for everything that is kept")
    cloud: tuple[str, ...] = setting(
        help="HOST:PORT of the cloud, of its API or of its hub; of each of its replicas where there are several, "
        "comma-separated or repeated"
    )
    token: str = setting(help="what `skerry token create NODE` printed")
    force: bool = setting(False, help="forget the cloud that was joined before")
    proxy: str = setting(
        "",
        help="HTTP proxy for where the cloud can't be reached directly, http://[USER:PASSWORD@]HOST:PORT; "
        "none: HTTPS_PROXY is not asked either. `edgecore run` has to be told as well",
    )
    log_level: str = setting("warning", help="what is logged", choices=("debug", "info", "warning", "error"))


class ImageSettings(Settings):
    """`edgecore image`."""

    data: Path = setting(DATA, help="directory of the agent: says which container runtime it uses")
    runtime_endpoint: str = setting("", help="socket of the container runtime, unix:///PATH; none: the agent's")
    load: str = setting("", help="file with images, as `docker save` and `skopeo copy` write it, to import")
    pull: str = setting("", help="name of an image to pull; without it, --load and --prune the images are listed")
    auth_file: str = setting("", help="file with credentials for --pull, as `docker login` writes it (config.json)")
    prune: bool = setting(False, help="remove the images that no container uses")
    log_level: str = setting("warning", help="what is logged", choices=("debug", "info", "warning", "error"))

    def request(self) -> ImageRequest:
        return ImageRequest(load=self.load, pull=self.pull, auth_file=self.auth_file, prune=self.prune)


class CleanupSettings(Settings):
    """`edgecore cleanup`."""

    data: Path = setting(DATA, help="directory for everything that is kept; it stays")
    cni_directory: Path = setting(
        Path("/etc/cni/net.d"), help="directory of the container runtime's CNI configurations"
    )
    runtime_endpoint: str = setting(
        "", help="socket of the container runtime, for --pods, unix:///PATH; none: the agent's"
    )
    pods: bool = setting(
        False, help="end and remove the pods as well, with their volumes in DATA/pods and their logs"
    )
    dry_run: bool = setting(False, help="only say what would be removed; also while the agent runs")
    log_level: str = setting("warning", help="what is logged", choices=("debug", "info", "warning", "error"))

    @property
    def socket(self) -> Path:
        """Where an agent that runs answers."""
        return self.data / "edgecore.sock"


class MqttUserSettings(Settings):
    """`edgecore mqtt-user`."""

    data: Path = setting(DATA, help="directory for everything that is kept")
    add: str = setting("", help="name of a user to add; without it, --change and --remove the users are listed")
    change: str = setting(
        "",
        help="name of a user to change: of --publish, --subscribe and --password-file what is given; all else stays",
    )
    remove: str = setting("", help="name of a user to remove; its clients are disconnected")
    publish: tuple[str, ...] = setting(
        (),
        help="topic filters on which the user may publish, in which %u is the user and %c the client id; "
        "neither these nor --subscribe: all topics",
    )
    subscribe: tuple[str, ...] = setting((), help="topic filters that the user may hear, in the same way")
    password_file: str = setting(
        "",
        help="file with the password; where there is none yet, a new one is written; none: DATA/mqtt/NAME.password",
    )
    log_level: str = setting("warning", help="what is logged", choices=("debug", "info", "warning", "error"))

    @property
    def users_file(self) -> Path:
        return self.data / MQTT / USERS


MQTT: Final = "mqtt"
"""Below the data: what the embedded broker keeps."""
USERS: Final = "users.json"
EMBEDDED: Final = "embedded"
HOMEASSISTANT: Final = "homeassistant"
"""The first level of its topics, where nobody has said otherwise."""


class Address(Frozen):
    """Where something listens."""

    host: str
    port: int

    @property
    def is_loopback(self) -> bool:
        return ip_address(self.host).is_loopback


def embedded_of(settings: EdgeSettings) -> tuple[Address, ...]:
    """Where the embedded broker listens; nowhere where there is none. Raises `InvalidError` naming the setting."""
    if settings.mqtt_broker != EMBEDDED:
        for name in ("listen_cert_file", "listen_key_file", "listen_client_ca_file", "socket", "socket_group"):
            if getattr(settings, f"mqtt_{name}"):
                raise InvalidError(f"--mqtt-{name.replace('_', '-')}: of no use without --mqtt-broker {EMBEDDED}")
        return ()
    addresses = tuple(_address(text) for text in settings.mqtt_listen)
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


def _address(text: str, flag: str = "--mqtt-listen", example: str = "127.0.0.1:1883") -> Address:
    host, sign, port = text.rpartition(":")
    try:
        if not sign:
            raise ValueError
        made = Address(host=str(ip_address(host.strip("[]"))), port=int(port))
    except ValueError:
        raise InvalidError(f"{flag} {text!r}: write ADDRESS:PORT, e.g. {example}") from None
    if not 0 < made.port < 1 << 16:
        raise InvalidError(f"{flag} {text!r}: a port is 1 to 65535")
    return made


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


DMI_SOCKET: Final = Path("/etc/kubeedge/dmi.sock")
"""KubeEdge's own."""


def dmi_socket_of(settings: EdgeSettings) -> Path | None:
    """Where mappers are served; None: nowhere. Raises `InvalidError`."""
    if settings.dmi_socket == "none":
        return None
    installed = find_spec("grpclib") is not None
    if settings.dmi_socket == "auto":
        return DMI_SOCKET if installed and DMI_SOCKET.parent.is_dir() else None
    if not settings.dmi_socket.startswith("/"):
        raise InvalidError(f"--dmi-socket {settings.dmi_socket!r}: write auto, none or an absolute path")
    if not installed:
        raise InvalidError("--dmi-socket needs grpclib, which is not installed: pip install 'skerry[dmi]'")
    return Path(settings.dmi_socket)


def service_bus_port_of(settings: EdgeSettings) -> int | None:
    """None: off. Raises `InvalidError`."""
    text = settings.service_bus_port
    if text == "off":
        return None
    if not (text.isascii() and text.isdecimal() and 1 <= int(text) <= 65535):
        raise InvalidError(f"--service-bus-port {text!r}: write a port number from 1 to 65535, or off")
    return int(text)


def check_runtime(settings: EdgeSettings) -> None:
    """What can't be is said at once. Raises `InvalidError`."""
    check(settings.runtime, settings.runtime_endpoint)
    settings.eviction()
    if settings.image_low_percent >= settings.image_high_percent:
        raise InvalidError(
            f"--image-low-percent {settings.image_low_percent}: has to be below --image-high-percent "
            f"{settings.image_high_percent}"
        )


def cluster_dns_of(settings: EdgeSettings) -> tuple[str, int, str] | None:
    """Address, port and domain; None: off. Raises `InvalidError`."""
    text = settings.cluster_dns
    if text == "none":
        return None
    domain = settings.cluster_domain.lower().strip(".")
    if subdomain_faults(domain):
        raise InvalidError(f"--cluster-domain {settings.cluster_domain!r}: write a domain, as cluster.local")
    host, _, port = text.rpartition(":") if text.count(":") == 1 or text.startswith("[") else (text, "", "")
    port = port or "53"
    try:
        address = ip_address(host.strip("[]"))
    except ValueError:
        address = None
    if address is None or address.is_unspecified or not (port.isascii() and port.isdecimal() and int(port) <= 65535):
        why = "write one of the gateway's own addresses, as 127.0.0.1:5353, or 169.254.20.10, or none"
        raise InvalidError(f"--cluster-dns {text!r}: {why}")
    return str(address), int(port), domain


def pod_network_of(settings: EdgeSettings) -> tuple[str, ...] | None:
    """Ranges of pods' addresses, () for those that the Node has; None: pods are connected by others. Raises
    `InvalidError`."""
    text = settings.pod_network
    if text in ("auto", "none"):
        return () if text == "auto" else None
    try:
        return pod_ranges(text.split(","))
    except InvalidError as error:
        raise InvalidError(f"--pod-network {text!r}: write auto, none or ranges as 10.88.0.0/24; {error}") from None


def ingress_of(settings: EdgeSettings) -> IngressSettings | None:
    """Where Ingresses are served; None: nowhere. Raises `InvalidError`."""
    if settings.ingress == "none":
        return None
    if settings.ingress_http_port == settings.ingress_https_port:
        raise InvalidError("--ingress-https-port: is that of --ingress-http-port, and each needs its own")
    try:
        address = str(ip_address(settings.ingress_address.strip("[]"))) if settings.ingress_address else ""
    except ValueError:
        raise InvalidError(
            f"--ingress-address {settings.ingress_address!r}: write an address of this machine, or none"
        ) from None
    return IngressSettings(
        http_port=settings.ingress_http_port, https_port=settings.ingress_https_port, address=address
    )


def local_api_of(settings: EdgeSettings, *, pods_apart: bool) -> list[Address]:
    """Where the local API is served over TCP. `pods_apart`: pods have a network of their own. Raises
    `InvalidError`."""
    if settings.local_api == "off":
        return []
    if settings.local_api != "auto":
        return [_address(settings.local_api, "--local-api", "127.0.0.1:10550, auto or off")]
    texts = ("127.0.0.1:10550", *(("169.254.20.11:10550",) if pods_apart else ()))
    return [_address(each, "--local-api") for each in texts]


def static_pods_of(settings: EdgeSettings) -> Path | None:
    """The directory, or a single file; None: there is none. Raises `InvalidError`."""
    if settings.static_pods == "none":
        return None
    if not settings.static_pods.startswith("/"):
        raise InvalidError(f"--static-pods {settings.static_pods!r}: write an absolute path, or none")
    return Path(settings.static_pods)


def check_transport(transport: str) -> None:
    """What can never work is not tried at every dial. Raises `InvalidError`."""
    if transport == "quic" and find_spec("aioquic") is None:
        raise InvalidError("--transport quic needs aioquic, which is not installed: pip install 'skerry[quic]'")


def node_ip_of(texts: tuple[str, ...]) -> tuple[str, ...]:
    """The addresses, in their usual form. Raises `InvalidError`."""
    try:
        found = [ip_address(each) for each in texts]
    except ValueError:
        found = []
    if not found or len({each.version for each in found}) < len(found):
        said = ",".join(texts)
        raise InvalidError(f"--node-ip {said}: write an IPv4 or IPv6 address, one of each, or none to find it")
    return tuple(map(str, found))


RESERVABLE: Final = ("cpu", "memory", "ephemeral-storage", "pods")


def reserved_of(texts: tuple[str, ...]) -> dict[str, str]:
    """Quantity by resource. Raises `InvalidError` naming the one that is none."""
    reserved: dict[str, str] = {}
    for text in texts:
        name, sign, value = text.partition("=")
        if not sign or name not in RESERVABLE:
            raise InvalidError(
                f"--system-reserved {text!r}: write NAME=QUANTITY, NAME one of {', '.join(RESERVABLE)}"
            )
        try:
            quantity = parse_quantity(value)
        except InvalidError as error:
            raise InvalidError(f"--system-reserved {text!r}: {error}") from error
        if quantity < Quantity(0):
            raise InvalidError(f"--system-reserved {text!r}: less than nothing can't be reserved")
        reserved[name] = value
    return reserved


def cgroup_root_of(text: str) -> str:
    """Raises `InvalidError`."""
    parts = text.split("/")[1:]
    if not text.startswith("/") or (text != "/" and any(part in {"", ".", ".."} for part in parts)):
        raise InvalidError(f"--cgroup-root {text!r}: write the path of a cgroup, /NAME or /")
    return text


def labels_of(texts: tuple[str, ...]) -> dict[str, str]:
    """NAME=VALUE pairs. Raises `InvalidError` naming the one that is not."""
    labels: dict[str, str] = {}
    for text in texts:
        name, sign, value = text.partition("=")
        if not sign or not name:
            raise InvalidError(f"--label {text!r}: write NAME=VALUE")
        if not node_may_label(name):
            raise InvalidError(
                f"--label {name}: a node may not give itself this label; the cloud does, with `kubectl label node` "
                "or `skerry token create --label`"
            )
        faults = [*label_key_faults(name), *label_value_faults(value)]
        if faults:
            raise InvalidError(f"--label {text!r}: {faults[0]}")
        labels[name] = value
    return labels
