"""What the runtime is asked for."""

from __future__ import annotations

from pathlib import Path

from edgecore.pods.port import Namespaces, SeccompProfile, Security
from edgecore.pods.specs import pull_policy, sandbox_spec, security_of
from skerry.objects.json import Json
from tests.edgecore.pods.pods_of import container, pod


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
    spec = sandbox_spec(pod(hostNetwork=True, shareProcessNamespace=True), attempt=2, log_dir=Path("/l"))
    assert (spec.pod_name, spec.pod_namespace, spec.attempt, spec.hostname) == ("web", "default", 2, "web")
    assert spec.namespaces == Namespaces(host_network=True, share_process=True)


def test_an_image_is_pulled_as_the_pod_says() -> None:
    policies: list[Json] = ["Always", "Never", "IfNotPresent", None]
    assert [pull_policy(container(imagePullPolicy=each)) for each in policies] == [
        "Always",
        "Never",
        "IfNotPresent",
        "IfNotPresent",
    ]
