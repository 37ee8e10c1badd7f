"""What applications wrote at a gateway that had no link, for the cloud to take later: Events, annotations of pods.

An Event travels as the gateway's own do, with who wrote it. Annotations travel with what the gateway's copy had, so
that what was changed in the cloud meanwhile is seen and left. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from skerry.errors import BadRequestError, InvalidError, ProtocolError
from skerry.frozen import Frozen
from skerry.objects.json import Json, JsonObject, encode_object, int_at, map_at, str_at
from skerry.objects.meta import annotations_of
from skerry.objects.names import qualified_name_faults
from skerry.objects.times import time_text

POD_ANNOTATIONS: Final = "pod_annotations"
"""Kind of the report."""
WRITTEN_BY: Final = "skerry.dev/written-by"
"""Annotation of an Event that was written at a gateway without a link: by whom."""
WRITER_LENGTH_MAX: Final = 320
ANNOTATIONS_MAX: Final = 32
"""Of one write."""
ANNOTATION_BYTES_MAX: Final = 8 * 1024
"""All names and values of one write."""
_RESERVED: Final = ("kubernetes.io", "k8s.io", "skerry.dev")
"""Domains whose annotations say something to the control plane: the cloud alone takes those."""


class PodAnnotations(Frozen):
    """A write of annotations; None: the annotation is removed, or was not there."""

    by: str
    at_ms: int
    """By the gateway's time."""
    namespace: str
    pod: str
    uid: str
    wanted: Mapping[str, str | None]
    before: Mapping[str, str | None]

    def encode(self) -> bytes:
        return encode_object(
            {
                "by": self.by,
                "atMs": self.at_ms,
                "namespace": self.namespace,
                "name": self.pod,
                "uid": self.uid,
                "wanted": dict[str, Json](self.wanted),
                "before": dict[str, Json](self.before),
            }
        )

    @classmethod
    def decode(cls, body: JsonObject) -> PodAnnotations:
        """Raises `ProtocolError`."""
        told = cls(
            by=str_at(body, "by")[:WRITER_LENGTH_MAX],
            at_ms=int_at(body, "atMs"),
            namespace=str_at(body, "namespace"),
            pod=str_at(body, "name"),
            uid=str_at(body, "uid"),
            wanted=_texts(map_at(body, "wanted")),
            before=_texts(map_at(body, "before")),
        )
        if not (told.namespace and told.pod and told.uid) or "\0" in told.by:
            raise ProtocolError(f"{POD_ANNOTATIONS}: namespace, name and uid are required")
        try:
            check(told.wanted)
        except InvalidError as error:
            raise ProtocolError(f"{POD_ANNOTATIONS}: {error}") from error
        return told

    def conflicts(self, pod: JsonObject) -> list[str]:
        """Names that have another value now than they had where this was written, and than is wanted."""
        now = annotations_of(pod)
        return sorted(
            name for name, value in self.wanted.items() if now.get(name) not in (self.before.get(name), value)
        )

    def applied(self, pod: JsonObject) -> JsonObject:
        """The pod with what is in no conflict."""
        left = set(self.conflicts(pod))
        found: JsonObject = {**annotations_of(pod)}
        for name, value in self.wanted.items():
            if name in left:
                continue
            if value is None:
                found.pop(name, None)
            else:
                found[name] = value
        metadata: JsonObject = {**map_at(pod, "metadata"), "annotations": found}
        return {**pod, "metadata": metadata}

    def sentence(self, left: list[str]) -> str:
        """What is told of a conflict."""
        return (
            f"{self.by} wrote annotations at the gateway at {time_text(self.at_ms)}, without a link; changed in the "
            f"cloud meanwhile, and left as they are: {', '.join(left)}"
        )


