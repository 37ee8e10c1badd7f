"""Keeps the versions of federated objects: FederatedRevisions, and Secrets with the content of those that are secret.

Who may read FederatedRevisions may not read Secrets by that: of a federated Secret the content of each version is in
a Secret, and the revision has its digest alone (`skerry.objects.sealed_versions`). The Secret is written first and
deleted first, so that a crash leaves one without a revision, which is swept, or a revision without content, which is
no version to go back to any more. Where it is declared yet, its content is sealed again, and it is the same version.
What an older release wrote down in clear is sealed when it is seen. Keeps in memory what it opened last.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from cloudcore.federation.opened_contents import OpenedContents
from cloudcore.registry.port import DeleteOptions
from cloudcore.runtime.informer import BY_OWNER, CLEAR_REVISIONS_BY_SOURCE, source_value
from cloudcore.runtime.manager import Tools
from skerry.errors import AlreadyExistsError, CallerError, InvalidError, NotFoundError
from skerry.frozen import Frozen
from skerry.objects.federated_versions import (
    Version,
    base_of,
    content_name,
    data_of,
    next_number,
    same_data,
    surplus,
    version_name,
    version_of,
)
from skerry.objects.federation import REVISIONS, FederatedType
from skerry.objects.json import Json, JsonObject, int_at, map_at, maps_at, str_at
from skerry.objects.meta import Key, generation_of, name_of, namespace_of, uid_of
from skerry.objects.sealed_versions import SALT_BYTES, SEALED_TYPE, digest_of, is_sealed, sealed
from skerry.objects.times import time_text

SECRETS: Final = "secrets"
_WITHOUT: Final = "declared while no RolloutPolicy was about it: everybody had it at once"
_OF_A_LIFE: Final = ("approved", "aborted")
_OF_SECRETS: Final = frozenset({"FederatedSecret"})
"""Kinds, where nothing says any more what they federate."""


class Unsealed(Frozen):
    """What can't be sealed now."""

    revision: JsonObject
    why: str


