"""What gateways tell of devices, under the real rules of the kinds: the examples are accepted, and reports land."""

from __future__ import annotations

from pathlib import Path

import yaml

from cloudcore.hub.effects import Reporter
from cloudcore.hub.outcomes import kinds_in
from cloudcore.registry.builtin import KindRules
from cloudcore.registry.custom import CustomKinds
from cloudcore.registry.kinds import builtin_scheme
from cloudcore.registry.objects import LocalObjects
from cloudcore.registry.port import WriteOptions
from cloudcore.store.memory import MemoryState, MemoryStore
from cloudcore.store.port import Advance
from skerry.clocks import ManualClock, SeededIds
from skerry.objects.desired import write_desired
from skerry.objects.device_desired import desired_of
from skerry.objects.device_twins import twin_views
from skerry.objects.json import JsonObject, str_at
from skerry.objects.meta import Key, uid_of
from skerry.objects.spans import Span
from skerry.objects.twins import (
    DeviceName,
    DeviceState,
    Reported,
    TwinDesired,
    TwinReported,
    ack,
    encode_device_state,
    encode_twin_desired,
    encode_twin_reported,
)
from skerry.sync.effects import DatedReport
from skerry.wire.frames import PROMPT, Report
from tests.cloudcore.registry.conftest import following

EXAMPLES = Path(__file__).parents[3] / "examples"


async def test_the_examples_are_accepted_and_what_their_gateway_tells_shows_in_both_kinds() -> None:
    scheme, store, clock = builtin_scheme(), MemoryStore(MemoryState(epoch="e1")), ManualClock()
    async with following(store) as cache:
        rules = KindRules(CustomKinds(scheme))
        objects = LocalObjects(store=store, cache=cache, rules=rules, clock=clock, ids=SeededIds(1))

        def now(resource: str) -> JsonObject:
            stored = objects.read(Key(resource, "default", "boiler-1"))
            assert stored is not None
            return cache.obj(stored)

        async def create(obj: JsonObject, namespace: str = "default") -> None:
            group, _, version = str_at(obj, "apiVersion").rpartition("/")
            kind = scheme.named(group, version, str_at(obj, "kind"))
            assert kind is not None
            await objects.create(kind, namespace, obj, WriteOptions(field_validation="Strict"))

        await create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "default"}}, "")
        for example in ("04-plc", "05-sensor"):
            for obj in yaml.safe_load_all((EXAMPLES / example / "device.yaml").read_text()):
                await create(obj)
        device = now("devices.devices.kubeedge.io")
        named = DeviceName(namespace="default", name="boiler-1", uid=uid_of(device))
        first = desired_of(device, "setpoint")
        assert first is not None and first.value == "21.5"
        reported = Reported(
            value="21.5", type="FLOAT", unit="°C", quality="good", reason="", source_ms=1, gateway_ms=2
        )
        answer = ack("verified", for_ver=first.ver, at_ms=3)
        told = TwinReported(device=named, prop="setpoint", reported=reported, observed=first, ack=answer)
        wish = write_desired(
            first, value="30", side="edge", origin="op", now_ms=clock.wall_ms(), synced=True, expires_ms=None
        )
        wanted = TwinDesired(device=named, prop="setpoint", desired=wish, policy="newest")
        state = DeviceState(device=named, state="online", reason="", last_online_ms=clock.wall_ms())
        bodies = {
            "twin_reported": encode_twin_reported(told),
            "twin_desired": encode_twin_desired(wanted),
            "device_state": encode_device_state(state),
        }

        def lookup(key: Key) -> JsonObject | None:
            stored = objects.read(key)
            return None if stored is None else cache.obj(stored)

        reporter = Reporter(node="eu-1", kinds=kinds_in(scheme), lookup=lookup)
        outcomes = [
            reporter.outcome(
                DatedReport(
                    report=Report(seq=seq, kind=kind, key="", body=body, wall_ms=0, age_ms=0), at_ms=clock.wall_ms()
                )
            )
            for seq, (kind, body) in enumerate(bodies.items(), start=1)
        ]
        effects = [effect for outcome in outcomes for effect in outcome.effects]
        await store.enter("eu-1", "i")
        advance = Advance(node="eu-1", incarnation="i", session=1, covered=((PROMPT, Span(1, 3)),))
        await objects.report(advance, effects, [])

        device, status = now("devices.devices.kubeedge.io"), now("devicestatuses.devices.kubeedge.io")
        assert desired_of(device, "setpoint") == wish, "the merge stands as it was decided"
        for shown in (twin_views(device), twin_views(device, status)):
            view = next(view for view in shown if view.prop == "setpoint")
            assert (view.reported, view.quality, view.ack_state) == ("21.5", "good", "pending")
        assert str_at(device, "status", "state") == str_at(status, "status", "state") == "online"
