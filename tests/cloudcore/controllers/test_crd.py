"""CustomResourceDefinitions, from being named to being gone."""

from __future__ import annotations

import copy
from collections.abc import AsyncGenerator
from typing import Any

import pytest

from cloudcore.controllers.crd.controller import DefinitionController
from cloudcore.controllers.crd.plan import names_taken, status_of
from cloudcore.controllers.crd.serving import ServedDefinitions
from cloudcore.registry.admission import STEPS
from cloudcore.registry.builtin import KindRules
from cloudcore.registry.custom import CustomKinds, version_rank
from cloudcore.registry.kinds import builtin_scheme
from cloudcore.registry.port import DeleteOptions
from cloudcore.runtime.manager import Tools
from skerry.errors import BadRequestError, ForbiddenError, InvalidError, NotFoundError
from skerry.frozen import replace
from tests.cloudcore.worlds import World, make_world

CRDS = "customresourcedefinitions.apiextensions.k8s.io"
WIDGETS = "widgets.example.com"
SCHEMA: Any = {
    "type": "object",
    "properties": {
        "spec": {
            "type": "object",
            "required": ["size"],
            "properties": {
                "size": {"type": "integer", "minimum": 1},
                "colour": {"type": "string", "default": "grey", "enum": ["grey", "red"]},
                "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
            },
        },
        "status": {"type": "object", "properties": {"ready": {"type": "boolean"}}},
    },
}


def definition(plural: str = "widgets", kind: str = "Widget", **version: Any) -> Any:
    names = {"plural": plural, "kind": kind, "shortNames": ["wd"]}
    one = {
        "name": "v1",
        "served": True,
        "storage": True,
        "schema": {"openAPIV3Schema": SCHEMA},
        "subresources": {"status": {}},
        **version,
    }
    spec = {"group": "example.com", "scope": "Namespaced", "names": names, "versions": [one]}
    return {"metadata": {"name": f"{plural}.example.com"}, "spec": spec}


