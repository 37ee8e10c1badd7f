"""Environment, command and arguments of containers."""

from __future__ import annotations

import base64

import pytest

from edgecore.pods.env import (
    ConfigError,
    command_of,
    environment,
    expand,
    field_value,
    resource_value,
    service_variables,
)
from skerry.frozen import replace
from skerry.objects.json import Json, JsonObject
from tests.edgecore.pods.pods_of import NODE, around, container, pod, pod_with

CONFIG: JsonObject = {"metadata": {"name": "cfg"}, "data": {"a": "1", "b": "2"}}
SECRET: JsonObject = {"metadata": {"name": "sec"}, "data": {"k": base64.b64encode(b"hidden").decode()}}


def env_of(*variables: Json, **fields: Json) -> dict[str, str]:
    one = container("app", env=[*variables], **fields)
    return dict(environment(one, around(pod(one), configmaps_cfg=CONFIG, secrets_sec=SECRET)))


def test_literals_keys_and_fields() -> None:
    env = env_of(
        {"name": "L", "value": "x"},
        {"name": "C", "valueFrom": {"configMapKeyRef": {"name": "cfg", "key": "a"}}},
        {"name": "S", "valueFrom": {"secretKeyRef": {"name": "sec", "key": "k"}}},
        {"name": "N", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
        {"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['app']"}}},
        {"name": "H", "valueFrom": {"fieldRef": {"fieldPath": "status.hostIP"}}},
    )
    assert env == {"L": "x", "C": "1", "S": "hidden", "N": "web", "A": "web", "H": "10.0.0.7"}


def test_whole_maps_come_with_a_prefix_and_single_variables_win() -> None:
    env = env_of(
        {"name": "P_a", "value": "own"},
        envFrom=[{"prefix": "P_", "configMapRef": {"name": "cfg"}}, {"secretRef": {"name": "sec"}}],
    )
    assert env == {"P_a": "own", "P_b": "2", "k": "hidden"}


def test_bytes_of_a_map_are_in_no_environment() -> None:
    coded = base64.b64encode(b"\x00\xff").decode()
    config: JsonObject = {**CONFIG, "binaryData": {"raw": coded}}
    one = container("app", envFrom=[{"configMapRef": {"name": "cfg"}}])
    assert dict(environment(one, around(pod(one), configmaps_cfg=config))) == {"a": "1", "b": "2"}


@pytest.mark.parametrize(
    ("origin", "text"),
    [
        ({"configMapKeyRef": {"name": "x", "key": "a"}}, 'configmap "x" not found'),
        ({"secretKeyRef": {"name": "x", "key": "a"}}, 'secret "x" not found'),
        ({"configMapKeyRef": {"name": "cfg", "key": "z"}}, "couldn't find key z in ConfigMap default/cfg"),
        ({"fieldRef": {"fieldPath": "spec.secretThing"}}, "unsupported fieldPath: spec.secretThing"),
        ({"resourceFieldRef": {"resource": "limits"}}, "unsupported container resource"),
    ],
)
def test_what_is_missing_is_named(origin: JsonObject, text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        env_of({"name": "V", "valueFrom": origin})


def test_a_missing_map_is_named_unless_it_is_optional() -> None:
    with pytest.raises(ConfigError, match='configmap "x" not found'):
        env_of(envFrom=[{"configMapRef": {"name": "x"}}])
    optional: Json = {"configMapKeyRef": {"name": "cfg", "key": "z", "optional": True}}
    assert (
        env_of({"name": "V", "valueFrom": optional}, envFrom=[{"secretRef": {"name": "x", "optional": True}}]) == {}
    )


def test_resources_are_counted_in_units_of_the_divisor_rounded_up() -> None:
    resources: Json = {"limits": {"cpu": "1500m", "memory": "1000Ki"}}
    env = env_of(
        {"name": "CPU", "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu"}}},
        {"name": "MILLI", "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu", "divisor": "1m"}}},
        {"name": "MI", "valueFrom": {"resourceFieldRef": {"resource": "limits.memory", "divisor": "1Mi"}}},
        resources=resources,
    )
    assert env == {"CPU": "2", "MILLI": "1500", "MI": "1"}
    assert env_of({"name": "ALL", "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu"}}}) == {"ALL": "4"}


