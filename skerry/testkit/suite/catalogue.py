"""The faults of the disconnect suite: what goes wrong, and what must be so meanwhile and afterwards.

Each is a few lines on the face of the test kit. What they hold an app to are the session's promises in
the words of somebody who runs it: nothing stops with the link, nothing is lost, nothing is told twice, everything
is in step again soon.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Final

from skerry.frozen import Frozen
from skerry.objects.meta import name_of, uid_of
from skerry.testkit.suite.app import WORKLOADS, AppDevice
from skerry.testkit.suite.stage import Stage, is_of

HEARTBEATS_S: Final = 62.0
"""Two of the session's heartbeats: by then a silent link is noticed."""
DAY_MS: Final = 86_400_000


class Fault(Frozen):
    """One test of the suite."""

    name: str
    title: str
    """What is promised, in a sentence."""
    run: Callable[[Stage], None]
    needs: tuple[Callable[[Stage], str], ...] = ()
    """Each says why it can't be run on this app; "" when it can."""
    staged: bool = True
    """Begins with the app running; otherwise with gateways alone."""


def needs_pods(stage: Stage) -> str:
    return "" if stage.app.workloads else f"the app has none of {', '.join(WORKLOADS)}"


def needs_config(stage: Stage) -> str:
    return "" if stage.app.configs else "the app has no ConfigMap that its pods use"


def needs_device(stage: Stage) -> str:
    return "" if stage.devices else "the app has no device that can be played: Modbus, MQTT or virtual"


def needs_writable(stage: Stage) -> str:
    return "" if any(device.writable for device in stage.devices) else "no device has a writable number or boolean"


def needs_plc(stage: Stage) -> str:
    return "" if any(device.plc_port for device in stage.devices) else "the app has no Modbus device"


# --- links ---


def cut_while_applying(stage: Stage) -> None:
    stage.apply()
    _cut(stage)
    stage.wait(60)
    _heal(stage)
    stage.settled("after a cut while the app was applied")


def half_open(stage: Stage) -> None:
    before = stage.containers()
    for edge in stage.every_link():
        edge.link.half_open()
    gone = [edge.name for edge in stage.every_link()]
    stage.fleet.eventually(
        lambda: (
            not any(edge.connected for edge in stage.every_link())
            and not set(gone) & set(stage.fleet.cloud.connected)
        ),
        stage.lasting(HEARTBEATS_S, least_s=20.0),
        message="both ends notice the silence within two heartbeats",
    )
    stage.throughout(lambda: stage.untouched(before), 120, every_s=5, message="pods go on through the silence")
    _heal(stage)
    stage.settled("after a half-open link")
    stage.untouched(before)


def offline_half_an_hour(stage: Stage) -> None:
    before = stage.containers()
    uids = _cloud_pods(stage)
    _cut(stage)
    for number in range(20):
        if stage.app.configs:
            stage.change_config(f"edition {number}")
        stage.wait(90)
        stage.untouched(before)
    assert _cloud_pods(stage) == uids, "silence deleted or replaced pods in the cloud"
    _heal(stage)
    stage.settled("after 30 minutes offline")
    if stage.app.configs:
        arrived = stage.app.configs[0]
        assert stage.config_arrived(arrived, "edition 19"), "the last edition did not arrive"
    stage.untouched(before)


def flapping(stage: Stage) -> None:
    before = stage.containers()
    for _ in range(15):
        _cut(stage)
        stage.wait(3, least_s=1.5)
        _heal(stage)
        stage.wait(7, least_s=3.0)
        stage.untouched(before)
    stage.settled("after a link that flapped for minutes")
    stage.untouched(before)


def slow_link(stage: Stage) -> None:
    before = stage.containers()
    for edge in stage.every_link():
        edge.link.slow(kbit=64, loss=0.05, delay_ms=250)
    if stage.app.configs:
        config = stage.change_config("over a slow link")
        stage.fleet.eventually(
            lambda: stage.config_arrived(config, "over a slow link"), 90, message="a change arrives over 64 kbit/s"
        )
    stage.throughout(
        lambda: all(edge.connected for edge in stage.every_link()),
        180,
        every_s=5,
        message="a slow link is no dead link",
    )
    _heal(stage)
    stage.settled("after a slow link")
    stage.untouched(before)


