"""The shape of k8gb's Gslb (`k8gb.io/v1beta1` and `k8gb.absa.oss/v1beta1`, k8gb 0.21), external-dns' DNSEndpoint
(`externaldns.k8s.io/v1alpha1`), and our GlobalService, DnsZone and DnsSnapshot, as OpenAPI definitions. Keeps no
data."""

from __future__ import annotations

from typing import Final

from cloudcore.registry.definition_parts import (
    GroupParts,
    boolean,
    conditions,
    free,
    int32,
    int64,
    obj,
    string,
    strings,
    strings_list,
)
from skerry.objects.gslb import EXTERNAL_DNS, GROUPS, K8GB, K8GB_BEFORE, NO_PROBE, POLICIES
from skerry.objects.json import JsonObject, map_at

_OURS: Final = GroupParts(prefix="dev.skerry.v1.", group="skerry.dev", version="v1")
_ENDPOINTS: Final = GroupParts(prefix="io.k8s.externaldns.v1alpha1.", group=EXTERNAL_DNS, version="v1alpha1")
_GSLBS: Final = (
    GroupParts(prefix="io.k8gb.v1beta1.", group=K8GB, version="v1beta1"),
    GroupParts(prefix="oss.absa.k8gb.v1beta1.", group=K8GB_BEFORE, version="v1beta1"),
)
_NETWORKING: Final = "#/$defs/io.k8s.api.networking.v1."


def gslb_definitions() -> dict[str, JsonObject]:
    """Definitions by name, `$ref`s in the carrier's own form (`#/$defs/NAME`)."""
    found = _dns_endpoint() | _global_service() | _probe() | _zone() | _snapshot()
    for parts in _GSLBS:
        found |= _gslb(parts)
    return found


def _gslb(parts: GroupParts) -> dict[str, JsonObject]:
    return {
        parts.prefix + "Gslb": parts.kind(
            "Gslb",
            "Hosts that DNS answers for with the addresses of healthy regions.",
            spec=parts.ref("GslbSpec", "Which hosts, and how."),
            status=parts.ref("GslbStatus", "What is answered."),
        ),
        parts.prefix + "GslbList": parts.list_kind("Gslb"),
        parts.prefix + "GslbSpec": obj(
            "Which hosts, and how: with an Ingress of its own, or one that is there.",
            required=("strategy",),
            ingress=parts.ref("IngressSpec", "The spec of an Ingress, which is made."),
            resourceRef=parts.ref("ResourceRef", "What hosts and addresses come from."),
            serviceHealthPolicy=string("Of several Services behind a host; Any where left out.", "Any", "All"),
            strategy=parts.ref("Strategy", "How clients are led."),
        ),
        parts.prefix + "IngressSpec": obj(
            "The spec of an Ingress.",
            backend={"$ref": _NETWORKING + "IngressBackend", "description": "For what no rule matches."},
            ingressClassName=string("Who carries it out."),
            rules=_list(_NETWORKING + "IngressRule", "Hosts and paths."),
            tls=_list(_NETWORKING + "IngressTLS", "Certificates."),
        ),
        parts.prefix + "ResourceRef": _resource_ref(),
        parts.prefix + "Strategy": obj(
            "How clients are led.",
            required=("type",),
            type=string("roundRobin, failover or geoip."),
            weight={
                "type": "object",
                "additionalProperties": {"type": "integer"},
                "description": "Shares of clients by region, with roundRobin.",
            },
            primaryGeoTag=string("The region that clients are led to while it is healthy, with failover."),
            dnsTtlSeconds={"type": "integer", "description": "How long answers may be kept; 30 where left out."},
            splitBrainThresholdSeconds={"type": "integer", "description": "Of no effect, in k8gb too."},
        ),
        **_gslb_status(parts),
    }


def _resource_ref() -> JsonObject:
    words = {
        "apiVersion": "Of the kind.",
        "fieldPath": "Not used.",
        "kind": "Ingress, Service, VirtualService, or a route of the Gateway API.",
        "name": "Of one object; else labels choose.",
        "namespace": "The Gslb's own.",
        "resourceVersion": "Not used.",
        "uid": "Not used.",
    }
    definition = obj(
        "What hosts and addresses come from, by name or by labels.",
        matchLabels=strings("Labels that it has, all of them."),
        matchExpressions=_list(
            "#/$defs/io.k8s.apimachinery.pkg.apis.meta.v1.LabelSelectorRequirement", "What its labels obey."
        ),
    )
    map_at(definition, "properties").update({name: string(text) for name, text in words.items()})
    return definition


