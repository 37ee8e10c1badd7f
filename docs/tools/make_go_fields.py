"""Make `cloudcore/registry/data/go_fields.json.zlib`: what Go's structs tell and OpenAPI does not.

Run by developers when the spoken Kubernetes version rises:

    python docs/tools/make_go_fields.py API APIMACHINERY APIEXTENSIONS OUT

where the first three are clones of k8s.io/api, k8s.io/apimachinery and k8s.io/apiextensions-apiserver. Only
facts are taken: the protobuf number of each JSON field, and whether Go leaves the field out when it is zero
(`omitempty` on something that is no pointer). Numbers are never given a second meaning, so an old table stays
right and merely skips newer fields. Only what GA versions use is kept.

Form: `{DEFINITION: {NUMBER: JSON_NAME | JSON_NAME? | {"inline": DEFINITION}}}`. `?` marks a field left out when
zero; `inline` marks Go's embedded structs: a message on the wire, fields of the parent in JSON.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import zlib
from pathlib import Path

from cloudcore.registry.definitions import definitions

_PACKAGES = {
    0: re.compile(r"[a-z]+/v\d+/(generated\.proto|\w*types\w*\.go)"),
    1: re.compile(r"pkg/(apis/meta/v1|runtime|api/resource|util/intstr)/(generated\.proto|types\.go)"),
    2: re.compile(r"pkg/apis/apiextensions/v1/(generated\.proto|types\w*\.go)"),
}
_GO_ROOTS = {0: "io.k8s.api.", 1: "io.k8s.apimachinery.", 2: "io.k8s.apiextensions-apiserver."}
_PREFIXES = (
    ("k8s.io.apiextensions_apiserver.", "io.k8s.apiextensions-apiserver."),
    ("k8s.io.", "io.k8s."),
)
_Protos = dict[str, dict[int, tuple[str, str]]]
"""Message -> number -> (type, field name)."""
_FIELD = re.compile(r"\s*(optional|repeated)?\s*(map<[^>]+>|[\w.]+)\s+(\w+)\s*=\s*(\d+);")


def main(clones: list[str], out: str) -> None:
    protos: _Protos = {}
    omitted: dict[str, set[str]] = {}
    for index, clone in enumerate(clones):
        for path in _git(clone, "ls-tree", "-r", "--name-only", "HEAD").splitlines():
            if not _PACKAGES[index].fullmatch(path):
                continue
            text = _git(clone, "show", f"HEAD:{path}")
            if path.endswith(".proto"):
                protos |= _messages(text)
            else:
                package = _GO_ROOTS[index] + path.rpartition("/")[0].replace("/", ".")
                for struct, fields in _omitted(text).items():
                    omitted.setdefault(f"{package}.{struct}", set()).update(fields)
    table = {name: _named(name, protos, omitted.get(name, set())) for name in sorted(protos)}
    text = json.dumps(table, separators=(",", ":"), sort_keys=True)
    Path(out).write_bytes(zlib.compress(text.encode(), 9))
    marked = sum(isinstance(f, str) and f.endswith("?") for fields in table.values() for f in fields.values())
    sys.stdout.write(
        f"\n{len(protos)} messages, {sum(map(len, protos.values()))} fields ({marked} omitted), {len(text)} bytes"
    )


def _omitted(text: str) -> dict[str, set[str]]:
    """Struct -> JSON names of fields that are no pointers and have omitempty."""
    structs: dict[str, set[str]] = {}
    for name, body in re.findall(r"^type (\w+) struct \{(.*?)^\}", text, re.M | re.S):
        tagged = re.findall(r"^\s+\w+\s+([^\s*]\S*)\s+`[^`]*json:\"([\w$-]+),omitempty", body, re.M)
        structs[name] = {field for _, field in tagged}
    return structs


def _git(clone: str, *command: str) -> str:
    return subprocess.run(["git", "-C", clone, *command], check=True, capture_output=True, text=True).stdout


def _messages(text: str) -> dict[str, dict[int, tuple[str, str]]]:
    """Message -> number -> (type, field name) of one file."""
    text = re.sub(r"/\*.*?\*/", "", text, flags=re.S)
    text = re.sub(r"//.*", "", text)
    package = re.search(r"^package ([\w.]+);", text, re.M)
    assert package is not None
    messages: dict[str, dict[int, tuple[str, str]]] = {}
    for name, body in re.findall(r"^message (\w+) \{(.*?)^\}", text, re.M | re.S):
        fields = {
            int(number): ("repeated" if label == "repeated" else _qualified(type_, package[1]), field)
            for label, type_, field, number in _FIELD.findall(body)
        }
        messages[_definition(f"{package[1]}.{name}")] = fields
    return messages


def _qualified(type_: str, package: str) -> str:
    relative = "." in type_ or type_.startswith("map<") or type_ in {
        "string", "bytes", "bool", "int32", "int64", "double", "float", "uint32", "uint64",
    }  # fmt: skip
    return type_.lstrip(".") if relative else f"{package}.{type_}"


def _definition(message: str) -> str:
    for proto, openapi in _PREFIXES:
        if message.startswith(proto):
            return openapi + message.removeprefix(proto)
    return message


def _named(name: str, protos: _Protos, omitted: set[str]) -> dict[str, str | dict[str, str]]:
    """Number -> JSON name of one message; fields that the spoken version does not have are left out."""
    properties = _properties(name)
    named: dict[str, str | dict[str, str]] = {}
    for number, (type_, field) in sorted(protos[name].items()):
        json_name = properties.get(_letters(field))
        if json_name is not None:
            named[str(number)] = f"{json_name}?" if json_name in omitted else json_name
        elif not properties:
            named[str(number)] = field[:1].lower() + field[1:]
        elif _embedded(protos.get(_definition(type_), {}), properties):
            named[str(number)] = {"inline": _definition(type_)}
            sys.stdout.write("\n" + f"inline: {name}.{field} -> {type_}")
        else:
            sys.stdout.write("\n" + f"newer than the definitions: {name}.{field} ({type_})")
    return named


def _properties(name: str) -> dict[str, str]:
    """JSON names of a definition's fields by their letters: proto has `uID`, `xKubernetesListType`, `schema`."""
    raw = definitions().raw[name].get("properties") if name in definitions() else None
    return {_letters(field): field for field in raw} if isinstance(raw, dict) else {}


def _letters(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


def _embedded(inner: dict[int, tuple[str, str]], properties: dict[str, str]) -> bool:
    """Are the fields of a message those of its parent in JSON? (Some may be newer than the definitions.)"""
    known = [field for _, field in inner.values() if _letters(field) in properties]
    return bool(known) and len(known) * 2 >= len(inner)


if __name__ == "__main__":
    main(sys.argv[1:4], sys.argv[4])
