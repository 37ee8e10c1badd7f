"""Which EndpointSlices a Service should have, given those it has: as few writes as can be. Pure; keeps nothing.

The rules are those of `k8s.io/endpointslice`: endpoints of one family with the same ports share slices of at most a
hundred; each stays in the slice where it is; what is new fills slices that are written anyway, then gets slices of
its own, unless what is left over fits one that is there. Endpoints of two sites never share one, so that a gateway is
told of its own site's alone (docs/decisions/0370); nor, where a Service is kept to node groups, those of two groups.
A service without members keeps one empty slice, by which readers tell "nobody" from "not looked yet". What says
nothing new is not written.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from cloudcore.controllers.ownership import controller_reference, with_metadata
from skerry.frozen import Frozen
from skerry.objects.json import Json, JsonObject, map_at, maps_at, str_at, strs_at, to_json
from skerry.objects.members import Family, Port, families_of, is_headless, labels_for, members_of, ports_in
from skerry.objects.meta import being_deleted, labels_of, name_of, namespace_of
from skerry.objects.node_groups import BELONGING_TO
from skerry.objects.sites import EVERYWHERE, site_in

SERVICE_LABEL: Final = "kubernetes.io/service-name"
MANAGER_LABEL: Final = "endpointslice.kubernetes.io/managed-by"
MANAGER: Final = "endpointslice-controller.k8s.io"
ENDPOINTS_MAX: Final = 100
"""In one slice."""

Shape = tuple[Family, tuple[Port, ...], str]
"""What all endpoints of one slice have in common: the last is their site, and their node group where that counts."""
Groups = Mapping[str, str]
"""Node group by node, for a Service that is kept to groups; of others there are none."""


class Plan(Frozen):
    """What to write. Created ones have no name yet (generateName)."""

    create: tuple[JsonObject, ...] = ()
    update: tuple[JsonObject, ...] = ()
    delete: tuple[JsonObject, ...] = ()


class Owner(Frozen):
    """Whose slices they are, and what each of them says of itself."""

    reference: JsonObject
    namespace: str
    prefix: str
    """`generateName`."""
    labels: Mapping[str, str]
    annotations: Mapping[str, str] | None = None
    """None: those of others are left as they are."""
    groups: Groups | None = None
    """None: slices say nothing of them."""


def owner_of(service: JsonObject, groups: Groups | None = None) -> Owner:
    found = {SERVICE_LABEL: name_of(service), MANAGER_LABEL: MANAGER}
    return Owner(
        reference=controller_reference(service),
        namespace=namespace_of(service),
        prefix=f"{name_of(service)}-",
        labels=labels_for(service, found),
        groups=groups,
    )


def wanted(
    service: JsonObject, pods: Sequence[JsonObject], zones: Mapping[str, str], groups: Groups | None = None
) -> dict[Shape, dict[str, JsonObject]]:
    """The endpoints that should be, by shape and by who they are."""
    found: dict[Shape, dict[str, JsonObject]] = defaultdict(dict)
    how = str_at(service, "spec", "trafficDistribution")
    for family in families_of(service):
        for member in sorted(members_of(service, pods, zones, family)):
            namespace, name, uid = member.target
            endpoint: JsonObject = {
                "addresses": [member.address],
                "conditions": {
                    "ready": member.ready,
                    "serving": member.serving,
                    "terminating": member.terminating,
                },
                "targetRef": {"kind": "Pod", "namespace": namespace, "name": name, "uid": uid},
                "nodeName": member.node,
            }
            if member.zone:
                endpoint["zone"] = member.zone
            if member.hostname:
                endpoint["hostname"] = member.hostname
            hints = _hints(how, member.node, member.zone) if member.ready else {}
            if hints:
                endpoint["hints"] = hints
            # Pods on the network of their node share an address: one that is ready comes last, and counts. But where
            # they have names of their own, as a StatefulSet's have, each is to be found.
            who = _named(endpoint) if is_headless(service) else member.address
            found[family, member.ports, _place(endpoint, groups)][who] = endpoint
    return found


def _named(endpoint: JsonObject) -> str:
    """Its address, and its name in the service where it has one."""
    names = (*strs_at(endpoint, "addresses")[:1], str_at(endpoint, "hostname"))
    return " ".join(name for name in names if name)


def _place(endpoint: JsonObject, groups: Groups | None) -> str:
    group = "" if groups is None else groups.get(str_at(endpoint, "nodeName"), "")
    return f"{site_in(endpoint)} {group}" if group else site_in(endpoint)


def _hints(how: str, node: str, zone: str) -> JsonObject:
    """Whom the endpoint is meant for (KEP-4444, KEP-3015)."""
    if how not in ("PreferClose", "PreferSameZone", "PreferSameNode"):
        return {}
    hints: JsonObject = {"forZones": [{"name": zone}]} if zone else {}
    if how == "PreferSameNode":
        hints["forNodes"] = [{"name": node}]
    return hints


def plan(
    owner: Owner,
    families: Sequence[Family],
    endpoints: Mapping[Shape, Mapping[str, JsonObject]],
    existing: Iterable[JsonObject],
) -> Plan:
    """`existing` are the slices that this owner's controller made."""
    held: dict[Shape, list[JsonObject]] = defaultdict(list)
    for each in sorted(existing, key=name_of):
        if not being_deleted(each):
            held[shape_of(each, owner.groups)].append(each)
    create: list[JsonObject] = []
    changed: list[tuple[JsonObject, JsonObject]] = []
    """Slices before and after."""
    spare: list[JsonObject] = []
    """Slices that nothing is left in."""
    for shape in dict.fromkeys([*held, *endpoints]):
        kept, new, empty = _fill(held.get(shape, ()), endpoints.get(shape, {}))
        changed += kept
        spare += empty
        create += [_slice(owner, shape, part) for part in new]
    for family in families:
        _hold_empty(owner, family, create, changed, spare)
    _reuse(create, changed, spare)
    after = [(before, _dressed(owner, now)) for before, now in changed]
    return Plan(
        create=tuple(create),
        update=tuple(now for before, now in after if now != before),
        delete=tuple(spare),
    )


