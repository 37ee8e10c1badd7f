"""What the runtime is asked for."""

from __future__ import annotations

from pathlib import Path

from edgecore.pods.port import DnsConfig, Namespaces, PortMapping, SandboxSpec, SeccompProfile, Security
from edgecore.pods.specs import pull_policy, sandbox_spec, security_of
from skerry.objects.json import Json, JsonObject
from tests.edgecore.pods.pods_of import NODE, container, pod


def security(own: Json, pods: Json = None) -> Security:
    one = container(securityContext=own)
    return security_of(pod(one, securityContext=pods), one)


def test_a_container_has_its_own_wishes_before_its_pods() -> None:
    pods: Json = {"runAsUser": 1, "runAsGroup": 2, "runAsNonRoot": True, "supplementalGroups": [5], "fsGroup": 6}
    got = security({"runAsUser": 0, "runAsNonRoot": False}, pods)
    assert (got.run_as_user, got.run_as_group, got.run_as_non_root) == (0, 2, False)
    assert got.supplemental_groups == (5, 6)


def test_without_a_wish_a_container_has_the_runtimes_seccomp_profile_and_no_more_rights() -> None:
    plain = security(None)
    assert plain == Security(seccomp=SeccompProfile(kind="runtime_default"))
    assert security({"seccompProfile": {"type": "Unconfined"}}).seccomp == SeccompProfile(kind="unconfined")
    assert security({}, {"seccompProfile": {"type": "Localhost", "localhostProfile": "a.json"}}).seccomp == (
        SeccompProfile(kind="localhost", localhost_ref="a.json")
    )
    assert security({"privileged": True}).seccomp is None


def test_rights_are_given_and_taken() -> None:
    own: Json = {
        "capabilities": {"add": ["NET_ADMIN"], "drop": ["ALL"]},
        "readOnlyRootFilesystem": True,
        "allowPrivilegeEscalation": False,
        "procMount": "Unmasked",
        "appArmorProfile": {"type": "Localhost", "localhostProfile": "p"},
    }
    got = security(own)
    assert (got.add_capabilities, got.drop_capabilities) == (("NET_ADMIN",), ("ALL",))
    assert (got.read_only_root, got.no_new_privileges, got.unmasked_proc) == (True, True, True)
    assert got.apparmor == "localhost/p"


def test_a_sandbox_has_the_pods_names_and_namespaces() -> None:
    spec = made(pod(hostNetwork=True, shareProcessNamespace=True))
    assert (spec.pod_name, spec.pod_namespace, spec.attempt, spec.hostname) == ("web", "default", 2, "gate-1")
    assert spec.namespaces == Namespaces(host_network=True, share_process=True)
    assert made(pod()).labels == (("app", "web"),)


def made(the_pod: JsonObject) -> SandboxSpec:
    return sandbox_spec(the_pod, NODE, DnsConfig(), attempt=2, log_dir=Path("/l"))


def test_ports_of_the_gateway_lead_to_all_containers_but_those_with_its_network() -> None:
    ports: Json = [{"containerPort": 80, "hostPort": 8080}, {"containerPort": 81}]
    side = container("s", ports=[{"containerPort": 5, "hostPort": 6, "protocol": "UDP", "hostIP": "192.0.2.1"}])
    wanted = (
        PortMapping(container_port=5, host_port=6, protocol="UDP", host_ip="192.0.2.1"),
        PortMapping(container_port=80, host_port=8080),
    )
    assert made(pod(container(ports=ports), initContainers=[side])).ports == wanted
    assert made(pod(container(ports=ports), hostNetwork=True)).ports == ()


def test_a_sandbox_has_what_the_pods_security_context_says() -> None:
    context: Json = {"runAsUser": 5, "fsGroup": 6, "sysctls": [{"name": "net.core.somaxconn", "value": "9"}]}
    spec = made(pod(securityContext=context))
    assert (spec.run_as_user, spec.supplemental_groups, spec.privileged) == (5, (6,), False)
    assert spec.sysctls == (("net.core.somaxconn", "9"),)
    assert made(pod(container(securityContext={"privileged": True}))).privileged


def test_an_image_is_pulled_as_the_pod_says() -> None:
    policies: list[Json] = ["Always", "Never", "IfNotPresent", None]
    assert [pull_policy(container(imagePullPolicy=each)) for each in policies] == [
        "Always",
        "Never",
        "IfNotPresent",
        "IfNotPresent",
    ]