class VersionStore:
    """See the module."""

    def __init__(self, tools: Tools) -> None:
        self._tools = tools
        self._revisions = tools.kind(REVISIONS)
        self._secrets = tools.kind(SECRETS)
        self._contents = OpenedContents()

    def of(self, federated: JsonObject) -> list[Version]:
        """All that are kept; of those whose content is lost nothing but that they were."""
        return [self._version(obj) for obj in self._revisions_of(uid_of(federated))]

    def _revisions_of(self, uid: str) -> list[JsonObject]:
        """By their owner, and by what the cloud itself wrote of their source: others may write owners elsewhere."""
        found = [each for each in self._tools.cache.indexed(BY_OWNER, uid) if each.key.resource == REVISIONS]
        revisions = [self._tools.cache.obj(each) for each in found]
        return [each for each in revisions if str_at(each, "spec", "source", "uid") == uid]

    def _version(self, revision: JsonObject) -> Version:
        if not is_sealed(revision):
            return version_of(revision)
        digest = str_at(revision, "spec", "sealed", "digest")
        content = self._contents.of(
            digest, self._secret(namespace_of(revision), str_at(revision, "spec", "sealed", "secretName"))
        )
        return version_of(revision, content=content)

    def _secret(self, namespace: str, name: str) -> JsonObject | None:
        stored = self._tools.objects.read(self._secrets.key(namespace, name))
        return None if stored is None else self._tools.cache.obj(stored)

    async def declared(self, federated: JsonObject, of: FederatedType, versions: Sequence[Version]) -> Version:
        """The version that is declared, which is written down. One that was declared before begins another life.
        Raises `InvalidError` where it can't be kept."""
        data = data_of(federated)
        number = next_number(versions)
        known = declared_in(versions, federated)
        if known is not None and known.number == number - 1:
            return await self._sealed_again(known, data) if known.lost else known
        if known is None:
            name = (
                content_name(of.kind, federated, number) if of.of_secrets else version_name(of.kind, federated, data)
            )
            obj = _revision(self._revisions.api_version, federated, of, name, number, data)
            if of.of_secrets:
                obj = await self._sealed(obj)
            return await self._create(obj, federated, data)
        key = self._revisions.key(namespace_of(federated), known.name)

        def renumbered(current: JsonObject) -> JsonObject:
            spec = {name: value for name, value in map_at(current, "spec").items() if name not in _OF_A_LIFE}
            return {**current, "spec": {**spec, "revision": number}}

        def begun_anew(current: JsonObject) -> JsonObject:
            completed = str_at(current, "status", "completedAt")
            return {**current, "status": {"completedAt": completed} if completed else {}}

        # First what it came to: a crash between leaves a version that begins anew, and not one that seems to be over.
        await self._tools.objects.update(self._revisions, key, begun_anew, subresource="status")
        written = (await self._tools.objects.update(self._revisions, key, renumbered)).obj
        return version_of(written, content=known.data)

    async def _create(self, obj: JsonObject, federated: JsonObject, data: JsonObject) -> Version:
        key = self._revisions.key(namespace_of(federated), name_of(obj))
        try:
            made = (await self._tools.objects.create(self._revisions, key.namespace, obj)).obj
            return version_of(made, content=data)
        except AlreadyExistsError:
            stored = self._tools.objects.read(key)
            if stored is None:
                raise
            there = self._version(self._tools.cache.obj(stored))
            mine = str_at(there.obj, "spec", "source", "uid") == uid_of(federated)
            if not mine or there.lost or not same_data(there.data, data):
                raise InvalidError(f"the FederatedRevision {name_of(obj)} is of something else: delete it") from None
            return there

    # --- what is secret ---

    async def _sealed(self, revision: JsonObject) -> JsonObject:
        """The revision without its content, which is in a Secret."""
        data = map_at(revision, "spec", "data")
        namespace, name = namespace_of(revision), name_of(revision)
        kept = sealed(data, bytes.fromhex(self._tools.ids.token_hex(SALT_BYTES)))
        owners = maps_at(revision, "metadata", "ownerReferences")
        secret: JsonObject = {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": name, "namespace": namespace, "ownerReferences": [*owners]},
            "type": SEALED_TYPE,
            "immutable": True,
            "data": kept.data,
        }
        digest = kept.digest
        try:
            await self._tools.objects.create(self._secrets, namespace, secret)
        except AlreadyExistsError:
            digest = await self._again(namespace, secret, data, digest)
        except CallerError as error:
            raise InvalidError(f"its version can't be kept in the Secret {name}: {error}") from error
        spec: JsonObject = {field: value for field, value in map_at(revision, "spec").items() if field != "data"}
        return {**revision, "spec": {**spec, "sealed": {"secretName": name, "digest": digest}}}

    async def _again(self, namespace: str, secret: JsonObject, data: JsonObject, digest: str) -> str:
        """Of a Secret that was there: ours from before a crash, which is taken, or made anew; else somebody's."""
        name = name_of(secret)
        there = self._secret(namespace, name)
        if there is not None:
            owners = {str_at(each, "uid") for each in maps_at(there, "metadata", "ownerReferences")}
            mine = {str_at(each, "uid") for each in maps_at(secret, "metadata", "ownerReferences")}
            if str_at(there, "type") != SEALED_TYPE or owners != mine:
                raise InvalidError(f"the Secret {name} is of something else, and a version has its name: delete it")
            if self._contents.of(digest_of(there), there) == data:
                return digest_of(there)
            await self._forget(namespace, name)
        try:
            await self._tools.objects.create(self._secrets, namespace, secret)
        except CallerError as error:
            raise InvalidError(f"its version can't be kept in the Secret {name}: {error}") from error
        return digest

    async def _sealed_again(self, version: Version, data: JsonObject) -> Version:
        """Of one whose content is lost: the same version, and what became of it stays."""
        made = await self._sealed({**version.obj, "spec": {**map_at(version.obj, "spec"), "data": data}})
        kept, uid = map_at(made, "spec", "sealed"), uid_of(version.obj)

        def telling(current: JsonObject) -> JsonObject:
            if uid_of(current) != uid:
                return current
            return {**current, "spec": {**map_at(current, "spec"), "sealed": kept}}

        key = self._revisions.key(namespace_of(version.obj), version.name)
        return version_of((await self._tools.objects.update(self._revisions, key, telling)).obj, content=data)

    async def _forget(self, namespace: str, name: str) -> None:
        """A Secret of ours."""
        secret = self._secret(namespace, name)
        if secret is not None and str_at(secret, "type") == SEALED_TYPE:
            await self._delete(self._secrets.key(namespace, name), uid_of(secret), secret=True)

    async def seal(self, key: Key, *, secret: bool) -> list[Unsealed]:
        """What is written down in clear of a federated Secret. `key`: of it, which need not be there any more. Gives
        what stays in clear."""
        left: list[Unsealed] = []
        for stored in self._tools.cache.indexed(CLEAR_REVISIONS_BY_SOURCE, source_value(key)):
            obj = self._tools.cache.obj(stored)
            if secret or str_at(obj, "spec", "source", "kind") in _OF_SECRETS:
                try:
                    await self._seal(obj)
                except CallerError as error:  # the others are sealed all the same
                    left.append(Unsealed(revision=obj, why=str(error)))
        return left

    async def _seal(self, clear: JsonObject) -> None:
        """Under another name, as the old one tells something of the content; a crash between does it again."""
        version = version_of(clear)
        source = map_at(clear, "spec", "source")
        about: JsonObject = {"metadata": {"name": str_at(source, "name"), "uid": str_at(source, "uid")}}
        name = content_name(str_at(source, "kind"), about, version.number)
        owners = maps_at(clear, "metadata", "ownerReferences")
        bare: JsonObject = {
            "apiVersion": self._revisions.api_version,
            "kind": self._revisions.kind,
            "metadata": {"name": name, "namespace": namespace_of(clear), "ownerReferences": [*owners]},
            "spec": map_at(clear, "spec"),
        }
        key = self._revisions.key(namespace_of(clear), name)
        if self._tools.objects.read(key) is None:
            await self._tools.objects.create(self._revisions, key.namespace, await self._sealed(bare))
        if status := map_at(clear, "status"):

            def telling(current: JsonObject) -> JsonObject:
                return current if map_at(current, "status") else {**current, "status": status}

            await self._tools.objects.update(self._revisions, key, telling, subresource="status")
        await self._delete(self._revisions.key(key.namespace, version.name), uid_of(clear))

    # --- what becomes of them ---

    async def note_declared(self, federated: JsonObject, of: FederatedType, limit: int) -> None:
        """What has versions, and is everywhere at once as no policy is about it: written down, so that the version
        before is what members have when there is a policy again, and not the last of an earlier one."""
        versions = self.of(federated)
        if not versions:
            return
        target = await self.declared(federated, of, versions)
        if target.outcome != "Complete":
            now = time_text(self._tools.clock.wall_ms())
            begun = str_at(target.obj, "status", "startedAt") or now
            status: JsonObject = {"phase": "Complete", "message": _WITHOUT, "outcome": "Complete"}
            status = {**status, "startedAt": begun, "completedAt": now}
            uid = uid_of(target.obj)

            def telling(current: JsonObject) -> JsonObject:
                return {**current, "status": status} if uid_of(current) == uid else current

            key = self._revisions.key(namespace_of(federated), target.name)
            await self._tools.objects.update(self._revisions, key, telling, subresource="status")
        await self.supersede(versions, target)
        await self.prune(federated, versions, target, base_of(versions, target.name), limit)

    async def supersede(self, versions: Sequence[Version], target: Version) -> None:
        """Of those that were the newest: what became of them stays, and not how far they are."""
        for each in versions:
            ended = _ended(each)
            if each.name == target.name or map_at(each.obj, "status") == ended:
                continue

            def ending(current: JsonObject, uid: str = uid_of(each.obj)) -> JsonObject:
                if uid_of(current) != uid:
                    return current
                return {**current, "status": _ended(version_of(current))}

            key = self._revisions.key(namespace_of(each.obj), each.name)
            try:
                await self._tools.objects.update(self._revisions, key, ending, subresource="status")
            except NotFoundError:
                continue

    async def prune(
        self, federated: JsonObject, versions: Sequence[Version], target: Version, base: Version | None, limit: int
    ) -> None:
        keep = [target.name] if base is None else [target.name, base.name]
        gone = surplus(versions, keep, limit)
        for each in gone:
            namespace = namespace_of(each.obj)
            if is_sealed(each.obj):
                await self._forget(namespace, str_at(each.obj, "spec", "sealed", "secretName"))
            await self._delete(self._revisions.key(namespace, each.name), uid_of(each.obj))
        names = {each.name for each in (*versions, target)} - {each.name for each in gone}
        await self._sweep(federated, names)

    async def _sweep(self, federated: JsonObject, names: Iterable[str]) -> None:
        """Contents of revisions that are not there any more, or never came to be."""
        for stored in self._tools.cache.indexed(BY_OWNER, uid_of(federated)):
            if stored.key.resource == SECRETS and stored.key.name not in names:
                await self._forget(stored.key.namespace, stored.key.name)

    async def _delete(self, key: Key, uid: str, *, secret: bool = False) -> None:
        kind = self._secrets if secret else self._revisions
        try:
            await self._tools.objects.delete(kind, key, DeleteOptions(uid=uid))
        except NotFoundError:
            return


