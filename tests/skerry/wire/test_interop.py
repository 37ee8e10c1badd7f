"""Another implementation of Protocol Buffers reads what we write, and we read what it writes."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from skerry.wire.codec import decode, encode
from skerry.wire.frames import Frame
from tests.skerry.wire.samples import SAMPLES, SAMPLES_2

PROTO = Path(__file__).parents[3] / "docs" / "reference" / "wire.proto"


@pytest.fixture(scope="module")
def frame_class() -> Any:
    """`Frame` made from docs/reference/wire.proto by Google's runtime, where that is installed."""
    pb2 = pytest.importorskip("google.protobuf.descriptor_pb2")
    pool_module = pytest.importorskip("google.protobuf.descriptor_pool")
    factory = pytest.importorskip("google.protobuf.message_factory")
    types = {"uint64": 4, "bool": 8, "fixed64": 6, "string": 9, "bytes": 12}
    file = pb2.FileDescriptorProto(name="wire.proto", package="skerry.wire.v1", syntax="proto3")
    for name, body in re.findall(r"^message (\w+) \{\n(.*?)^\}", PROTO.read_text(), re.MULTILINE | re.DOTALL):
        message = file.message_type.add(name=name)
        for repeated, kind, field, number in re.findall(r"^\s+(repeated )?(\w+) (\w+) = (\d+);", body, re.MULTILINE):
            made = message.field.add(name=field, number=int(number), label=3 if repeated else 1)
            made.type = types.get(kind, 11)
            if kind not in types:
                made.type_name = f".skerry.wire.v1.{kind}"
    pool = pool_module.DescriptorPool()
    pool.Add(file) if hasattr(pool, "Add") else pool.AddSerializedFile(file.SerializeToString())
    return factory.GetMessageClass(pool.FindMessageTypeByName("skerry.wire.v1.Frame"))


@pytest.mark.parametrize(
    ("name", "frame"),
    [item for item in [*SAMPLES.items(), *SAMPLES_2.items()] if item[0] != "objects_deflated"],
)
def test_frames_are_protocol_buffers(frame_class: Any, name: str, frame: Frame) -> None:
    data = encode(frame)
    theirs = frame_class.FromString(data)
    (set_field, _), *others = theirs.ListFields()
    assert not others
    assert set_field.name == name.partition("_with_")[0]
    assert decode(theirs.SerializeToString()) == frame
