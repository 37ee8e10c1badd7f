"""What CRI is asked for, field by field, and how its answers are read."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgecore.pods.port import (
    ContainerSpec,
    DnsConfig,
    ImageMount,
    ImageState,
    Mount,
    Namespaces,
    PortMapping,
    Resources,
    SandboxSpec,
    SeccompProfile,
    Security,
)
from edgecore.pods.runtimes.cri import messages as cri
from edgecore.pods.runtimes.cri.configuration import cgroup_driver_of
from edgecore.pods.runtimes.cri.mapping import (
    KEEPER,
    MASKED_PATHS,
    addresses_of,
    container_config,
    container_state,
    image_state,
    mounts_images,
    non_root_fault,
    sandbox_config,
    sandbox_state,
)
from skerry.frozen import replace

IMAGE = ImageState(id="sha256:1", names=("app:1",), size_bytes=1)
SANDBOX = SandboxSpec(
    pod_uid="u",
    pod_name="web",
    pod_namespace="shop",
    attempt=2,
    hostname="web",
    dns=DnsConfig(servers=("10.0.0.10",), searches=("svc",), options=("ndots:5",)),
    ports=(PortMapping(container_port=53, host_port=5353, protocol="UDP", host_ip="127.0.0.1"),),
    log_dir=Path("/logs/web"),
    cgroup_parent="/kubepods/podu",
    sysctls=(("net.core.somaxconn", "1024"),),
    labels=(("app", "web"), ("io.kubernetes.pod.uid", "another")),
)
SPEC = ContainerSpec(
    sandbox=SANDBOX,
    sandbox_id="s",
    name="app",
    attempt=3,
    image="app:1",
    command=("run",),
    args=("-x",),
    env=(("A", "ü"),),
    working_dir="/w",
    mounts=(Mount(host_path=Path("/data"), container_path="/d", read_only=True, propagation="bidirectional"),),
    devices=((Path("/dev/ttyS0"), "/dev/modbus", "rw"),),
    resources=Resources(cpu_shares=102, cpu_quota_us=5000, cpu_period_us=100000, memory_bytes=9, oom_score_adj=-997),
)


def security_of(**security: object) -> cri.LinuxContainerSecurityContext:
    spec = replace(SPEC, security=Security(**security))  # type: ignore[arg-type]
    made = container_config(spec, IMAGE, "me").linux
    assert made is not None and made.security_context is not None
    return made.security_context


def test_a_sandbox_is_named_for_people_and_found_by_labels() -> None:
    made = sandbox_config(SANDBOX, "me")
    assert made.metadata == cri.PodSandboxMetadata(name="web", uid="u", namespace="shop", attempt=2)
    assert made.labels == {
        "app": "web",
        "io.kubernetes.pod.name": "web",
        "io.kubernetes.pod.namespace": "shop",
        "io.kubernetes.pod.uid": "u",
        KEEPER: "me",
    }
    assert made.log_directory == "/logs/web"
    assert made.dns_config == cri.DnsConfig(servers=("10.0.0.10",), searches=("svc",), options=("ndots:5",))
    assert made.port_mappings == (
        cri.PortMapping(protocol=1, container_port=53, host_port=5353, host_ip="127.0.0.1"),
    )
    assert made.linux is not None
    assert (made.linux.cgroup_parent, made.linux.sysctls) == ("/kubepods/podu", {"net.core.somaxconn": "1024"})


def test_with_the_hosts_network_a_pod_has_the_hosts_name() -> None:
    made = sandbox_config(replace(SANDBOX, namespaces=Namespaces(host_network=True)), "me")
    assert made.hostname == ""
    assert made.linux is not None and made.linux.security_context is not None
    options = made.linux.security_context.namespace_options
    assert options is not None and options.network == cri.NAMESPACE_NODE


@pytest.mark.parametrize(
    ("wanted", "pid", "ipc"),
    [
        (Namespaces(), cri.NAMESPACE_CONTAINER, cri.NAMESPACE_POD),
        (Namespaces(share_process=True), cri.NAMESPACE_POD, cri.NAMESPACE_POD),
        (Namespaces(host_pid=True, host_ipc=True), cri.NAMESPACE_NODE, cri.NAMESPACE_NODE),
        (Namespaces(target="c"), cri.NAMESPACE_TARGET, cri.NAMESPACE_POD),
    ],
)
def test_namespaces_are_a_kubelets(wanted: Namespaces, pid: int, ipc: int) -> None:
    made = container_config(replace(SPEC, namespaces=wanted), IMAGE, "me").linux
    assert made is not None and made.security_context is not None
    options = made.security_context.namespace_options
    assert options is not None
    assert (options.pid, options.ipc, options.target_id) == (pid, ipc, wanted.target)


def test_a_container_is_asked_for_as_its_spec_says() -> None:
    made = container_config(SPEC, IMAGE, "me")
    assert made.metadata == cri.ContainerMetadata(name="app", attempt=3)
    assert made.image is not None
    assert (made.image.image, made.image.user_specified_image) == ("sha256:1", "app:1")
    assert (made.command, made.args, made.working_dir) == (("run",), ("-x",), "/w")
    assert made.envs == (cri.KeyValue(key="A", value="ü".encode()),)
    assert made.mounts == (cri.Mount(container_path="/d", host_path="/data", readonly=True, propagation=2),)
    assert made.devices == (cri.Device(container_path="/dev/modbus", host_path="/dev/ttyS0", permissions="rw"),)
    assert made.log_path == "app/3.log"
    assert made.annotations["io.kubernetes.container.restartCount"] == "3"
    assert made.linux is not None
    assert made.linux.resources == cri.LinuxContainerResources(
        cpu_period=100000, cpu_quota=5000, cpu_shares=102, memory_limit_in_bytes=9, oom_score_adj=-997
    )


def test_what_nobody_chose_is_safe() -> None:
    made = security_of()
    assert made.seccomp == cri.SecurityProfile(profile_type=cri.PROFILE_RUNTIME_DEFAULT)
    assert made.masked_paths == MASKED_PATHS
    assert "/proc/sys" in made.readonly_paths
    assert (made.run_as_user, made.run_as_username, made.privileged, made.no_new_privs) == (None, "", False, False)


def test_what_was_chosen_is_asked_for() -> None:
    made = security_of(
        run_as_user=0,
        run_as_group=7,
        supplemental_groups=(9,),
        add_capabilities=("NET_ADMIN",),
        drop_capabilities=("ALL",),
        read_only_root=True,
        no_new_privileges=True,
        seccomp=SeccompProfile(kind="localhost", localhost_ref="/p.json"),
        apparmor="localhost/mine",
        unmasked_proc=True,
    )
    assert made.run_as_user == cri.Int64Value(value=0) and made.run_as_group == cri.Int64Value(value=7)
    assert made.supplemental_groups == (9,)
    assert made.capabilities == cri.Capability(add_capabilities=("NET_ADMIN",), drop_capabilities=("ALL",))
    assert made.readonly_rootfs and made.no_new_privs
    assert made.seccomp == cri.SecurityProfile(profile_type=cri.PROFILE_LOCALHOST, localhost_ref="/p.json")
    assert made.apparmor == cri.SecurityProfile(profile_type=cri.PROFILE_LOCALHOST, localhost_ref="mine")
    assert made.masked_paths == made.readonly_paths == ()


def test_a_privileged_one_is_not_confined() -> None:
    made = security_of(privileged=True, seccomp=SeccompProfile(kind="runtime_default"))
    assert made.privileged and made.seccomp == cri.SecurityProfile(profile_type=cri.PROFILE_UNCONFINED)


@pytest.mark.parametrize(
    ("user", "number", "name"), [("", None, ""), ("1000", cri.Int64Value(value=1000), ""), ("www", None, "www")]
)
def test_the_images_user_is_said_where_the_pod_has_none(user: str, number: cri.Int64Value | None, name: str) -> None:
    made = container_config(SPEC, replace(IMAGE, user=user), "me").linux
    assert made is not None and made.security_context is not None
    assert (made.security_context.run_as_user, made.security_context.run_as_username) == (number, name)


@pytest.mark.parametrize(
    ("user", "image_user", "says"),
    [
        (None, "", "image will run as root"),
        (None, "0", "image will run as root"),
        (None, "www", "non-numeric user (www), cannot verify user is non-root"),
        (None, "1000", ""),
        (0, "1000", "runAsUser breaks non-root policy"),
        (5, "", ""),
    ],
)
def test_who_must_not_be_root_is_not(user: int | None, image_user: str, says: str) -> None:
    spec = replace(SPEC, security=Security(run_as_non_root=True, run_as_user=user))
    fault = non_root_fault(spec, replace(IMAGE, user=image_user))
    assert (says in fault) if says else not fault
    assert not fault or fault.endswith('(pod: "web_shop(u)", container: app)')


def status(**fields: object) -> cri.ContainerStatus:
    labels = {"io.kubernetes.pod.uid": "u", KEEPER: "me", "z": "1", "io.kubernetes.container.name": "app"}
    made = cri.ContainerStatus(
        id="c",
        metadata=cri.ContainerMetadata(name="app", attempt=3),
        image=cri.ImageSpec(image="docker.io/app:1"),
        image_ref="app@sha256:1",
        labels=labels,
        annotations={"skerry.dev/image": "app:1"},
        created_at=1_000_000_000,
    )
    return replace(made, **fields)


LISTED = cri.Container(id="c", pod_sandbox_id="s")


def test_a_running_container_is_told() -> None:
    state = container_state(LISTED, status(state=cri.CONTAINER_RUNNING, started_at=2_500_000_000))
    assert (state.id, state.sandbox_id, state.pod_uid, state.name, state.attempt) == ("c", "s", "u", "app", 3)
    assert (state.image, state.image_id, state.phase) == ("app:1", "app@sha256:1", "running")
    assert (state.created_ms, state.started_ms, state.finished_ms) == (1000, 2500, 0)
    assert state.labels == (("z", "1"),)
    assert not state.reason


@pytest.mark.parametrize(
    ("said", "code", "reason"),
    [("OOMKilled", 137, "OOMKilled"), ("", 0, "Completed"), ("", 2, "Error"), ("StartError", 128, "StartError")],
)
def test_an_end_has_a_reason(said: str, code: int, reason: str) -> None:
    made = container_state(
        LISTED, status(state=cri.CONTAINER_EXITED, reason=said, exit_code=code, finished_at=3 * 10**9)
    )
    assert (made.phase, made.reason, made.exit_code, made.finished_ms) == ("exited", reason, code, 3000)


def test_none_ends_before_it_started() -> None:
    made = container_state(LISTED, status(state=cri.CONTAINER_EXITED, started_at=3 * 10**9, finished_at=2 * 10**9))
    assert (made.started_ms, made.finished_ms) == (3000, 3000)
    running = container_state(LISTED, status(state=cri.CONTAINER_RUNNING, started_at=3 * 10**9))
    assert running.finished_ms == 0


def test_one_that_never_started_has_no_time() -> None:
    made = container_state(LISTED, status(state=cri.CONTAINER_EXITED, started_at=-6795364578871345152))
    assert made.started_ms == 0


def test_one_that_its_runtime_lost_is_over() -> None:
    state = container_state(LISTED, status(state=cri.CONTAINER_UNKNOWN))
    assert (state.phase, state.exit_code, state.reason) == ("exited", 137, "ContainerStatusUnknown")


def test_a_sandbox_is_told_with_its_addresses() -> None:
    held = cri.PodSandbox(
        id="s",
        metadata=cri.PodSandboxMetadata(name="n", uid="u", namespace="d", attempt=1),
        state=1,
        created_at=10**9,
    )
    state = sandbox_state(held, ("10.1.0.2",))
    assert (state.ready, state.addresses, state.created_ms, state.attempt) == (False, ("10.1.0.2",), 1000, 1)
    network = cri.PodSandboxNetworkStatus(ip="10.1.0.2", additional_ips=(cri.PodIp(ip="fd00::2"),))
    assert addresses_of(cri.PodSandboxStatus(network=network)) == ("10.1.0.2", "fd00::2")
    assert addresses_of(cri.PodSandboxStatus()) == ()


@pytest.mark.parametrize(
    ("uid", "username", "user"), [(None, "", ""), (0, "", ""), (5, "", "5"), (None, "www", "www")]
)
def test_the_user_of_an_image(uid: int | None, username: str, user: str) -> None:
    told = cri.Image(id="i", uid=None if uid is None else cri.Int64Value(value=uid), username=username)
    assert image_state(told).user == user


def test_an_older_containerd_shows_in_its_configuration_who_makes_cgroups() -> None:
    def shown(options: str) -> str:
        runc = f'"runtimes": {{"runc": {{"runtimeType": "io.containerd.runc.v2", "options": {options}}}}}'
        return f'{{"sandboxImage": "p", "containerd": {{"defaultRuntimeName": "runc", {runc}}}}}'

    assert cgroup_driver_of({"config": shown('{"BinaryName": "", "SystemdCgroup": true}')}) == "systemd"
    assert cgroup_driver_of({"config": shown('{"SystemdCgroup": false}')}) == "cgroupfs"
    assert cgroup_driver_of({"config": shown("null")}) == "cgroupfs"
    assert (
        cgroup_driver_of({"config": "{}"}) == cgroup_driver_of({"config": "nonsense"}) == cgroup_driver_of({}) == ""
    )


def test_an_image_is_mounted_by_its_id_and_known_by_its_name() -> None:
    image = ImageMount(id="sha256:1", name="shop/data:2")
    mount = Mount(host_path=Path("/"), container_path="/d", read_only=True, sub_path="a", image=image)
    (made,) = container_config(replace(SPEC, mounts=(mount,)), IMAGE, "edgecore").mounts
    assert made == cri.Mount(
        container_path="/d",
        readonly=True,
        image=cri.ImageSpec(image="sha256:1", user_specified_image="shop/data:2"),
        image_sub_path="a",
    )


@pytest.mark.parametrize(
    ("name", "version", "can"),
    [
        ("containerd", "1.6.20~ds1", False),
        ("containerd", "v2.0.5", False),
        ("containerd", "2.1.0", True),
        ("containerd", "v10.0.0-beta.1", True),
        ("cri-o", "1.30.4", False),
        ("cri-o", "1.31.0", True),
        ("containerd", "unknown", False),
        ("another", "0.1", True),
        ("another", "", False),
    ],
)
def test_runtimes_mount_images_from_some_version_on(name: str, version: str, can: bool) -> None:
    assert mounts_images(name, version) == can
