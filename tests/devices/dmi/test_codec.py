"""DMI's messages as bytes, against Google's own codec and compiler."""

from __future__ import annotations

import contextlib
import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from hypothesis import given, settings
from hypothesis import strategies as st

from devices.dmi import messages
from devices.dmi.codec import FIELDS_MAX, decode, encode
from devices.dmi.messages import MANAGER, MANAGER_CALLS, MAPPER, MAPPER_CALLS, SCHEMA
from skerry.errors import ProtocolError
from skerry.wire.fields import delimited
from skerry.wire.tables import Form

PROTO = Path(__file__).parents[3] / "docs" / "reference" / "dmi.proto"


@pytest.fixture(scope="module")
def theirs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModuleType]:
    """What Google's compiler makes of docs/reference/dmi.proto."""
    from grpc_tools import protoc

    room = tmp_path_factory.mktemp("proto")
    known = str(Path(protoc.__file__).parent / "_proto")
    assert protoc.main(["", f"-I{PROTO.parent}", f"-I{known}", f"--python_out={room}", str(PROTO)]) == 0
    sys.path.insert(0, str(room))
    yield importlib.import_module("dmi_pb2")
    sys.path.remove(str(room))


def compare(ours: type, their: Descriptor, seen: set[type]) -> None:
    if ours in seen:
        return
    seen.add(ours)
    rows = {field.number: field for field in SCHEMA[ours]}
    assert set(rows) == {field.number for field in their.fields}, their.name
    for field in their.fields:
        row = rows[field.number]
        assert form_of(field) is row.form, f"{their.name}.{field.name}"
        if row.message is not None:
            nested = field.message_type
            assert nested is not None
            if nested.GetOptions().map_entry:
                nested = nested.fields_by_name["value"].message_type
                assert nested is not None
            compare(row.message, nested, seen)


def form_of(field: FieldDescriptor) -> Form:
    message = field.message_type
    if message is not None and message.GetOptions().map_entry:
        value = message.fields_by_name["value"]
        return Form.TEXTS if value.type == FieldDescriptor.TYPE_STRING else Form.NAMED
    plain = {
        FieldDescriptor.TYPE_STRING: Form.STRING,
        FieldDescriptor.TYPE_BYTES: Form.BYTES,
        FieldDescriptor.TYPE_BOOL: Form.BOOL,
        FieldDescriptor.TYPE_INT32: Form.INT32,
        FieldDescriptor.TYPE_INT64: Form.INT64,
        FieldDescriptor.TYPE_MESSAGE: Form.MESSAGE,
    }[field.type]
    many = {Form.STRING: Form.STRINGS, Form.MESSAGE: Form.MESSAGES}
    return many[plain] if field.is_repeated else plain


def test_the_table_is_what_the_document_says(theirs: ModuleType) -> None:
    seen: set[type] = set()
    for name, calls in ((MANAGER, MANAGER_CALLS), (MAPPER, MAPPER_CALLS)):
        service = theirs.DESCRIPTOR.services_by_name[name.removeprefix("v1beta1.")]
        assert service.full_name == name and set(service.methods_by_name) == set(calls)
        for call, (request, answer) in calls.items():
            compare(request, service.methods_by_name[call].input_type, seen)
            compare(answer, service.methods_by_name[call].output_type, seen)
    assert seen == set(SCHEMA)


def built(kind: type, depth: int = 0) -> st.SearchStrategy[Any]:
    """Any message of ours, nested messages thinned out further down."""
    texts = st.text(max_size=8)
    any_of = st.builds(messages.Any, type_url=texts, value=st.binary(max_size=8))
    strategies: dict[str, st.SearchStrategy[Any]] = {}
    for field in SCHEMA[kind]:
        nested = built(field.message, depth + 1) if field.message and depth < 4 else None
        strategies[field.name] = {
            Form.STRING: texts,
            Form.BYTES: st.binary(max_size=8),
            Form.BOOL: st.booleans(),
            Form.INT32: st.integers(-(2**31), 2**31 - 1),
            Form.INT64: st.integers(-(2**63), 2**63 - 1),
            Form.STRINGS: st.lists(texts, max_size=2).map(tuple),
            Form.TEXTS: st.dictionaries(texts, texts, max_size=2),
            Form.NAMED: st.dictionaries(texts, any_of, max_size=2),
            Form.MESSAGE: st.none() if nested is None else st.none() | nested,
            Form.MESSAGES: st.just(()) if nested is None else st.lists(nested, max_size=2).map(tuple),
        }[field.form]
    return st.builds(kind, **strategies)


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_googles_codec_reads_what_we_write_and_writes_what_we_read(theirs: ModuleType, data: st.DataObject) -> None:
    ours = data.draw(st.sampled_from([messages.Device, messages.MapperRegisterRequest, messages.DeviceModel]))
    message = data.draw(built(ours))
    their = getattr(theirs, ours.__name__).FromString(encode(message))
    assert decode(their.SerializeToString(), ours) == message


@given(st.binary(max_size=200))
def test_whatever_comes_in_is_a_message_or_an_error(data: bytes) -> None:
    with contextlib.suppress(ProtocolError):
        decode(data, messages.ReportDeviceStatusRequest)


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"\x0a\x05ab", "cut short"),
        (b"\x0a\x01\xff", "not UTF-8"),
        (b"\x08\x01", "a number where"),
        (b"\x00\x00", "field number 0"),
        (b"\x0b", "wire type 3"),
        (b"\x08" + b"\xff" * 11, "more than ten bytes"),
        (b"\x12\x02\x0a\x00" * (FIELDS_MAX // 2 + 1), "more than"),
    ],
)
def test_what_is_no_message_is_refused(data: bytes, says: str) -> None:
    with pytest.raises(ProtocolError, match=says):
        decode(data, messages.ReportDeviceStatusRequest)


def test_fields_of_newer_versions_are_skipped() -> None:
    newer = delimited(1, b"lamp") + delimited(90, b"new") + b"\xd8\x05\x07" + b"\xe5\x05abcd" + b"\xe1\x05abcdefgh"
    assert decode(newer, messages.Named) == messages.Named(name="lamp")
