"""`edgecore`: the agent of a gateway. `join` once, then `run`; `status` asks a running one.

Keeps everything in its data directory; see `edgecore.agent` for what runs. SIGTERM and SIGINT end the agent and leave
the pods running: the next one adopts them.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import logging
import os
import sys
from collections.abc import Sequence
from typing import Final

from edgecore.config.agent import EdgeSettings
from edgecore.config.brokers import broker_of, check_broker_files, homeassistant_prefix_of
from edgecore.config.node import check_runtime
from edgecore.config.places import check_transport, dmi_socket_of, service_bus_port_of
from skerry.daemon import leaves, missing_library, start_logging
from skerry.errors import InvalidError, SkerryError
from skerry.settings import Settings, add_arguments, resolve, suspects
from skerry.transport.proxy import Proxy, proxy_of

LOG: Final = logging.getLogger("edgecore")


def main(argv: Sequence[str] | None = None) -> None:
    """The console script."""
    given = sys.argv[1:] if argv is None else [*argv]
    parser = argparse.ArgumentParser(
        prog="edgecore",
        description="The agent of a gateway: runs its pods, speaks to its devices, keeps in step with the cloud, and "
        "goes on alone while there is none.",
        epilog="Every flag is also a SKERRY_ variable and a key of the --config file; the flag wins.",
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, text in (
        ("join", "make this gateway a node of a cloud, with a token from `skerry token create`"),
        ("run", "run until told to stop; pods go on when the agent stops"),
        ("status", "show what a running agent says of itself"),
        ("image", "list, import, pull or remove images of the container runtime"),
        (
            "cleanup",
            "once the agent has ended: remove its rules, routes, bridge, CNI configuration and HAProxy, and its pods",
        ),
        ("mqtt-user", "add, remove or list the users of the embedded MQTT broker (run --mqtt-broker embedded)"),
    ):
        its = commands.add_parser(name, help=text, description=text)
        if name in given:  # the flags of one take milliseconds, and a gateway that starts is waited for
            add_arguments(its, _settings_of(name))
    arguments = vars(parser.parse_args(given))
    command = str(arguments.pop("command"))
    try:
        sys.exit(_run(command, arguments))
    except InvalidError as error:
        parser.exit(2, f"edgecore {command}: {error}\n")
    except SkerryError as error:
        parser.exit(1, f"edgecore {command}: {error}\n")
    except ModuleNotFoundError as error:
        if not (said := missing_library(error, "edgecore", "edge")):
            raise
        parser.exit(1, f"{said}\n")


def _settings_of(command: str) -> type[Settings]:
    if command in ("run", "status"):
        return EdgeSettings
    from edgecore.config import commands  # a running agent does without

    return {
        "join": commands.JoinSettings,
        "mqtt-user": commands.MqttUserSettings,
        "image": commands.ImageSettings,
        "cleanup": commands.CleanupSettings,
    }[command]


def _run(command: str, arguments: dict[str, object]) -> int:
    act = {"join": _join, "mqtt-user": _users, "image": _images, "cleanup": _clean_up}.get(command)
    if act is not None:
        return act(arguments)
    settings = resolve(EdgeSettings, arguments, os.environ)
    if command == "run":
        check_transport(settings.transport)
        check_runtime(settings)
        dmi_socket_of(settings)
        broker_of(settings)
        homeassistant_prefix_of(settings)  # needed later: said before a pod begins
        service_bus_port_of(settings)
    _begin(EdgeSettings, settings.log_level)
    if command != "run":
        return _status(settings)
    _tell_of_broker_files(settings)
    return _serve(settings)


def _tell_of_broker_files(settings: EdgeSettings) -> None:
    """A file that broke since is no reason to leave a site without its pods after a power cycle."""
    try:
        check_broker_files(settings)
    except InvalidError as error:
        LOG.error("%s; all but the broker goes on without it, and it is read again", error)


def _begin(cls: type[object], log_level: str) -> None:
    start_logging(log_level)
    for line in suspects(cls, os.environ):
        LOG.warning("%s", line)


def _join(arguments: dict[str, object]) -> int:
    from edgecore.config.commands import JoinSettings
    from edgecore.link.join import JoinRequest, join  # cryptography: 10 MB that a running agent does without
    from edgecore.store.held_copy import forget

    settings = resolve(JoinSettings, arguments, os.environ)
    _begin(JoinSettings, settings.log_level)

    def proxy_for(host: str) -> Proxy | None:
        return proxy_of(settings.proxy, os.environ, host=host)

    request = JoinRequest(
        data=settings.data,
        clouds=settings.cloud,
        token=settings.token,
        force=settings.force,
        proxy_for=proxy_for,
    )
    membership = join(request)
    forget(settings.data)
    same = ", and the same --proxy, SKERRY_PROXY or --config" if settings.proxy not in ("", "none") else ""
    sys.stdout.write(
        f"joined as node {membership.node}; cloud {', '.join(membership.clouds)}\n"
        f"start it with: edgecore run --data {settings.data}{same}\n"
    )
    return 0


def _serve(settings: EdgeSettings) -> int:
    gc.disable()  # a tenth of a start is looking for garbage that is none; the agent enables it when all is there
    from edgecore.agent import serve

    try:
        asyncio.run(serve(settings))
    except (BaseExceptionGroup, SkerryError) as fault:
        for error in leaves(fault):
            if isinstance(error, SkerryError):
                LOG.error("edgecore stops reason=%s", error)
            elif said := missing_library(error, "edgecore", "edge"):
                LOG.error("edgecore stops reason=%s", said)
            else:
                LOG.error("edgecore stops", exc_info=error)
        return 1
    return 0


def _images(arguments: dict[str, object]) -> int:
    from edgecore.composition.commands import changed_images
    from edgecore.config.commands import ImageSettings

    settings = resolve(ImageSettings, arguments, os.environ)
    _begin(ImageSettings, settings.log_level)
    sys.stdout.write(asyncio.run(changed_images(settings)))
    return 0


def _clean_up(arguments: dict[str, object]) -> int:
    from edgecore.composition.commands import cleaned_up
    from edgecore.config.commands import CleanupSettings

    settings = resolve(CleanupSettings, arguments, os.environ)
    _begin(CleanupSettings, settings.log_level)

    def say(line: str) -> None:
        sys.stdout.write(f"{line}\n")
        sys.stdout.flush()

    return 0 if asyncio.run(cleaned_up(settings, say)) else 1


def _users(arguments: dict[str, object]) -> int:
    from edgecore.broker.commands import change_users
    from edgecore.config.commands import MqttUserSettings

    settings = resolve(MqttUserSettings, arguments, os.environ)
    _begin(MqttUserSettings, settings.log_level)
    sys.stdout.write(change_users(settings))
    return 0


def _status(settings: EdgeSettings) -> int:
    from edgecore.local_api.ask import ask

    sys.stdout.write(ask(settings.socket, "/skerry/status"))
    return 0


if __name__ == "__main__":
    main()
