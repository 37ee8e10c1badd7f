"""`skerry region`: members of a federation, seen from the global cloud, and from the region that joins."""

from __future__ import annotations

import base64
import secrets
import time
from collections.abc import Sequence
from typing import Final

import click

from skerry.cli import kinds
from skerry.cli.client import Client, path_of
from skerry.cli.logs import seconds_of
from skerry.cli.output import print_data, print_table, say
from skerry.cli.region_types import (
    disable_type,
    enable,
    enable_type,
    ensure_config,
    ensure_namespace,
    orphaning,
    type_config,
)
from skerry.cli.target import Target, with_target
from skerry.cli.token import label_of, pin_of_cloud
from skerry.errors import AlreadyExistsError, BadRequestError, ForbiddenError, NotFoundError
from skerry.objects.conditions import is_true
from skerry.objects.enrolment import TOKEN_NAMESPACE, JoinToken, parse_token, split_address, token_secret
from skerry.objects.federation import (
    CORE_GROUP,
    MEMBERSHIP,
    MEMBERSHIP_TYPE,
    NAMESPACE,
    PUSH,
    REGION_STATE,
    TYPES_GROUP,
)
from skerry.objects.federation_config import NAME as CONFIG
from skerry.objects.json import JsonObject, int_at, map_at, maps_at, str_at
from skerry.objects.meta import annotations_of, labels_of, name_of
from skerry.objects.names import label_1123_faults
from skerry.objects.placement_policies import targets_of
from skerry.objects.scheme import Kind
from skerry.objects.select import label_selector
from skerry.objects.strays import strays_of
from skerry.objects.times import human_duration, ms_at, time_text

_SECRETS: Final = Kind(group="", version="v1", kind="Secret", plural="secrets", namespaced=True)
_MEMBERS: Final = Kind(
    group=CORE_GROUP, version="v1beta1", kind="KubeFedCluster", plural="kubefedclusters", namespaced=True
)
_TYPES: Final = Kind(
    group=CORE_GROUP, version="v1beta1", kind="FederatedTypeConfig", plural="federatedtypeconfigs", namespaced=True
)
_POLICIES: Final = Kind(
    group="skerry.dev", version="v1", kind="PlacementPolicy", plural="placementpolicies", namespaced=True
)
_REVISIONS: Final = Kind(
    group="skerry.dev", version="v1", kind="FederatedRevision", plural="federatedrevisions", namespaced=True
)
_ROWS: Final = Kind(group="skerry.dev", version="v1", kind="MemberObject", plural="memberobjects", namespaced=False)
_REGION_ROWS: Final = Kind(
    group="skerry.dev", version="v1", kind="RegionObject", plural="regionobjects", namespaced=False
)
_PREFERENCES: Final = Kind(
    group="scheduling.kubefed.io",
    version="v1alpha1",
    kind="ReplicaSchedulingPreference",
    plural="replicaschedulingpreferences",
    namespaced=True,
)
_LENT_SHOWN: Final = 5
_DEFAULT_TYPES: Final = (
    ("", "v1", "Namespace", "namespaces", "Cluster"),
    ("", "v1", "ConfigMap", "configmaps", "Namespaced"),
    ("", "v1", "Secret", "secrets", "Namespaced"),
    ("", "v1", "Service", "services", "Namespaced"),
    ("", "v1", "ServiceAccount", "serviceaccounts", "Namespaced"),
    ("apps", "v1", "Deployment", "deployments", "Namespaced"),
    ("apps", "v1", "ReplicaSet", "replicasets", "Namespaced"),
    ("batch", "v1", "Job", "jobs", "Namespaced"),
    ("networking.k8s.io", "v1", "Ingress", "ingresses", "Namespaced"),
    ("rbac.authorization.k8s.io", "v1", "ClusterRole", "clusterroles", "Cluster"),
)
"""Those that KubeFed's chart enables."""


@click.group("region")
def region() -> None:
    """Members of a federation: regions whose clouds take what this one wants of them."""


region.add_command(enable_type)
region.add_command(disable_type)
region.add_command(orphaning)


@region.command("init")
@with_target
def init(target: Target) -> None:
    """Make this cloud a global one: enable the types that KubeFed enables. What is there stays as it is."""
    client = target.client()
    ensure_namespace(client)
    say(f"settings {CONFIG} {ensure_config(client)}")
    for group, version, kind, plural, scope in _DEFAULT_TYPES:
        made = enable(client, type_config(group, version, kind, plural, scope))
        say(f"federated type {name_of(type_config(group, version, kind, plural, scope))} {made}")


