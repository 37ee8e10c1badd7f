"""`skerry apply`: make the fleet be what the manifests say."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import click

from skerry.cli import kinds, threeway
from skerry.cli.client import Server, path_of
from skerry.cli.options import namespace_option
from skerry.cli.output import print_warnings, resource_name, say
from skerry.cli.target import Target, with_target
from skerry.errors import BadRequestError, ConflictError, ForbiddenError, InvalidError, NotFoundError, SkerryError
from skerry.objects import device_manifests
from skerry.objects.json import JsonObject, map_at, maps_at, str_at
from skerry.objects.meta import name_of, namespace_of
from skerry.objects.patches import difference
from skerry.objects.scheme import Kind

V1ALPHA2_HINT = (
    "`skerry device model import FILE` makes devices.kubeedge.io/v1beta1 of it (KubeEdge since 1.15). Device: "
    "propertyVisitors[] become properties[] with visitors.configData; protocol.PROTOCOL and protocol.common become "
    "protocol.protocolName and protocol.configData; nodeSelector becomes nodeName; status.twins[].desired becomes "
    "properties[].desired. DeviceModel: type.int {...} becomes type INT beside accessMode, minimum, maximum, unit. "
    "Examples: docs/howto/devices-of-v1alpha2.md"
)

_SUFFIXES = (".yaml", ".yml", ".json")
_TRIES = 5


@click.command("apply")
@click.option(
    "-f", "--filename", "files", multiple=True, required=True, help="File, directory or - for standard input."
)
@namespace_option
@click.option("--dry-run", is_flag=True, help="Ask the server what would happen, and store nothing.")
@with_target
def apply(target: Target, files: Sequence[str], namespace: str, dry_run: bool) -> None:
    """Create what is missing and change what differs, from YAML or JSON manifests.

    Every manifest is read and understood before the first is sent. Unknown fields are refused.
    """
    client = target.client()
    manifests = [(source, obj) for file in files for source, obj in read_manifests(file)]
    if not manifests:
        raise BadRequestError(f"no objects in {', '.join(files)}")
    known = kinds.discover(client)
    resolved = [(source, obj, kind_of(known, source, obj)) for source, obj in manifests]
    failures: list[SkerryError] = []
    for source, obj, kind in resolved:
        try:
            verdict = apply_one(client, kind, namespace, obj, dry_run=dry_run)
        except (BadRequestError, InvalidError, ForbiddenError, NotFoundError) as error:
            say("error: ", fg="red", bold=True, nl=False, err=True)
            say(f"{source}: {error}", err=True)
            failures.append(error)
            continue
        say(f"{resource_name(kind, name_of(obj))} {verdict}{' (dry run)' if dry_run else ''}")
    if failures:
        raise InvalidError(_summary(len(failures), len(resolved), dry_run=dry_run))


def _summary(refused: int, count: int, *, dry_run: bool) -> str:
    if refused == count:
        return "nothing was applied"
    others = "the others would be applied" if dry_run else "the others are applied"
    return f"{refused} of {count} objects {'was' if refused == 1 else 'were'} refused; {others}"


def apply_one(client: Server, kind: Kind, namespace: str, manifest: JsonObject, *, dry_run: bool = False) -> str:
    """Apply one object: `created`, `configured` or `unchanged`; again where somebody wrote it in between."""
    for _ in range(_TRIES - 1):
        try:
            return _applied(client, kind, namespace, manifest, dry_run=dry_run)
        except ConflictError:
            continue
    return _applied(client, kind, namespace, manifest, dry_run=dry_run)


def _applied(client: Server, kind: Kind, namespace: str, manifest: JsonObject, *, dry_run: bool) -> str:
    name = name_of(manifest)
    place = namespace_of(manifest) or namespace or client.namespace
    wanted = threeway.annotated(manifest)
    query = {"fieldManager": "skerry-apply", "fieldValidation": "Strict"}
    if dry_run:
        query["dryRun"] = "All"
    path = path_of(kind, place, name)
    try:
        current = client.request("GET", path).obj
    except NotFoundError:
        answer = client.request("POST", path_of(kind, place), query=query, body=wanted)
        print_warnings(answer.warnings)
        return "created"
    strategic = _is_built_in(kind)
    if kind.group == device_manifests.GROUP:
        # Their lists are merged by name, from what is there: not from what somebody makes of it meanwhile.
        after = device_manifests.applied(current, wanted, threeway.last_applied(current))
        patch = difference(current, after)
        if patch:
            revision = str_at(current, "metadata", "resourceVersion")
            patch["metadata"] = {**map_at(patch, "metadata"), "resourceVersion": revision}
    else:
        patch = threeway.patch_for(current, wanted, strategic=strategic)
    if not patch:
        return "unchanged"
    form = "strategic-merge-patch" if strategic else "merge-patch"
    answer = client.request("PATCH", path, query=query, body=patch, content_type=f"application/{form}+json")
    print_warnings(answer.warnings)
    before, after = str_at(current, "metadata", "resourceVersion"), str_at(answer.obj, "metadata", "resourceVersion")
    return "unchanged" if before == after and not dry_run else "configured"


def _is_built_in(kind: Kind) -> bool:
    """Custom kinds, whose groups are domain names outside Kubernetes' own, take merge patches only."""
    return "." not in kind.group or kind.group.endswith(".k8s.io")


def kind_of(known: Sequence[Kind], source: str, obj: JsonObject) -> Kind:
    """The kind that a manifest is of. Raises `BadRequestError`, `NotFoundError`, naming the source."""
    api_version, word = str_at(obj, "apiVersion"), str_at(obj, "kind")
    if not api_version or not word:
        raise BadRequestError(f"{source}: apiVersion and kind are required in every manifest")
    if not name_of(obj):
        raise BadRequestError(f"{source}: metadata.name is required: apply finds objects by name")
    for kind in known:
        if kind.api_version == api_version and kind.kind == word:
            return kind
    hint = f": {V1ALPHA2_HINT}" if api_version == "devices.kubeedge.io/v1alpha2" else ""
    raise NotFoundError(f"{source}: the server knows no kind {word!r} in apiVersion {api_version!r}{hint}")


def read_manifests(file: str) -> Iterator[tuple[str, JsonObject]]:
    """Each object of a file, directory or standard input, with where it stands (`web.yaml:2`)."""
    if file == "-":
        yield from documents("standard input", sys.stdin.read())
        return
    path = Path(file)
    if path.is_dir():
        for child in sorted(path.iterdir()):
            if child.suffix in _SUFFIXES:
                yield from read_manifests(str(child))
        return
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise NotFoundError(f"can't read {file}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise BadRequestError(f"{file} is not UTF-8 text") from error
    yield from documents(file, text)


def documents(source: str, text: str) -> Iterator[tuple[str, JsonObject]]:
    """Each object of a YAML or JSON text, with where it stands."""
    from skerry.objects.yaml_reader import read_documents  # a heavy import for those who apply

    try:
        documents = read_documents(text)
    except BadRequestError as error:
        raise BadRequestError(f"{source} is not YAML: {error}") from error
    for number, document in enumerate(documents, start=1):
        if document is None:
            continue
        where = f"{source}:{number}" if len(documents) > 1 else source
        if not isinstance(document, dict):
            raise BadRequestError(f"{where}: a manifest is a map with apiVersion, kind and metadata")
        if str_at(document, "kind") == "List":
            for index, item in enumerate(maps_at(document, "items")):
                yield f"{where} items[{index}]", item
        else:
            yield where, document
