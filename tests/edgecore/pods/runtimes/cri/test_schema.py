"""CRI's messages as bytes, against Google's own compiler and codec."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from google.protobuf.descriptor import FieldDescriptor
from hypothesis import given, settings
from hypothesis import strategies as st

from edgecore.pods.runtimes.cri import messages
from edgecore.pods.runtimes.cri.schema import IMAGE_CALLS, RUNTIME_CALLS, SCHEMA, TABLE
from skerry.wire.tables import Form

PROTO = Path(__file__).parent / "cri.proto"
THEIR_NAMES = {"DnsConfig": "DNSConfig", "PodIp": "PodIP"}
OURS_ALONE = {
    messages.SandboxId,
    messages.ContainerId,
    messages.ImageRef,
    messages.Url,
    messages.Nothing,
}
"""Each stands for several messages that are alike."""


@pytest.fixture(scope="module")
def theirs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModuleType]:
    """What Google's compiler makes of the document."""
    from grpc_tools import protoc

    room = tmp_path_factory.mktemp("proto")
    assert protoc.main(["", f"-I{PROTO.parent}", f"--python_out={room}", str(PROTO)]) == 0
    sys.path.insert(0, str(room))
    yield importlib.import_module("cri_pb2")
    sys.path.remove(str(room))


def form_of(field: FieldDescriptor) -> Form:
    message = field.message_type
    if message is not None and message.GetOptions().map_entry:
        return Form.TEXTS
    plain = {
        FieldDescriptor.TYPE_STRING: Form.STRING,
        FieldDescriptor.TYPE_BYTES: Form.BYTES,
        FieldDescriptor.TYPE_BOOL: Form.BOOL,
        FieldDescriptor.TYPE_INT32: Form.INT32,
        FieldDescriptor.TYPE_INT64: Form.INT64,
        FieldDescriptor.TYPE_UINT32: Form.UINT64,
        FieldDescriptor.TYPE_UINT64: Form.UINT64,
        FieldDescriptor.TYPE_MESSAGE: Form.MESSAGE,
    }[field.type]
    many = {Form.STRING: Form.STRINGS, Form.MESSAGE: Form.MESSAGES, Form.INT64: Form.INT64S}
    return many[plain] if field.is_repeated else plain


def test_the_table_is_what_the_document_says(theirs: ModuleType) -> None:
    for ours, rows in SCHEMA.items():
        if ours in OURS_ALONE:
            continue
        their = getattr(theirs, THEIR_NAMES.get(ours.__name__, ours.__name__)).DESCRIPTOR
        assert {row.number: (row.name, row.form) for row in rows} == {
            field.number: (field.name, form_of(field)) for field in their.fields
        }, ours.__name__


def test_every_message_of_a_call_is_in_the_table() -> None:
    for request, answer in (*RUNTIME_CALLS.values(), *IMAGE_CALLS.values()):
        assert {request, answer} <= SCHEMA.keys()


def built(kind: type, depth: int = 0) -> st.SearchStrategy[Any]:
    """Any message of ours, nested messages thinned out further down."""
    texts = st.text(max_size=8)
    strategies: dict[str, st.SearchStrategy[Any]] = {}
    for field in SCHEMA[kind]:
        nested = built(field.message, depth + 1) if field.message and depth < 4 else None
        strategies[field.name] = {
            Form.STRING: texts,
            Form.BYTES: st.binary(max_size=8),
            Form.BOOL: st.booleans(),
            Form.INT32: st.integers(-(2**31), 2**31 - 1),
            Form.INT64: st.integers(-(2**63), 2**63 - 1),
            Form.UINT64: st.integers(0, 2**32 - 1),
            Form.INT64S: st.lists(st.integers(-(2**31), 2**31 - 1), max_size=3).map(tuple),
            Form.STRINGS: st.lists(texts, max_size=2).map(tuple),
            Form.TEXTS: st.dictionaries(texts, texts, max_size=2),
            Form.MESSAGE: st.none() if nested is None else st.none() | nested,
            Form.MESSAGES: st.just(()) if nested is None else st.lists(nested, max_size=2).map(tuple),
            Form.NAMED: st.nothing(),
        }[field.form]
    return st.builds(kind, **strategies)


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_googles_codec_reads_what_we_write_and_writes_what_we_read(theirs: ModuleType, data: st.DataObject) -> None:
    ours = data.draw(
        st.sampled_from(
            [messages.CreateContainerRequest, messages.ListContainersResponse, messages.ListImagesResponse]
        )
    )
    message = data.draw(built(ours))
    their = getattr(theirs, ours.__name__).FromString(TABLE.encode(message))
    assert TABLE.decode(their.SerializeToString(), ours) == message


def test_numbers_of_a_list_are_read_packed_and_one_by_one(theirs: ModuleType) -> None:
    one_by_one = b"\x28\x05\x28" + b"\xff" * 9 + b"\x01"
    assert TABLE.decode(one_by_one, messages.LinuxSandboxSecurityContext).supplemental_groups == (5, -1)
    packed = theirs.LinuxSandboxSecurityContext(supplemental_groups=[5, -1]).SerializeToString()
    assert TABLE.decode(packed, messages.LinuxSandboxSecurityContext).supplemental_groups == (5, -1)
