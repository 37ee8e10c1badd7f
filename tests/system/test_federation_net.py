"""Regions on real networks: what is declared at the top runs on gateways at the bottom, is found by name, and goes on
while cables are pulled."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.system.regions_on_a_net import PLACES, REGIONS, Net, address_of, each_region, regions_on_a_net, together
from tests.system.test_federation import until

pytestmark = pytest.mark.system

SAMPLES = Path(__file__).resolve().parents[2] / "examples/11-federation"
NAME = "till.shop.shops.svc"


def override(region: str) -> str:
    return f"""
  - clusterName: {region}
    clusterOverrides: [{{op: add, path: /spec/externalIPs, value: ["{address_of(region, 2)}"]}}]"""


ZONE = f"""
apiVersion: skerry.dev/v1
kind: DnsZone
metadata: {{name: example.com}}
spec:
  nameservers: [{{name: ns1, addresses: [{address_of("cluster1")}]}}]
  places: {{{", ".join(f"{PLACES[each]}: [{address_of(each, 0)}/24]" for each in REGIONS)}}}
  orders: {{eu: [eu, us, ap], us: [us, ap, eu], ap: [ap, us, eu], default: [eu, us, ap]}}
---
apiVersion: multiclusterdns.kubefed.io/v1alpha1
kind: Domain
metadata: {{name: shops, namespace: kube-federation-system}}
domain: example.com
---
apiVersion: multiclusterdns.kubefed.io/v1alpha1
kind: ServiceDNSRecord
metadata:
  name: till
  namespace: shop
  annotations: {{skerry.dev/probe: '{{"type": "TCP", "port": 8080, "intervalSeconds": 1, "downThreshold": 2}}'}}
spec: {{domainRef: shops, recordTTL: 1, dnsPrefix: till}}
"""
SHOP = f"""
apiVersion: v1
kind: Namespace
metadata: {{name: shop}}
---
apiVersion: types.kubefed.io/v1beta1
kind: FederatedNamespace
metadata: {{name: shop, namespace: shop}}
spec: {{placement: {{clusterSelector: {{}}}}}}
---
apiVersion: types.kubefed.io/v1beta1
kind: FederatedService
metadata: {{name: till, namespace: shop}}
spec:
  placement: {{clusterSelector: {{}}}}
  template: {{spec: {{selector: {{app: till}}, ports: [{{port: 8080}}]}}}}
  overrides:{"".join(override(each) for each in REGIONS)}
---
apiVersion: types.kubefed.io/v1beta1
kind: FederatedDeployment
metadata: {{name: till, namespace: shop}}
spec:
  placement: {{clusterSelector: {{}}}}
  template:
    spec:
      replicas: 1
      selector: {{matchLabels: {{app: till}}}}
      template:
        metadata: {{labels: {{app: till}}}}
        spec:
          terminationGracePeriodSeconds: 1
          containers:
          - name: till
            image: sh
            env: [{{name: WHERE, valueFrom: {{fieldRef: {{fieldPath: spec.nodeName}}}}}}]
            command: [sh, -c, "cd $(mktemp -d) && echo $WHERE >index.html && exec python3 -m http.server 8080"]
            readinessProbe: {{tcpSocket: {{port: 8080}}, periodSeconds: 1}}
---
apiVersion: types.kubefed.io/v1beta1
kind: FederatedConfigMap
metadata: {{name: prices, namespace: shop}}
spec:
  template: {{data: {{tea: "3"}}}}
  placement: {{clusterSelector: {{}}}}
---
apiVersion: types.kubefed.io/v1beta1
kind: FederatedConfigMap
metadata: {{name: old, namespace: shop}}
spec:
  template: {{data: {{tea: "1"}}}}
  placement: {{clusterSelector: {{}}}}