def test_references_expand_to_earlier_variables_only() -> None:
    env = env_of(
        {"name": "A", "value": "1"}, {"name": "B", "value": "$(A)-$(LATER)-$$(A)"}, {"name": "LATER", "value": "x"}
    )
    assert env["B"] == "1-$(LATER)-$(A)"


@pytest.mark.parametrize(
    ("text", "result"), [("$(A)", "1"), ("$A", "$A"), ("$$", "$"), ("a$", "a$"), ("$(A", "$(A"), ("$(B)", "$(B)")]
)
def test_expansion(text: str, result: str) -> None:
    assert expand(text, {"A": "1"}) == result


def test_command_and_args_are_expanded() -> None:
    one = container(command=["run", "$(A)"], args=["--x=$(A)"])
    assert command_of(one, (("A", "1"),)) == (("run", "1"), ("--x=1",))


def service(name: str, address: str = "10.96.0.1", namespace: str = "default", *ports: JsonObject) -> JsonObject:
    return {
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"clusterIP": address, "ports": [*(ports or ({"port": 80},))]},
    }


def variables(*services: JsonObject, **spec: Json) -> dict[str, str]:
    return service_variables(pod_with(spec), services)


def test_services_of_the_namespace_are_told_as_variables() -> None:
    ports: tuple[JsonObject, ...] = ({"port": 80, "name": "web-ui"}, {"port": 53, "name": "dns", "protocol": "UDP"})
    assert variables(service("my-app", "10.96.0.5", "default", *ports)) == {
        "MY_APP_SERVICE_HOST": "10.96.0.5",
        "MY_APP_SERVICE_PORT": "80",
        "MY_APP_SERVICE_PORT_WEB_UI": "80",
        "MY_APP_SERVICE_PORT_DNS": "53",
        "MY_APP_PORT": "tcp://10.96.0.5:80",
        "MY_APP_PORT_80_TCP": "tcp://10.96.0.5:80",
        "MY_APP_PORT_80_TCP_PROTO": "tcp",
        "MY_APP_PORT_80_TCP_PORT": "80",
        "MY_APP_PORT_80_TCP_ADDR": "10.96.0.5",
        "MY_APP_PORT_53_UDP": "udp://10.96.0.5:53",
        "MY_APP_PORT_53_UDP_PROTO": "udp",
        "MY_APP_PORT_53_UDP_PORT": "53",
        "MY_APP_PORT_53_UDP_ADDR": "10.96.0.5",
    }


def test_headless_services_and_those_of_others_are_not_told_but_for_the_api() -> None:
    assert variables(service("a", "None"), service("b", ""), service("c", namespace="other")) == {}
    api = service("kubernetes", "10.96.0.1", "default", {"port": 443, "name": "https"})
    assert variables(api, service("x"), enableServiceLinks=False)["KUBERNETES_SERVICE_PORT_HTTPS"] == "443"
    assert not any(name.startswith("X_") for name in variables(api, service("x"), enableServiceLinks=False))


def test_a_pods_own_variables_come_after_those_of_services_and_may_name_them() -> None:
    one = container(env=[{"name": "URL", "value": "$(A_PORT)/x"}, {"name": "A_SERVICE_PORT", "value": "mine"}])
    env = dict(environment(one, replace(around(pod(one)), services=lambda: [service("a")])))
    assert (env["URL"], env["A_SERVICE_PORT"]) == ("tcp://10.96.0.1:80/x", "mine")


def test_a_pod_with_addresses_of_its_own_is_told_them() -> None:
    there = replace(around(pod()), addresses=("10.1.0.2", "fd00::2"))
    assert [field_value(f"status.podIP{s}", there) for s in ("", "s")] == ["10.1.0.2", "10.1.0.2,fd00::2"]
    assert field_value("status.hostIP", there) == NODE.address


def test_a_resource_of_an_init_container_is_told_too() -> None:
    init = container("init", resources={"limits": {"cpu": "2"}})
    ref: JsonObject = {"containerName": "init", "resource": "limits.cpu"}
    assert resource_value(ref, container(), around(pod(initContainers=[init]))) == "2"


def test_labels_are_written_as_go_quotes_them() -> None:
    notes: JsonObject = {"b": 'say "ho"\\' + "\n\t\x01", "a": "gr\u00fcn\u200b"}
    told = field_value("metadata.annotations", around({**pod(), "metadata": {"annotations": notes}}))
    assert told.split("\n") == ['a="gr\u00fcn\\u200b"', r'b="say \"ho\"\\\n\t\x01"']
