"""The shape of KubeFed's kinds for DNS (`multiclusterdns.kubefed.io/v1alpha1`, v0.6), as OpenAPI definitions; fields
of ours are optional, and say so. Keeps no data."""

from __future__ import annotations

from typing import Final

from cloudcore.registry.definition_parts import GroupParts, boolean, int64, obj, string, strings, strings_list
from skerry.objects.json import JsonObject, map_at
from skerry.objects.multicluster_dns import GROUP

_DNS: Final = GroupParts(prefix="io.kubefed.multiclusterdns.v1alpha1.", group=GROUP, version="v1alpha1")
_BALANCER: Final[JsonObject] = {
    "$ref": "#/$defs/io.k8s.api.core.v1.LoadBalancerStatus",
    "description": "Where it is reached there.",
}
_TTL: Final = "How long answers may be kept, in seconds; 180 where left out."


def multicluster_dns_definitions() -> dict[str, JsonObject]:
    """Definitions by name, `$ref`s in the carrier's own form (`#/$defs/NAME`)."""
    return _domain() | _service() | _ingress() | _endpoint()


def _domain() -> dict[str, JsonObject]:
    made = _DNS.kind(
        "Domain",
        "A domain that names of members' Services are in. In the namespace of the federation.",
        domain=string("The domain."),
        nameServer=string("Who answers for it; of no effect here."),
    )
    made["required"] = ["domain"]
    return {_DNS.prefix + "Domain": made, _DNS.prefix + "DomainList": _DNS.list_kind("Domain")}


def _service() -> dict[str, JsonObject]:
    p = _DNS.prefix
    return {
        p + "ServiceDNSRecord": _DNS.kind(
            "ServiceDNSRecord",
            "Names of the Service of the same name and namespace, in all members that have it.",
            spec=_DNS.ref("ServiceDNSRecordSpec", "Which names."),
            status=_DNS.ref("ServiceDNSRecordStatus", "What each member has."),
        ),
        p + "ServiceDNSRecordList": _DNS.list_kind("ServiceDNSRecord"),
        p + "ServiceDNSRecordSpec": obj(
            "Which names.",
            required=("domainRef",),
            domainRef=string("Name of the Domain, which is part of the names."),
            recordTTL=int64(_TTL),
            dnsPrefix=string("One name more, this in the domain: an alias of the one for all members."),
            externalName=string("In place of the Service's name."),
            allowServiceWithoutEndpoints=boolean("A member counts that has no ready endpoint as well."),
        ),
        p + "ServiceDNSRecordStatus": obj(
            "What each member has.",
            domain=string("The domain that the Domain has."),
            dns=_DNS.list_of("ClusterDNS", "Members, in order of name."),
        ),
        p + "ClusterDNS": _with_ours(
            "What a member has.",
            cluster=string("The member."),
            loadBalancer=_BALANCER,
            zones=strings_list("Where it is."),
            region=string("Where it is."),
        ),
    }


def _ingress() -> dict[str, JsonObject]:
    p = _DNS.prefix
    return {
        p + "IngressDNSRecord": _DNS.kind(
            "IngressDNSRecord",
            "Hosts of the Ingress of the same name and namespace, in all members that have it.",
            spec=_DNS.ref("IngressDNSRecordSpec", "Which hosts."),
            status=_DNS.ref("IngressDNSRecordStatus", "What each member has."),
        ),
        p + "IngressDNSRecordList": _DNS.list_kind("IngressDNSRecord"),
        p + "IngressDNSRecordSpec": obj(
            "Which hosts.", hosts=strings_list("Names, as rules of the Ingress have them."), recordTTL=int64(_TTL)
        ),
        p + "IngressDNSRecordStatus": obj(
            "What each member has.", dns=_DNS.list_of("ClusterIngressDNS", "Members, in order of name.")
        ),
        p + "ClusterIngressDNS": _with_ours(
            "What a member has.",
            cluster=string("The member."),
            loadBalancer=_BALANCER,
            region=string("Ours: where it is."),
        ),
    }


def _with_ours(description: str, /, **fields: JsonObject) -> JsonObject:
    ours = obj(
        description,
        addresses=strings_list("Ours: what the names in loadBalancer lead to, and the addresses in it."),
        observedAt=string("Ours: when the member told so."),
        message=string("Ours: what is amiss there."),
    )
    map_at(ours, "properties").update(fields)
    return ours


def _endpoint() -> dict[str, JsonObject]:
    p = _DNS.prefix
    return {
        p + "DNSEndpoint": _DNS.kind(
            "DNSEndpoint",
            "Records of zones, made of the records of Services and Ingresses; external-dns reads it as well.",
            spec=_DNS.ref("DNSEndpointSpec", "Which."),
            status=_DNS.ref("DNSEndpointStatus", "Whether they were seen."),
        ),
        p + "DNSEndpointList": _DNS.list_kind("DNSEndpoint"),
        p + "DNSEndpointSpec": obj("Records.", endpoints=_DNS.list_of("Endpoint", "A name and type each.")),
        p + "Endpoint": obj(
            "The records of a name and type.",
            dnsName=string("The name."),
            targets=strings_list("Data of records, one each."),
            recordType=string("A, AAAA, CNAME, TXT, ..."),
            recordTTL=int64("How long they may be kept, in seconds; the zone's where left out."),
            labels=strings("What it is of."),
        ),
        p + "DNSEndpointStatus": obj(
            "Whether they were seen.", observedGeneration=int64("The generation that is answered with.")
        ),
    }