def _gslb_status(parts: GroupParts) -> dict[str, JsonObject]:
    return {
        parts.prefix + "GslbStatus": obj(
            "What is answered.",
            required=("geoTag", "healthyRecords", "serviceHealth"),
            serviceHealth=strings("Healthy, Unhealthy or NotFound, by host."),
            healthyRecords={
                "type": "object",
                "additionalProperties": {"type": "array", "items": {"type": "string"}},
                "description": "Addresses, by host.",
            },
            geoTag=string("The regions that there are addresses of."),
            hosts=string("Hosts, separated by commas."),
            servers=parts.list_of("Server", "Hosts and the Services behind them."),
            loadBalancer=parts.ref("LoadBalancer", "Where it is reached."),
            endpoints={
                "type": "array",
                "items": {"$ref": f"#/$defs/{_OURS.prefix}GlobalServiceEndpoint"},
                "description": "Addresses, in order of host, where they are tried; of ours, not of k8gb's.",
            },
            observations={
                "type": "array",
                "items": {"$ref": f"#/$defs/{_OURS.prefix}GlobalObservation"},
                "description": "How gateways vote that try the addresses; of ours, not of k8gb's.",
            },
        ),
        parts.prefix + "Server": obj(
            "A host.",
            host=string("Its name."),
            services=parts.list_of("NamespacedName", "The Services behind it."),
        ),
        parts.prefix + "NamespacedName": obj(
            "An object.", required=("name", "namespace"), name=string("Its name."), namespace=string("Where it is.")
        ),
        parts.prefix + "LoadBalancer": obj("Where it is reached.", exposedIps=strings_list("Addresses.")),
    }


def _list(ref: str, description: str) -> JsonObject:
    return {
        "type": "array",
        "items": {"$ref": ref},
        "description": description,
        "x-kubernetes-list-type": "atomic",
    }


def _dns_endpoint() -> dict[str, JsonObject]:
    return {
        _ENDPOINTS.prefix + "DNSEndpoint": _ENDPOINTS.kind(
            "DNSEndpoint",
            "Records of zones.",
            spec=_ENDPOINTS.ref("DNSEndpointSpec", "Which."),
            status=_ENDPOINTS.ref("DNSEndpointStatus", "Whether they were seen."),
        ),
        _ENDPOINTS.prefix + "DNSEndpointList": _ENDPOINTS.list_kind("DNSEndpoint"),
        _ENDPOINTS.prefix + "DNSEndpointSpec": obj(
            "Records.", endpoints=_ENDPOINTS.list_of("Endpoint", "A name and type each.")
        ),
        _ENDPOINTS.prefix + "Endpoint": obj(
            "The records of a name and type.",
            dnsName=string("The name."),
            targets=strings_list("Data of records, one each."),
            recordType=string("A, AAAA, CNAME, TXT, ..."),
            recordTTL=int64("How long they may be kept, in seconds; the zone's where left out."),
            setIdentifier=string("Tells apart records of one name and type, with other providers."),
            labels=strings("Of no effect."),
            providerSpecific=_ENDPOINTS.list_of("ProviderSpecificProperty", "Of no effect."),
        ),
        _ENDPOINTS.prefix + "ProviderSpecificProperty": obj(
            "A setting of one provider.", name=string("Its name."), value=string("Its value.")
        ),
        _ENDPOINTS.prefix + "DNSEndpointStatus": obj(
            "Whether they were seen.", observedGeneration=int64("The generation that is answered with.")
        ),
    }


def _global_service() -> dict[str, JsonObject]:
    prefix = _OURS.prefix
    return {
        prefix + "GlobalService": _OURS.kind(
            "GlobalService",
            "Hosts that DNS answers for, each client with the region that is best for it.",
            spec=_OURS.ref("GlobalServiceSpec", "Which hosts, and how."),
            status=_OURS.ref("GlobalServiceStatus", "What is answered."),
        ),
        prefix + "GlobalServiceList": _OURS.list_kind("GlobalService"),
        prefix + "GlobalServiceSpec": obj(
            "Which hosts, and how.",
            required=("hosts",),
            hosts=strings_list("Names, each in a zone that there is a DnsZone of."),
            policy=string("How clients are led; Nearest where left out.", *POLICIES),
            ttlSeconds=int32("How long answers may be kept; 30 where left out."),
            regionOrder=strings_list("Regions, the best first, with Failover."),
            weights={
                "type": "object",
                "additionalProperties": {"type": "integer", "format": "int32"},
                "description": "Shares of clients by region, with Weighted; 1 where left out.",
            },
            resourceRef=_OURS.ref("GlobalServiceReference", "What addresses and health come from."),
            healthPolicy=string("Of several Services behind a host; Any where left out.", "Any", "All"),
            endpoints=_OURS.list_of("GlobalEndpoint", "Addresses beside those."),
            probe=_OURS.ref("GlobalProbe", "How DNS servers try the addresses themselves."),
            tiers={
                "type": "array",
                "items": {"type": "array", "items": {"type": "string"}},
                "description": "Groups of regions, the best first, with Tiers: clients are spread over the first "
                "that has anybody, by weight.",
            },
            sticky=boolean("One address for all clients of a network, rather than all of a region."),
            canary=_OURS.ref("GlobalCanary", "A region that only some clients are led to."),
            minUpPercent=int32("How much of a region must be up for any of it to be taken; 0 where left out."),
            drains=_OURS.list_of("GlobalDrain", "What nobody is led to for a while."),
        ),
        **_global_parts(),
        prefix + "GlobalServiceStatus": _global_status(),
    }


