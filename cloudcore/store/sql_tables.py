"""The tables of the SQL store, and the statements over them, built once.

Plain SQL that any database understands; what is peculiar to one is in `sqlite.py` or `postgres.py`. Tables:

- `meta`: one row; schema version, epoch, newest and compacted revision, newest record number.
- `log`: one row a change after the compacted revision, with the state before and after it.
- `objects`: the current objects. `outboxes`: one row a life of a node's outbox. `records`: append-only series.
- `entries`: one row a node, where its newest session is; written only where there may be several hubs.

The state of an object at an old revision is its current row where that is old enough, else the `prev` of the
first log row after that revision; so nothing at or below the compacted revision is needed by anyone.

Names are compared byte by byte everywhere, as Python and SQLite do; PostgreSQL has to be told.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import (
    BigInteger,
    Column,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    and_,
    bindparam,
    delete,
    exists,
    func,
    insert,
    select,
    text,
    tuple_,
    update,
)

SCHEMA: Final = 5
"""Version of the tables below. An older store is brought here in place (`sql_schema`), a newer one is refused."""

tables: Final = MetaData()

Name: Final = Text().with_variant(Text(collation="C"), "postgresql")

meta: Final = Table(
    "meta",
    tables,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("schema", Integer, nullable=False),
    Column("epoch", Text, nullable=False),
    Column("file", Text, nullable=False),
    Column("rev", BigInteger, nullable=False),
    Column("compacted", BigInteger, nullable=False),
    Column("record_number", BigInteger, nullable=False),
)

log: Final = Table(
    "log",
    tables,
    Column("rev", BigInteger, primary_key=True, autoincrement=False),
    Column("resource", Name, nullable=False),
    Column("ns", Name, nullable=False),
    Column("name", Name, nullable=False),
    Column("uid", Text, nullable=False),
    Column("prev_rev", BigInteger),
    Column("prev", LargeBinary),
    Column("after", LargeBinary),
    Column("final", LargeBinary),
    Index("log_by_key", "resource", "ns", "name", "rev"),
)

objects: Final = Table(
    "objects",
    tables,
    Column("resource", Name, primary_key=True),
    Column("ns", Name, primary_key=True),
    Column("name", Name, primary_key=True),
    Column("uid", Text, nullable=False),
    Column("rev", BigInteger, nullable=False),
    Column("body", LargeBinary, nullable=False),
)

outboxes: Final = Table(
    "outboxes",
    tables,
    Column("node", Text, primary_key=True),
    Column("incarnation", Text, primary_key=True),
    Column("session", BigInteger, nullable=False),
    Column("received", Text, nullable=False),
    Column("dates", Text, nullable=False, server_default=""),
    Column("starts", Text, nullable=False, server_default=""),
)

entries: Final = Table(
    "entries",
    tables,
    Column("node", Text, primary_key=True),
    Column("number", BigInteger, nullable=False),
    Column("incarnation", Text, nullable=False),
    Column("session", BigInteger, nullable=False),
    Column("hub", Text, nullable=False),
    Index("entries_by_number", "number"),
)

records: Final = Table(
    "records",
    tables,
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    Column("series", Name, nullable=False),
    Column("at_ms", BigInteger, nullable=False),
    Column("body", LargeBinary, nullable=False),
    Column("seq", BigInteger, nullable=False, server_default=text("0")),
    Index("records_by_series", "series", "number"),
    Index("records_by_place", "series", "at_ms", "seq", "number"),
    Index("records_by_time", "at_ms"),
)

# meta

select_meta: Final = select(
    meta.c.schema, meta.c.epoch, meta.c.file, meta.c.rev, meta.c.compacted, meta.c.record_number
)
lock_meta: Final = select_meta.with_for_update()
"""First in each transaction that writes: whoever holds the row gives out the next revisions, so that the order of
commits is the order of revisions. SQLite has no need of it, as its transactions have the whole file."""
insert_meta: Final = insert(meta)
update_numbers: Final = update(meta).values(rev=bindparam("b_rev"), record_number=bindparam("b_record_number"))
update_compacted: Final = update(meta).values(compacted=bindparam("b_to"))
update_schema: Final = update(meta).values(schema=bindparam("b_schema"))
update_epoch: Final = update(meta).values(epoch=bindparam("b_epoch"), file=bindparam("b_file"))

# objects

_OBJECT = (objects.c.resource, objects.c.ns, objects.c.name, objects.c.uid, objects.c.rev, objects.c.body)
_IS_OBJECT = and_(
    objects.c.resource == bindparam("b_resource"),
    objects.c.ns == bindparam("b_ns"),
    objects.c.name == bindparam("b_name"),
)
select_object: Final = select(*_OBJECT).where(_IS_OBJECT)
select_objects: Final = select(*_OBJECT).where(
    objects.c.resource == bindparam("b_resource"),
    objects.c.ns == bindparam("b_ns"),
    objects.c.name.in_(bindparam("b_names", expanding=True)),
)
"""Of one resource and namespace: for a list of whole keys SQLite reads the whole table."""
insert_objects: Final = insert(objects)
update_objects: Final = (
    update(objects).where(_IS_OBJECT).values(rev=bindparam("b_rev"), body=bindparam("b_body"), uid=bindparam("b_uid"))
)
delete_objects: Final = delete(objects).where(_IS_OBJECT)
select_resources: Final = select(objects.c.resource).distinct().order_by(objects.c.resource)

# Lists as of a revision: what has not changed since, and what has, as it was.

_in_resource = objects.c.resource == bindparam("b_resource")
_unchanged = and_(_in_resource, objects.c.rev <= bindparam("b_at"))
_later = log.alias("later")
_was_there = and_(
    log.c.resource == bindparam("b_resource"),
    log.c.rev > bindparam("b_at"),
    log.c.prev_rev.is_not(None),
    ~exists().where(
        _later.c.resource == log.c.resource,
        _later.c.ns == log.c.ns,
        _later.c.name == log.c.name,
        _later.c.rev > bindparam("b_at"),
        _later.c.rev < log.c.rev,
    ),
)
_b_after = tuple_(bindparam("b_after_ns", type_=Name), bindparam("b_after_name", type_=Name))
_object_after = tuple_(objects.c.ns, objects.c.name) > _b_after
_log_after = tuple_(log.c.ns, log.c.name) > _b_after
_object_in_ns = objects.c.ns == bindparam("b_ns")
_log_in_ns = log.c.ns == bindparam("b_ns")
_LOGGED = (log.c.resource, log.c.ns, log.c.name, log.c.uid, log.c.prev_rev.label("rev"), log.c.prev.label("body"))

list_all: Final = (
    select(*_OBJECT)
    .where(_unchanged, _object_after)
    .order_by(objects.c.ns, objects.c.name)
    .limit(bindparam("b_limit", type_=Integer))
)
list_namespace: Final = (
    select(*_OBJECT)
    .where(_unchanged, _object_after, _object_in_ns)
    .order_by(objects.c.ns, objects.c.name)
    .limit(bindparam("b_limit", type_=Integer))
)
count_all: Final = select(func.count()).select_from(objects).where(_unchanged, _object_after)
count_namespace: Final = select(func.count()).select_from(objects).where(_unchanged, _object_after, _object_in_ns)
were_all: Final = (
    select(*_LOGGED)
    .where(_was_there, _log_after)
    .order_by(log.c.ns, log.c.name)
    .limit(bindparam("b_limit", type_=Integer))
)
were_namespace: Final = (
    select(*_LOGGED)
    .where(_was_there, _log_after, _log_in_ns)
    .order_by(log.c.ns, log.c.name)
    .limit(bindparam("b_limit", type_=Integer))
)
count_were_all: Final = select(func.count()).select_from(log).where(_was_there, _log_after)
count_were_namespace: Final = select(func.count()).select_from(log).where(_was_there, _log_after, _log_in_ns)

# log

insert_log: Final = insert(log)
select_changes: Final = (
    select(
        log.c.rev,
        log.c.resource,
        log.c.ns,
        log.c.name,
        log.c.uid,
        log.c.prev_rev,
        log.c.prev,
        log.c.after,
        log.c.final,
    )
    .where(log.c.rev > bindparam("b_after"))
    .order_by(log.c.rev)
    .limit(bindparam("b_limit", type_=Integer))
)
changed_since: Final = select(func.max(log.c.rev)).where(
    log.c.rev > bindparam("b_after"), log.c.resource == bindparam("b_resource")
)
oldest_log: Final = select(func.min(log.c.rev))
delete_log: Final = delete(log).where(log.c.rev <= bindparam("b_to"))

# outboxes and records

_IS_OUTBOX = and_(outboxes.c.node == bindparam("b_node"), outboxes.c.incarnation == bindparam("b_incarnation"))
select_outboxes: Final = select(
    outboxes.c.node,
    outboxes.c.incarnation,
    outboxes.c.session,
    outboxes.c.received,
    outboxes.c.dates,
    outboxes.c.starts,
).where(outboxes.c.node.in_(bindparam("b_nodes", expanding=True)))
insert_outboxes: Final = insert(outboxes)
update_outboxes: Final = (
    update(outboxes)
    .where(_IS_OUTBOX)
    .values(
        session=bindparam("b_session"),
        received=bindparam("b_received"),
        dates=bindparam("b_dates"),
        starts=bindparam("b_starts"),
    )
)
delete_outboxes: Final = delete(outboxes).where(_IS_OUTBOX)

_ENTRY = (entries.c.number, entries.c.node, entries.c.incarnation, entries.c.session, entries.c.hub)
newest_entry: Final = select(func.coalesce(func.max(entries.c.number), 0))
select_entry: Final = select(*_ENTRY).where(entries.c.node == bindparam("b_node"))
select_entries: Final = (
    select(*_ENTRY)
    .where(entries.c.number > bindparam("b_after"))
    .order_by(entries.c.number)
    .limit(bindparam("b_limit", type_=Integer))
)
insert_entries: Final = insert(entries)
delete_entries: Final = delete(entries).where(entries.c.node == bindparam("b_node"))

insert_records: Final = insert(records)
_RECORD = (records.c.series, records.c.number, records.c.at_ms, records.c.seq, records.c.body)
_IN_SERIES = records.c.series == bindparam("b_series")
_PLACE = (records.c.at_ms, records.c.seq, records.c.number)
_place: Final = tuple_(*_PLACE)
_b_place: Final = tuple_(*(bindparam(name, type_=BigInteger) for name in ("b_at_ms", "b_seq", "b_number")))
oldest_records: Final = (
    select(*_RECORD).where(_IN_SERIES, _place > _b_place).order_by(*_PLACE).limit(bindparam("b_limit", type_=Integer))
)
newest_records: Final = (
    select(*_RECORD)
    .where(_IN_SERIES, _place < _b_place, records.c.at_ms >= bindparam("b_since_ms", type_=BigInteger))
    .order_by(*(column.desc() for column in _PLACE))
    .limit(bindparam("b_limit", type_=Integer))
)
select_arrivals: Final = (
    select(*_RECORD)
    .where(
        _IN_SERIES,
        records.c.number > bindparam("b_after"),
        records.c.at_ms >= bindparam("b_since_ms"),
    )
    .order_by(records.c.number)
    .limit(bindparam("b_limit", type_=Integer))
)
select_tail: Final = (
    select(*_RECORD)
    .where(records.c.number > bindparam("b_after"))
    .order_by(records.c.number)
    .limit(bindparam("b_limit", type_=Integer))
)
newest_record: Final = select(meta.c.record_number)
next_series: Final = select(func.min(records.c.series)).where(records.c.series > bindparam("b_series"))
# The newest are those of the latest time: what arrives last may be of long ago.
newest_dropped: Final = (
    select(*_PLACE)
    .where(_IN_SERIES)
    .order_by(*(column.desc() for column in _PLACE))
    .limit(1)
    .offset(bindparam("b_keep", type_=Integer))
)
surplus_records: Final = (
    select(records.c.number)
    .where(_IN_SERIES, _place <= _b_place)
    .order_by(*_PLACE)
    .limit(bindparam("b_limit", type_=Integer))
)
old_records: Final = (
    select(records.c.number)
    .where(records.c.at_ms < bindparam("b_before_ms"))
    .limit(bindparam("b_limit", type_=Integer))
)
delete_records: Final = delete(records).where(records.c.number == bindparam("b_number"))