def declared_in(versions: Sequence[Version], federated: JsonObject) -> Version | None:
    """The version that is declared, as it is written down; None for one that is not yet.

    The newest may be it though its content is lost: where nobody wrote the object since its content was seen. Of one
    that was stopped before anybody noted that, it is taken to be so: what was stopped begins by no accident anew."""
    data = data_of(federated)
    same = [each for each in versions if not each.lost and same_data(each.data, data)]
    if same:
        return max(same, key=lambda each: each.number)
    newest = max(versions, key=lambda each: each.number, default=None)
    if newest is None or not newest.lost or not is_sealed(newest.obj):
        return None
    seen = int_at(newest.obj, "status", "observedGeneration")
    declared = seen == generation_of(federated) if seen else newest.stopped
    return newest if declared else None


def _revision(
    api_version: str, federated: JsonObject, of: FederatedType, name: str, number: int, data: JsonObject
) -> JsonObject:
    owner: JsonObject = {
        "apiVersion": str_at(federated, "apiVersion"),
        "kind": str_at(federated, "kind"),
        "name": name_of(federated),
        "uid": uid_of(federated),
        "controller": True,
        "blockOwnerDeletion": True,
    }
    source: JsonObject = {
        "kind": of.kind,
        "resource": of.resource,
        "name": name_of(federated),
        "uid": uid_of(federated),
    }
    return {
        "apiVersion": api_version,
        "kind": "FederatedRevision",
        "metadata": {"name": name, "namespace": namespace_of(federated), "ownerReferences": [owner]},
        "spec": {"source": source, "revision": number, "data": data},
    }


def _ended(version: Version) -> JsonObject:
    """The status of one that is not the newest any more."""
    before = map_at(version.obj, "status")
    kept = ("policy", "message", "outcome", "startedAt", "completedAt")
    phase = version.outcome or ("Aborted" if version.aborted else "Abandoned")
    status: dict[str, Json] = {name: before[name] for name in kept if name in before}
    if phase == "Complete":
        status.pop("message", None)
    return {**status, "phase": phase}
