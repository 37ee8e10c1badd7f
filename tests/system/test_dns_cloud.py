"""Names as kubectl writes them and kdig reads them: with a cloud, while it is away, and started without it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Generator
from pathlib import Path

import pytest

from skerry.objects.json import JsonObject
from tests.system.cloud_process import CloudProcess, cloud_process
from tests.system.dns_process import DnsProcess, dns_server
from tests.system.levels import reached

pytestmark = pytest.mark.system

WAIT_S_MAX = 30.0
ZONE = """
apiVersion: skerry.dev/v1
kind: DnsZone
metadata: {name: example.com}
spec:
  nameservers: [{name: ns1, addresses: [192.0.2.1]}]
  records: [{name: "@", type: MX, data: ["10 mail"]}]
  places: {europe: [192.0.2.0/24]}
  orders: {europe: [eu, us], default: [us, eu]}
"""
SERVICE = """
apiVersion: skerry.dev/v1
kind: GlobalService
metadata: {name: api, namespace: default}
spec:
  hosts: [api.example.com]
  ttlSeconds: 5
  endpoints:
    - {address: 203.0.113.1, region: eu}
    - {address: 203.0.113.2, region: us}
"""
GSLB = """
apiVersion: k8gb.absa.oss/v1beta1
kind: Gslb
metadata: {name: shop, namespace: default}
spec:
  ingress:
    ingressClassName: nginx
    rules:
      - host: shop.example.com
        http:
          paths: [{path: /, pathType: Prefix, backend: {service: {name: shop, port: {name: http}}}}]
  strategy: {type: roundRobin, dnsTtlSeconds: 7}
