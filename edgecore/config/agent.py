"""What may be set of a running agent: by flags, `SKERRY_*` variables and a file (`skerry.settings`)."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from edgecore.pods.dead_runs import DeadRuns
from edgecore.pods.eviction import EvictionSettings
from edgecore.pods.eviction_settings import HARD, eviction_settings
from edgecore.pods.image_collection import CollectionSettings
from edgecore.pods.log_rotation import RotationSettings
from edgecore.store.port import DAY_MS, OutboxBudgets
from skerry.settings import Settings, setting
from skerry.sync.ports import SyncSettings

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