@region.command("token")
@click.argument("name")
@click.option("--ttl", default="24h", help="How long it may be used: 30m, 24h, 7d.")
@click.option("--label", "labels", multiple=True, help="KEY=VALUE for the member, such as region=eu.")
@with_target
def token(target: Target, name: str, ttl: str, labels: Sequence[str]) -> None:
    """Print a one-time token with which the cloud of the region NAME joins this one."""
    if label_1123_faults(name) or len(name) > 40:
        raise BadRequestError(f"{name!r} can't be a member's name: lower-case letters, digits and '-', at most 40")
    lifetime_s = seconds_of(ttl)
    client = target.client()
    made = JoinToken(id=secrets.token_hex(5), secret=secrets.token_hex(16), pin=pin_of_cloud(client), node=name)
    expires = time_text(int(time.time() * 1000) + lifetime_s * 1000)
    given = dict(label_of(text) for text in labels)
    body = token_secret(made, expires=expires, labels=given, of_region=True)
    _note_known(client, name)
    client.request("POST", path_of(_SECRETS, TOKEN_NAMESPACE), query={"fieldManager": "skerry"}, body=body)
    say(str(made))


def _note_known(client: Client, name: str) -> None:
    """On stderr, where there is a member of this name."""
    try:
        member = client.request("GET", path_of(_MEMBERS, NAMESPACE, name)).obj
    except NotFoundError:
        return
    heard = "is heard" if is_true(member, "Ready") else "is not heard"
    say(
        f"there is a member {name}, which {heard}: whoever joins with this token takes its place, and it is refused"
        " from then on. What it has stays there",
        err=True,
    )


@region.command("join")
@click.argument("cloud")
@click.argument("token_text", metavar="TOKEN")
@click.option("--wait", "wait_s", default=30, show_default=True, help="Seconds to wait for it; 0: don't.")
@with_target
def join(target: Target, cloud: str, token_text: str, wait_s: int) -> None:
    """In a region: join the global cloud whose hub is at CLOUD (HOST:PORT, 10443 unless said), and take from now on
    what it wants here."""
    split_address(cloud, default_port=10443)
    parse_token(token_text)
    client = target.client()
    ensure_namespace(client)
    data: JsonObject = {
        name: base64.b64encode(text.encode()).decode() for name, text in (("cloud", cloud), ("token", token_text))
    }
    secret: JsonObject = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": MEMBERSHIP, "namespace": NAMESPACE},
        "type": MEMBERSHIP_TYPE,
        "data": data,
    }
    try:
        client.request("POST", path_of(_SECRETS, NAMESPACE), body=secret)
    except AlreadyExistsError:
        raise BadRequestError(
            "this region is a member already (or was, and has not left itself): `skerry region status` says which;"
            " leave with `skerry region leave` before you join"
        ) from None
    until = time.monotonic() + wait_s
    state = "joining"
    while time.monotonic() < until:
        state = _state(client) or state
        if state == "connected":
            break
        time.sleep(0.2)
    say(state)


@region.command("status")
@with_target
def status(target: Target) -> None:
    """In a region: whether it is a member, and whether the global cloud is heard."""
    client = target.client()
    try:
        say(_state(client) or "joining")
    except NotFoundError:
        say("no member of any federation")


@region.command("leave")
@click.option(
    "--keep-lent", is_flag=True, help="Leave with what may run once alone (atMostOnce): it stays and runs on."
)
@with_target
def leave(target: Target, *, keep_lent: bool) -> None:
    """In a region: be no member any more. What the federation put here stays. Refused while something is here that
    may run once alone in the federation, as it would run on here while another member begins it."""
    client = target.client()
    if not keep_lent:
        refuse_lent(client)
    try:
        client.request("DELETE", path_of(_SECRETS, NAMESPACE, MEMBERSHIP))
    except NotFoundError:
        say("no member of any federation")
        return
    say("left; what the federation put here stays, and is this region's own")


