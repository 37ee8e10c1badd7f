"""What may be set of the commands beside `run`. A running agent does without this module."""

from __future__ import annotations

from pathlib import Path

from edgecore.config.agent import DATA
from edgecore.config.brokers import MQTT, USERS
from edgecore.pods.image_commands import ImageRequest
from skerry.settings import Settings, setting


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
