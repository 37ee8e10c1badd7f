"""Kinds as users meet them: kubectl against a real cloud, its protobuf bodies, custom kinds and refusals."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.system.cloud_process import CloudProcess, cloud_process

pytestmark = pytest.mark.system

SDK = Path("/usr/lib/google-cloud-sdk/bin")
KUBECTLS = sorted(str(path) for path in SDK.glob("kubectl.1.*")) or ["kubectl"]

CRD = """
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: crontabs.stable.example.com}
spec:
  group: stable.example.com
  scope: Namespaced
  names: {plural: crontabs, singular: crontab, kind: CronTab, shortNames: [ct]}
  versions:
  - name: v1
    served: true
    storage: true
    subresources: {status: {}, scale: {specReplicasPath: .spec.replicas, statusReplicasPath: .status.replicas}}
    additionalPrinterColumns: [{name: Schedule, type: string, jsonPath: .spec.schedule}]
    schema:
      openAPIV3Schema:
        type: object
        properties:
          spec:
            type: object
            properties:
              schedule: {type: string, default: "5 0 * * *"}
              replicas: {type: integer, minimum: 1}
          status: {type: object, properties: {replicas: {type: integer}}}
"""
CRON_TAB = """
apiVersion: stable.example.com/v1
kind: CronTab
metadata: {name: NAME}
spec: {replicas: 2}
"""
DEVICE = """
apiVersion: devices.kubeedge.io/v1beta1
kind: Device
metadata: {name: pump}
spec:
  deviceModelRef: {name: pump}
  nodeName: eu-1
  properties:
  - {name: level, visitors: {protocolName: modbus, configData: {register: Holding, offset: 70000}}}
"""


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CloudProcess]:
    with cloud_process(tmp_path_factory.mktemp("kinds") / "cloud") as made:
        yield made


@pytest.mark.parametrize("binary", KUBECTLS)
def test_generators_of_every_kubectl_are_understood(cloud: CloudProcess, binary: str):
    namespace = "v" + binary.rpartition(".")[2].replace("/", "-").removeprefix("kubectl")
    cloud.kubectl("create", "namespace", namespace, binary=binary)
    for command in (
        "create configmap c --from-literal=a=1",
        "create secret generic s --from-literal=a=1",
        "create deployment d --image=nginx --replicas=0",
        "create role r --verb=get --resource=pods",
        "create service clusterip s --tcp=80",
    ):
        assert "created" in cloud.kubectl(*command.split(), "-n", namespace, binary=binary)
    assert cloud.kubectl("get", "cm", "c", "-n", namespace, "-o", "jsonpath={.data}") == '{"a":"1"}'
    assert cloud.kubectl("get", "deploy", "d", "-n", namespace, "-o", "jsonpath={.spec.replicas}") == "0"
    assert cloud.kubectl("get", "svc", "s", "-n", namespace, "-o", "jsonpath={.spec.clusterIP}").startswith("10.96.")


def test_a_custom_kind_lives_and_goes_with_its_definition(cloud: CloudProcess):
    cloud.kubectl("apply", "-f", "-", stdin=CRD)
    cloud.kubectl("wait", "--for=condition=Established", "crd/crontabs.stable.example.com", "--timeout=20s")
    cloud.kubectl("apply", "-f", "-", stdin=CRON_TAB.replace("NAME", "one"))
    assert "unchanged" in cloud.kubectl("apply", "-f", "-", stdin=CRON_TAB.replace("NAME", "one"))
    assert "5 0 * * *" in cloud.kubectl("get", "ct")
    cloud.kubectl("scale", "crontab", "one", "--replicas=3")
    assert cloud.kubectl("get", "ct", "one", "-o", "jsonpath={.spec.replicas}") == "3"
    assert "schedule" in cloud.kubectl("explain", "crontab.spec")
    wrong = CRON_TAB.replace("NAME", "two")
    refused = cloud.kubectl("create", "-f", "-", stdin=wrong.replace("2", "0"), check=False)
    assert "spec.replicas in body should be greater than or equal to 1" in refused
    refused = cloud.kubectl("create", "-f", "-", stdin=wrong.replace("replicas", "replicaz"), check=False)
    # Up to 1.28 kubectl looks for itself, in the OpenAPI document, and puts it in other words.
    assert re.search('strict decoding error: unknown field "spec.replicaz"|unknown field "replicaz" in', refused)
    cloud.kubectl("delete", "crd", "crontabs.stable.example.com", "--timeout=30s")
    # kubectl may still remember the kind; the server does not.
    assert "the server could not find the requested resource" in cloud.kubectl(
        "get", "--raw", "/apis/stable.example.com/v1/crontabs", check=False
    )


def test_a_wrong_register_is_refused_with_the_field_and_the_fix(cloud: CloudProcess):
    refused = cloud.kubectl("apply", "-f", "-", stdin=DEVICE, check=False)
    here = "spec.properties[0].visitors.configData"
    assert f'{here}.register: Invalid value: "Holding": must be one of CoilRegister' in refused
    assert f"{here}.offset: Invalid value: 70000: must be a whole number from 0 to 65535" in refused
    good = DEVICE.replace("Holding,", "HoldingRegister,").replace("70000", "7")
    assert "created" in cloud.kubectl("apply", "-f", "-", stdin=good)


def test_a_wrong_type_is_refused_in_the_words_of_go(cloud: CloudProcess):
    cloud.kubectl("create", "deployment", "typed", "--image=nginx")
    refused = cloud.kubectl("patch", "deployment", "typed", "-p", '{"spec":{"replicas":"two"}}', check=False)
    assert "cannot unmarshal string into Go struct field DeploymentSpec.spec.replicas of type int32" in refused
