"""What runs the pods of a real gateway, by its settings, and what of the machine is theirs."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Final

from edgecore.config.agent import MIB, EdgeSettings
from edgecore.config.node import cgroup_root_of, reserved_of
from edgecore.config.places import node_ip_of
from edgecore.pods.cgroup_plan import Driver
from edgecore.pods.cgroup_tree import CgroupTree
from edgecore.pods.cgroups import CgroupSettings, PodCgroups
from edgecore.pods.node import Machine, allocatable_of, read_machine
from edgecore.pods.own_address import or_known
from edgecore.pods.port import Runtime
from edgecore.pods.pull_rights import PullRights
from edgecore.pods.runtimes.choice import (
    PROCESS,
    Choice,
    Choosing,
    before,
    choose,
    clear_or_say,
    keep,
    keep_keeper,
    keeper_of,
)
from edgecore.store.port import META_ADDRESS
from edgecore.store.shell import AsyncEdgeStore
from skerry.errors import InvalidError, UnavailableError
from skerry.frozen import replace
from skerry.objects.quantity import parse_quantity
from skerry.ports import Clock

if TYPE_CHECKING:
    from edgecore.pods.runtimes.cri.runtime import CriRuntime
    from edgecore.pods.runtimes.process import ProcessRuntime

LOG: Final = logging.getLogger("edgecore")


async def open_runtime(settings: EdgeSettings, clock: Clock) -> Runtime:
    """What runs pods. Raises `InvalidError`, and `UnavailableError` where one that never ran them here does not
    answer: a name that is wrong costs no pod."""
    chosen, found = choose(
        Choosing(wanted=settings.runtime, endpoint=settings.runtime_endpoint, directory=settings.data)
    )
    earlier = before(settings.data)
    keep_keeper(settings.data)
    moves = earlier is not None and not earlier.is_same(chosen)
    if moves or earlier is None:
        runtime = await _opened_anew(chosen, settings, clock, found=found, stays=earlier)
    else:
        runtime = await _opened(chosen, settings, clock)
    if runtime is None:
        chosen = Choice(name=PROCESS)
        runtime = _processes(settings, clock)
    if earlier is not None and not earlier.is_same(chosen):
        LOG.warning("pods move to another runtime before=%s now=%s", earlier.name, chosen.name)
        old = await _opened(earlier, settings, clock)
        ended = old is None or await clear_or_say(old)
        if old is not None:
            await old.close()
        if not ended:
            return runtime
    keep(settings.data, chosen)
    LOG.info(
        "pods are run by runtime=%s version=%s socket=%s", runtime.name, runtime.version, chosen.socket or "none"
    )
    return runtime


async def _opened_anew(
    chosen: Choice, settings: EdgeSettings, clock: Clock, *, found: bool, stays: Choice | None
) -> Runtime | None:
    """One that ran no pods here yet. None for one that was `found` and does not speak CRI, as Docker's containerd is
    set up. Raises `UnavailableError` where it does not answer."""
    try:
        return await _opened(chosen, settings, clock, found=found, must_answer=True)
    except UnavailableError as error:
        where = f"; the pods of this gateway go on in {stays.name}" if stays is not None else ""
        raise UnavailableError(
            f"the container runtime at {chosen.socket} does not answer ({error}): start it, name the socket of "
            f"another with --runtime-endpoint, or run with --runtime process{where}"
        ) from error


async def _opened(
    chosen: Choice, settings: EdgeSettings, clock: Clock, *, found: bool = False, must_answer: bool = False
) -> Runtime | None:
    """None for one that was `found` and does not speak CRI. A runtime that ran pods here may be late, and they wait
    for it, unless it `must_answer`."""
    if chosen.is_process:
        return _processes(settings, clock)
    rights = PullRights(settings.data) if settings.image_verification == "pulled" else None
    runtime = cri_runtime(chosen, settings.data, clock, rights)
    try:
        await runtime.greet()
    except UnavailableError as error:
        if must_answer:
            await runtime.close()
            raise
        LOG.warning("the container runtime does not answer yet socket=%s reason=%s", chosen.socket, error)
    except InvalidError as error:
        await runtime.close()
        if not found:
            raise InvalidError(f"the runtime at {chosen.socket} does not speak CRI v1: {error}") from error
        LOG.warning("a container runtime is not used: it does not speak CRI v1 socket=%s", chosen.socket)
        return None
    return runtime


def cri_runtime(chosen: Choice, data: Path, clock: Clock, rights: PullRights | None = None) -> CriRuntime:
    from edgecore.pods.runtimes.cri.runtime import CriRuntime, CriSettings  # gRPC costs memory: only who has one pays

    settings = CriSettings(socket=chosen.socket, keeper=keeper_of(data), name=chosen.name, rights=rights)
    return CriRuntime(settings, clock)


def _processes(settings: EdgeSettings, clock: Clock) -> ProcessRuntime:
    from edgecore.pods.runtimes.process import ProcessRuntime, ProcessSettings  # who has containers does without

    tree = CgroupTree()
    if settings.images and not settings.images_directory.is_dir():
        LOG.warning("--images %s: there is no such directory yet, so no container starts", settings.images_directory)
    own = ProcessSettings(
        directory=settings.data / "containers",
        images=settings.images_directory.absolute(),
        log_bytes=settings.log_size_mib * MIB,
        log_files=settings.log_files,
        cgroups=None if tree.fault else tree,
    )
    return ProcessRuntime(own, clock)


def cgroups_of(settings: EdgeSettings, runtime: Runtime) -> PodCgroups | None:
    """Raises `InvalidError`."""
    top, tree = cgroup_root_of(settings.cgroup_root), CgroupTree()
    if tree.fault:
        LOG.warning("what pods may use is not limited by cgroups of their own reason=%s", tree.fault)
        return None
    machine = machine_of(settings)
    reserved = reserved_of(settings.system_reserved)
    allocatable = allocatable_of(machine, reserved)

    def driver() -> Driver:
        wanted = "cgroupfs" if not runtime.abilities.isolation else settings.cgroup_driver
        said = runtime.cgroup_driver if wanted == "auto" else wanted
        return "systemd" if said == "systemd" else "cgroupfs"

    return PodCgroups(
        CgroupSettings(
            top=top,
            pids_max=settings.pod_pids_max,
            memory_qos=settings.memory_qos,
            cpu_millis=parse_quantity(allocatable["cpu"]).millis,
            memory_bytes=max(machine.memory_bytes - parse_quantity(reserved.get("memory", "0")).units, 0),
            node_bytes=parse_quantity(allocatable["memory"]).units,
        ),
        tree,
        driver,
    )


def machine_of(settings: EdgeSettings, store: AsyncEdgeStore | None = None) -> Machine:
    """This machine as it is now, shown under the address that the settings name; without one, and without a way out,
    under that which `store` knows."""
    machine = read_machine(settings.data)
    if settings.node_ip:
        return replace(machine, addresses=node_ip_of(settings.node_ip))
    known = None if store is None else store.meta(META_ADDRESS)
    return replace(machine, addresses=or_known(machine.addresses, known))