def annotations_in(patch: JsonObject) -> Mapping[str, str | None] | None:
    """What a merge patch does to annotations; None where it does anything else. Raises `InvalidError`."""
    metadata = patch.get("metadata")
    if set(patch) - {"metadata", "kind", "apiVersion"} or not isinstance(metadata, dict):
        return None
    wanted = metadata.get("annotations")
    if set(metadata) - {"annotations", "name", "namespace"} or not isinstance(wanted, dict) or not wanted:
        return None
    if any(value is not None and not isinstance(value, str) for value in wanted.values()):
        raise InvalidError("metadata.annotations: a value is a text, or null to remove it")
    texts = {name: value for name, value in wanted.items() if value is None or isinstance(value, str)}
    check(texts)
    return texts


def check(wanted: Mapping[str, str | None]) -> None:
    """Raises `InvalidError` for what no gateway may write."""
    size = sum(len(name.encode()) + len((value or "").encode()) for name, value in wanted.items())
    if not wanted or len(wanted) > ANNOTATIONS_MAX or size > ANNOTATION_BYTES_MAX:
        raise InvalidError(
            f"metadata.annotations: without a link from 1 to {ANNOTATIONS_MAX} are taken, of at most "
            f"{ANNOTATION_BYTES_MAX} bytes"
        )
    for name, value in wanted.items():
        if faults := qualified_name_faults(name.lower()):
            raise InvalidError(f"metadata.annotations[{name}]: {faults[0]}")
        domain = name.rpartition("/")[0].lower()
        if any(domain == each or domain.endswith("." + each) for each in _RESERVED):
            raise InvalidError(f"metadata.annotations[{name}]: only the cloud takes annotations of this domain")
        if "\0" in (value or ""):
            raise InvalidError(f"metadata.annotations[{name}]: a NUL can't be stored")


def event_in(body: JsonObject, *, group: str, namespace: str, by: str, suffix: str, now_ms: int) -> JsonObject:
    """A core/v1 Event out of one of either group, as it was written. Raises `BadRequestError`."""
    metadata = map_at(body, "metadata")
    if str_at(metadata, "namespace", default=namespace) != namespace:
        raise BadRequestError("the namespace of the object does not match the namespace of the request")
    name = str_at(metadata, "name") or (f"{prefix}{suffix}" if (prefix := str_at(metadata, "generateName")) else "")
    new = group != ""
    about = map_at(body, "regarding" if new else "involvedObject")
    if not name or not str_at(about, "kind") or not str_at(about, "name"):
        raise BadRequestError("an Event has a name, and the kind and name of what it is about")
    when = time_text(now_ms)
    subject: JsonObject = {**about, "namespace": str_at(about, "namespace", default=namespace)}
    event: JsonObject = {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": name, "namespace": namespace, "annotations": {WRITTEN_BY: by[:WRITER_LENGTH_MAX]}},
        "involvedObject": subject,
        "reason": str_at(body, "reason"),
        "message": str_at(body, "note" if new else "message"),
        "type": str_at(body, "type", default="Normal"),
        "count": int_at(body, "deprecatedCount" if new else "count", default=1),
        "firstTimestamp": str_at(body, "deprecatedFirstTimestamp" if new else "firstTimestamp", default=when),
        "lastTimestamp": str_at(body, "deprecatedLastTimestamp" if new else "lastTimestamp", default=when),
        "source": {"component": str_at(body, "deprecatedSource" if new else "source", "component")},
        "reportingComponent": str_at(body, "reportingController" if new else "reportingComponent"),
        "reportingInstance": str_at(body, "reportingInstance"),
        "action": str_at(body, "action"),
    }
    if event_time := str_at(body, "eventTime"):
        event["eventTime"] = event_time
    return event


def _texts(found: JsonObject) -> dict[str, str | None]:
    for name, value in found.items():
        if value is not None and not isinstance(value, str):
            raise ProtocolError(f"{POD_ANNOTATIONS}: {name} is no text")
    return {name: value for name, value in found.items() if value is None or isinstance(value, str)}
