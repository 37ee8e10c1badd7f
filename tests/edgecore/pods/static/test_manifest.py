"""Static pods from what their files say."""

from __future__ import annotations

from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgecore.pods.static.manifest import (
    FILE_BYTES_MAX,
    Place,
    StaticPod,
    decode_kept,
    encode_kept,
    read_static_pod,
)
from edgecore.pods.static.shape import structs
from skerry.errors import InvalidError
from skerry.objects.json import JsonObject, decode_object, dig, encode_object, maps_at
from skerry.objects.meta import Key, annotations_of
from tests.cloudcore.registry.pod_shape import SHAPE, shape_text

PLACE: Final = Place(node="gate-1", path="/etc/skerry/pods/web.yaml", seen_ms=1_750_000_000_000)
KNOWN: Final = structs()
WEB: Final = """\
apiVersion: v1
kind: Pod
metadata:
  name: Web
  labels: {app: web}
spec:
  containers:
  - name: app
    image: app:1
    resources: {limits: {cpu: 0.5, memory: 1024Ki}}
"""


def read(text: str | bytes, place: Place = PLACE) -> StaticPod:
    return read_static_pod("web.yaml", text.encode() if isinstance(text, str) else text, place, KNOWN)


def refused(text: str | bytes) -> str:
    with pytest.raises(InvalidError) as caught:
        read(text)
    return str(caught.value)


def test_the_shape_of_pods_is_that_of_the_cloud() -> None:
    assert SHAPE.read_text() == shape_text(), "run docs/tools/make_pod_shape.py"


def test_a_pod_is_named_after_its_node_and_is_completed_as_the_cloud_would() -> None:
    found = read(WEB)
    assert found.key == Key("pods", "default", "web-gate-1")
    annotations = annotations_of(found.pod)
    assert annotations["kubernetes.io/config.hash"] == found.uid == dig(found.pod, "metadata", "uid")
    assert annotations["kubernetes.io/config.source"] == "file"
    assert annotations["kubernetes.io/config.seen"] == "2025-06-15T15:06:40Z"
    spec = found.pod["spec"]
    assert dig(spec, "nodeName") == "gate-1" and dig(spec, "restartPolicy") == "Always"
    (app,) = maps_at(found.pod, "spec", "containers")
    assert dig(app, "resources") == {
        "limits": {"cpu": "500m", "memory": "1Mi"},
        "requests": {"cpu": "500m", "memory": "1Mi"},
    }
    assert app["imagePullPolicy"] == "IfNotPresent"


def test_nothing_evicts_it() -> None:
    found = read(WEB)
    assert maps_at(found.pod, "spec", "tolerations") == [{"operator": "Exists", "effect": "NoExecute"}]


def test_json_and_yaml_that_say_the_same_are_the_same_pod() -> None:
    body = encode_object(
        {
            "kind": "Pod",
            "apiVersion": "v1",
            "metadata": {"labels": {"app": "web"}, "name": "Web"},
            "spec": {
                "containers": [
                    {"image": "app:1", "name": "app", "resources": {"limits": {"memory": "1Mi", "cpu": "500m"}}}
                ]
            },
        }
    )
    assert read(body) == read(WEB) == read("# a comment\n---\n" + WEB + "\n---\n")


def test_another_content_node_or_file_is_another_pod() -> None:
    first = read(WEB)
    others = [
        read(WEB.replace("app:1", "app:2")),
        read(WEB, Place(node="gate-2", path=PLACE.path, seen_ms=0)),
        read(WEB, Place(node="gate-1", path="/other.yaml", seen_ms=0)),
    ]
    assert len({first.uid, *(each.uid for each in others)}) == 4
    assert read(WEB, Place(node="gate-1", path=PLACE.path, seen_ms=5)).uid == first.uid