def _global_parts() -> dict[str, JsonObject]:
    prefix = _OURS.prefix
    return {
        prefix + "GlobalServiceReference": obj(
            "Objects of the same namespace, by name or by labels.",
            required=("kind",),
            apiVersion=string("Of the kind; may be left out."),
            kind=string("Its kind.", *GROUPS),
            name=string("Of one object; else labels choose."),
            matchLabels=strings("Labels that it has, all of them."),
            matchExpressions=_list(
                "#/$defs/io.k8s.apimachinery.pkg.apis.meta.v1.LabelSelectorRequirement", "What its labels obey."
            ),
        ),
        prefix + "GlobalEndpoint": obj(
            "Where it is reached.",
            required=("address",),
            address=string("An IP address."),
            region=string("Where that is."),
            weight=int32("Its share of clients, with Weighted; the region's where left out."),
        ),
        prefix + "GlobalCanary": obj(
            "A region that only some clients are led to.",
            required=("region", "percent"),
            region=string("The region."),
            percent=int32("Of the clients' networks, from 0 to 100."),
        ),
        prefix + "GlobalDrain": obj(
            "A region or an address that nobody is led to.",
            region=string("All of a region."),
            address=string("One address."),
            until=string("When it ends (RFC 3339); never where left out."),
            reason=string("Why, for people."),
        ),
        prefix + "GlobalServiceEndpoint": obj(
            "One address.",
            host=string("Of this host."),
            address=string("The address."),
            region=string("Where that is."),
            state=string("Up, Down or Drained, as the cloud sees it."),
            reason=string("Why."),
        ),
        prefix + "GlobalObservation": obj(
            "What gateways see of one address.",
            host=string("Of this host."),
            address=string("The address."),
            up=int32("How many say that it is up."),
            down=int32("How many say that it is down."),
        ),
    }


def _global_status() -> JsonObject:
    return obj(
        "What is answered.",
        observedGeneration=int64("The generation that this is about."),
        serviceHealth=strings("Healthy, Unhealthy or NotFound, by host."),
        endpoints=_OURS.list_of("GlobalServiceEndpoint", "Addresses, in order of host."),
        observations=_OURS.list_of("GlobalObservation", "How gateways vote that try the addresses."),
        conditions=conditions("Ready: whether a zone answers for every host."),
    )


def _probe() -> dict[str, JsonObject]:
    about = obj(
        "How DNS servers try an address.",
        required=("type",),
        type=string(
            "What is spoken; None: nothing, whatever the zone says.",
            "TCP",
            "TLS",
            "HTTP",
            "HTTPS",
            "GRPC",
            "ICMP",
            NO_PROBE,
        ),
        port=int32("Where; 80, 443 and 50051 where left out, for HTTP, for TLS and HTTPS, for gRPC."),
        host=string("The name that is asked for; the service's first host where left out."),
        path=string("Of HTTP; / where left out."),
        statuses=strings_list("Of HTTP: 200, 204-299, ...; 200-399 where left out."),
        body=string("Of HTTP: what the first 5 KiB of the answer must have in it."),
        service=string("Of gRPC: the service whose health is asked for; the server's where left out."),
        verify={"type": "boolean", "description": "Of TLS and HTTPS: the certificate must be trusted."},
        certificateDaysMin=int32("Of TLS and HTTPS: the certificate must be valid for so long."),
        intervalSeconds=int32("Between two probes; 5 where left out."),
        timeoutSeconds=int32("Of one; half of the interval where left out."),
        downThreshold=int32("Failures until it is down, each forgotten after okThreshold successes; 3."),
        upThreshold=int32("Successes in a row until it is up; 2."),
        okThreshold=int32("Successes in a row that make failures forgotten; 2."),
    )
    return {_OURS.prefix + "GlobalProbe": about}


