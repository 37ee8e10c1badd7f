"""What happens when links, machines and clocks fail, told one case at a time."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from edgecore.store.packing import TOGETHER
from skerry.frozen import replace
from skerry.sync.cloud import CloudState
from skerry.sync.edge import PING_HEARTBEATS, EdgeState
from skerry.sync.effects import DatedReport
from skerry.sync.ports import SyncSettings
from skerry.sync.traffic import ANSWER_WIRE_BYTES, FRAME_WIRE_BYTES
from skerry.wire.frames import BULK
from tests.sim.checkers import BrokenPromiseError, parts_of, times_of
from tests.sim.cloud import Disk
from tests.sim.edge import SMALL_BUDGETS
from tests.sim.world import Plant, World

TRANSCRIPTS = Path(__file__).parent / "transcripts"


@pytest.fixture
def world() -> World:
    """One edge with one pod and its configuration, in step."""
    world = World(7, edges=1)
    world.config("settings", "first")
    world.pod("web", "edge-1", "settings")
    world.run(15)
    assert world.edges[0].in_step
    return world


def frames_of(world: World) -> list[str]:
    """Who sent what, without times and sizes."""
    return [" ".join(line.split()[2:4]) for line in world.transcript]


def golden(world: World, name: str) -> None:
    """Compare the conversation with the kept one; SKERRY_REWRITE=1 rewrites it, to be read in review."""
    path = TRANSCRIPTS / f"{name}.txt"
    text = "\n".join(world.transcript) + "\n"
    if os.environ.get("SKERRY_REWRITE"):
        path.write_text(text)
    assert text == path.read_text()


def reconnect(world: World) -> None:
    """Cut, wait until both know, and write down the next conversation."""
    edge = world.edges[0]
    assert edge.link is not None
    edge.link.cut()
    world.run(0.5)
    world.recording = True
    world.run(20)
    world.recording = False
    assert edge.in_step


def test_an_edge_in_step_needs_one_round_trip_after_a_cut(world: World) -> None:
    reconnect(world)
    golden(world, "unchanged")
    assert frames_of(world)[:2] == ["-> Hello", "<- Welcome"]
    assert {frame.split()[1] for frame in frames_of(world)[2:]} <= {"Ping", "Pong"}


def test_what_changed_while_the_link_was_cut_is_compared_fetched_and_acknowledged(world: World) -> None:
    edge = world.edges[0]
    edge.blocked = True
    assert edge.link is not None
    edge.link.cut()
    world.run(1)
    world.config("settings", "second")
    world.pod("new", "edge-1", "settings", "more")
    world.config("more", "text")
    world.delete("pods", "web")
    world.run(1)
    edge.blocked = False
    world.recording = True
    world.run(60)
    golden(world, "catching_up")
    world.checkers.final()
    assert sorted(world.bodies_held(edge)) == [
        "configmaps default/more",
        "configmaps default/settings",
        "pods default/new",
    ]


def test_fifty_changes_on_a_slow_link_travel_in_a_few_frames(world: World) -> None:
    world.slow = 50.0
    world.recording = True
    for number in range(50):
        world.config("settings", str(number))
        world.run(0.1)
    world.slow = 1.0
    world.run(30)
    sent = [line for line in world.transcript if "Objects" in line]
    assert len(sent) <= world.settings.window_batches + 2
    assert b'"49"' in world.bodies_held(world.edges[0])["configmaps default/settings"]


def test_a_pod_arrives_with_all_it_refers_to_in_one_write(world: World) -> None:
    edge = world.edges[0]
    world.config("a", "a")
    world.config("b", "b")
    world.run(1)
    world.pod("both", "edge-1", "a", "b")
    while "pods default/both" not in world.bodies_held(edge):
        assert not {"configmaps default/a", "configmaps default/b"} & world.bodies_held(edge).keys()
        world.run(0.01)
    assert {"configmaps default/a", "configmaps default/b"} <= world.bodies_held(edge).keys()


def test_power_lost_before_the_write_is_durable_costs_a_second_delivery_and_nothing_else(world: World) -> None:
    edge = world.edges[0]
    world.config("settings", "second")
    while not edge.writing:
        world.run(0.001)
    edge.cut_power(battery=True)
    assert b"first" in world.bodies_held(edge)["configmaps default/settings"]
    assert edge.pods.running == set()
    edge.start()
    assert len(edge.pods.running) == 1, "pods start before the link is there"
    world.run(60)
    assert b"second" in world.bodies_held(edge)["configmaps default/settings"]
    world.checkers.final()


@pytest.mark.parametrize(("up", "down"), [(True, False), (False, True), (True, True)])
def test_a_half_open_link_is_noticed_within_two_heartbeats_by_both(world: World, *, up: bool, down: bool) -> None:
    edge = world.edges[0]
    link, session = edge.link, edge.session
    served = world.cloud.sessions["edge-1"]
    assert link is not None
    assert session is not None
    edge.blocked = True
    link.half_open(up=up, down=down)
    world.run(2 * world.settings.heartbeat_s + 1)
    assert session.state is EdgeState.CLOSED
    assert served.machine.state is CloudState.CLOSED


def test_an_idle_link_carries_two_small_frames_a_heartbeat(world: World) -> None:
    link = world.edges[0].link
    assert link is not None
    world.run(1)
    before_frames, before_bytes = link.frames, link.bytes_sent
    world.run(600)
    beats = 600 / world.settings.heartbeat_s / PING_HEARTBEATS
    compares = 600 / world.settings.compare_s
    assert link.frames - before_frames <= 2 * beats + compares + 2
    assert link.bytes_sent - before_bytes <= 12 * beats + 16 * compares + 40


def test_a_day_of_default_heartbeats_is_below_half_a_megabyte() -> None:
    """With what the network adds on IPv4: headers for each frame, and a packet that acknowledges each pong and each
    comparison, which nothing answers."""
    world = World(1, edges=1, settings=SyncSettings())
    world.run(10)
    link = world.edges[0].link
    assert link is not None
    world.run(86_400)
    pings = 86_400 / world.settings.heartbeat_s / PING_HEARTBEATS
    acknowledged = link.frames - pings
    carried = link.bytes_sent + link.frames * FRAME_WIRE_BYTES + acknowledged * ANSWER_WIRE_BYTES
    assert 400_000 < carried <= 500_000


def test_a_newer_session_fences_the_older_and_nothing_is_told_twice(world: World) -> None:
    edge = world.edges[0]
    older = world.cloud.sessions["edge-1"]
    edge.sense()
    edge.crash_agent()  # its last frames are still on their way
    edge.start()
    edge.sense()
    world.run(30)
    assert older.machine.state is CloudState.CLOSED
    assert world.cloud.sessions["edge-1"].number > older.number
    world.checkers.final()


def test_a_restored_cloud_starts_an_epoch_and_may_take_objects_back(world: World) -> None:
    edge = world.edges[0]
    backup: Disk = world.cloud.disk.copy()
    world.config("settings", "lost with the backup")
    world.run(5)
    running = set(edge.pods.running)
    world.cloud.restore(backup)
    world.cloud.start()
    world.recording = True
    world.run(60)
    golden(world, "restored_cloud")
    assert b"first" in world.bodies_held(edge)["configmaps default/settings"]
    assert edge.pods.running == running, "no pod was touched"
    world.checkers.final()


@pytest.mark.parametrize("delay_s", [0.0, 0.2, 0.5, 1.0, 5.0])
def test_a_pod_deleted_after_the_backup_runs_again_wherever_its_deletion_was(world: World, delay_s: float) -> None:
    edge = world.edges[0]
    backup, running = world.cloud.disk.copy(), set(edge.pods.running)
    world.force_delete("web")
    world.run(delay_s)
    world.cloud.restore(backup)
    world.cloud.start()
    world.run(60)
    assert edge.pods.running == running
    world.checkers.final()


def test_what_was_told_after_the_backup_is_told_again(world: World) -> None:
    edge = world.edges[0]
    backup = world.cloud.disk.copy()
    for _ in range(3):
        edge.sense()
    world.run(5)
    assert world.cloud.disk.effects
    world.cloud.restore(backup)
    world.cloud.start()
    world.run(60)
    assert [dated.report.kind for _, _, dated in world.cloud.disk.effects] == ["twin_reported"]
    world.checkers.final()


def test_an_edge_that_lost_its_disk_is_a_new_incarnation_and_gets_everything(world: World) -> None:
    edge = world.edges[0]
    edge.sense()
    world.run(5)
    edge.reset_disk()
    edge.start()
    edge.sense()
    world.run(60)
    assert "pods default/web" in world.bodies_held(edge)
    assert [incarnation for _, incarnation, _ in world.cloud.disk.effects] == ["edge-1.1", "edge-1.2"]
    world.checkers.final()


@pytest.mark.parametrize("started", [1, 3])
@pytest.mark.parametrize("written", [1, 9, 30])
def test_an_edge_that_was_set_back_to_an_older_copy_of_its_store_loses_nothing_that_it_writes(
    world: World, started: int, written: int
) -> None:
    """However much it writes, and however often it starts, before it meets the cloud, which has told nobody yet that
    the same numbers were taken."""
    edge = world.edges[0]
    for _ in range(5):
        edge.sense()
        world.run(2)
    edge.blocked = True
    if edge.link is not None:
        edge.link.vanish(edge)
    edge.crash_agent()
    edge.start()
    for _ in range(4):
        edge.sense()
    world.run(1)
    copy = edge.store.snapshot()  # with reports that the original is going to send
    edge.blocked = False
    world.run(90)
    for _ in range(6):
        edge.sense()
        world.run(2)
    taken = len(world.cloud.disk.effects)
    edge.blocked = True
    edge.crash_agent()
    edge.restore_copy(copy)
    for _ in range(started):
        edge.start()
        for _ in range(written):
            edge.sense()
        world.run(1)
        edge.crash_agent()
    edge.start()
    edge.blocked = False
    world.run(120)
    lives = [incarnation for _, incarnation, _ in world.cloud.disk.effects[taken:]]
    assert lives
    assert set(lives) == {"edge-1.2"}
    world.checkers.final()


@pytest.mark.parametrize("bug", [False, True], ids=["as it is", "carried out before the cloud knows of it"])
def test_a_command_is_carried_out_once_though_its_gateway_is_set_back_while_its_word_is_on_the_way(
    *, bug: bool
) -> None:
    """The original acts, and what it says of that is lost with the link; the image has neither command nor record."""
    world = World(7, edges=1, plant=Plant(carry_out_unknown=bug))
    edge = world.edges[0]
    world.run(15)
    image = edge.store.snapshot()
    assert edge.link is not None
    edge.link.half_open(up=True, down=False)  # it hears, and is not heard
    world.command("purge", "edge-1", 600)
    world.run(4)
    assert edge.store.commands(), "it has come, and is begun"
    edge.cut_power(battery=True)
    edge.restore_copy(image)
    edge.start()
    try:
        world.run(120)
        world.checkers.final()
    except BrokenPromiseError as error:
        assert bug and str(error).startswith("11 commands at most once: edge-1 carried")
    else:
        assert not bug


@pytest.mark.parametrize("bug", [False, True])
def test_a_full_outbox_keeps_what_is_new_over_links_on_which_no_receipt_comes(*, bug: bool) -> None:
    """A modem that lets a greeting through and nothing after it: each session sends what is new, and ends."""
    budgets = replace(SMALL_BUDGETS, telemetry=4000)
    world = World(7, edges=1, budgets=budgets, plant=Plant(cling_to_taken=bug))
    edge = world.edges[0]
    world.run(15)
    try:
        for _ in range(30):
            before = edge.link
            assert before is not None
            before.cut()
            while edge.link in (before, None) or edge.session is None or edge.session.state is EdgeState.GREETING:
                world.step()
            edge.link.half_open(up=True, down=False)
            for _ in range(10):
                edge.sense()
                world.run(0.5)
        assert sum(gap.dropped for gap in edge.store.stats().gaps) > 40
        waiting = [seq for item in edge.store.outbox(after=0, limit=1000, lane=BULK) for seq, _, _ in parts_of(item)]
        assert waiting[-1] > edge.store.outbox_head() - 5, "what was read last is there"
        world.run(120)
        world.checkers.final()
    except BrokenPromiseError as error:
        assert bug and str(error).startswith("6 bounded: edge-1 keeps"), error
    else:
        assert not bug


def test_a_gateway_that_boots_in_1970_connects_and_its_reports_are_dated_right(world: World) -> None:
    edge = world.edges[0]
    edge.cut_power(battery=False)
    edge.blocked = True
    edge.start()
    assert edge.clock.wall_ms() < 1_000_000
    edge.sense()
    happened_ms = world.true_ms()
    world.run(3600)
    edge.clock.wall_off_ms = 0  # NTP found the time
    edge.blocked = False
    world.run(90)
    (_, _, dated) = world.cloud.disk.effects[-1]
    assert abs(dated.at_ms - happened_ms) < 3000
    assert not dated.report.estimated
    world.checkers.final()


def told_at(world: World, happened_ms: int) -> DatedReport:
    """What was told of that moment."""
    told = [dated for _, _, dated in world.cloud.disk.effects]
    return next(dated for dated in told if happened_ms in {true_ms for _, true_ms in times_of(dated)})


def test_a_report_of_an_earlier_boot_is_dated_by_what_that_boot_heard(world: World) -> None:
    edge = world.edges[0]
    world.run(60)
    edge.blocked = True
    assert edge.link is not None
    edge.link.cut()
    world.run(60)
    edge.sense()
    happened_ms = world.true_ms()
    world.run(600)
    edge.cut_power(battery=False)
    world.run(86_400)
    edge.start()
    edge.blocked = False
    world.run(90)
    dated = told_at(world, happened_ms)
    assert abs(dated.at_ms - happened_ms) < 3000
    assert not dated.report.estimated
    assert 0 < dated.report.error_ms < 3000
    world.checkers.final()


def test_a_report_of_a_boot_that_never_heard_the_cloud_is_dated_between_what_is_known(world: World) -> None:
    edge = world.edges[0]
    world.run(60)
    edge.cut_power(battery=False)
    known_ms = world.true_ms()
    edge.blocked = True
    world.run(3600)
    edge.start()
    edge.sense()
    happened_ms = world.true_ms()
    world.run(3600)
    edge.cut_power(battery=False)
    world.run(3600)
    edge.start()
    edge.blocked = False
    world.run(90)
    dated = told_at(world, happened_ms)
    assert dated.report.estimated
    assert known_ms - 60_000 < dated.at_ms < world.true_ms()
    assert abs(dated.at_ms - happened_ms) <= dated.report.error_ms < 4 * 3_600_000
    world.checkers.final()


def test_a_silent_week_starts_and_stops_nothing(world: World) -> None:
    edge = world.edges[0]
    running = set(edge.pods.running)
    edge.blocked = True
    assert edge.link is not None
    edge.link.cut()
    world.run(7 * 86_400)
    assert edge.pods.running == running
    edge.blocked = False
    world.run(90)
    assert edge.pods.running == running
    assert edge.pods.starts == dict.fromkeys(running, 1)
    world.checkers.final()


def test_bytes_of_a_reconnect_grow_with_what_changed_not_with_what_exists() -> None:
    sizes: dict[int, int] = {}
    for objects in (20, 400):
        world = World(3, edges=1, settings=SyncSettings())
        for number in range(objects):
            world.config(f"c-{number}", "x")
        world.pod("all", "edge-1", *(f"c-{number}" for number in range(objects)))
        world.run(60)
        edge = world.edges[0]
        assert edge.link is not None
        edge.link.cut()
        world.config("c-7", "y")
        world.run(30)
        assert edge.in_step
        sizes[objects] = edge.link.bytes_sent
    assert sizes[400] <= sizes[20] + 1000


def test_an_old_copy_of_a_gateway_begins_a_new_life_and_says_so(world: World) -> None:
    edge = world.edges[0]
    backup = edge.store.snapshot()
    edge.sense()
    world.run(5)
    edge.crash_agent()
    edge.restore_copy(backup)
    edge.start()
    world.recording = True
    world.run(10)
    assert any("it is an older copy, and begins a new life" in line for line in world.transcript)
    assert edge.in_step
    assert edge.store.incarnation == "edge-1.2"
    world.checkers.final()


def test_a_backlog_of_readings_waits_in_few_blocks_and_arrives_once_with_its_times(world: World) -> None:
    edge = world.edges[0]
    world.run(60)
    edge.blocked = True
    assert edge.link is not None
    edge.link.cut()
    for _ in range(300):
        world.run(1)
        edge.sense()
    rows = [item for item in edge.store.outbox(after=0, limit=1000) if item.report_class == "telemetry"]
    assert sum(item.count for item in rows) == 300
    assert len(rows) < 2 * TOGETHER, "they grew while nobody asked for them"
    edge.blocked = False
    world.run(90)
    told = [dated for _, _, dated in world.cloud.disk.effects if dated.report.kind == "telemetry_block"]
    times = [pair for dated in told for pair in times_of(dated)]
    assert len(times) == 300, "whether they took effect once, the checkers see"
    assert max(abs(at_ms - true_ms) for at_ms, true_ms in times) < 3000
    world.checkers.final()


def test_a_cloud_that_knows_no_blocks_is_told_each_reading_and_its_successor_the_rest() -> None:
    world = World(7, edges=1, cloud_version=1)
    edge = world.edges[0]
    edge.blocked = True
    for _ in range(60):
        world.run(1)
        edge.sense()
    edge.blocked = False
    while not any(dated.report.kind == "telemetry" for _, _, dated in world.cloud.disk.effects):
        world.run(0.2)
    assert edge.link is not None
    edge.link.cut()
    world.cloud_version = 2
    for replica in world.cloud.replicas:
        replica.crash()
        replica.start()
    world.run(120)
    kinds = [dated.report.kind for _, _, dated in world.cloud.disk.effects if "telemetry" in dated.report.kind]
    assert {*kinds} == {"telemetry", "telemetry_block"}, "a part of a block was told by its readings"
    readings = [true_ms for _, _, dated in world.cloud.disk.effects for _, true_ms in times_of(dated)]
    assert len(set(readings)) >= 60
    world.checkers.final()