def test_what_a_file_may_not_say_of_its_pod_is_left_out() -> None:
    text = WEB.replace("  name: Web", "  name: Web\n  uid: mine\n  resourceVersion: '7'\n  finalizers: [a/b]")
    text += "status: {phase: Running}\n"
    metadata = read(text).pod["metadata"]
    assert isinstance(metadata, dict) and not {"resourceVersion", "finalizers"} & metadata.keys()
    assert metadata["uid"] != "mine" and dig(read(text).pod, "status", "phase") == "Pending"


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("kind: Pod", "kind: Deployment", 'kind: "Deployment" is there, and a static pod has Pod'),
        ("apiVersion: v1", "", "apiVersion: null is there"),
        ("  name: Web\n", "", "metadata.name: Required value"),
        ("name: Web", "name: We_b", 'metadata.name: Invalid value: "we_b-gate-1"'),
        ("name: Web", "name: 7", "metadata.name: text is wanted, and a number is there"),
        ("    image: app:1\n", "", "spec.containers[0].image: Required value"),
        ("- name: app", "- name: app\n    ports: [{containerPort: 80a}]", "ports[0].containerPort: a whole number"),
        ("cpu: 0.5", "cpu: lots", "spec.containers[0].resources.limits[cpu]: "),
        ("spec:\n", "spec:\n  restartPolicy: Sometimes\n", "spec.restartPolicy: Unsupported value"),
        ("spec:\n", "spec:\n  serviceAccountName: a\n", "spec.serviceAccountName: Forbidden: a static pod may not"),
        ("spec:\n", "spec:\n  imagePullSecrets: [{name: a}]\n", "spec.imagePullSecrets: Forbidden"),
        (
            "spec:\n",
            "spec:\n  volumes: [{name: v, configMap: {name: c}}]\n",
            "spec.volumes[0].configMap: Forbidden: a static pod may not name configmaps",
        ),
        (
            "    image: app:1",
            "    image: app:1\n    env: [{name: A, valueFrom: {secretKeyRef: {name: s, key: k}}}]",
            "spec.containers[0].env[0].valueFrom.secretKeyRef: Forbidden",
        ),
        ("kind: Pod", "kind: Pod\n---\nkind: Pod", "the file has 2 documents: write one Pod a file"),
        ("spec:\n", "spec: [\n", "error converting YAML to JSON"),
    ],
)
def test_a_file_that_is_wrong_is_refused_with_the_field(old: str, new: str, said: str) -> None:
    assert old in WEB
    assert said in refused(WEB.replace(old, new, 1))


@pytest.mark.parametrize("text", ["", "\n---\n", "[]", "7", "{", "{} {}", b"\xff\xfe", b"x" * (FILE_BYTES_MAX + 1)])
def test_what_is_no_pod_at_all_is_refused_in_words(text: str | bytes) -> None:
    assert refused(text)


def test_an_unknown_field_is_named_and_left_out() -> None:
    found = read(WEB.replace("image: app:1", "image: app:1\n    imagee: x"))
    assert found.unknown == ("spec.containers[0].imagee",)
    assert "imagee" not in maps_at(found.pod, "spec", "containers")[0]


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@given(field=st.sampled_from(sorted(KNOWN["PodSpec"])), value=_JSON)
def test_whatever_a_field_holds_it_is_taken_or_refused(field: str, value: object) -> None:
    said = decode_object(encode_object({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"}}))
    spec: JsonObject = {"containers": [{"name": "a", "image": "b"}]}
    spec[field] = value  # pyright: ignore[reportArgumentType]
    said["spec"] = spec
    try:
        found = read(encode_object(said))
    except InvalidError as error:
        assert str(error)
    else:
        assert found.key.name == "a-gate-1"


def test_what_is_kept_is_read_again_for_the_same_node_alone() -> None:
    found = read(WEB)
    kept = decode_object(encode_object(encode_kept([found])))
    assert decode_kept(kept, "gate-1") == {"web.yaml": found}
    assert decode_kept(kept, "gate-2") == {}


def test_a_file_lends_nothing_and_is_told_so() -> None:
    marks = "annotations: {skerry.dev/lease: north.row, skerry.dev/lease-untold: '60', mine: kept}"
    found = read(WEB.replace("name: Web", f"name: Web\n  {marks}"))
    kept = annotations_of(found.pod)
    assert "skerry.dev/lease" not in kept
    assert "skerry.dev/lease-untold" not in kept
    assert kept["mine"] == "kept"
    assert found.unknown == (
        "metadata.annotations[skerry.dev/lease] (nobody lends static pods)",
        "metadata.annotations[skerry.dev/lease-untold] (nobody lends static pods)",
    )