def refuse_lent(client: Client) -> None:
    """Raises `BadRequestError` while something is here that may run once alone."""
    lent = lent_here(client)
    if not lent:
        return
    shown = ", ".join(lent[:_LENT_SHOWN]) + (
        f" and {len(lent) - _LENT_SHOWN} more" if len(lent) > _LENT_SHOWN else ""
    )
    raise BadRequestError(
        f"may run once alone in the federation, and would run on here while another member begins it: {shown}. "
        "Place it elsewhere in the global cloud first, or leave with --keep-lent"
    )


def lent_here(client: Client) -> list[str]:
    """In a region: what is here for as long as it is lent."""
    found: list[str] = []
    for row in maps_at(client.request("GET", path_of(_REGION_ROWS)).obj, "items"):
        # a tombstone with a lease counts until it is carried out, and one that dropped its lease runs as it likes
        if int_at(row, "spec", "leaseSeconds") and not map_at(row, "status").get("removed"):
            kind, namespace, name = (str_at(row, "spec", "object", field) for field in ("kind", "namespace", "name"))
            found.append(f"{kind} {namespace}/{name}" if namespace else f"{kind} {name}")
    return sorted(found)


@region.command("list")
@click.option("-o", "--output", "form", type=click.Choice(["table", "json", "yaml"]), default="table")
@with_target
def list_members(target: Target, form: str) -> None:
    """List the members: whether they are heard, and how far what they are to have is there."""
    listed = target.client().request("GET", path_of(_MEMBERS, NAMESPACE)).obj
    if form != "table":
        print_data(listed["items"], form)
        return
    now_ms = time.time() * 1000
    rows: list[list[str]] = []
    for member in maps_at(listed, "items"):
        counts = [
            str(int_at(member, "status", "objects", each)) for each in ("wanted", "pending", "failing", "cleanup")
        ]
        observed = str_at(member, "status", "observedAt")
        age = human_duration(max(0.0, now_ms - ms_at(observed)) / 1000) if observed else "-"
        mode = str_at(member, "spec", "syncMode") or PUSH
        counts.append(str(int_at(member, "status", "strays", "count")))
        heard = "left" if str_at(member, "status", "leftAt") else "yes" if is_true(member, "Ready") else "no"
        rows.append([name_of(member), mode, heard, *counts, age, str_at(member, "status", "region") or "-"])
    print_table(
        ["NAME", "MODE", "HEARD", "WANTED", "PENDING", "FAILING", "CLEANUP", "STRAYS", "OBSERVED", "REGION"], rows
    )


@region.command("pending")
@click.argument("name", required=False)
@with_target
def pending(target: Target, name: str | None) -> None:
    """List what is still to be cleaned up in members (or in NAME): deleted here, and waiting there."""
    listed = target.client().request("GET", path_of(_ROWS)).obj
    rows: list[list[str]] = []
    for row in maps_at(listed, "items"):
        if not str_at(row, "spec", "remove") or (name and str_at(row, "spec", "member") != name):
            continue
        place = [str_at(row, "spec", "object", field) for field in ("kind", "namespace", "name")]
        since = str_at(row, "spec", "plannedAt")
        rows.append([str_at(row, "spec", "member"), *place, str_at(row, "spec", "remove"), since])
    print_table(["MEMBER", "KIND", "NAMESPACE", "NAME", "REMOVE", "SINCE"], rows)


@region.command("strays")
@click.argument("name", required=False)
@with_target
def strays(target: Target, name: str | None) -> None:
    """List what members (or NAME) have of this federation and no ledger knows: made after the backup that this cloud
    was restored from, say. It is left as it is; a federated object of its name takes it over."""
    listed = target.client().request("GET", path_of(_MEMBERS, NAMESPACE)).obj
    rows: list[list[str]] = []
    for member in maps_at(listed, "items"):
        if name and name_of(member) != name:
            continue
        found = strays_of(member)
        for stray in found:
            row = [name_of(member), stray.target.kind, stray.target.namespace, stray.target.name]
            rows.append([*row, "is cleaned up" if stray.epoch else "is not known here, and left"])
        if (more := int_at(member, "status", "strays", "count") - len(found)) > 0 and found:
            rows.append([name_of(member), f"and {more} more", "", "", ""])
    print_table(["MEMBER", "KIND", "NAMESPACE", "NAME", "STATE"], rows)


