"""What a node's reports change in the cloud: pure, report by report.

A node may speak only of itself: its own Node, pods bound to it, devices placed on it, commands given to it, events of
those, readings of devices that are or were placed on it. What it says of anything else comes to nothing. Malformed
reports raise `ProtocolError` or `InvalidError`; the caller passes over them, because sent again they would be as
malformed, and everything behind them would wait. Keeps no data.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from functools import partial
from typing import Final, TypeAlias

from cloudcore.hub.gap_words import how_many, why_of
from cloudcore.hub.histories import Histories
from cloudcore.hub.ingress_reports import ingress_subject, with_served
from cloudcore.hub.kept_writes import conflict_event, transform_of, writer_of
from cloudcore.hub.messages import message_name, message_object
from cloudcore.hub.node_events import MESSAGE_LENGTH_MAX, bounded_event
from cloudcore.hub.node_writes import gateway_annotations, with_labels, with_node_status, with_pod_status
from cloudcore.hub.outcomes import Kinds, Lookup, Outcome
from cloudcore.hub.references import DEVICES
from cloudcore.hub.report_bodies import body_of, storable
from cloudcore.registry.placements import has_device, has_name, record_key
from cloudcore.registry.port import Effect, Subresource, Transform
from cloudcore.store.port import Record
from skerry.errors import ProtocolError
from skerry.frozen import Frozen, replace
from skerry.objects.commands import CommandReport, with_report
from skerry.objects.desired import merge
from skerry.objects.desired_log import answer, log_series
from skerry.objects.device_desired import merged_desired, record_of, with_tombstone_seen
from skerry.objects.device_owner import is_outdated
from skerry.objects.device_rule_reports import RuleAlarm, RuleStatus, alarm_event, with_alarm, with_status
from skerry.objects.device_rules import followed_device, node_of_rule
from skerry.objects.device_twins import with_reported, with_reported_copy, with_state
from skerry.objects.json import JsonObject, encode_object, int_at, map_at, str_at
from skerry.objects.kept_writes import PodAnnotations
from skerry.objects.local_changes import LocalChange, changes_series
from skerry.objects.meta import Key, namespace_of, uid_of
from skerry.objects.mirror_pods import mirrored_uid
from skerry.objects.names import label_1123_faults
from skerry.objects.reports import (
    GAP,
    EventReport,
    GapReport,
    NodeStatusReport,
    PodStatusReport,
)
from skerry.objects.rules import RuleMessage, counted, rule_of
from skerry.objects.scheme import Kind
from skerry.objects.times import time_text
from skerry.objects.twins import (
    DeviceName,
    TwinDesired,
    TwinReported,
    decode_device_state,
    decode_twin_desired,
    decode_twin_reported,
)
from skerry.objects.volumes import VolumeReport, gateway_of, without_directory
from skerry.sync.effects import DatedReport

_KIND_LENGTH_MAX: Final = 64
_FAULT_LENGTH_MAX: Final = 1024
"""Of what a gateway says against a volume; the rest is cut."""
_NAMESPACE_OF_NODE_EVENTS: Final = "default"
"""Where Kubernetes keeps the events of cluster-scoped objects."""


Departed: TypeAlias = "Callable[[str, Key], bool]"
"""Whether the pod of this uid and name was on the node until it left."""


def _never(_uid: str, _key: Key) -> bool:
    return False


def _nothing(_key: Key) -> bool:
    return False


class Reporter(Frozen):
    """Reads the reports of one node."""

    node: str
    kinds: Kinds
    lookup: Lookup
    incarnation: str = ""
    """The life of the gateway's store that reports."""
    capabilities: tuple[str, ...] = ()
    """What the agent says that it can."""
    node_uid: str = ""
    """The life of the Node that it reports of: what a deleted node's gateway says makes no new one. "" on a link that
    proves no key, where the first report makes the Node."""
    departed: Departed = _never
    holds: Callable[[Key], bool] = _nothing
    """Whether an object is in the node's view."""

    def outcome(self, dated: DatedReport) -> Outcome:
        """Raises `ProtocolError` or another `CallerError` for a report that makes no sense."""
        match dated.report.kind:
            case "pod_status":
                return self._pod(dated)
            case "node_status":
                return self._node(dated)
            case "ingress" | "volume" as kind:
                return self._ingress(dated) if kind == "ingress" else self._volume(dated)
            case "event":
                return self._event(dated)
            case "gap" | "oversize":
                return self._gap(dated)
            case "series_gap":
                return self._histories().gap(dated)
            case "twin_reported":
                return self._reported(dated)
            case "twin_desired":
                return self._desired(dated)
            case "device_state":
                return self._device_state(dated)
            case "telemetry":
                return self._histories().telemetry(dated)
            case "telemetry_block":
                return self._histories().block(dated)
            case "command":
                return self._command(dated)
            case "rule_message":
                return self._message(dated)
            case "device_rule":
                return self._device_rule(dated)
            case "local_change" | "pod_annotations" as kind:
                return self._local_change(dated) if kind == "local_change" else self._annotations(dated)
            case "rule_alarm":
                return self._alarm(dated)
            case kind:
                raise ProtocolError(f"reports of kind {kind} are not known here")

    # --- node and pods ---

    def _pod(self, dated: DatedReport) -> Outcome:
        told = PodStatusReport.decode(body_of(dated))
        key = self.kinds.pod.key(told.namespace, told.name)
        pod = self.lookup(key)
        gone = told.gone and self._is_here(pod, told.uid)
        transform = partial(with_pod_status, node=self.node, status=told.status, gone=gone)
        return Outcome(
            effects=(
                Effect(
                    kind=self.kinds.pod,
                    key=key,
                    uid=told.uid,
                    subresource="status",
                    transform=transform,
                    gone=gone,
                ),
            )
        )

    def _node(self, dated: DatedReport) -> Outcome:
        told = NodeStatusReport.decode(body_of(dated))
        key = self.kinds.node.key("", self.node)
        said = gateway_annotations(self.incarnation, self.capabilities)
        labels = partial(with_labels, name=self.node, labels=told.labels, said=said)
        status = partial(with_node_status, status=told.status)
        return Outcome(effects=(self._upsert(key, "", labels), self._upsert(key, "status", status)))

    def _upsert(self, key: Key, subresource: Subresource, transform: Transform) -> Effect:
        return Effect(
            kind=self.kinds.node,
            key=key,
            uid=self.node_uid,
            subresource=subresource,
            transform=transform,
        )

    def _ingress(self, dated: DatedReport) -> Outcome:
        """Kept on its Node, from where the Ingresses' controller has it."""
        said = partial(
            with_served, told=body_of(dated), kind=self.kinds.ingress, lookup=self.lookup, holds=self.holds
        )
        return Outcome(effects=(self._upsert(self.kinds.node.key("", self.node), "", said),))

    def _volume(self, dated: DatedReport) -> Outcome:
        told = VolumeReport.decode(body_of(dated))
        storable(told.name)
        key = self.kinds.volume.key("", told.name)
        held = self.lookup(key)
        if held is None or uid_of(held) != told.uid or gateway_of(held) != self.node:
            return Outcome()
        effect = Effect(
            kind=self.kinds.volume,
            key=key,
            uid=told.uid,
            subresource="status" if told.fault else "",
            transform=partial(without_directory, fault=told.fault[:_FAULT_LENGTH_MAX]),
        )
        return Outcome(effects=(effect,))

    # --- events ---

    def _event(self, dated: DatedReport) -> Outcome:
        told = EventReport.decode(body_of(dated)).event
        event = bounded_event(told, node=self.node, wall_ms=dated.report.wall_ms, at_ms=dated.at_ms)
        subject = self._subject(map_at(event, "involvedObject"), str_at(event, "metadata", "namespace"))
        if subject is None:
            return Outcome(refused="event-subject")
        return self._event_effect({**event, "involvedObject": subject})

    def _subject(self, about: JsonObject, namespace: str) -> JsonObject | None:
        """What an event is about, if that is this node's: the node, or what is or was on it. None: another's."""
        if str_at(about, "kind") == "Node":
            own = str_at(about, "name") == self.node and namespace == _NAMESPACE_OF_NODE_EVENTS
            return _about_node(self.node) if own else None
        has = self.kinds
        kinds = (has.pod, has.device, has.command, has.device_rule, has.ingress)
        kind = next((kind for kind in kinds if kind.kind == str_at(about, "kind")), None)
        if kind is None or str_at(about, "namespace") not in ("", namespace):
            return None
        key = kind.key(namespace, str_at(about, "name"))
        obj, uid = self.lookup(key), str_at(about, "uid")
        is_here = self._carried_out if kind is self.kinds.device_rule else self._is_here
        if kind is self.kinds.ingress:
            return ingress_subject(about, kind, obj if self.holds(key) else None)
        if kind is self.kinds.pod and self._is_static(obj, key, uid):
            pass  # as a kubelet has it: kubectl looks for events of the static pod that a mirror shows
        elif obj is not None and is_here(obj, uid or uid_of(obj)):
            uid = uid_of(obj)
        elif not self._had_subject(kind, uid, key):
            return None
        return {**about, "apiVersion": kind.api_version, "namespace": namespace, "uid": uid}

    def _is_static(self, pod: JsonObject | None, key: Key, uid: str) -> bool:
        """A static pod of the gateway, with a mirror here or before it has one: its name says whose it is."""
        if pod is None:
            return bool(uid) and key.name.endswith(f"-{self.node}")
        return bool(uid) and str_at(pod, "spec", "nodeName") == self.node and mirrored_uid(pod) == uid

    def _had_subject(self, kind: Kind, uid: str, key: Key) -> bool:
        if kind is self.kinds.pod:
            return self.departed(uid, key)
        named = DeviceName(namespace=key.namespace, name=key.name, uid=uid)
        return kind is self.kinds.device and self._had(named)

    def _is_here(self, obj: JsonObject | None, uid: str) -> bool:
        return obj is not None and uid_of(obj) == uid and str_at(obj, "spec", "nodeName") == self.node

    def _gap(self, dated: DatedReport) -> Outcome:
        body = body_of(dated)
        if dated.report.kind == GAP:
            gap = GapReport.decode(body)
            if label_1123_faults(gap.report_class):
                raise ProtocolError(f"{GAP}: class is not the name of a class of reports")
            name = f"{self.node}.gap-{gap.report_class}-{gap.first_seq}"
            reason = "ReportsDropped"
            text = (
                f"{how_many(gap)} that waited for the cloud were dropped{why_of(gap)}, {gap.total} since the "
                "gateway's outbox was made"
            )
        else:
            name = f"{self.node}.oversize-{dated.report.seq}"
            reason = "ReportTooLarge"
            kind = str_at(body, "kind")[:_KIND_LENGTH_MAX]
            text = f"a {kind} report of {int_at(body, 'bytes')} bytes was too large to send"
        when = time_text(dated.at_ms)
        event: JsonObject = {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"name": name, "namespace": _NAMESPACE_OF_NODE_EVENTS},
            "involvedObject": _about_node(self.node),
            "type": "Warning",
            "reason": reason,
            "message": text[:MESSAGE_LENGTH_MAX],
            "source": {"component": "edgecore", "host": self.node},
            "firstTimestamp": when,
            "lastTimestamp": when,
            "count": 1,
        }
        return self._event_effect(event)

    def _event_effect(self, event: JsonObject) -> Outcome:
        key = self.kinds.event.key(str_at(event, "metadata", "namespace"), str_at(event, "metadata", "name"))
        effect = Effect(
            kind=self.kinds.event,
            key=key,
            uid="",
            subresource="",
            transform=partial(_with_event, event=event, node=self.node),
        )
        return Outcome(effects=(effect,), event=key)

    def _local_change(self, dated: DatedReport) -> Outcome:
        """A row of the node's own history; the Event that people see comes as one."""
        told = LocalChange.decode(body_of(dated))
        record = Record(series=changes_series(self.node), at_ms=dated.at_ms, body=told.encode())
        return Outcome(records=(record,))

    def _annotations(self, dated: DatedReport) -> Outcome:
        told = PodAnnotations.decode(body_of(dated))
        key = self.kinds.pod.key(told.namespace, told.pod)
        pod, transform = self.lookup(key), transform_of(self.node, told)
        effect = Effect(kind=self.kinds.pod, key=key, uid=told.uid, subresource="", transform=transform)
        said = conflict_event(pod, told, node=self.node, seq=dated.report.seq, at_ms=dated.at_ms)
        event = Outcome() if said is None else self._event_effect(said)
        return replace(event, effects=(effect, *event.effects), without_room=(effect,))

    # --- commands ---

    def _command(self, dated: DatedReport) -> Outcome:
        told = CommandReport.decode(body_of(dated))
        effect = Effect(
            kind=self.kinds.command,
            key=self.kinds.command.key(told.namespace, told.name),
            uid=told.uid,
            subresource="status",
            transform=partial(_with_command, node=self.node, told=told, at_ms=dated.at_ms),
        )
        return Outcome(effects=(effect,))

    # --- rules ---

    def _message(self, dated: DatedReport) -> Outcome:
        told = RuleMessage.decode(body_of(dated))
        storable(told.namespace, told.rule, told.topic)
        rule = self.lookup(self.kinds.rule.key(told.namespace, told.rule))
        if rule is None or rule_of(rule).node != self.node:
            return Outcome(refused="message-rule")
        if told.left_out_bytes:
            reason = f"{told.topic}: a message of {told.left_out_bytes} bytes was too large"
            return Outcome(effects=(self._failed(told, dated, reason),))
        name = message_name(told.rule, node=self.node, incarnation=self.incarnation, seq=dated.report.seq)
        message = message_object(told, rule, dated, node=self.node, incarnation=self.incarnation, name=name)
        effect = Effect(
            kind=self.kinds.message,
            key=self.kinds.message.key(told.namespace, name),
            uid="",
            subresource="",
            transform=lambda held: held or message,
        )
        full = f"{told.topic}: too many messages of node {self.node} wait in the cloud"
        return Outcome(
            effects=(effect,),
            message_bytes=len(told.payload),
            without_room=(self._failed(told, dated, full),),
        )

    def _failed(self, told: RuleMessage, dated: DatedReport, reason: str) -> Effect:
        return Effect(
            kind=self.kinds.rule,
            key=self.kinds.rule.key(told.namespace, told.rule),
            uid=uid_of(self.lookup(self.kinds.rule.key(told.namespace, told.rule)) or {}),
            subresource="status",
            transform=lambda rule: counted(rule, at_ms=dated.at_ms, failed=1, reason=reason),
        )

    def _device_rule(self, dated: DatedReport) -> Outcome:
        told = RuleStatus.decode(body_of(dated))
        effect = self._on_device_rule(told, lambda rule: with_status(rule, told.status, at_ms=dated.at_ms))
        return Outcome() if effect is None else Outcome(effects=(effect,))

    def _alarm(self, dated: DatedReport) -> Outcome:
        """In the rule's status, and as an Event where there is room for one."""
        told = RuleAlarm.decode(body_of(dated), at_ms=dated.at_ms)
        effect = self._on_device_rule(told, lambda rule: with_alarm(rule, told))
        if effect is None:
            return Outcome(refused="message-rule")
        suffix = f"alarm-{_digest(self.node, self.incarnation)}-{dated.report.seq}"
        event = self._event_effect(alarm_event(told, node=self.node, suffix=suffix))
        return replace(event, effects=(effect, *event.effects), without_room=(effect,))

    def _on_device_rule(self, told: RuleStatus | RuleAlarm, transform: Transform) -> Effect | None:
        """None for one that is not carried out by this node. An alarm may have waited here while the rule moved on
        with its device."""
        key = self.kinds.device_rule.key(told.namespace, told.name)
        held = self.lookup(key)
        carries = self._carries_out if isinstance(told, RuleStatus) else self._carried_out
        if held is None or not carries(held, told.uid):
            return None
        return Effect(kind=self.kinds.device_rule, key=key, uid=told.uid, subresource="status", transform=transform)

    def _carries_out(self, rule: JsonObject, uid: str) -> bool:
        return uid_of(rule) == uid and node_of_rule(rule) == self.node

    def _carried_out(self, rule: JsonObject, uid: str) -> bool:
        """The rule is here, or was, with the device that it follows."""
        if self._carries_out(rule, uid):
            return True
        device = followed_device(rule)
        return bool(device) and uid_of(rule) == uid and self._had_name(namespace_of(rule), device)

    # --- devices ---

    def _is_ours(self, device: DeviceName) -> bool:
        return self._is_here(self.lookup(Key(DEVICES, device.namespace, device.name)), device.uid)

    def _may_tell(self, device: DeviceName) -> bool:
        """Of its state: it is here, and was so without a break since this was told."""
        held = self.lookup(Key(DEVICES, device.namespace, device.name))
        return self._is_here(held, device.uid) and not is_outdated(device.owner, held)

    def _device(self, device: DeviceName, subresource: Subresource, transform: Transform) -> Effect:
        return Effect(
            kind=self.kinds.device,
            key=self.kinds.device.key(device.namespace, device.name),
            uid=device.uid,
            subresource=subresource,
            transform=transform,
        )

    def _device_status(self, device: DeviceName, transform: Transform) -> Effect:
        return Effect(
            kind=self.kinds.device_status,
            key=self.kinds.device_status.key(device.namespace, device.name),
            uid="",
            subresource="status",
            transform=transform,
        )

    def _reported(self, dated: DatedReport) -> Outcome:
        body_of(dated)
        told = decode_twin_reported(dated.report.body)
        if not self._may_tell(told.device):
            return Outcome()
        return Outcome(
            records=tuple(self._answers(told, at_ms=dated.at_ms)),
            effects=(
                *self._tombstone_seen(told),
                self._device_status(told.device, lambda obj: with_reported(obj, told, received_ms=dated.at_ms)),
                self._device(
                    told.device, "status", lambda obj: with_reported_copy(obj, told, received_ms=dated.at_ms)
                ),
            ),
        )

    def _answers(self, told: TwinReported, *, at_ms: int) -> Iterator[Record]:
        """What became of what was wanted, for the log, once."""
        namespace, name = told.device.namespace, told.device.name
        found = answer(told, self.lookup(self.kinds.device_status.key(namespace, name)))
        if found is not None:
            yield Record(series=log_series(namespace, name), at_ms=at_ms, body=encode_object(found.body))

    def _tombstone_seen(self, told: TwinReported) -> Iterator[Effect]:
        gone = told.observed
        if gone is not None and gone.removed:
            seen = partial(with_tombstone_seen, prop=told.prop, ver=gone.ver)
            yield self._device(told.device, "", seen)

    def _desired(self, dated: DatedReport) -> Outcome:
        body_of(dated)
        told = decode_twin_desired(dated.report.body)
        if not self._is_ours(told.device):
            return Outcome()
        effect = self._device(told.device, "", lambda obj: merged_desired(obj, told))
        found = self._conflict(told, at_ms=dated.at_ms)
        if found is None:
            return Outcome(effects=(effect,))
        event = self._event_effect(found)
        return replace(event, effects=(effect, *event.effects))

    def _conflict(self, told: TwinDesired, *, at_ms: int) -> JsonObject | None:
        """The Event of a true conflict that this write of the gateway meets, or that the gateway met first."""
        held = self.lookup(Key(DEVICES, told.device.namespace, told.device.name))
        before = None if held is None else record_of(held, told.prop)
        merged = merge(before, told.desired, told.policy)
        assert merged is not None, "the report carries a write"
        lost = merged.conflict
        if lost is None or (before is not None and before.conflict == lost):
            return None
        wins, loses = (
            f"{each.side} ({each.origin}) {'nothing' if each.removed else repr(each.value)}"
            for each in (merged, lost)
        )
        how = "a person is to choose" if merged.waiting else f"policy {told.policy}"
        return {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {
                "name": f"{told.device.name}.conflict-{_digest(told.prop, str(merged.ver))}",
                "namespace": told.device.namespace,
            },
            "involvedObject": {
                "apiVersion": self.kinds.device.api_version,
                "kind": self.kinds.device.kind,
                "namespace": told.device.namespace,
                "name": told.device.name,
                "uid": told.device.uid,
            },
            "type": "Warning",
            "reason": "TwinConflict",
            "message": (
                f"{told.prop}: both sides wrote while they could not hear each other. Wanted now: {wins}; kept "
                f"beside it: {loses} ({how})"
            )[:MESSAGE_LENGTH_MAX],
            "source": {"component": "edgecore", "host": self.node},
            "firstTimestamp": time_text(at_ms),
            "lastTimestamp": time_text(at_ms),
            "count": 1,
        }

    def _device_state(self, dated: DatedReport) -> Outcome:
        body_of(dated)
        told = decode_device_state(dated.report.body)
        if not self._may_tell(told.device):
            return Outcome()
        return Outcome(
            effects=(
                self._device_status(told.device, lambda obj: with_state(obj, told)),
                self._device(told.device, "status", lambda obj: with_state(obj, told)),
            )
        )

    def _histories(self) -> Histories:
        return Histories(node=self.node, incarnation=self.incarnation, had=self._had, had_name=self._had_name)

    def _had(self, device: DeviceName) -> bool:
        """Whether this device is or was here. The record is asked only where the Device does not say so itself."""
        return self._is_ours(device) or has_device(
            self.lookup(record_key(self.node)), uid=device.uid, namespace=device.namespace, name=device.name
        )

    def _had_name(self, namespace: str, name: str) -> bool:
        device = self.lookup(Key(DEVICES, namespace, name))
        if device is not None and str_at(device, "spec", "nodeName") == self.node:
            return True
        return has_name(self.lookup(record_key(self.node)), namespace=namespace, name=name)


def _digest(*parts: str) -> str:
    """A short name for what may have characters that no name has."""
    return hashlib.blake2s("\0".join(parts).encode(), digest_size=8).hexdigest()


def _about_node(node: str) -> JsonObject:
    """As a kubelet names its Node: the name stands for the uid, which it does not know."""
    return {"apiVersion": "v1", "kind": "Node", "name": node, "uid": node}


def _with_command(command: JsonObject, *, node: str, told: CommandReport, at_ms: int) -> JsonObject:
    if str_at(command, "spec", "nodeName") != node:
        return command
    return with_report(command, told, at_ms=at_ms)


def _with_event(held: JsonObject, *, event: JsonObject, node: str) -> JsonObject:
    """A new event, or a later state of one that this node told before, of the same writer there."""
    if not held:
        return event
    if str_at(held, "source", "host") != node or writer_of(held) != writer_of(event):
        return held
    own = {name: value for name, value in event.items() if name not in ("metadata", "apiVersion", "kind")}
    return {**held, **own}
