"""Names of what several members serve, in KubeFed's kinds. Pure."""

from __future__ import annotations

from typing import Final

from skerry.forms.tables.table import NONE, Printer, age, columns
from skerry.objects.json import Json, JsonObject, int_at, maps_at, str_at, strs_at
from skerry.objects.multicluster_dns import GROUP, shards_of


def _domain(obj: JsonObject, now_ms: int) -> list[Json]:
    return [str_at(obj, "metadata", "name"), str_at(obj, "domain"), str_at(obj, "nameServer"), age(obj, now_ms)]


def _record(obj: JsonObject, now_ms: int) -> list[Json]:
    shards = shards_of(obj)
    having = [shard.member for shard in shards if shard.addresses]
    return [
        str_at(obj, "metadata", "name"),
        str_at(obj, "status", "domain") or ",".join(strs_at(obj, "spec", "hosts")) or NONE,
        f"{len(having)}/{len(shards)}",
        age(obj, now_ms),
        ",".join(having) or NONE,
    ]


def _endpoint(obj: JsonObject, now_ms: int) -> list[Json]:
    names = [str_at(each, "dnsName") for each in maps_at(obj, "spec", "endpoints")]
    seen = int_at(obj, "status", "observedGeneration")
    return [str_at(obj, "metadata", "name"), len(names), seen, age(obj, now_ms), ",".join(names[:5]) or NONE]


_RECORD: Final = Printer(
    columns=columns("Name", "Domain", "Members", "Age", wide=("Having",)),
    cells=_record,
)
PRINTERS: Final = {
    (GROUP, "Domain"): Printer(columns=columns("Name", "Domain", "Nameserver", "Age"), cells=_domain),
    (GROUP, "ServiceDNSRecord"): _RECORD,
    (GROUP, "IngressDNSRecord"): _RECORD,
    (GROUP, "DNSEndpoint"): Printer(
        columns=columns("Name", "Names:integer", "Seen:integer", "Age", wide=("Which",)), cells=_endpoint
    ),
}
"""By (group, kind)."""