@region.command("unjoin")
@click.argument("name")
@with_target
def unjoin(target: Target, name: str) -> None:
    """Forget the member NAME: what it has stays there, and what was to go is not cleaned up any more."""
    try:
        target.client().request("DELETE", path_of(_MEMBERS, NAMESPACE, name))
    except NotFoundError:
        raise BadRequestError(f"there is no member {name}: `skerry region list`") from None
    say(f"region {name} is no member any more; what it has stays there")


@region.command("explain")
@click.argument("kind_word", metavar="TYPE")
@click.argument("name")
@click.option("-n", "--namespace", default="default", show_default=True, help="Where it is.")
@with_target
def explain(target: Target, kind_word: str, name: str, namespace: str) -> None:
    """Say of each member why the federated object NAME of TYPE is there, or why not, and how far it is. A
    PlacementPolicy of it that only tries (dryRun) says what would be otherwise; where a RolloutPolicy is about it,
    the wave of each member is said, and why its turn has not come."""
    client = target.client()
    kind = kinds.resolve(client, kind_word)
    federated = client.request("GET", path_of(kind, namespace if kind.namespaced else "", name)).obj
    members = maps_at(client.request("GET", path_of(_MEMBERS, NAMESPACE)).obj, "items")
    space: JsonObject | None = None
    if kind.namespaced and kind.kind != "FederatedNamespace":
        fns = Kind(
            group=TYPES_GROUP,
            version="v1beta1",
            kind="FederatedNamespace",
            plural="federatednamespaces",
            namespaced=True,
        )
        try:
            space = client.request("GET", path_of(fns, namespace, namespace)).obj
        except NotFoundError:
            space = {}
    if halted := _not_propagated(client, kind):
        say(halted)
    policies = _policies_of(client, kind, namespace, name) if kind.namespaced else []
    counts = next((each for each in policies if "placed" in map_at(each, "status")), None)
    rollout = _rollout_of(client, federated, namespace) if kind.namespaced else None
    seats = _preference_of(client, kind, namespace, name) if kind.namespaced else None
    tries = [each for each in policies if "wouldPlace" in map_at(each, "status")]
    rows: list[list[str]] = []
    for member in members:
        there, why = reason_of(federated, member)
        if seats is not None:
            why = f"{why}, as {_seats(seats, name_of(member))}"
        if there and space is not None:
            in_space, space_why = reason_of(space, member)
            if not in_space:
                there, why = False, f"FederatedNamespace {namespace}: {space_why if space else 'there is none'}"
        if there and counts is not None:
            there, why = _policy_reason(counts, name_of(member))
        would = [_would(each, name_of(member), there=there) for each in tries]
        rows.append([name_of(member), "yes" if there else "no", why, _progress(federated, name_of(member)), *would])
        if rollout is not None:
            rows[-1].append(_turn(rollout, name_of(member)))
    heads = [f"WITH {name_of(each)}" for each in tries]
    if rollout is not None:
        heads.append(f"REVISION {int_at(rollout, 'spec', 'revision')}")
    print_table(["MEMBER", "PLACED", "BECAUSE", "STATE", *heads], rows)


def _not_propagated(client: Client, kind: Kind) -> str:
    """Why nothing of a federated kind is carried out; "" where it is."""
    configs = maps_at(client.request("GET", path_of(_TYPES, NAMESPACE)).obj, "items")
    for config in configs:
        federated = map_at(config, "spec", "federatedType")
        if (str_at(federated, "kind"), str_at(federated, "group")) != (kind.kind, kind.group):
            continue
        if str_at(config, "status", "propagationController") == "Running":
            return ""
        why = str_at(config, "status", "message") or "not looked at yet"
        return f"{kind.kind} is not propagated: {why}; what follows is as it was before"
    return f"{kind.kind} is not propagated: its type is not enabled; what follows is as it was before"


def _preference_of(client: Client, kind: Kind, namespace: str, name: str) -> JsonObject | None:
    """What writes its placement, where a ReplicaSchedulingPreference does."""
    try:
        found = client.request("GET", path_of(_PREFERENCES, namespace, name)).obj
    except (NotFoundError, ForbiddenError):
        return None
    return found if str_at(found, "spec", "targetKind") == kind.kind else None


