"""The verbs against golden answers of kube-apiserver 1.36 (codes, reasons and texts that clients match)."""

from __future__ import annotations

import json
from typing import Any

import pytest

from cloudcore.api.call import Stream
from skerry.objects.json import Json, JsonObject
from skerry.objects.meta import Key
from tests.cloudcore.api.conftest import ApiWorld

CONFIGS = "/api/v1/namespaces/default/configmaps"
DEPLOYMENTS = "/apis/apps/v1/namespaces/default/deployments"
PODS = "/api/v1/namespaces/default/pods"


def deployment(name: str = "web", **spec: Any) -> dict[str, Any]:
    labels = {"app": name}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
    spec = {"selector": {"matchLabels": labels}, "template": template, "replicas": 2, **spec}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name}, "spec": spec}


async def test_a_created_object_comes_back_with_201_and_can_be_read(world: ApiWorld) -> None:
    made = await world.config("x1", a="b")
    assert made["kind"] == "ConfigMap"
    assert await world.get(f"{CONFIGS}/x1") == made


@pytest.mark.parametrize(
    ("method", "url", "body", "code", "status"),
    [
        ("GET", "/api/v1/nopes", None, 404, {"message": "the server could not find the requested resource",
                                              "reason": "NotFound", "details": {}}),
        ("GET", f"{CONFIGS}/x1", None, 404, {"message": 'configmaps "x1" not found', "reason": "NotFound",
                                              "details": {"name": "x1", "kind": "configmaps"}}),
        ("GET", f"{DEPLOYMENTS}/web", None, 404, {"message": 'deployments.apps "web" not found', "reason": "NotFound",
             "details": {"name": "web", "group": "apps", "kind": "deployments"}}),
        ("GET", f"{CONFIGS}?fieldSelector=spec.foo%3Dx", None, 400,
         {"message": "field label not supported: spec.foo", "reason": "BadRequest"}),
        ("GET", f"{CONFIGS}?continue=abc", None, 400, {"reason": "BadRequest"}),
        ("GET", f"{CONFIGS}?resourceVersionMatch=Exact", None, 422,
         {"message": 'ListOptions.meta.k8s.io "" is invalid: resourceVersionMatch: Forbidden: resourceVersionMatch '
                     "is forbidden unless resourceVersion is provided", "reason": "Invalid"}),
        ("POST", CONFIGS, {"metadata": {"name": "A_b"}}, 422, {"reason": "Invalid"}),
        ("POST", CONFIGS, b"{", 400,
         {"message": "the object provided is unrecognized (must be of type ConfigMap): couldn't get version/kind; "
                     "json parse error: Expecting property name enclosed in double quotes: line 1 column 2 "
                     "(char 1)"}),
        ("POST", CONFIGS, {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}}, 400,
         {"reason": "BadRequest"}),
        ("POST", "/api/v1/namespaces/nonexist/configmaps", {"metadata": {"name": "x"}}, 404,
         {"message": 'namespaces "nonexist" not found', "details": {"name": "nonexist", "kind": "namespaces"}}),
        ("PUT", "/api/v1/configmaps", {}, 405, {"reason": "MethodNotAllowed"}),
        ("DELETE", "/api/v1/namespaces", None, 405, {"reason": "MethodNotAllowed"}),
        ("GET", f"{PODS}/x/nope", None, 404, {"message": "the server could not find the requested resource"}),
        ("GET", f"{CONFIGS}/x/exec", None, 404, {"message": "the server could not find the requested resource"}),
        *(
            (method, f"{PODS}/x/{stream}?command=ls", None, 404, {"message": 'pods "x" not found'})
            for stream in ("exec", "attach", "portforward")
            for method in ("GET", "POST")
        ),
        ("DELETE", f"{CONFIGS}/x1", {"kind": "Pod"}, 400, {"reason": "BadRequest"}),
        ("DELETE", f"{CONFIGS}/x1?propagationPolicy=Never", None, 422, {"reason": "Invalid"}),
        ("POST", f"{CONFIGS}?dryRun=Some", {"metadata": {"name": "x"}}, 400, {"reason": "BadRequest"}),
        ("POST", f"{CONFIGS}?fieldValidation=Loud", {"metadata": {"name": "x"}}, 422, {"reason": "Invalid"}),
    ],
)  # fmt: skip
async def test_refusals_are_those_of_kubernetes(
    world: ApiWorld, method: str, url: str, body: Any, code: int, status: dict[str, Any]
) -> None:
    replied = await world.ask(method, url, body)
    assert replied.code == code, replied.body
    got = replied.obj
    assert (got["kind"], got["status"], got["code"]) == ("Status", "Failure", code)
    assert {name: got[name] for name in status} == status