def shape_of(slice_: JsonObject, groups: Groups | None = None) -> Shape:
    endpoints = maps_at(slice_, "endpoints")
    return str_at(slice_, "addressType"), ports_in(slice_), _place(endpoints[0], groups) if endpoints else EVERYWHERE


def _fill(
    held: Sequence[JsonObject], endpoints: Mapping[str, JsonObject]
) -> tuple[list[tuple[JsonObject, JsonObject]], list[list[JsonObject]], list[JsonObject]]:
    """Slices before and after, what new ones hold, and which are empty now."""
    left = dict(endpoints)
    kept: list[tuple[JsonObject, list[JsonObject]]] = []
    for slice_ in held:
        known = dict.fromkeys(
            who for each in maps_at(slice_, "endpoints") for who in (_named(each), *strs_at(each, "addresses")[:1])
        )
        kept.append((slice_, [left.pop(who) for who in known if who in left]))
    new = list(left.values())
    # What is written anyway is filled first; those that would be empty come last, so that they can go.
    for slice_, now in sorted(kept, key=lambda pair: -len(pair[1])):
        if new and now and now != maps_at(slice_, "endpoints"):
            count = ENDPOINTS_MAX - len(now)
            now += new[:count]
            del new[:count]
    parts: list[list[JsonObject]] = []
    while new:
        if len(new) < ENDPOINTS_MAX:
            roomy = [now for _, now in kept if len(now) + len(new) <= ENDPOINTS_MAX]
            if roomy:
                max(roomy, key=len).extend(new)
                break
        parts.append(new[:ENDPOINTS_MAX])
        del new[:ENDPOINTS_MAX]
    empty = [slice_ for slice_, now in kept if not now]
    after = [(slice_, _holding(slice_, now)) for slice_, now in kept if now]
    return after, parts, empty


def _holding(slice_: JsonObject, endpoints: Sequence[JsonObject]) -> JsonObject:
    return {**slice_, "endpoints": [*endpoints]}


def _hold_empty(
    owner: Owner,
    family: Family,
    create: list[JsonObject],
    changed: list[tuple[JsonObject, JsonObject]],
    spare: list[JsonObject],
) -> None:
    """Where a family has no slice any more: an empty one of before stays, or one is made."""
    if any(str_at(each, "addressType") == family for each in (*create, *(now for _, now in changed))):
        return
    for number, slice_ in enumerate(spare):
        if shape_of(slice_)[:2] == (family, ()):
            changed.append((slice_, {**slice_, "endpoints": []}))
            del spare[number]
            return
    create.append(_slice(owner, (family, (), EVERYWHERE), []))


def _reuse(create: list[JsonObject], changed: list[tuple[JsonObject, JsonObject]], spare: list[JsonObject]) -> None:
    """A slice that would go becomes one that would be made: one write instead of two, and watchers see one change."""
    for made in [*create]:
        old = next((each for each in spare if each.get("addressType") == made.get("addressType")), None)
        if old is not None:
            spare.remove(old)
            create.remove(made)
            changed.append((old, {**old, "ports": made["ports"], "endpoints": made["endpoints"]}))


def _slice(owner: Owner, shape: Shape, endpoints: Sequence[JsonObject]) -> JsonObject:
    family, ports, _ = shape
    slice_: JsonObject = {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {"generateName": owner.prefix, "namespace": owner.namespace},
        "addressType": family,
        "endpoints": [*endpoints],
        "ports": [_port(port) for port in ports],
    }
    return _dressed(owner, slice_)


def _dressed(owner: Owner, slice_: JsonObject) -> JsonObject:
    """With its owner, its labels and annotations."""
    node = next((str_at(each, "nodeName") for each in maps_at(slice_, "endpoints")), "")
    group = "" if owner.groups is None else owner.groups.get(node, "")
    labels = {**owner.labels, **({BELONGING_TO: group} if group else {})}
    fields: dict[str, Json] = {"labels": to_json(labels), "ownerReferences": [owner.reference]}
    if owner.annotations is not None:
        fields["annotations"] = to_json(owner.annotations)
    dressed = with_metadata(slice_, **fields)
    return slice_ if map_at(dressed, "metadata") == map_at(slice_, "metadata") else dressed


def _port(port: Port) -> JsonObject:
    made: JsonObject = {"name": port.name, "port": port.number, "protocol": port.protocol}
    if port.app_protocol:
        made["appProtocol"] = port.app_protocol
    return made


def is_of(slice_: JsonObject, manager: str, name: str) -> bool:
    """Whether this manager made the slice for the service of that name."""
    labels = labels_of(slice_)
    return labels.get(MANAGER_LABEL) == manager and labels.get(SERVICE_LABEL) == name