"""


@pytest.fixture(scope="module")
def net(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Net]:
    with regions_on_a_net(tmp_path_factory.mktemp("net")) as made:
        made.top.kubectl("apply", "-f", "-", stdin=SHOP + "---" + ZONE)
        yield made


def settled(what: Callable[[], Any]) -> Any:
    """However busy this machine is."""
    return until(what, within_s=120)


def serves(net: Net, region: str) -> bool:
    return net.fetch(region, address_of(region, 2)) == f"{region}-gateway"


def led_to(net: Net, who: str, name: str = NAME) -> list[str]:
    """The regions that a client is led to."""
    found = net.ask(who, f"{name}.example.com")
    return [region for region in REGIONS if address_of(region, 2) in found]


def cluster(net: Net, kind: str, name: str, region: str) -> Any:
    rows = net.get("top", kind, name).get("status", {}).get("clusters", [])
    return next((each for each in rows if each["name"] == region), {})


def silent(net: Net, region: str) -> Any:
    row = cluster(net, "federatedconfigmap", "prices", region)
    return row if row.get("status") == "ClusterNotReady" else None


def tea(net: Net, cloud: str, name: str = "prices") -> str:
    found = net.get(cloud, "configmap", name)
    return found["data"]["tea"] if found else ""


def merge(net: Net, cloud: str, kind: str, name: str, change: Any) -> None:
    net.clouds[cloud].kubectl("patch", kind, name, "-n", "shop", "--type=merge", "-p", json.dumps(change))


def test_what_is_declared_at_the_top_serves_at_every_bottom_and_is_found_there(net: Net) -> None:
    each_region(lambda region: settled(lambda: serves(net, region)))
    each_region(lambda region: settled(lambda: led_to(net, region) == [region]))
    for region in REGIONS:
        place = PLACES[region]
        for name in (f"{NAME}.{place}", f"{NAME}.{place}-1.{place}"):
            settled(lambda name=name, region=region: led_to(net, "cluster1", name) == [region])
    assert led_to(net, "cluster2", "till") == ["cluster2"], "by the prefix"
    row = settled(lambda: cluster(net, "federateddeployment", "till", "cluster1"))
    settled(lambda: "observedAt" in cluster(net, "federateddeployment", "till", "cluster1"))
    assert "status" not in row or row["status"] == "", row
    said = net.top.skerry("region", "explain", "federateddeployment", "till", "-n", "shop")
    assert all(region in said for region in REGIONS)


def test_published_samples_reach_the_pods(net: Net) -> None:
    net.top.kubectl("apply", "-f", str(SAMPLES / "kubefed"), check=False)  # bars have no type here
    for region, labels in (("cluster1", "location=hangzhou"), ("cluster2", "location=beijing")):
        net.clouds[region].kubectl("label", "node", f"{region}-gateway", labels)
        net.clouds[region].kubectl("apply", "-f", str(SAMPLES / "kubeedge"))

    def sampled(region: str, most: int) -> bool:
        """Pods of KubeFed's sample."""
        found = net.runs(region, "test-namespace")
        return sum(name.startswith("test-deployment") for name in found) == most

    def grouped(region: str, group: str, count: int) -> bool:
        """Pods of KubeEdge's sample."""
        found = net.runs(region, "default")
        return sum(name.startswith(f"nginx-{group}") for name in found) == count

    together(
        lambda: settled(lambda: sampled("cluster1", 4)),  # its preference divides nine
        lambda: settled(lambda: sampled("cluster2", 6)),
        lambda: settled(lambda: grouped("cluster1", "hangzhou", 3)),
        lambda: settled(lambda: grouped("cluster2", "beijing", 1)),
    )


def test_a_region_that_is_cut_off_and_one_that_is_deaf_keep_nobody_waiting(net: Net) -> None:
    each_region(lambda region: settled(lambda: tea(net, region) == "3" and tea(net, region, "old") == "1"))
    before = {region: net.runs(region) for region in REGIONS}
    net.cut("cluster1")
    net.deafen("cluster3")
    # Nobody waits: what is deleted is gone, what is changed is where it can be.
    net.top.kubectl("delete", "federatedconfigmap", "old", "-n", "shop", "--timeout=20s")
    merge(net, "top", "federatedconfigmap", "prices", {"spec": {"template": {"data": {"tea": "4"}}}})
    settled(lambda: tea(net, "cluster2") == "4" and not tea(net, "cluster2", "old"))
    settled(lambda: "cut off" in net.clouds["cluster1"].skerry("region", "status"))
    # The region works alone: people there help themselves, its clients are served at home.
    merge(net, "cluster1", "configmap", "prices", {"data": {"tea": "9"}})
    assert serves(net, "cluster1")
    assert led_to(net, "cluster1") == ["cluster1"], "by its own server, which keeps what it followed"
    # Who is cut off is found out by its addresses, and others are led elsewhere.
    settled(lambda: led_to(net, "cluster2", f"{NAME}.eu") and "cluster1" not in led_to(net, "cluster2", f"{NAME}.eu"))
    # And told as it is: silent, with what it said last and when.
    for region in ("cluster1", "cluster3"):
        row = settled(lambda region=region: silent(net, region))
        assert row["observedAt"]
    pending = net.top.skerry("region", "pending")
    assert "cluster1" in pending and "cluster3" in pending and "cluster2" not in pending
    rows = net.get("top", "servicednsrecord", "till")["status"]["dns"]
    told = next(row for row in rows if row["cluster"] == "cluster1")
    assert told["loadBalancer"]["ingress"] == [{"ip": address_of("cluster1", 2)}], "silence takes nothing"
    assert told["observedAt"], "and it is said of when that is"
    assert tea(net, "cluster1") == "9", "cut off, it stands"
    net.hear("cluster3")
    net.mend("cluster1")
    each_region(lambda region: settled(lambda: tea(net, region) == "4" and not tea(net, region, "old")))
    settled(lambda: not net.top.skerry("region", "pending").count("old"))
    assert {region: net.runs(region) for region in REGIONS} == before, "no container was touched"
    drift = settled(lambda: cluster(net, "federatedconfigmap", "prices", "cluster1").get("drift"))
    assert (drift[0]["path"], drift[0]["found"], drift[0]["outcome"]) == ("/data/tea", '"9"', "Reverted")
    settled(lambda: led_to(net, "cluster2", f"{NAME}.eu") == ["cluster1"])


def test_regions_go_on_without_the_top_and_tell_it_all_when_it_is_back(net: Net) -> None:
    before = {region: net.runs(region) for region in REGIONS}
    net.cut("top")
    settled(lambda: "cut off" in net.clouds["cluster2"].skerry("region", "status"))
    merge(net, "cluster2", "deployment", "till", {"metadata": {"annotations": {"by": "hand"}}})
    assert all(each_region(lambda region: serves(net, region) and led_to(net, region) == [region]))
    net.top.kubectl("delete", "federatedconfigmap", "prices", "-n", "shop", "--timeout=20s")
    net.mend("top")
    each_region(lambda region: settled(lambda: not tea(net, region)))
    settled(lambda: "prices" not in net.top.skerry("region", "pending"))
    assert {region: net.runs(region) for region in REGIONS} == before