async def test_unknown_and_repeated_fields_warn_by_default_and_refuse_when_strict(world: ApiWorld) -> None:
    body = b'{"metadata":{"name":"w"},"foo":1,"data":{"a":"1","a":"2"}}'
    replied = await world.ask("POST", CONFIGS, body)
    assert replied.code == 201
    assert replied.obj["data"] == {"a": "2"}
    assert replied.warnings == ['unknown field "foo"', 'duplicate field "data.a"']
    strict = await world.ask("POST", f"{CONFIGS}?fieldValidation=Strict", body.replace(b'"w"', b'"v"'))
    assert strict.code == 400
    assert strict.message == (
        'ConfigMap in version "v1" cannot be handled as a ConfigMap: strict decoding error: unknown field "foo", '
        'duplicate field "data.a"'
    )
    silent = await world.ask("POST", f"{CONFIGS}?fieldValidation=Ignore", body.replace(b'"w"', b'"u"'))
    assert (silent.code, silent.warnings) == (201, [])


async def test_yaml_bodies_mean_what_kubernetes_reads_in_them(world: ApiWorld) -> None:
    text = b"metadata: {name: plain}\ndata:\n  a: 'yes'\n  b: \"1\"\n"
    made = await world.post(CONFIGS, text, content_type="application/yaml")
    assert made["data"] == {"a": "yes", "b": "1"}
    refused = await world.ask(
        "POST", CONFIGS, b"metadata: {name: z}\ndata: {a: yes}", content_type="application/yaml"
    )
    assert refused.code == 400
    assert "cannot unmarshal bool into Go struct field ConfigMap.data of type string" in refused.message


async def test_an_unknown_form_of_body_is_415_and_an_unknown_form_of_answer_406(world: ApiWorld) -> None:
    posted = await world.ask("POST", CONFIGS, b"x", content_type="text/foo")
    assert (posted.code, posted.message) == (
        415,
        (
            "the body of the request was in an unknown format - accepted media types include: application/json, "
            "application/yaml, application/vnd.kubernetes.protobuf"
        ),
    )
    url, table = (
        "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews",
        "application/json;as=Table;g=meta.k8s.io;v=v1",
    )
    review: Any = {"spec": {"resourceAttributes": {"verb": "get"}}}
    assert (await world.ask("POST", url, review, accept=table)).code == 406
    assert (await world.ask("POST", url, review, accept=f"{table},application/json")).code == 201


@pytest.mark.parametrize("depth", [400, 900])
async def test_a_body_nested_without_end_is_refused_and_not_our_fault(world: ApiWorld, depth: int) -> None:
    deep = b'{"a":1,"a":' * depth + b"1" + b"}" * depth
    body = b'{"metadata":{"name":"flat"},"spec":' + deep + b"}"
    await world.define(tides("v1", free=True))
    url = "/apis/sea.example.com/v1/namespaces/default/tides"
    posted = await world.ask("POST", url, body)
    await world.post(url, {"metadata": {"name": "flat"}})
    patched = await world.ask("PATCH", f"{url}/flat", body, content_type="application/merge-patch+json")
    assert (posted.code, patched.code) == (400, 400), (posted.body, patched.body)


async def test_a_stale_update_is_a_conflict_and_an_update_that_changes_nothing_takes_no_revision(
    world: ApiWorld,
) -> None:
    made = await world.config("x1", a="1")
    same = await world.ask("PUT", f"{CONFIGS}/x1", made)
    assert same.obj["metadata"]["resourceVersion"] == made["metadata"]["resourceVersion"]
    assert (await world.ask("PUT", f"{CONFIGS}/x1", {**made, "data": {"a": "2"}})).code == 200
    stale = await world.ask("PUT", f"{CONFIGS}/x1", {**made, "data": {"a": "3"}})
    assert (stale.code, stale.message) == (
        409,
        (
            'Operation cannot be fulfilled on configmaps "x1": the object has been modified; please apply your '
            "changes to the latest version and try again"
        ),
    )
    assert stale.obj["details"] == {"name": "x1", "kind": "configmaps"}


