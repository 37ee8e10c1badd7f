"""KubeFed's PropagatedVersions: what members have of each federated object, by its version there.

KubeFed decides by them which member it has to write to. Here the ledger says that, and these are for who reads them:
its users' programs, and its own test suite, which reckons the hashes as well; so they are reckoned as KubeFed does,
over the JSON that Go writes. They are written when members have answered, and go with the federated object, their
owner. Keeps nothing.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Final

from cloudcore.federation.planner import Row
from cloudcore.runtime.manager import Tools
from skerry.errors import AlreadyExistsError, CallerError
from skerry.objects.federation import CLUSTER_VERSIONS, VERSIONS, FederatedType
from skerry.objects.json import Json, JsonObject, map_at, maps_at, str_at
from skerry.objects.meta import Key, name_of, uid_of

_NAME_LENGTH_MAX: Final = 253
_ESCAPED: Final = {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026", "\u2028": "\\u2028", "\u2029": "\\u2029"}
_SHORT: Final = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t"}
_SIGNS: Final = re.compile('[\x00-\x1f"\\\\<>&\u2028\u2029]')
"""What is not written as it is. (An object may have a MiB of text: it is not looked at sign by sign.)"""
_PLAIN: Final = (Decimal("1e-6"), Decimal("1e21"))
"""Between these Go writes a number without an exponent."""


class PropagatedVersions:
    """See the module."""

    def __init__(self, tools: Tools) -> None:
        self._tools = tools
        self._kinds = {True: tools.kind(VERSIONS), False: tools.kind(CLUSTER_VERSIONS)}

    async def keep(self, key: Key, federated: JsonObject, of: FederatedType, rows: Mapping[str, Row]) -> None:
        """`rows` by member. What can't be written now, as its namespace is going, is left."""
        kind = self._kinds[of.namespaced]
        name = f"{of.target_kind.lower()}-{key.name}"
        if len(name) > _NAME_LENGTH_MAX:
            return
        status, owner = versions_of(federated, rows), _owner(federated, of)
        at = kind.key(key.namespace if of.namespaced else "", name)
        stored = self._tools.objects.read(at)
        present = None if stored is None else self._tools.cache.obj(stored)

        def telling(current: JsonObject) -> JsonObject:
            return {**current, "status": status}

        def owning(current: JsonObject) -> JsonObject:
            return {**current, "metadata": {**map_at(current, "metadata"), "ownerReferences": [owner]}}

        try:
            if present is None:
                obj: JsonObject = {
                    "apiVersion": kind.api_version,
                    "kind": kind.kind,
                    "metadata": {"name": name, "ownerReferences": [owner]},
                }
                await self._tools.objects.create(kind, at.namespace, obj)
            elif maps_at(present, "metadata", "ownerReferences") != [owner]:
                await self._tools.objects.update(kind, at, owning)  # of an earlier life of the object
            if present is None or map_at(present, "status") != status:
                await self._tools.objects.update(kind, at, telling, subresource="status")
        except (AlreadyExistsError, CallerError):
            return


def _owner(federated: JsonObject, of: FederatedType) -> JsonObject:
    return {"apiVersion": of.api_version, "kind": of.kind, "name": name_of(federated), "uid": uid_of(federated)}


def versions_of(federated: JsonObject, rows: Mapping[str, Row]) -> JsonObject:
    """The status of its PropagatedVersion: of members that have it as it is to be."""
    clusters: list[Json] = [
        {"clusterName": member, "version": str_at(row.told, "version")}
        for member, row in sorted(rows.items())
        if row.current and not row.wanted.removal and not str_at(row.told, "code") and str_at(row.told, "version")
    ]
    status: JsonObject = {
        "templateVersion": template_hash(federated),
        "overridesVersion": overrides_hash(federated),
    }
    if clusters:
        status["clusterVersions"] = clusters
    return status


def template_hash(federated: JsonObject) -> str:
    """As KubeFed has it; "" without a template."""
    spec = map_at(federated, "spec")
    return _hash(spec["template"]) if "template" in spec else ""


def overrides_hash(federated: JsonObject) -> str:
    """The same; "" without a spec."""
    if "spec" not in federated:
        return ""
    given = map_at(federated, "spec").get("overrides")
    found: list[str] = []
    for each in maps_at(federated, "spec", "overrides"):
        patches = [_patch(patch) for patch in maps_at(each, "clusterOverrides")]
        tail = f',"clusterOverrides":[{",".join(patches)}]' if patches else ""
        found.append(f'{{"clusterName":{go_json(str_at(each, "clusterName"))}{tail}}}')
    text = "null" if given is None else f"[{','.join(found)}]"
    return _md5(f'{{"overrides":{text}}}\n')


def _patch(patch: JsonObject) -> str:
    """In the order of KubeFed's own fields."""
    parts = [f'"op":{go_json(patch["op"])}'] if str_at(patch, "op") else []
    parts.append(f'"path":{go_json(str_at(patch, "path"))}')
    if patch.get("value") is not None:
        parts.append(f'"value":{go_json(patch["value"])}')
    return f"{{{','.join(parts)}}}"


def _hash(value: Json) -> str:
    return _md5(go_json(value) + "\n")


def _md5(text: str) -> str:
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()


def go_json(value: Json) -> str:
    """As Go's `encoding/json` writes it: names in order, HTML's signs escaped, numbers without a needless point."""
    if isinstance(value, dict):
        return f"{{{','.join(f'{_text(name)}:{go_json(value[name])}' for name in sorted(value))}}}"
    if isinstance(value, list):
        return f"[{','.join(go_json(each) for each in value)}]"
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, float):
        return _number(value)
    return json.dumps(value)


def _text(value: str) -> str:
    return f'"{_SIGNS.sub(_sign, value)}"'


def _sign(found: re.Match[str]) -> str:
    sign = found[0]
    return _SHORT.get(sign) or _ESCAPED.get(sign) or f"\\u{ord(sign):04x}"


def _number(value: float) -> str:
    exact = Decimal(repr(value))
    size = abs(exact)
    if not size or _PLAIN[0] <= size < _PLAIN[1]:
        whole = f"{exact:f}"
        return whole.rstrip("0").rstrip(".") if "." in whole else whole
    digits, _, exponent = f"{exact.normalize():e}".partition("e")
    return f"{digits}e{exponent[0]}{exponent[1:].zfill(2) if exponent[0] == '+' else exponent[1:].lstrip('0')}"
