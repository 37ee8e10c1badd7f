"""A gateway's cluster DNS with a thousand services, and nothing else of the agent: for `benchmarks.cluster_dns`.

`python -m benchmarks.fleet.cluster_dns_process PORT UPSTREAM_PORT`.
"""

from __future__ import annotations

import asyncio
import sys

from benchmarks.cluster_dns import SERVICES, address_of
from edgecore.network.answers import Names
from edgecore.network.directory import NODES, Directory
from edgecore.network.directory import SERVICES as RESOURCE
from edgecore.network.resolver import Resolving
from edgecore.network.server import DnsServer
from edgecore.network.upstream import Upstream
from skerry.clocks import SystemClock
from skerry.objects.json import JsonObject
from skerry.objects.meta import Key


def directory() -> Directory:
    made = Directory("n1")
    made.put(Key(NODES, "", "n1"), {"metadata": {"name": "n1"}})
    for number in range(SERVICES):
        spec: JsonObject = {"clusterIP": address_of(number), "clusterIPs": [address_of(number)]}
        made.put(
            Key(RESOURCE, "d", f"s{number}"), {"metadata": {"name": f"s{number}", "namespace": "d"}, "spec": spec}
        )
    return made


async def main(port: int, upstream: int) -> None:
    names = Names(directory(), "cluster.local", lambda: 1)
    resolving = Resolving(names, Upstream(lambda: [("127.0.0.1", upstream)]).ask, SystemClock())
    server = DnsServer(resolving, "127.0.0.1", port)
    await server.listen()
    await server.run()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), int(sys.argv[2])))