def _zone() -> dict[str, JsonObject]:
    prefix = _OURS.prefix
    regions: JsonObject = {
        "type": "object",
        "additionalProperties": {"type": "array", "items": {"type": "string"}},
    }
    return {
        prefix + "DnsZone": _OURS.kind(
            "DnsZone",
            "A zone that DNS servers answer for. Its name is the zone's.",
            spec=_OURS.ref("DnsZoneSpec", "What is in it, beside names of others."),
            status=_OURS.ref("DnsZoneStatus", "What came of it."),
        ),
        prefix + "DnsZoneList": _OURS.list_kind("DnsZone"),
        prefix + "DnsZoneSpec": obj(
            "What is in it, beside names of others.",
            required=("nameservers",),
            nameservers=_OURS.list_of("DnsNameserver", "Who answers for it."),
            hostmaster=string("Mailbox of who is to be told, in the form of a name; hostmaster where left out."),
            ttlSeconds=int32("Of records that say none; 300."),
            negativeTTLSeconds=int32("How long it may be kept that a name is not there; 60."),
            records=_OURS.list_of("DnsRecords", "Records."),
            places=regions | {"description": "Networks by a word for a place; the longest that holds a client wins."},
            orders=regions
            | {"description": "Regions, nearest first, by place; `default` is for clients of no place."},
            geo=_OURS.ref("DnsGeo", "What the servers' database says of clients that no network of places has."),
            latencies=free("Milliseconds from each place to each region, with Latency; by place, then by region."),
            observers=_OURS.ref("DnsObservers", "Gateways that try addresses as well; none where left out."),
            probe=_OURS.ref("GlobalProbe", "How addresses are tried of Gslbs and GlobalServices that don't say how."),
        ),
        **_zone_parts(),
        prefix + "DnsNameserver": obj(
            "A server of the zone.",
            required=("name",),
            name=string("Its name: in the zone, or absolute with a dot at its end."),
            addresses=strings_list("Where it is, for a name in the zone."),
        ),
        prefix + "DnsRecords": obj(
            "The records of a name and type.",
            required=("name", "type", "data"),
            name=string("In the zone; @ is its top."),
            type=string("A, AAAA, CNAME, MX, TXT, ..."),
            ttlSeconds=int32("How long they may be kept; the zone's where left out."),
            data=strings_list("As master files write it, one record each."),
        ),
        prefix + "DnsZoneStatus": obj(
            "What came of it.",
            observedGeneration=int64("The generation that this is about."),
            serial=int64("Of the SOA, at every server."),
            records=int32("How many there are."),
            services=int32("Names that are answered to each client in its own way."),
            problems=strings_list("What of others' is not in it, and why."),
            conditions=conditions("Ready: whether servers have it to answer from."),
        ),
    }


def _zone_parts() -> dict[str, JsonObject]:
    prefix = _OURS.prefix
    return {
        prefix + "DnsGeo": obj(
            "Places, and how far regions are, by a database in MaxMind's format.",
            subdivisions=strings("Places by codes as US-CA; they go first."),
            countries=strings("Places by codes as DE."),
            continents=strings("Places by AF, AN, AS, EU, NA, OC, SA."),
            coordinates={
                "type": "object",
                "additionalProperties": {"type": "array", "items": {"type": "number"}},
                "description": "Latitude and longitude of regions: the nearest first, where nothing above fits.",
            },
            bias={
                "type": "object",
                "additionalProperties": {"type": "integer", "format": "int32"},
                "description": "By region, from -99 (farther) to 99 (nearer).",
            },
        ),
        prefix + "DnsObservers": obj(
            "Gateways that try the addresses of GlobalServices with a probe, and vote.",
            matchLabels=strings("Labels of their Nodes; all are meant where left out."),
            count=int32("How many look at an address, of as many regions as can be; 3 where left out, 9 at most."),
            privateAddresses=boolean("Whether they try addresses of private networks too, those of their sites."),
        ),
    }


def _snapshot() -> dict[str, JsonObject]:
    prefix = _OURS.prefix
    return {
        prefix + "DnsSnapshot": _OURS.kind(
            "DnsSnapshot",
            "What DNS servers answer from for a zone; written by the cloud.",
            spec=_OURS.ref("DnsSnapshotSpec", "All of it."),
        ),
        prefix + "DnsSnapshotList": _OURS.list_kind("DnsSnapshot"),
        prefix + "DnsSnapshotSpec": obj(
            "All of a zone.",
            serial=int64("Of the SOA."),
            zone=string("A master file."),
            services=free("Names that are answered to each client in its own way, as a file of services has them."),
        ),
    }