async def test_dry_run_answers_as_if_and_stores_nothing(world: ApiWorld) -> None:
    before = world.cache.revision
    made = await world.post(f"{CONFIGS}?dryRun=All", {"metadata": {"name": "d"}})
    assert made["metadata"]["uid"]
    assert world.cache.revision == before
    assert (await world.ask("GET", f"{CONFIGS}/d")).code == 404


async def test_the_three_patches_change_what_they_say_and_a_custom_one_is_415(world: ApiWorld) -> None:
    await world.post(DEPLOYMENTS, deployment())
    url = f"{DEPLOYMENTS}/web"
    merged = await world.ask("PATCH", url, {"spec": {"replicas": 3}}, content_type="application/merge-patch+json")
    assert merged.obj["spec"]["replicas"] == 3
    added = {"spec": {"template": {"spec": {"containers": [{"name": "d", "image": "j"}]}}}}
    strategic = await world.ask("PATCH", url, added, content_type="application/strategic-merge-patch+json")
    assert [each["name"] for each in strategic.obj["spec"]["template"]["spec"]["containers"]] == ["d", "c"]
    steps = [{"op": "replace", "path": "/spec/replicas", "value": 1}]
    stepped = await world.ask("PATCH", url, steps, content_type="application/json-patch+json")
    assert stepped.obj["spec"]["replicas"] == 1
    failed = [{"op": "test", "path": "/spec/replicas", "value": 9}]
    tested = await world.ask("PATCH", url, failed, content_type="application/json-patch+json")
    assert (tested.code, tested.message, tested.obj["details"]) == (
        422,
        "the server rejected our request due to an error in our request",
        {},
    )
    for media in ("application/apply-patch+yaml", "application/foo"):
        assert (await world.ask("PATCH", url, {}, content_type=media)).message == "415: Unsupported Media Type"


async def test_a_patch_that_names_a_revision_means_that_state(world: ApiWorld) -> None:
    made = await world.config("x1", a="1")
    patch = {"metadata": {"resourceVersion": made["metadata"]["resourceVersion"]}, "data": {"a": "2"}}
    url, media = f"{CONFIGS}/x1", "application/merge-patch+json"
    assert (await world.ask("PATCH", url, patch, content_type=media)).code == 200
    assert (await world.ask("PATCH", url, {**patch, "data": {"a": "3"}}, content_type=media)).code == 409


async def test_a_patch_is_told_of_fields_that_nobody_knows(world: ApiWorld) -> None:
    await world.config("x1", a="1")
    replied = await world.ask("PATCH", f"{CONFIGS}/x1", {"fooo": 1}, content_type="application/merge-patch+json")
    assert (replied.code, replied.warnings) == (200, ['unknown field "fooo"'])


async def test_a_deletion_answers_success_with_the_uid_or_the_object_that_something_holds(world: ApiWorld) -> None:
    made = await world.config("x1")
    gone = await world.ask("DELETE", f"{CONFIGS}/x1")
    assert gone.obj["status"] == "Success"
    assert gone.obj["details"] == {"name": "x1", "kind": "configmaps", "uid": made["metadata"]["uid"]}
    await world.post(CONFIGS, {"metadata": {"name": "x2", "finalizers": ["a.b/c"]}})
    held = await world.ask("DELETE", f"{CONFIGS}/x2")
    assert held.obj["metadata"]["deletionGracePeriodSeconds"] == 0
    freed = await world.ask(
        "PATCH", f"{CONFIGS}/x2", {"metadata": {"finalizers": None}}, content_type="application/merge-patch+json"
    )
    assert freed.code == 200
    assert (await world.ask("GET", f"{CONFIGS}/x2")).code == 404


async def test_a_deletion_with_the_uid_of_an_earlier_life_is_a_conflict(world: ApiWorld) -> None:
    await world.config("x1")
    replied = await world.ask("DELETE", f"{CONFIGS}/x1", {"preconditions": {"uid": "other"}})
    assert replied.code == 409