def _seats(preference: JsonObject, member: str) -> str:
    """How many replicas it gives the member, and why no more."""
    none: JsonObject = {}
    mine = next((each for each in maps_at(preference, "status", "clusters") if str_at(each, "name") == member), none)
    short = f", {int_at(mine, 'short')} short of minReplicas" if mine.get("short") else ""
    remark = "" if int_at(mine, "replicas") else str_at(preference, "status", "message")
    told = f"{int_at(mine, 'replicas')} replicas{short}{f' ({remark})' if remark else ''}"
    return f"the ReplicaSchedulingPreference {name_of(preference)} says: {told}"


def _rollout_of(client: Client, federated: JsonObject, namespace: str) -> JsonObject | None:
    """Its newest version, where a RolloutPolicy is about it."""
    if not federated.get("status") or "rollout" not in map_at(federated, "status"):
        return None
    uid = str_at(federated, "metadata", "uid")
    listed = maps_at(client.request("GET", path_of(_REVISIONS, namespace)).obj, "items")
    mine = [each for each in listed if str_at(each, "spec", "source", "uid") == uid]
    return max(mine, key=lambda each: int_at(each, "spec", "revision"), default=None)


def _turn(rollout: JsonObject, member: str) -> str:
    """Whether it has the newest version, and why not."""
    for each in maps_at(rollout, "status", "members"):
        if str_at(each, "name") == member:
            why = str_at(each, "message")
            return f"{str_at(each, 'state')} (wave {str_at(each, 'wave')}){f': {why}' if why else ''}"
    return "-"


def _policies_of(client: Client, kind: Kind, namespace: str, name: str) -> list[JsonObject]:
    """Of an object, the oldest first: the first that has chosen counts."""
    found = maps_at(client.request("GET", path_of(_POLICIES, namespace)).obj, "items")
    mine = [each for each in found if any(target.means(kind.kind, name) for target in targets_of(each))]
    return sorted(mine, key=lambda each: (str_at(each, "metadata", "creationTimestamp"), name_of(each)))


def _policy_reason(policy: JsonObject, member: str) -> tuple[bool, str]:
    there = member in [str_at(each, "name") for each in maps_at(policy, "status", "placed")]
    told = [str_at(each, "reason") for each in maps_at(policy, "status", "members") if str_at(each, "name") == member]
    remark = str_at(policy, "status", "message")
    return there, f"PlacementPolicy {name_of(policy)}: {next(iter(told), '') or remark or 'not chosen'}"


def _would(policy: JsonObject, member: str, *, there: bool) -> str:
    """What the policy would change of it."""
    then = member in [str_at(each, "name") for each in maps_at(policy, "status", "wouldPlace")]
    _, why = _policy_reason(policy, member)
    change = "stays" if then == there else "would go there" if then else "would leave"
    return f"{change} ({why.partition(': ')[2]})"


def reason_of(federated: JsonObject, member: JsonObject) -> tuple[bool, str]:
    """Whether its placement has the member, and which words of it say so."""
    placement, name = map_at(federated, "spec", "placement"), name_of(member)
    if placement.get("clusters") is not None:
        named = name in [str_at(each, "name") for each in maps_at(placement, "clusters")]
        return named, f"spec.placement.clusters {'names' if named else 'does not name'} it"
    if placement.get("clusterSelector") is None:
        return False, "spec.placement has neither clusters nor a clusterSelector: it is nowhere"
    matches = label_selector(placement["clusterSelector"]).matches(labels_of(member))
    labels = ",".join(f"{key}={value}" for key, value in sorted(labels_of(member).items())) or "none"
    return (
        matches,
        f"spec.placement.clusterSelector {'matches' if matches else 'does not match'} its labels ({labels})",
    )


def _progress(federated: JsonObject, member: str) -> str:
    for each in maps_at(federated, "status", "clusters"):
        if str_at(each, "name") == member:
            message = str_at(each, "message")
            told = str_at(each, "status") or ("" if message else "as it is to be")
            drifts = len(maps_at(each, "drift"))
            drift = f"; {drifts} drift{'s' if drifts > 1 else ''}" if drifts else ""
            seen_ms = ms_at(str_at(each, "observedAt"))
            seen = f"; seen {human_duration(max(0.0, time.time() - seen_ms / 1000))} ago" if seen_ms else ""
            return f"{': '.join(each for each in (told, message) if each)}{drift}{seen}"
    return "-"


def _state(client: Client) -> str:
    secret = client.request("GET", path_of(_SECRETS, NAMESPACE, MEMBERSHIP)).obj
    return annotations_of(secret).get(REGION_STATE, "")