def reconnect(stage: Stage) -> None:
    before = stage.containers()
    _cut(stage)
    stage.wait(30)
    _heal(stage)
    stage.settled("after half a minute offline")
    stage.throughout(lambda: stage.untouched(before), 60, every_s=5, message="healthy pods are left alone")


# --- power, agents, clouds ---


def power_cycle_offline(stage: Stage) -> None:
    before = stage.containers()
    _cut(stage)
    for edge in stage.every_link():
        edge.power_cycle(off_s=stage.lasting(10))
    stage.fleet.eventually(stage.running, stage.app.expects.ready_s, message="pods come back before the link does")
    assert not any(edge.connected for edge in stage.every_link())
    again = stage.containers()
    for name, ids in before.items():
        assert len(again[name]) == len(ids), f"{name}: {len(ids)} containers ran, now {len(again[name])}"
    _heal(stage)
    stage.settled("after a power cut while offline")
    stage.untouched(again)


def power_cut_while_applying(stage: Stage) -> None:
    stage.apply()
    stage.fleet.wait(0.08)
    for edge in stage.every_link():
        edge.power_cycle(off_s=stage.lasting(5))
    stage.settled("after a power cut while the app arrived")


def change_then_power_cut(stage: Stage) -> None:
    config = stage.change_config("seen before the power went")
    stage.fleet.eventually(
        lambda: stage.config_arrived(config, "seen before the power went"), 60, message="the change arrives"
    )
    stage.settled("the change is acknowledged", within_s=60)
    _cut(stage)
    for edge in stage.every_link():
        edge.power_cycle()
    stage.fleet.eventually(stage.running, stage.app.expects.ready_s, message="pods come back without a link")
    assert stage.config_arrived(config, "seen before the power went"), "what was acknowledged was lost with the power"
    _heal(stage)
    stage.settled("after a power cut")


def agent_killed(stage: Stage) -> None:
    before = stage.containers()
    for edge in stage.every_link():
        edge.kill()
    stage.throughout(lambda: stage.untouched(before), 30, every_s=5, message="pods need no agent to go on")
    for edge in stage.every_link():
        edge.start()
    stage.settled("after a crash of the agent")
    stage.untouched(before)


def cloud_restarted(stage: Stage) -> None:
    before, uids = stage.containers(), _cloud_pods(stage)
    stage.fleet.cloud.kill()
    stage.throughout(lambda: stage.untouched(before), 120, every_s=5, message="pods need no cloud to go on")
    stage.fleet.cloud.start()
    stage.settled("after the cloud was killed and started")
    stage.untouched(before)
    assert _cloud_pods(stage) == uids, "the cloud lost or replaced pods"


def cloud_restored(stage: Stage) -> None:
    before = stage.containers()
    backup = stage.fleet.cloud.backup()
    if stage.app.configs:
        config = stage.change_config("after the backup")
        stage.fleet.eventually(lambda: stage.config_arrived(config, "after the backup"), 60)
    stage.fleet.cloud.restore_backup(backup)
    stage.settled("after the cloud was restored from a backup")
    if stage.app.configs:
        assert stage.config_arrived(stage.app.configs[0], ""), "a gateway keeps what the restored cloud does not have"
    stage.untouched(before)


def clock_1970(stage: Stage) -> None:
    _cut(stage)
    begun_ms = min(edge.clock.wall_ms for edge in stage.every_link())
    for edge in stage.every_link():
        edge.power_cycle(off_s=stage.lasting(5), clock="1970")
    _heal(stage)
    stage.settled("with clocks that say 1970")
    stage.wait(60, least_s=5.0)
    for device in stage.devices:
        for prop in device.writable:
            for reading in stage.fleet.cloud.history(device.name, prop, device.namespace):
                assert reading.at_ms > begun_ms - DAY_MS, (
                    f"{device.name}/{prop} is dated by the wrong clock: {reading}"
                )


def clock_stepped(stage: Stage) -> None:
    before = stage.containers()
    for seconds in (-7200, 86_400, -86_400):
        for edge in stage.every_link():
            edge.clock.step(seconds)
        stage.wait(90)
        stage.untouched(before)
    stage.settled("after clocks that jumped")
    stage.untouched(before)


# --- changes while offline ---