async def test_deleting_a_collection_takes_what_the_selector_names_and_lists_it(world: ApiWorld) -> None:
    for name, app in (("a", "x"), ("b", "y"), ("c", "x")):
        await world.config(name, {"app": app})
    replied = await world.ask("DELETE", f"{CONFIGS}?labelSelector=app%3Dx")
    assert [item["metadata"]["name"] for item in replied.obj["items"]] == ["a", "c"]
    assert [item["metadata"]["name"] for item in (await world.get(CONFIGS))["items"]] == ["b"]


async def test_scale_is_read_written_and_patched_and_nothing_else_changes(world: ApiWorld) -> None:
    made = await world.post(DEPLOYMENTS, deployment())
    url = f"{DEPLOYMENTS}/web/scale"
    scale = await world.get(url)
    assert (scale["kind"], scale["spec"], scale["status"]) == (
        "Scale",
        {"replicas": 2},
        {"replicas": 0, "selector": "app=web"},
    )
    patched = await world.ask("PATCH", url, {"spec": {"replicas": 5}}, content_type="application/merge-patch+json")
    assert patched.obj["spec"] == {"replicas": 5}
    assert (await world.ask("PUT", url, {**scale, "spec": {"replicas": 6}})).code == 409
    now = await world.get(f"{DEPLOYMENTS}/web")
    assert now["spec"] == {**made["spec"], "replicas": 5}
    bad = await world.ask("PATCH", url, {"spec": {"replicas": -1}}, content_type="application/merge-patch+json")
    assert bad.code == 422


async def test_binding_gives_a_pod_its_node_once_and_eviction_deletes_gracefully(world: ApiWorld) -> None:
    await world.post(PODS, {"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "i"}]}})
    binding = {"target": {"kind": "Node", "name": "n1"}}
    assert (await world.ask("POST", f"{PODS}/p/binding", binding)).code == 201
    assert (await world.ask("POST", f"{PODS}/p/binding", binding)).code == 409
    pod = await world.get(f"{PODS}/p")
    assert pod["spec"]["nodeName"] == "n1"
    eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "p"}}
    assert (await world.ask("POST", f"{PODS}/p/eviction", eviction)).code == 201
    assert (await world.get(f"{PODS}/p"))["metadata"]["deletionGracePeriodSeconds"] == 30


