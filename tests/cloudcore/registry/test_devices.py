"""Wanted values of devices are checked against their model when they are written, and by the name of the field."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import yaml

from cloudcore.registry.admission import STEPS
from cloudcore.registry.devices import DEVICES, wanted_values
from cloudcore.registry.port import Transform
from skerry.errors import ConflictError, InvalidError
from skerry.objects.desired import Side, write_desired
from skerry.objects.desired_log import log_series
from skerry.objects.device_desired import IF_MATCH, desired_of, desired_revision, merged_desired
from skerry.objects.holds import HOLD, HOLD_UNTIL, holding_of
from skerry.objects.json import JsonObject, clone, decode_object, maps_at
from skerry.objects.meta import with_annotations
from skerry.objects.twins import DeviceName, TwinDesired
from tests.cloudcore.worlds import World, make_world

MODELS = "devicemodels.devices.kubeedge.io"
EXAMPLES = Path(__file__).parents[3] / "examples" / "08-kubeedge-devices"


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with make_world(*STEPS, wanted_values, real_rules=True) as made:
        await made.create("namespaces", {"metadata": {"name": "d"}})
        await made.create(MODELS, model())
        yield made


def model(*, maximum: str = "90") -> JsonObject:
    return {
        "metadata": {"name": "m"},
        "spec": {
            "properties": [
                {"name": "temperature", "type": "DOUBLE", "accessMode": "ReadOnly"},
                {"name": "setpoint", "type": "INT", "accessMode": "ReadWrite", "maximum": maximum},
            ]
        },
    }


def boiler(wanted: dict[str, str], *, model_name: str = "m") -> JsonObject:
    return {
        "metadata": {"name": "boiler"},
        "spec": {
            "deviceModelRef": {"name": model_name},
            "nodeName": "eu-1",
            "properties": [{"name": name, "desired": {"value": value}} for name, value in wanted.items()],
        },
    }


def want(prop: str, value: str) -> Transform:
    def change(obj: JsonObject) -> JsonObject:
        obj = clone(obj)
        (entry,) = [each for each in maps_at(obj, "spec", "properties") if each["name"] == prop]
        entry["desired"] = {"value": value}
        return obj

    return change


@pytest.mark.parametrize(
    ("wanted", "field", "said"),
    [
        ({"temperature": "4"}, "spec.properties[0].desired.value", 'Invalid value: "4": temperature is read-only'),
        (
            {"setpoint": "abc"},
            "spec.properties[0].desired.value",
            "Invalid value: \"abc\": 'abc' is not an INT: use a whole number such as 21",
        ),
        (
            {"setpoint": "1", "setpiont": "2"},
            "spec.properties[1].name",
            'Invalid value: "setpiont": DeviceModel m has temperature, setpoint',
        ),
    ],
)
async def test_what_the_model_does_not_take_is_refused(
    world: World, wanted: dict[str, str], field: str, said: str
) -> None:
    with pytest.raises(InvalidError) as caught:
        await world.create(DEVICES, boiler(wanted))
    (cause,) = caught.value.causes
    assert (cause.field, cause.message) == (field, said)


async def test_all_that_is_wrong_is_said_at_once(world: World) -> None:
    with pytest.raises(InvalidError) as caught:
        await world.create(DEVICES, boiler({"temperature": "4", "setpoint": "91"}))
    assert [cause.field for cause in caught.value.causes] == [
        "spec.properties[0].desired.value",
        "spec.properties[1].desired.value",
    ]


async def test_a_change_is_refused_and_what_was_wanted_before_stays(world: World) -> None:
    await world.create(DEVICES, boiler({"setpoint": "64"}))
    with pytest.raises(InvalidError, match="91 is above the maximum of 90"):
        await world.update(DEVICES, "boiler", want("setpoint", "91"))
    await world.update(DEVICES, "boiler", want("setpoint", "90"))


async def test_a_value_that_does_not_fit_a_changed_model_holds_up_nothing_else(world: World) -> None:
    await world.create(DEVICES, boiler({"setpoint": "64"}))
    await world.update(MODELS, "m", lambda obj: {**obj, "spec": model(maximum="50")["spec"]})
    await world.update(DEVICES, "boiler", lambda obj: {**obj, "spec": {**obj["spec"], "nodeName": "eu-2"}})
    with pytest.raises(InvalidError, match="above the maximum of 50"):
        await world.update(DEVICES, "boiler", want("setpoint", "65"))


async def test_without_a_model_nobody_can_tell(world: World) -> None:
    await world.create(DEVICES, boiler({"setpoint": "abc"}, model_name="later"))


async def test_an_empty_value_is_how_manifests_want_nothing(world: World) -> None:
    await world.create(DEVICES, boiler({"temperature": ""}))


@pytest.mark.parametrize("side", ["edge", "cloud"])
async def test_what_a_gateway_holds_was_checked_when_it_was_written(world: World, side: Side) -> None:
    """On site, or in the cloud before that was restored from a backup. The model may be another one by now."""
    await world.create(DEVICES, boiler({"setpoint": "64"}))
    held = desired_of(world.get(DEVICES, "boiler"), "setpoint")
    desired = write_desired(held, value="99", side=side, origin="ann", now_ms=2**41, synced=True, expires_ms=None)
    report = TwinDesired(
        device=DeviceName(namespace="d", name="boiler", uid="u"), prop="setpoint", desired=desired, policy="newest"
    )
    await world.update(DEVICES, "boiler", lambda obj: merged_desired(obj, report))
    (entry,) = maps_at(world.get(DEVICES, "boiler"), "spec", "properties")
    assert entry["desired"]["value"] == "99"  # type: ignore[index,call-overload]


@pytest.mark.parametrize("manifest", sorted(path.stem for path in EXAMPLES.glob("*.yaml")))
async def test_devices_of_every_published_shape_are_taken_as_they_are(world: World, manifest: str) -> None:
    for obj in yaml.safe_load_all((EXAMPLES / f"{manifest}.yaml").read_text()):
        written = {**obj, "metadata": {"name": obj["metadata"]["name"]}}
        made = await world.create(DEVICES if obj["kind"] == "Device" else MODELS, written)
        for name, value in obj["spec"].items():
            kept = made["spec"][name]
            assert kept == value or name == "properties", "nothing of it is dropped"


async def test_a_write_that_expects_another_version_or_revision_is_refused_as_a_conflict(world: World) -> None:
    await world.create(DEVICES, boiler({"setpoint": "64"}))

    def expecting(obj: JsonObject) -> JsonObject:
        obj = clone(obj)
        maps_at(obj, "spec", "properties")[0]["desired"] = {"value": "65", "metadata": {"ifMatch": "7.0"}}
        return obj

    with pytest.raises(ConflictError, match="'64' is wanted of it"):
        await world.update(DEVICES, "boiler", expecting)
    with pytest.raises(ConflictError, match="revision"):
        await world.update(
            DEVICES, "boiler", lambda obj: with_annotations(want("setpoint", "65")(obj), {IF_MATCH: "0"})
        )
    await world.update(
        DEVICES,
        "boiler",
        lambda obj: with_annotations(want("setpoint", "65")(obj), {IF_MATCH: desired_revision(obj)}),
    )


async def test_who_holds_a_device_is_written_beside_it(world: World) -> None:
    await world.create(DEVICES, boiler({"setpoint": "64"}))
    await world.update(DEVICES, "boiler", lambda obj: with_annotations(obj, {HOLD: "new pump"}))
    holding = holding_of(world.get(DEVICES, "boiler"))
    assert holding is not None and holding.reason == "new pump" and holding.by
    with pytest.raises(InvalidError, match="hold"):
        await world.update(DEVICES, "boiler", lambda obj: with_annotations(obj, {HOLD_UNTIL: "soon"}))


async def test_what_is_wanted_is_noted_in_the_transaction_that_changes_it(world: World) -> None:
    await world.create(DEVICES, boiler({"setpoint": "64"}))
    await world.update(DEVICES, "boiler", want("setpoint", "65"))
    await world.update(DEVICES, "boiler", lambda obj: with_annotations(obj, {"other": "1"}))
    noted = [decode_object(row.body) for row in await world.objects.records(log_series("d", "boiler"))]
    assert [(row["before"], row["desired"]["value"]) for row in noted] == [  # type: ignore[index,call-overload]
        (None, "64"),
        ("64", "65"),
    ]
