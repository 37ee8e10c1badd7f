"""One filled-in frame of each kind: what the golden bytes are bytes of.

The first are of version 1, as released: never changed. What later versions say beside is in the second.
"""

from __future__ import annotations

from skerry.objects.meta import Key, Revision, Stamp
from skerry.objects.spans import Span
from skerry.wire.frames import (
    Ack,
    Close,
    Compare,
    Fetch,
    Frame,
    Hello,
    LaneReceived,
    Objects,
    ObjectState,
    Ping,
    Pong,
    Receipt,
    Report,
    Reports,
    Stamped,
    Stamps,
    Start,
    StreamClose,
    StreamCredit,
    StreamData,
    StreamOpen,
    Welcome,
)

POD = Key("pods", "default", "web-1")
CONFIG = Key("configmaps", "default", "settings")
UID = "5b2f0c0e-7d4e-4b52-8a53-0d9d4c1a2b3c"

SAMPLES: dict[str, Frame] = {
    "hello": Hello(
        versions=(1,),
        node="eu-1",
        agent_version="0.1.0",
        incarnation="7f3a9c",
        epoch="e1",
        revision=Revision(4711),
        root=0x0123456789ABCDEF,
        outbox_head=42,
        capabilities=("logs",),
    ),
    "welcome": Welcome(
        version=1,
        session=9,
        server_ms=1_764_000_000_000,
        heartbeat_ms=30_000,
        epoch="e1",
        revision=Revision(4712),
        received=41,
        in_step=True,
    ),
    "compare": Compare(batch=3, root=2**64 - 1, buckets=(0, 1, 2**64 - 1)),
    "stamps": Stamps(
        revision=Revision(300),
        buckets=(0, 5, 63),
        entries=(Stamped(key=POD, stamp=Stamp(UID, Revision(299))),),
        more=True,
    ),
    "fetch": Fetch(keys=(POD, CONFIG)),
    "objects": Objects(
        batch=7,
        revision=Revision(300),
        puts=(ObjectState(key=CONFIG, stamp=Stamp(UID, Revision(12)), body=b'{"metadata":{}}'),),
        deletes=(Key("nodes", "", "eu-1"),),
        more=False,
    ),
    "objects_deflated": Objects(
        batch=8,
        revision=Revision(301),
        puts=(ObjectState(key=POD, stamp=Stamp(UID, Revision(301)), body=b'{"metadata":{}}' * 60),),
        deletes=(),
        more=False,
    ),
    "ack": Ack(batch=7),
    "reports": Reports(
        reports=(
            Report(
                seq=43,
                kind="telemetry",
                key="default/plc/temperature",
                body=b'{"value":"21.5"}',
                wall_ms=86_400_000,
                age_ms=1500,
                estimated=True,
            ),
        )
    ),
    "receipt": Receipt(through=43),
    "ping": Ping(number=300),
    "pong": Pong(number=300),
    "close": Close(code=5, reason="too many at once", retry_after_ms=12_000),
    "stream_open": StreamOpen(stream=1, kind="logs", params=b"{}", credit=65_536),
    "stream_data": StreamData(stream=1, data=b"hello\n"),
    "stream_credit": StreamCredit(stream=1, credit=1024),
    "stream_close": StreamClose(stream=1, code=0, reason=""),
}

SAMPLES_2: dict[str, Frame] = {
    "stream_data_with_last": StreamData(stream=1, data=b"", last=True),
    "hello_with_starts": Hello(
        versions=(2, 1),
        node="eu-1",
        agent_version="0.2.0",
        incarnation="7f3a9c",
        epoch="e1",
        revision=Revision(4711),
        root=0x0123456789ABCDEF,
        outbox_head=200,
        dictionaries=(1,),
        starts=(Start(mark=0x9A8B7C6D, first=101), Start(mark=7, first=160)),
    ),
    "welcome_with_common": Welcome(
        version=2,
        session=9,
        server_ms=1_764_000_000_000,
        heartbeat_ms=30_000,
        epoch="e1",
        revision=Revision(4712),
        received=200,
        in_step=True,
        dictionary=1,
        common=159,
    ),
    "welcome_with_capabilities": Welcome(
        version=2,
        session=10,
        server_ms=1_764_000_000_000,
        heartbeat_ms=30_000,
        epoch="e1",
        revision=Revision(4712),
        received=200,
        in_step=True,
        dictionary=1,
        capabilities=("blocks",),
    ),
    "hello": Hello(
        versions=(2, 1),
        node="eu-1",
        agent_version="0.2.0",
        incarnation="7f3a9c",
        epoch="e1",
        revision=Revision(4711),
        root=0x0123456789ABCDEF,
        outbox_head=200,
    ),
    "welcome": Welcome(
        version=2,
        session=9,
        server_ms=1_764_000_000_000,
        heartbeat_ms=30_000,
        epoch="e1",
        revision=Revision(4712),
        received=41,
        in_step=True,
        lanes=(
            LaneReceived(lane=0, spans=(Span(1, 200),)),
            LaneReceived(lane=1, spans=(Span(1, 41), Span(150, 199))),
        ),
    ),
    "reports": Reports(
        reports=(
            Report(
                seq=43,
                kind="telemetry",
                key="default/plc/temperature",
                body=b'{"value":"21.5"}',
                wall_ms=86_400_000,
                age_ms=1500,
            ),
        ),
        lane=1,
        first=42,
        through=149,
        late=True,
    ),
    "receipt": Receipt(lane=1, first=42, through=149),
}
