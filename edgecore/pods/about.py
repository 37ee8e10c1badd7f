"""What there is about a pod for its worker: the objects that it names, files of its own, and what is left of one that
nobody describes any more. Keeps nothing."""

from __future__ import annotations

from ipaddress import ip_address
from pathlib import Path
from typing import Final

from edgecore.pods.env import Surroundings
from edgecore.pods.last_words import DEFAULT_PATH, make_words_file, words_file
from edgecore.pods.name_files import hosts_mount
from edgecore.pods.parts import PodParts
from edgecore.pods.plan import Start
from edgecore.pods.port import Mount, SandboxState
from edgecore.pods.volumes import with_authority
from skerry.objects.enrolment import TRUST_NAME
from skerry.objects.json import JsonObject, bool_at, decode_object, dig, maps_at, str_at
from skerry.objects.meta import Key, name_of, namespace_of, uid_of
from skerry.objects.pods import own_grace_s
from skerry.objects.trust_bundles import BUNDLES
from skerry.objects.volumes import VOLUMES

SERVICES: Final = "services"
_CLUSTER_WIDE: Final = frozenset({"nodes", VOLUMES})


def surroundings(pod: JsonObject, sandbox: SandboxState | None, parts: PodParts, namespace: str) -> Surroundings:
    """What its containers are told. A pod that is not sent to this gateway's own API, or to it under the cloud's
    authority, finds that alone, byte for byte."""
    own_network = parts.runtime.abilities.pod_network and not bool_at(pod, "spec", "hostNetwork")
    reached = [each for each in parts.apis if not (own_network and ip_address(each.host).is_loopback)]
    api = next(iter(reached), None)  # (the loopback of a pod's own network is another one)

    def find(resource: str, name: str) -> JsonObject | None:
        held = parts.store.get(Key(resource, "" if resource in _CLUSTER_WIDE else namespace, name))
        if held is None:
            return None
        found = decode_object(held.body)
        if resource == "configmaps" and name == TRUST_NAME and api is not None:
            return with_authority(found, parts.authority(api.host))
        return found

    def services() -> list[JsonObject]:
        return [decode_object(held.body) for held in parts.store.list(SERVICES)]

    return Surroundings(
        pod=pod,
        node=parts.node,
        find=find,
        addresses=sandbox.addresses if sandbox is not None else (),
        services=services,
        bundles=lambda: [decode_object(held.body) for held in parts.store.list(BUNDLES)],
        tokens=parts.tokens,
        api=api,
    )


def own_hosts(
    pod: JsonObject, sandbox: SandboxState | None, container: JsonObject, parts: PodParts, directory: Path
) -> tuple[Mount, ...]:
    """A runtime without file systems of its own shows the gateway's file, unless a pod adds to it."""
    if not parts.runtime.abilities.isolation and not maps_at(pod, "spec", "hostAliases"):
        return ()
    return hosts_mount(
        pod,
        container,
        directory,
        addresses=sandbox.addresses if sandbox is not None else (),
        domain=parts.node.cluster_domain,
        root=parts.root,
    )


def words_mount(container: JsonObject, step: Start, parts: PodParts, directory: Path) -> tuple[Mount, ...]:
    """The file for a container's last words. A runtime that shares the gateway's /dev gets none there: what was
    plugged in later would not be seen in a /dev that is covered for its sake."""
    path = str_at(container, "terminationMessagePath", default=DEFAULT_PATH)
    if path == DEFAULT_PATH and not parts.runtime.abilities.isolation:
        return ()
    file = words_file(directory, step.name, step.attempt)
    make_words_file(file)
    return (Mount(host_path=file, container_path=path, read_only=False),)


def grace_of(pod: JsonObject | None) -> float:
    """Seconds between SIGTERM and SIGKILL: of the deletion when there is one, else of the spec."""
    of_deletion = None if pod is None else dig(pod, "metadata", "deletionGracePeriodSeconds")
    return float(of_deletion) if isinstance(of_deletion, int) else own_grace_s(pod or {})


def remembered(key: Key, uid: str) -> JsonObject:
    """A pod of which only its containers are left."""
    pod: JsonObject = {"metadata": {"name": key.name, "namespace": key.namespace, "uid": uid}, "spec": {}}
    assert (name_of(pod), namespace_of(pod), uid_of(pod)) == (key.name, key.namespace, uid)
    return pod