def config_changed_offline(stage: Stage) -> None:
    before = stage.containers()
    _cut(stage)
    config = stage.change_config("changed while offline")
    stage.wait(300)
    assert not any(_holds(stage, text) for text in ("changed while offline",)), "it came over a link that was cut"
    _heal(stage)
    stage.settled("after a ConfigMap was changed offline")
    assert stage.config_arrived(config, "changed while offline")
    stage.untouched(before)


def app_deleted_offline(stage: Stage) -> None:
    before = stage.containers()
    _cut(stage)
    stage.delete_workloads()
    stage.throughout(
        lambda: stage.untouched(before), 300, every_s=10, message="pods run on while nobody can tell them"
    )
    _heal(stage)
    stage.fleet.eventually(stage.no_pods, stage.settle_s, message="pods of a deleted app end after the link is back")
    stage.fleet.eventually(
        lambda: _cloud_pods(stage) == {}, stage.settle_s, message="the cloud hears that they are gone"
    )
    for edge in stage.every_link():
        edge.power_cycle()
    stage.throughout(stage.no_pods, 60, every_s=5, message="nothing of a deleted app comes back")


# --- devices ---


def desired_changed_offline(stage: Stage) -> None:
    device, prop, values = _wanted(stage)
    edge = stage.edges[device.node]
    edge.link.cut()
    for value in values:
        stage.fleet.set_desired(device.name, prop, value, device.namespace)
        stage.wait(60)
    edge.link.heal()
    stage.fleet.eventually(
        lambda: stage.twin_is(device, prop, values[-1]),
        stage.settle_s,
        message=f"{device.name} gets the last value wanted",
    )


def desired_on_both_sides(stage: Stage) -> None:
    device, prop, values = _wanted(stage)
    edge = stage.edges[device.node]
    edge.link.cut()
    stage.fleet.set_desired(device.name, prop, values[0], device.namespace)
    stage.wait(30)
    edge.set_desired(device.name, prop, values[1], device.namespace)
    stage.wait(30)
    edge.link.heal()
    stage.fleet.eventually(
        lambda: stage.twin_is(device, prop, values[1]),
        stage.settle_s,
        message=f"the newer of two values wanted wins on both sides of {device.name}",
    )


def device_deleted_offline(stage: Stage) -> None:
    device = stage.devices[0]
    edge = stage.edges[device.node]
    edge.link.cut()
    stage.fleet.delete("device", device.name, device.namespace)
    stage.wait(120)
    edge.link.heal()
    stage.fleet.eventually(
        lambda: edge.get("device", device.name, device.namespace) is None and edge.in_step,
        stage.settle_s,
        message=f"the gateway lets go of {device.name}",
    )
    edge.power_cycle()
    stage.throughout(
        lambda: edge.get("device", device.name, device.namespace) is None, 60, every_s=5, message="and it stays away"
    )


def reports_arrive_once(stage: Stage) -> None:
    device = next(device for device in stage.devices if device.plc_port)
    edge, cloud = stage.edges[device.node], stage.fleet.cloud
    props = sorted(device.writable)
    edge.link.cut()
    for number in range(24):
        if props:
            value = device.writable[props[0]][number % 2]
            edge.set_desired(device.name, props[0], value, device.namespace)
        stage.wait(20, least_s=2.5)
        if number == 11:
            edge.power_cycle(off_s=2)
    edge.link.heal()
    stage.settled("after eight minutes of readings offline")
    stage.wait(30, least_s=5.0)
    for prop in props:
        readings = cloud.history(device.name, prop, device.namespace)
        sequences = [reading.sequence for reading in readings if reading.sequence]
        assert sequences == sorted(set(sequences)), f"{device.name}/{prop}: twice or out of order: {sequences}"
    if props:
        values = [reading.value for reading in cloud.history(device.name, props[0], device.namespace)]
        changes = sum(1 for one, other in pairwise(values) if one != other)
        assert changes >= 22, f"of 23 changes offline {changes} are in the cloud: {values}"


# --- what they are made of ---


def _cut(stage: Stage) -> None:
    for edge in stage.every_link():
        edge.link.cut()


def _heal(stage: Stage) -> None:
    for edge in stage.every_link():
        edge.link.heal()


def _holds(stage: Stage, text: str) -> bool:
    namespace, name = stage.app.configs[0]
    return any(text in str(edge.get("configmap", name, namespace)) for edge in stage.every_link())


def _wanted(stage: Stage) -> tuple[AppDevice, str, tuple[str, ...]]:
    device = next(device for device in stage.devices if device.writable)
    prop = min(device.writable)
    return device, prop, device.writable[prop]