class CustomWorld:
    """A world with real rules, and the controller."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.custom = CustomKinds(world.scheme)
        world.objects = replace(world.objects, rules=KindRules(self.custom), steps=STEPS)
        world.tools = Tools(
            objects=world.objects, cache=world.cache, scheme=world.scheme, clock=world.clock, ids=world.ids
        )
        self.controller = DefinitionController(world.tools, self.custom)

    async def settle(self) -> None:
        await self.world.settle(self.controller)

    async def define(self, crd: Any) -> Any:
        await self.world.create(CRDS, crd)
        await self.settle()
        return self.world.get(CRDS, crd["metadata"]["name"])


@pytest.fixture
async def custom() -> AsyncGenerator[CustomWorld, None]:
    async with make_world() as world:
        made = CustomWorld(world)
        await world.create("namespaces", {"metadata": {"name": "d"}})
        yield made


def conditions(crd: Any) -> dict[str, tuple[str, str]]:
    return {c["type"]: (c["status"], c["reason"]) for c in crd["status"]["conditions"]}


async def test_a_definition_is_established_and_its_kind_served(custom: CustomWorld):
    crd = await custom.define(definition())
    assert conditions(crd) == {
        "NamesAccepted": ("True", "NoConflicts"),
        "Established": ("True", "InitialNamesAccepted"),
    }
    assert crd["status"]["storedVersions"] == ["v1"]
    assert crd["status"]["acceptedNames"] == {
        "plural": "widgets",
        "singular": "widget",
        "kind": "Widget",
        "listKind": "WidgetList",
        "shortNames": ["wd"],
    }
    kind = custom.world.scheme.at("example.com", "v1", "widgets")
    assert kind is not None
    assert (kind.custom, kind.strategic_patch, kind.unconditional_update) == (True, False, False)
    assert kind.subresources == {"status"}


async def test_objects_are_pruned_defaulted_and_checked_by_their_schema(custom: CustomWorld):
    await custom.define(definition())
    made = await custom.world.create(
        WIDGETS, {"metadata": {"name": "a"}, "spec": {"size": 1, "unknown": 2, "free": {"kept": True}}, "more": 1}
    )
    assert made["spec"] == {"size": 1, "free": {"kept": True}, "colour": "grey"}
    assert "more" not in made
    with pytest.raises(InvalidError) as refused:
        await custom.world.create(WIDGETS, {"metadata": {"name": "b"}, "spec": {"size": "big", "colour": "blue"}})
    assert {(cause.field, cause.message) for cause in refused.value.causes} == {
        ("spec.size", 'Invalid value: "string": spec.size in body must be of type integer: "string"'),
        ("spec.colour", 'Unsupported value: "blue": supported values: "grey", "red"'),
    }
    with pytest.raises(InvalidError, match=r"spec\.size: Required value"):
        await custom.world.create(WIDGETS, {"metadata": {"name": "b"}, "spec": {}})
    with pytest.raises(InvalidError, match="should be greater than or equal to 1"):
        await custom.world.create(WIDGETS, {"metadata": {"name": "b"}, "spec": {"size": 0}})


async def test_metadata_has_its_one_shape_at_the_root_and_in_embedded_objects(custom: CustomWorld):
    schema = copy.deepcopy(SCHEMA)
    schema["properties"]["spec"]["properties"]["template"] = {
        "type": "object",
        "x-kubernetes-embedded-resource": True,
        "x-kubernetes-preserve-unknown-fields": True,
    }
    await custom.define(definition(schema={"openAPIV3Schema": schema}))
    template = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "odd": 1}, "spec": {"any": 1}}
    obj: Any = {"metadata": {"name": "a", "odd": 1}, "spec": {"size": 1, "template": template}}
    rules = KindRules(custom.custom)
    decoded: Any = rules.decode(custom.world.kind(WIDGETS), obj)
    assert decoded.unknown == ("metadata.odd", "spec.template.metadata.odd")
    assert decoded.obj["spec"]["template"]["metadata"] == {"name": "p"}
    assert decoded.obj["spec"]["template"]["spec"] == {"any": 1}
    with pytest.raises(
        BadRequestError, match=r"cannot unmarshal number into Go struct field ObjectMeta.metadata.labels"
    ):
        rules.decode(custom.world.kind(WIDGETS), {"metadata": {"labels": {"a": 1}}})


async def test_a_definition_takes_its_objects_with_it(custom: CustomWorld):
    await custom.define(definition())
    kept = {"name": "held", "finalizers": ["example.com/hold"]}
    await custom.world.create(WIDGETS, {"metadata": kept, "spec": {"size": 1}})
    await custom.world.create(WIDGETS, {"metadata": {"name": "a"}, "spec": {"size": 1}})
    await custom.world.objects.delete(custom.world.kind(CRDS), custom.world.key(CRDS, WIDGETS), DeleteOptions())
    await custom.settle()
    assert custom.world.names(WIDGETS) == ["held"]
    assert conditions(custom.world.get(CRDS, WIDGETS))["Terminating"] == ("True", "InstanceDeletionInProgress")

    def released(obj: Any) -> Any:
        return {**obj, "metadata": {**obj["metadata"], "finalizers": []}}

    await custom.world.update(WIDGETS, "held", released)
    await custom.controller.reconcile(custom.world.key(CRDS, WIDGETS))
    await custom.settle()
    assert custom.world.get(CRDS, WIDGETS) is None
    assert custom.world.scheme.at("example.com", "v1", "widgets") is None


async def test_names_in_use_are_not_accepted_until_they_are_free(custom: CustomWorld):
    await custom.define(definition())
    other = await custom.define(definition("gadgets"))
    assert conditions(other) == {
        "NamesAccepted": ("False", "ListKindConflict"),
        "Established": ("False", "NotAccepted"),
    }
    assert custom.world.scheme.at("example.com", "v1", "gadgets") is None
    await custom.world.objects.delete(custom.world.kind(CRDS), custom.world.key(CRDS, WIDGETS), DeleteOptions())
    await custom.settle()
    assert conditions(custom.world.get(CRDS, "gadgets.example.com"))["Established"][0] == "True"


async def test_established_definitions_are_served_again_after_a_restart(custom: CustomWorld):
    await custom.define(definition())
    again = CustomKinds(custom.world.scheme)
    ServedDefinitions(again, custom.world.cache).refresh()
    assert again.definitions() == (WIDGETS,)


async def test_another_replica_serves_what_is_established_and_no_longer_what_is_gone(custom: CustomWorld):
    scheme = builtin_scheme()
    other = ServedDefinitions(CustomKinds(scheme), custom.world.cache)
    await custom.world.create(CRDS, definition())
    other.refresh()
    assert scheme.at("example.com", "v1", "widgets") is None, "not established"
    await custom.settle()
    other.refresh()
    kind = scheme.at("example.com", "v1", "widgets")
    assert kind is not None
    assert kind.subresources == {"status"}

    def changed(crd: Any) -> Any:
        crd["spec"]["versions"][0]["subresources"] = {}
        return crd

    await custom.world.update(CRDS, WIDGETS, changed)
    other.refresh()
    kind = scheme.at("example.com", "v1", "widgets")
    assert kind is not None
    assert kind.subresources == frozenset()
    await custom.world.objects.delete(custom.world.kind(CRDS), custom.world.key(CRDS, WIDGETS), DeleteOptions())
    await custom.settle()
    other.refresh()
    assert scheme.at("example.com", "v1", "widgets") is None


async def test_nothing_new_is_made_of_a_definition_that_is_to_go(custom: CustomWorld):
    await custom.define(definition())
    await custom.world.create(
        WIDGETS, {"metadata": {"name": "held", "finalizers": ["example.com/hold"]}, "spec": {"size": 1}}
    )
    await custom.world.objects.delete(custom.world.kind(CRDS), custom.world.key(CRDS, WIDGETS), DeleteOptions())
    with pytest.raises(ForbiddenError, match="custom resource definition is terminating"):
        await custom.world.create(WIDGETS, {"metadata": {"name": "late"}, "spec": {"size": 1}})
    await custom.world.update(WIDGETS, "held", lambda obj: {**obj, "spec": {"size": 2}})


@pytest.mark.parametrize(
    ("crd", "text"),
    [
        ({**definition(), "metadata": {"name": "x.example.com"}}, "must be spec.names.plural"),
        (definition(schema={}), "spec.versions[0].schema.openAPIV3Schema: Required value: schemas are required"),
        (definition(storage=False), "must have exactly one version marked as storage version"),
        (
            definition(schema={"openAPIV3Schema": {"type": "object", "properties": {"a": {}}}}),
            "properties[a].type: Required value: must not be empty for specified object fields",
        ),
        (
            definition(schema={"openAPIV3Schema": {"type": "object", "properties": {"a": {"type": "array"}}}}),
            "properties[a].items: Required value: must be specified",
        ),
        (
            definition(
                schema={
                    "openAPIV3Schema": {"type": "object", "properties": {"a": {"type": "string", "pattern": "("}}}
                }
            ),
            "must be a valid regular expression",
        ),
        (
            definition(subresources={"scale": {"specReplicasPath": ".x", "statusReplicasPath": ".status.n"}}),
            "should be a json path under .spec",
        ),
    ],
)
async def test_a_faulty_definition_is_refused(custom: CustomWorld, crd: Any, text: str):
    with pytest.raises(InvalidError) as refused:
        await custom.world.create(CRDS, crd)
    assert text in str(refused.value)


async def test_rules_that_are_not_evaluated_are_told(custom: CustomWorld):
    ruled = {**SCHEMA, "x-kubernetes-validations": [{"rule": "true"}]}
    crd = {"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition"}
    crd |= definition(schema={"openAPIV3Schema": ruled})
    written = await custom.world.objects.create(custom.world.kind(CRDS), "", crd)
    assert written.warnings == (
        "x-kubernetes-validations are kept and published, but not evaluated by this control plane",
    )


async def test_a_definition_of_a_built_in_kind_is_not_accepted(custom: CustomWorld):
    crd = definition("devices", "Device")
    crd["metadata"]["name"] = "devices.devices.kubeedge.io"
    crd["spec"]["group"] = "devices.kubeedge.io"
    taken = names_taken(crd, [], custom.world.scheme)
    status: Any = status_of(crd, taken, now_ms=0)
    assert conditions({"status": status})["Established"] == ("False", "NotAccepted")


async def test_a_withdrawn_version_is_no_longer_there(custom: CustomWorld):
    await custom.define(definition())

    def second(obj: Any) -> Any:
        first = {**obj["spec"]["versions"][0], "storage": False, "served": False}
        other = {**obj["spec"]["versions"][0], "name": "v2"}
        return {**obj, "spec": {**obj["spec"], "versions": [first, other]}}

    await custom.world.update(CRDS, WIDGETS, second)
    await custom.settle()
    assert custom.world.scheme.at("example.com", "v1", "widgets") is None
    kind = custom.world.scheme.at("example.com", "v2", "widgets")
    assert kind is not None
    assert custom.world.get(CRDS, WIDGETS)["status"]["storedVersions"] == ["v1", "v2"]


def test_versions_rank_as_kubernetes_ranks_them():
    given = ["foo10", "v1alpha1", "v2beta1", "v10", "v1", "v2", "v11beta2", "foo1"]
    assert sorted(given, key=version_rank) == [
        "v10", "v2", "v1", "v11beta2", "v2beta1", "v1alpha1", "foo1", "foo10",
    ]  # fmt: skip


async def test_stored_objects_get_a_default_that_came_later(custom: CustomWorld):
    await custom.define(definition())
    await custom.world.create(WIDGETS, {"metadata": {"name": "a"}, "spec": {"size": 1}})
    await custom.world.create(WIDGETS, {"metadata": {"name": "b"}, "spec": {"size": 1, "colour": "red"}})

    def grown(obj: Any) -> Any:
        spec = copy.deepcopy(obj["spec"])
        fields = spec["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]
        fields["shape"] = {"type": "string", "default": "round"}
        return {**obj, "spec": spec}

    def shrunk(obj: Any) -> Any:
        spec = copy.deepcopy(obj["spec"])
        fields = spec["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]
        del fields["colour"]
        fields["late"] = {"type": "string", "default": "x"}
        return {**obj, "spec": spec}

    await custom.world.update(CRDS, WIDGETS, grown)
    await custom.settle()
    assert [obj["spec"]["shape"] for obj in custom.world.all(WIDGETS)] == ["round", "round"]
    await custom.world.update(CRDS, WIDGETS, shrunk)
    await custom.settle()
    assert custom.world.get(WIDGETS, "b")["spec"]["colour"] == "red"


async def test_a_kind_withdrawn_under_way_is_not_found(custom: CustomWorld):
    await custom.define(definition())
    kind = custom.world.kind(WIDGETS)
    custom.custom.withdraw(WIDGETS)
    with pytest.raises(NotFoundError):
        await custom.world.objects.create(kind, "d", {"metadata": {"name": "a"}})
