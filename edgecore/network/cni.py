"""The configuration by which a container runtime connects pods: made here where the operator has made none. Pure.

A file of a known name is the agent's; whatever else is in the runtime's directory is somebody else's and comes first.
(CNI specification 1.0.0; the plugins `bridge`, `host-local` and `portmap` of containernetworking.)
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from ipaddress import ip_network
from typing import Final

from skerry.errors import InvalidError, SkerryError
from skerry.objects.json import JsonObject, int_at, map_at, maps_at, read_json, str_at

OUR_FILE: Final = "90-skerry.conflist"
BRIDGE: Final = "skerry0"
NETWORK: Final = "skerry"
NEEDED: Final = ("bridge", "host-local", "portmap", "loopback")
_OWNER: Final = "skerry.dev/data"
_ENDINGS: Final = (".conf", ".conflist", ".json")
"""What libcni reads."""
_EVERYWHERE: Final = {4: "0.0.0.0/0", 6: "::/0"}


def pod_ranges(texts: Sequence[str]) -> tuple[str, ...]:
    """At most one range of a family, in their usual form. Raises `InvalidError`."""
    found: dict[int, str] = {}
    for text in texts:
        try:
            network = ip_network(text)
        except ValueError as error:
            raise InvalidError(f"{text!r}: {error}") from None
        if network.num_addresses < 8 or network.version in found:
            raise InvalidError(f"{text!r}: a range of 8 addresses or more, one of IPv4, one of IPv6 or both")
        found[network.version] = str(network)
    return tuple(found.values())


def configuration(ranges: Sequence[str], plugins: Iterable[str], *, owner: str, mtu: int = 0) -> str:
    """The file's text. `plugins` are those that are installed: `firewall` is used where it is. `owner`: the agent's
    data directory, for `edgecore cleanup`; runtimes pass it over. `mtu`: of the way out, where it takes less than
    Ethernet; 0: it does not."""
    bridge: JsonObject = {
        "type": "bridge",
        "bridge": BRIDGE,
        "isGateway": True,
        "forceAddress": True,
        "hairpinMode": True,
        "ipMasq": False,
        "ipam": {
            "type": "host-local",
            "ranges": [[{"subnet": each}] for each in ranges],
            "routes": [{"dst": _EVERYWHERE[ip_network(each).version]} for each in ranges],
        },
    }
    if mtu:
        bridge["mtu"] = mtu
    chain: list[JsonObject] = [bridge, {"type": "portmap", "capabilities": {"portMappings": True}, "snat": True}]
    if "firewall" in plugins:
        # Where somebody's policy for what is forwarded is to drop it, as Docker's is.
        chain.append({"type": "firewall"})
    made: JsonObject = {"cniVersion": "0.4.0", "name": NETWORK, _OWNER: owner, "plugins": [*chain]}
    return json.dumps(made, indent=2) + "\n"


def mtu_in(text: str) -> int:
    """Of a file that is ours by its name; 0 where it says none."""
    try:
        return next((int_at(each, "mtu") for each in maps_at(read_json(text), "plugins")), 0)
    except SkerryError:
        return 0


def ranges_in(text: str) -> tuple[str, ...]:
    """Of the pods' addresses, by a file that is ours by its name; () where it says none."""
    try:
        plugins = maps_at(read_json(text), "plugins")
    except SkerryError:
        return ()
    lists = map_at(plugins[0], "ipam").get("ranges") if plugins else None
    pools: list[JsonObject] = [{"pool": each} for each in lists] if isinstance(lists, list) else []
    return tuple(str_at(each, "subnet") for pool in pools for each in maps_at(pool, "pool"))


def owner_in(text: str) -> str:
    """Of a file that is ours by its name; "" where it does not say, as older ones don't."""
    try:
        return str_at(read_json(text), _OWNER)
    except SkerryError:
        return ""


def others(files: Mapping[str, str]) -> list[str]:
    """Names of the files, of all in the runtime's directory, by which somebody else connects pods. Loopback alone,
    as Debian's example has it, connects nobody; what can't be read is somebody's all the same."""
    found = (name for name in sorted(files) if name != OUR_FILE and name.endswith(_ENDINGS))
    return [name for name in found if not _is_loopback(files[name])]


def _is_loopback(text: str) -> bool:
    try:
        config = read_json(text)
    except SkerryError:
        return False
    types = [str_at(each, "type") for each in maps_at(config, "plugins")] or [str_at(config, "type")]
    return set(types) == {"loopback"}
