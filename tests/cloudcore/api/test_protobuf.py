"""Protobuf bodies: recorded from kubectl 1.33 (`fixtures`), and made by hand where kubectl sends none."""

from __future__ import annotations

import base64
import contextlib
import json
import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloudcore.api.protobuf import protobuf_decoder
from skerry.errors import BadRequestError
from skerry.objects.json import JsonObject, map_at, maps_at, str_at

BODIES = {
    name: base64.b64decode(recorded["body"])
    for name, recorded in json.loads(
        (Path(__file__).parent / "fixtures" / "kubectl_1.33_bodies.json").read_text()
    ).items()
}


def varint(value: int) -> bytes:
    value &= 0xFFFF_FFFF_FFFF_FFFF
    out = b""
    while value > 0x7F:
        out += bytes([value & 0x7F | 0x80])
        value >>= 7
    return out + bytes([value])


def field(number: int, value: int | bytes | str) -> bytes:
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    raw = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(raw)) + raw


def body(api_version: str, kind: str, raw: bytes) -> bytes:
    return b"k8s\x00" + field(1, field(1, api_version) + field(2, kind)) + field(2, raw) + field(3, "") + field(4, "")


def decoded(name: str) -> JsonObject:
    return protobuf_decoder().decode(BODIES[name])


def test_a_config_map_keeps_empty_values() -> None:
    assert decoded("configmap") == {
        "kind": "ConfigMap",
        "apiVersion": "v1",
        "metadata": {"name": "cm", "namespace": "ns"},
        "data": {"a": "1", "b": ""},
    }


def test_bytes_become_base64() -> None:
    assert map_at(decoded("secret"), "data") == {"password": base64.b64encode(b"hunter2").decode()}


def test_a_deployment_keeps_a_zero_that_was_meant() -> None:
    spec = map_at(decoded("deployment"), "spec")
    assert spec["replicas"] == 0
    assert "paused" not in spec
    assert maps_at(spec, "template", "spec", "containers") == [
        {"name": "nginx", "image": "nginx", "ports": [{"containerPort": 80}], "resources": {}}
    ]


def test_numbers_or_names_and_negative_numbers_survive() -> None:
    assert maps_at(decoded("service"), "spec", "ports")[0]["targetPort"] == 8080
    assert maps_at(decoded("service_nodeport"), "spec", "ports")[0]["targetPort"] == "web"
    assert decoded("priorityclass")["value"] == -10
    assert map_at(decoded("quota"), "spec", "hard") == {"cpu": "1", "memory": "1G"}


def test_embedded_structs_are_fields_of_their_parent() -> None:
    path = maps_at(decoded("ingress"), "spec", "rules")[0]
    assert str_at(maps_at(path, "http", "paths")[0], "backend", "service", "name") == "svc"


@pytest.mark.parametrize("name", sorted(BODIES))
def test_every_recorded_body_is_understood(name: str) -> None:
    obj = decoded(name)
    assert obj["kind"]
    assert isinstance(obj["metadata"], dict)


def test_volumes_keep_their_empty_source() -> None:
    volume = field(1, "scratch") + field(2, field(2, b""))
    pod = field(2, field(1, volume))
    assert maps_at(protobuf_decoder().decode(body("v1", "Pod", pod)), "spec", "volumes") == [
        {"name": "scratch", "emptyDir": {}}
    ]


def test_times_are_text_and_an_empty_time_is_none() -> None:
    year_one = field(1, -62_135_596_800) + field(2, 5000)
    lease = field(2, field(2, 0) + field(3, b"") + field(4, year_one))
    spec = map_at(protobuf_decoder().decode(body("coordination.k8s.io/v1", "Lease", lease)), "spec")
    assert spec == {"leaseDurationSeconds": 0, "renewTime": "0001-01-01T00:00:00.000005Z"}


def test_the_schema_of_a_definition_keeps_its_unions_and_raw_json() -> None:
    string = field(5, "string")
    schema = (
        field(5, "object")
        + field(8, field(1, b'{"a":1}'))
        + field(30, field(1, 1) + field(2, string))
        + varint(9 << 3 | 1)
        + struct.pack("<d", 5.0)
        + field(24, field(1, string))
    )
    version = field(1, "v1") + field(4, field(1, schema))
    crd = field(2, field(7, version))
    obj = protobuf_decoder().decode(body("apiextensions.k8s.io/v1", "CustomResourceDefinition", crd))
    assert map_at(maps_at(obj, "spec", "versions")[0], "schema", "openAPIV3Schema") == {
        "type": "object",
        "default": {"a": 1},
        "additionalProperties": {"type": "string"},
        "maximum": 5,
        "items": {"type": "string"},
    }


def test_options_and_evictions_are_understood_though_they_are_no_resources() -> None:
    options = field(1, 0) + field(2, field(1, "uid")) + field(4, "Foreground")
    assert protobuf_decoder().decode(body("v1", "DeleteOptions", options)) == {
        "kind": "DeleteOptions",
        "apiVersion": "v1",
        "gracePeriodSeconds": 0,
        "preconditions": {"uid": "uid"},
        "propagationPolicy": "Foreground",
    }
    eviction = field(1, field(1, "p")) + field(2, field(1, 5))
    assert protobuf_decoder().decode(body("policy/v1", "Eviction", eviction))["deleteOptions"] == {
        "gracePeriodSeconds": 5
    }
    scale = field(2, field(1, 0))
    assert protobuf_decoder().decode(body("autoscaling/v1", "Scale", scale))["kind"] == "Scale"


def test_lists_inside_maps_are_unwrapped() -> None:
    extra = field(1, "scopes") + field(2, field(1, "a") + field(1, "b"))
    status = field(1, field(1, "u") + field(4, extra))
    review = protobuf_decoder().decode(body("authentication.k8s.io/v1", "SelfSubjectReview", field(2, status)))
    assert map_at(review, "status", "userInfo", "extra") == {"scopes": ["a", "b"]}


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"{}", "expected prefix k8s"),
        (body("example.com/v1", "Widget", b""), 'no kind "Widget" is registered'),
        (body("v1", "ConfigMap", b"\x0a\xff"), "does not end"),
        (body("v1", "ConfigMap", b"\x0a\x7f"), "ends too early"),
        (body("v1", "ConfigMap", b"\x0b"), "wire type 3"),
        (body("v1", "ConfigMap", field(1, 5)), "has bytes"),
        (body("v1", "Pod", field(1, field(1, b"\xff"))), "not UTF-8"),
    ],
)
def test_bytes_that_are_no_object_are_refused(data: bytes, text: str) -> None:
    with pytest.raises(BadRequestError, match=text):
        protobuf_decoder().decode(data)


def test_a_message_nested_without_end_is_refused() -> None:
    schema = b""
    for _ in range(150):
        schema = field(28, schema)
    crd = field(2, field(7, field(4, field(1, schema))))
    with pytest.raises(BadRequestError, match="too deeply"):
        protobuf_decoder().decode(body("apiextensions.k8s.io/v1", "CustomResourceDefinition", crd))


@given(st.sampled_from(sorted(BODIES)), st.integers(0, 400), st.binary(max_size=4))
def test_damaged_bytes_never_do_worse_than_a_refusal(name: str, at: int, noise: bytes) -> None:
    data = BODIES[name][:at] + noise + BODIES[name][at + len(noise) :]
    with contextlib.suppress(BadRequestError):
        protobuf_decoder().decode(data)