async def test_an_evicted_pod_says_so_and_one_that_was_not_meant_says_nothing(world: ApiWorld) -> None:
    await world.post(PODS, {"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "i"}]}})
    await world.ask("POST", f"{PODS}/p/binding", {"target": {"kind": "Node", "name": "n1"}})
    pod = await world.get(f"{PODS}/p")
    for wrong in ({"uid": "another"}, {"resourceVersion": "1"}):
        refused = await world.ask("POST", f"{PODS}/p/eviction", {"deleteOptions": {"preconditions": wrong}})
        assert refused.code == 409
    assert (await world.get(f"{PODS}/p")) == pod
    meant = {"resourceVersion": pod["metadata"]["resourceVersion"], "uid": pod["metadata"]["uid"]}
    assert (await world.ask("POST", f"{PODS}/p/eviction", {"deleteOptions": {"preconditions": meant}})).code == 201
    evicted = await world.get(f"{PODS}/p")
    assert evicted["metadata"]["deletionTimestamp"]
    [told] = [each for each in evicted["status"]["conditions"] if each["type"] == "DisruptionTarget"]
    assert (told["reason"], told["message"]) == ("EvictionByEvictionAPI", "Eviction API: evicting")


async def test_a_log_comes_from_the_gateway_and_a_gateway_out_of_reach_says_so(world: ApiWorld) -> None:
    await world.post(PODS, {"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "i"}]}})
    unbound = await world.ask("GET", f"{PODS}/p/log")
    assert (unbound.code, "waiting to start" in unbound.message) == (400, True)
    await world.ask("POST", f"{PODS}/p/binding", {"target": {"name": "n1"}})
    world.shelf.logs["n1"] = [b"one\n", b"two\n"]
    reply = await world.reply("GET", f"{PODS}/p/log?tailLines=2&timestamps=true")
    assert isinstance(reply, Stream)
    assert [piece async for piece in reply.pieces] == [b"one\n", b"two\n"]
    assert reply.media_type == "text/plain"
    query = world.shelf.requests[0]
    assert (query.container, query.tail_lines, query.timestamps, query.follow) == ("c", 2, True, False)
    assert (await world.ask("GET", f"{PODS}/p/log?container=z")).message == "container z is not valid for pod p"
    for asked, stream in (("All", ""), ("Stdout", "stdout"), ("Stderr", "stderr")):
        reply = await world.reply("GET", f"{PODS}/p/log?stream={asked}")
        assert isinstance(reply, Stream)
        assert [piece async for piece in reply.pieces]
        assert world.shelf.requests[-1].stream == stream
    for wrong, why in (
        ("stream=Both", 'stream: Unsupported value: "Both": supported values: "All", "Stderr", "Stdout"'),
        ("stream=Stdout&tailLines=1", "`tailLines` and specific `stream` are mutually exclusive"),
    ):
        refused = await world.ask("GET", f"{PODS}/p/log?{wrong}")
        assert (refused.code, why in refused.message) == (422, True), refused.message


async def test_what_is_not_allowed_is_refused_before_anything_is_looked_up(world: ApiWorld) -> None:
    world.gate.closed.add(("get", "configmaps"))
    replied = await world.ask("GET", f"{CONFIGS}/absent")
    assert replied.code == 403
    assert replied.obj["details"] == {"name": "absent", "kind": "configmaps"}
    asked = world.gate.asked[0]
    assert (asked.verb, asked.resource, asked.namespace, asked.name) == ("get", "configmaps", "default", "absent")


async def test_a_list_of_one_name_asks_permission_for_that_name(world: ApiWorld) -> None:
    await world.ask("GET", f"{CONFIGS}?fieldSelector=metadata.name%3Dx1")
    assert world.gate.asked[0].name == "x1"


async def test_an_event_is_one_object_under_two_group_versions(world: ApiWorld) -> None:
    event = {
        "metadata": {"name": "e1"},
        "eventTime": "2025-06-15T15:00:00.000000Z",
        "reportingController": "example.com/watcher",
        "reportingInstance": "w-1",
        "action": "Do",
        "reason": "Because",
        "type": "Normal",
        "note": "it happened",
        "regarding": {"kind": "Pod", "namespace": "default", "name": "p"},
    }
    new = "/apis/events.k8s.io/v1/namespaces/default/events"
    made = await world.post(new, event)
    assert (made["apiVersion"], made["note"]) == ("events.k8s.io/v1", "it happened")
    core = await world.get("/api/v1/namespaces/default/events?fieldSelector=source%3Dexample.com/watcher")
    (item,) = core["items"]
    assert (item["message"], item["involvedObject"]["name"]) == ("it happened", "p")
    by_new = await world.get(f"{new}?fieldSelector=regarding.name%3Dp")
    assert by_new["items"][0]["regarding"]["name"] == "p"
    patched = await world.ask("PATCH", f"{new}/e1", {"note": "twice"}, content_type="application/merge-patch+json")
    assert patched.obj["note"] == "twice"
    assert (await world.get("/api/v1/namespaces/default/events/e1"))["message"] == "twice"


async def test_reviews_and_tokens_are_answered_and_not_stored(world: ApiWorld) -> None:
    before = world.cache.revision
    await world.post("/apis/authentication.k8s.io/v1/tokenreviews", {"spec": {"token": "x"}})
    answer = await world.post("/api/v1/namespaces/default/serviceaccounts/default/token", {"spec": {}})
    assert answer["status"]["token"] == "token of default/default"
    assert world.cache.revision == before
    assert (await world.ask("GET", "/apis/authentication.k8s.io/v1/tokenreviews")).code == 405


async def test_partial_metadata_is_metadata_alone(world: ApiWorld) -> None:
    await world.config("x1", a="b")
    accept = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,application/json"
    one = await world.get(f"{CONFIGS}/x1", accept=accept)
    assert (one["kind"], sorted(one)) == ("PartialObjectMetadata", ["apiVersion", "kind", "metadata"])
    many = await world.get(CONFIGS, accept=accept.replace("Metadata;", "MetadataList;"))
    assert many["kind"] == "PartialObjectMetadataList"
    assert [item["metadata"]["name"] for item in many["items"]] == ["x1"]


async def test_a_list_in_yaml_is_yaml(world: ApiWorld) -> None:
    replied = await world.ask("GET", CONFIGS, accept="application/yaml")
    assert replied.media_type == "application/yaml"
    assert b"kind: ConfigMapList" in replied.body


async def test_autoscaling_v1_shows_what_v2_keeps_and_loses_nothing(world: ApiWorld) -> None:
    v1 = "/apis/autoscaling/v1/namespaces/default/horizontalpodautoscalers"
    target = {"kind": "Deployment", "name": "web", "apiVersion": "apps/v1"}
    spec = {"scaleTargetRef": target, "maxReplicas": 4, "targetCPUUtilizationPercentage": 60}
    await world.post(v1, {"metadata": {"name": "h"}, "spec": spec})
    v2 = await world.get("/apis/autoscaling/v2/namespaces/default/horizontalpodautoscalers/h")
    assert v2["spec"]["metrics"][0]["resource"]["target"] == {"type": "Utilization", "averageUtilization": 60}
    back = await world.get(f"{v1}/h")
    assert back["spec"]["targetCPUUtilizationPercentage"] == 60
    assert json.dumps(back).count("autoscaling/v1") == 1


def tides(*versions: str, free: bool = False) -> JsonObject:
    """A definition that keeps its first version and serves all of them. `free`: whatever is in a spec, stays."""
    spec: JsonObject = {"type": "object", "properties": {"height": {"type": "integer"}, "crews": {"type": "integer"}}}
    if free:
        spec["x-kubernetes-preserve-unknown-fields"] = True
    properties: JsonObject = {"spec": spec}
    rows: list[Json] = [
        {
            "name": name,
            "served": True,
            "storage": name == versions[0],
            "schema": {"openAPIV3Schema": {"type": "object", "properties": properties}},
            "subresources": {"scale": {"specReplicasPath": ".spec.crews", "statusReplicasPath": ".status.crews"}},
            "additionalPrinterColumns": [{"name": name.upper(), "type": "integer", "jsonPath": ".spec.height"}],
        }
        for name in versions
    ]
    names: JsonObject = {"plural": "tides", "singular": "tide", "kind": "Tide", "listKind": "TideList"}
    return {
        "metadata": {"name": "tides.sea.example.com"},
        "spec": {"group": "sea.example.com", "scope": "Namespaced", "names": names, "versions": rows},
        "status": {"acceptedNames": names},
    }


async def test_versions_of_a_custom_kind_are_one_storage_and_each_shows_its_own(world: ApiWorld) -> None:
    await world.define(tides("v1", "v1beta1"))
    v1, beta = (f"/apis/sea.example.com/{version}/namespaces/default/tides" for version in ("v1", "v1beta1"))
    await world.post(beta, {"apiVersion": "sea.example.com/v1beta1", "kind": "Tide", "metadata": {"name": "t"},
                            "spec": {"height": 7}})  # fmt: skip
    kept = world.cache.read(Key("tides.sea.example.com", "default", "t"))
    assert kept is not None
    assert b'"apiVersion":"sea.example.com/v1"' in kept.body
    assert (await world.get(f"{beta}/t"))["apiVersion"] == "sea.example.com/v1beta1"
    assert (await world.get(v1))["items"][0]["apiVersion"] == "sea.example.com/v1"
    table = await world.get(beta, accept="application/json;as=Table;v=v1;g=meta.k8s.io")
    assert [column["name"] for column in table["columnDefinitions"]] == ["Name", "V1BETA1"]
    assert table["rows"][0]["cells"] == ["t", 7]


async def test_a_custom_kind_scales_where_its_definition_says_and_takes_no_strategic_patch(world: ApiWorld) -> None:
    await world.define(tides("v1"))
    url = "/apis/sea.example.com/v1/namespaces/default/tides"
    await world.post(url, {"metadata": {"name": "t"}, "spec": {"height": 7}})
    replied = await world.ask(
        "PATCH", f"{url}/t/scale", {"spec": {"replicas": 3}}, content_type="application/merge-patch+json"
    )
    assert replied.obj["spec"] == {"replicas": 3}
    assert (await world.get(f"{url}/t"))["spec"] == {"height": 7, "crews": 3}
    strategic = await world.ask("PATCH", f"{url}/t", {}, content_type="application/strategic-merge-patch+json")
    assert strategic.code == 415