def _cloud_pods(stage: Stage) -> dict[str, str]:
    """Uids of the app's pods in the cloud, by name."""
    namespaces = {workload.namespace for workload in stage.app.workloads}
    return {
        name_of(pod): uid_of(pod)
        for namespace in sorted(namespaces)
        for pod in stage.fleet.list("pods", namespace)
        if any(is_of(workload, name_of(pod)) for workload in stage.app.workloads)
    }


DISCONNECT: Final[Sequence[Fault]] = (
    Fault(
        name="cut-while-applying",
        title="An app that is applied while the link breaks arrives whole when it heals.",
        run=cut_while_applying,
        staged=False,
    ),
    Fault(
        name="half-open",
        title="A link that is silent without a word is noticed by both ends, and stops nothing.",
        run=half_open,
    ),
    Fault(
        name="offline-30-min",
        title="Half an hour offline stops no pod; what changed meanwhile arrives in its last form.",
        run=offline_half_an_hour,
    ),
    Fault(name="flapping", title="A link that comes and goes restarts nothing.", run=flapping),
    Fault(
        name="slow-link",
        title="64 kbit/s with 5 % loss is enough, and is not taken for a dead link.",
        run=slow_link,
    ),
    Fault(name="reconnect", title="A reconnect leaves healthy pods alone.", run=reconnect, needs=(needs_pods,)),
    Fault(
        name="power-cycle-offline",
        title="After a power cut pods run again before the link is back.",
        run=power_cycle_offline,
        needs=(needs_pods,),
    ),
    Fault(
        name="power-cut-while-applying",
        title="An app that is cut off by a power cut while it arrives is whole afterwards.",
        run=power_cut_while_applying,
        staged=False,
    ),
    Fault(
        name="change-then-power-cut",
        title="What a gateway has acknowledged is there after a power cut, link or no link.",
        run=change_then_power_cut,
        needs=(needs_config,),
    ),
    Fault(name="agent-killed", title="A crash of the agent stops no pod.", run=agent_killed),
    Fault(
        name="cloud-restarted", title="A crash of the cloud stops no pod and loses no object.", run=cloud_restarted
    ),
    Fault(
        name="cloud-restored",
        title="A cloud that is restored from a backup gets its gateways back to what it knows.",
        run=cloud_restored,
    ),
    Fault(
        name="clock-1970",
        title="A gateway that boots in 1970 connects, and its readings get the right time.",
        run=clock_1970,
    ),
    Fault(name="clock-stepped", title="A clock that jumps by hours disturbs nothing.", run=clock_stepped),
    Fault(
        name="config-changed-offline",
        title="A ConfigMap that was changed offline arrives, and restarts nothing.",
        run=config_changed_offline,
        needs=(needs_config,),
    ),
    Fault(
        name="app-deleted-offline",
        title="An app that was deleted offline runs until the gateway hears of it, and then never again.",
        run=app_deleted_offline,
        needs=(needs_pods,),
    ),
    Fault(
        name="desired-changed-offline",
        title="Of the values wanted of a device while offline the last is carried out.",
        run=desired_changed_offline,
        needs=(needs_writable,),
    ),
    Fault(
        name="desired-on-both-sides",
        title="Where cloud and gateway wanted different values, the newer one wins on both.",
        run=desired_on_both_sides,
        needs=(needs_writable,),
    ),
    Fault(
        name="device-deleted-offline",
        title="A device that was deleted offline is let go of, for good.",
        run=device_deleted_offline,
        needs=(needs_device,),
    ),
    Fault(
        name="reports-arrive-once",
        title="Readings made offline, over a power cut as well, arrive once and in order.",
        run=reports_arrive_once,
        needs=(needs_plc, needs_writable),
    ),
)
"""In the order in which they are run."""


def reason_to_skip(fault: Fault, stage: Stage) -> str:
    """Why this fault makes no sense on this app; "" when it does."""
    if fault.name in stage.app.expects.skip:
        return "the app's expectations skip it"
    return next((why for need in fault.needs if (why := need(stage))), "")


def play(fault: Fault, stage: Stage) -> None:
    """Set the stage, let it go wrong, look. Raises `AssertionError` in the words of a user."""
    if fault.staged:
        stage.set()
    fault.run(stage)