---
apiVersion: v1
kind: Service
metadata: {name: shop, namespace: default}
spec: {ports: [{name: http, port: 80}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: shop-1, namespace: default, labels: {kubernetes.io/service-name: shop}}
addressType: IPv4
ports: [{name: http, port: 80}]
endpoints: [{addresses: [10.1.2.3], conditions: {ready: true}}]
"""
ENDPOINT = """
apiVersion: externaldns.k8s.io/v1alpha1
kind: DNSEndpoint
metadata: {name: more, namespace: default}
spec: {endpoints: [{dnsName: txt.example.com, recordType: TXT, targets: [hello], recordTTL: 60}]}
"""


def definition(group: str, kind: str) -> str:
    """A kind of others', as loosely as can be."""
    plural = f"{kind.lower()}s"
    return f"""
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {{name: {plural}.{group}}}
spec:
  group: {group}
  scope: Namespaced
  names: {{plural: {plural}, singular: {kind.lower()}, kind: {kind}}}
  versions:
    - name: v1
      served: true
      storage: true
      schema: {{openAPIV3Schema: {{type: object, x-kubernetes-preserve-unknown-fields: true}}}}
"""


ROUTE = """
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: edge, namespace: default}
status: {addresses: [{type: IPAddress, value: 203.0.113.50}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: route, namespace: default, labels: {app: route}}
spec: {hostnames: [route.example.com], parentRefs: [{name: edge}], rules: [{backendRefs: [{name: shop, port: 80}]}]}
---
apiVersion: k8gb.io/v1beta1
kind: Gslb
metadata: {name: route, namespace: default}
spec:
  resourceRef: {apiVersion: gateway.networking.k8s.io/v1, kind: HTTPRoute, matchLabels: {app: route}}
  strategy: {type: roundRobin, dnsTtlSeconds: 5}
---
apiVersion: v1
kind: Service
metadata: {name: istio-ingress, namespace: default, labels: {istio: ingress}}
spec: {ports: [{port: 80}], externalIPs: [203.0.113.60]}
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: mesh-edge, namespace: default}
spec: {selector: {istio: ingress}}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: virtual, namespace: default}
spec:
  hosts: [virtual.example.com]
  gateways: [mesh-edge]
  http: [{route: [{destination: {host: shop}}]}]
---
apiVersion: k8gb.io/v1beta1
kind: Gslb
metadata: {name: virtual, namespace: default}
spec:
  resourceRef: {apiVersion: networking.istio.io/v1, kind: VirtualService, name: virtual}
  strategy: {type: roundRobin, dnsTtlSeconds: 5}
"""


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Generator[CloudProcess]:
    if shutil.which("kdig") is None:
        pytest.skip("kdig is not installed")
    with cloud_process(tmp_path_factory.mktemp("cloud") / "data") as made:
        made.kubectl("apply", "-f", "-", stdin=ZONE + "---" + SERVICE + "---" + GSLB + "---" + ENDPOINT)
        yield made


def until(what: Callable[[], bool], server: DnsProcess) -> None:
    reached(what, lambda: server.log, within_s=WAIT_S_MAX)


def follow(cloud: CloudProcess) -> tuple[str, ...]:
    return ("--cloud", str(cloud.kubeconfig), "--state", str(cloud.data.parent / "dns"))


def test_what_kubectl_writes_is_answered_and_told(cloud: CloudProcess, tmp_path: Path) -> None:
    with dns_server(tmp_path, *follow(cloud)) as server:
        until(lambda: "203.0.113.1" in server.kdig("+short", "+subnet=192.0.2.0/24", "api.example.com"), server)
        assert "203.0.113.2" in server.kdig("+short", "+subnet=198.51.100.0/24", "api.example.com")
        assert "10 mail.example.com." in server.kdig("+short", "example.com", "MX")
        assert "hello" in server.kdig("+short", "txt.example.com", "TXT")
        addresses: JsonObject = {"status": {"loadBalancer": {"ingress": [{"ip": "203.0.113.9"}]}}}
        path = "/apis/networking.k8s.io/v1/namespaces/default/ingresses/shop/status"
        cloud.ask("PATCH", path, addresses, content_type="application/merge-patch+json")
        until(lambda: "203.0.113.9" in server.kdig("+short", "shop.example.com"), server)
        status = json.loads(cloud.kubectl("get", "gslbs.k8gb.absa.oss", "shop", "-o", "json"))["status"]
        assert status["serviceHealth"] == {"shop.example.com": "Healthy"}
        assert status["healthyRecords"] == {"shop.example.com": ["203.0.113.9"]}
        serial = json.loads(cloud.kubectl("get", "dzone", "example.com", "-o", "json"))["status"]["serial"]
        until(lambda: f" {serial} " in server.kdig("+short", "example.com", "SOA"), server)
        assert "api.example.com" in cloud.kubectl("get", "gsvc", "-o", "wide")
        assert "example.com" in server.skerry("zones")


def test_routes_of_the_gateway_api_and_of_istio_lead_to_their_gateways(cloud: CloudProcess, tmp_path: Path) -> None:
    api, istio = "gateway.networking.k8s.io", "networking.istio.io"
    kinds = [(api, "Gateway"), (api, "HTTPRoute"), (istio, "Gateway"), (istio, "VirtualService")]
    cloud.kubectl("apply", "-f", "-", stdin="---".join(definition(*each) for each in kinds))
    for group, kind in kinds:
        cloud.kubectl("wait", "--for=condition=Established", f"crd/{kind.lower()}s.{group}", "--timeout=30s")
    cloud.kubectl("apply", "-f", "-", stdin=ROUTE)
    with dns_server(tmp_path, *follow(cloud)) as server:
        until(lambda: server.kdig("+short", "route.example.com").strip() == "203.0.113.50", server)
        until(lambda: server.kdig("+short", "virtual.example.com").strip() == "203.0.113.60", server)
        change: JsonObject = {"status": {"addresses": [{"value": "203.0.113.51"}]}}
        path = "/apis/gateway.networking.k8s.io/v1/namespaces/default/gateways/edge"
        cloud.ask("PATCH", path, change, content_type="application/merge-patch+json")
        until(lambda: server.kdig("+short", "route.example.com").strip() == "203.0.113.51", server)
        health = json.loads(cloud.kubectl("get", "gslbs.k8gb.io", "route", "-o", "json"))["status"]["serviceHealth"]
        assert health == {"route.example.com": "Healthy"}


def test_it_answers_while_the_cloud_is_away_and_starts_without_it(cloud: CloudProcess, tmp_path: Path) -> None:
    with dns_server(tmp_path / "a", *follow(cloud)) as server:
        until(lambda: "203.0.113.2" in server.kdig("+short", "api.example.com"), server)
        cloud.stop()
        assert "203.0.113.2" in server.kdig("+short", "api.example.com")
    with dns_server(tmp_path / "b", *follow(cloud)) as server:
        assert "203.0.113.2" in server.kdig("+short", "api.example.com"), "at once, from what was kept"
        cloud.start("--https-port", "0")
        drain: JsonObject = {"spec": {"drains": [{"region": "us", "reason": "new switch"}]}}
        path = "/apis/skerry.dev/v1/namespaces/default/globalservices/api"
        cloud.ask("PATCH", path, drain, content_type="application/merge-patch+json")
        until(lambda: "203.0.113.1" in server.kdig("+short", "api.example.com"), server)
        assert "us" in server.skerry("explain", "api.example.com", "--from", "198.51.100.9")


def test_what_can_not_be_meant_is_refused_by_field(cloud: CloudProcess) -> None:
    def refused(text: str) -> str:
        return cloud.kubectl("apply", "-f", "-", stdin=text, check=False)

    assert "spec.strategy.primaryGeoTag" in refused(GSLB.partition("---")[0].replace("roundRobin", "failover"))
    assert "spec.endpoints[0].address" in refused(SERVICE.replace("203.0.113.1", "nowhere"))
    assert "spec.hosts[0]" in refused(SERVICE.replace("[api.example.com]", "[api_example]"))
    assert "spec.orders[mars]" in refused(ZONE.replace("orders: {europe", "orders: {mars"))
    assert "spec.nameservers[0].addresses" in refused(ZONE.replace(", addresses: [192.0.2.1]", ""))
