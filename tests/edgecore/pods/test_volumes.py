"""Volumes as directories."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgecore.pods.env import ConfigError
from edgecore.pods.port import Mount
from edgecore.pods.volumes import File, Ways, files_of, mounts_of, private_pods, sync_volumes, write_files
from skerry.errors import UnansweredError, UnavailableError
from skerry.frozen import replace
from skerry.objects.json import Json, JsonObject
from skerry.objects.meta import name_of
from tests.edgecore.pods.pods_of import around, container, pod

CONFIG: JsonObject = {"metadata": {"name": "cfg"}, "data": {"a": "1", "b": "2"}, "binaryData": {"raw": "AAE="}}


def synced(tmp_path: Path, source: JsonObject, config: JsonObject = CONFIG) -> Path:
    one = pod(volumes=[{"name": "v", **source}])
    return sync_volumes(tmp_path, around(one, configmaps_cfg=config), Ways(kept=tmp_path / "kept"))["v"]


def content(place: Path) -> dict[str, bytes]:
    return {entry.name: entry.read_bytes() for entry in place.iterdir() if not entry.name.startswith("..")}


def test_a_config_map_is_a_directory_of_its_keys(tmp_path: Path) -> None:
    place = synced(tmp_path, {"configMap": {"name": "cfg", "defaultMode": 0o600}})
    assert content(place) == {"a": b"1", "b": b"2", "raw": b"\x00\x01"}
    assert (place / "a").stat().st_mode & 0o777 == 0o600


def test_items_choose_name_and_mode(tmp_path: Path) -> None:
    items: Json = [{"key": "a", "path": "deep/one", "mode": 0o640}]
    place = synced(tmp_path, {"configMap": {"name": "cfg", "items": items}})
    assert (place / "deep" / "one").read_bytes() == b"1"
    assert (place / "deep" / "one").stat().st_mode & 0o777 == 0o640
    assert [entry.name for entry in place.iterdir() if not entry.name.startswith("..")] == ["deep"]


def test_a_change_replaces_all_files_at_once(tmp_path: Path) -> None:
    place = synced(tmp_path, {"configMap": {"name": "cfg"}})
    before = (place / "..data").readlink()
    synced(tmp_path, {"configMap": {"name": "cfg"}})
    assert (place / "..data").readlink() == before, "nothing changed, nothing is written"
    with (place / "..data" / "a").open("rb") as old:
        synced(
            tmp_path, {"configMap": {"name": "cfg"}}, {"metadata": {"name": "cfg"}, "data": {"a": "new", "c": "3"}}
        )
        assert old.read() == b"1"
    assert content(place) == {"a": b"new", "c": b"3"}
    assert len([entry for entry in place.iterdir() if entry.is_dir() and not entry.is_symlink()]) == 1


def test_a_crash_between_the_steps_is_made_good(tmp_path: Path) -> None:
    write_files(tmp_path, {"a": File(b"1", 0o644)})
    (tmp_path / "..1").mkdir()
    (tmp_path / "..data_tmp").symlink_to("..1")
    assert write_files(tmp_path, {"a": File(b"2", 0o644)})
    assert content(tmp_path) == {"a": b"2"}
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["..2", "..data", "a"]


def test_what_is_missing_is_named_unless_optional(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match='volume "v" : secret "x" not found'):
        synced(tmp_path, {"secret": {"secretName": "x"}})
    assert content(synced(tmp_path, {"secret": {"secretName": "x", "optional": True}})) == {}
    with pytest.raises(ConfigError, match="references non-existent config key: z"):
        synced(tmp_path, {"configMap": {"name": "cfg", "items": [{"key": "z", "path": "z"}]}})


def test_projected_sources_share_a_directory(tmp_path: Path) -> None:
    sources: Json = [
        {"configMap": {"name": "cfg", "items": [{"key": "a", "path": "a"}]}},
        {"downwardAPI": {"items": [{"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}}]}},
    ]
    assert content(synced(tmp_path, {"projected": {"sources": sources}})) == {"a": b"1", "labels": b'app="web"'}


@pytest.mark.parametrize("path", ["../x", "/x", "a/../../x", "..x", ""])
def test_no_path_leaves_its_volume(tmp_path: Path, path: str) -> None:
    with pytest.raises(ConfigError, match="not a path inside"):
        synced(tmp_path, {"configMap": {"name": "cfg", "items": [{"key": "a", "path": path}]}})


def test_an_empty_dir_is_for_every_user_and_keeps_its_content(tmp_path: Path) -> None:
    place = synced(tmp_path, {"emptyDir": {}})
    assert place.stat().st_mode & 0o777 == 0o777
    (place / "f").write_text("x")
    assert content(synced(tmp_path, {"emptyDir": {}})) == {"f": b"x"}


def test_host_paths_are_checked_by_their_type(tmp_path: Path) -> None:
    made = tmp_path / "made"
    assert synced(tmp_path, {"hostPath": {"path": str(made), "type": "DirectoryOrCreate"}}) == made
    assert made.is_dir()
    for kind, text in (("File", "is not a file"), ("Socket", "is not a socket file")):
        with pytest.raises(ConfigError, match=text):
            synced(tmp_path, {"hostPath": {"path": str(made), "type": kind}})
    with pytest.raises(ConfigError, match="does not exist"):
        synced(tmp_path, {"hostPath": {"path": str(tmp_path / "absent")}})
    with pytest.raises(ConfigError, match="absolute path"):
        synced(tmp_path, {"hostPath": {"path": "/tmp/../etc"}})


def test_a_host_path_begins_at_the_gateways_own_root(tmp_path: Path) -> None:
    volume: JsonObject = {"name": "v", "hostPath": {"path": "/var/lib/app", "type": "DirectoryOrCreate"}}
    one = pod(container(), volumes=[volume])
    places = sync_volumes(tmp_path / "pod", around(one), Ways(kept=tmp_path / "kept", root=tmp_path / "root"))
    assert places == {"v": tmp_path / "root/var/lib/app"}
    assert (tmp_path / "root/var/lib/app").is_dir()


def test_written_volumes_are_mounted_read_only(tmp_path: Path) -> None:
    one = container(volumeMounts=[{"name": "c", "mountPath": "/c/"}, {"name": "e", "mountPath": "/e"}])
    the_pod = pod(one, volumes=[{"name": "c", "configMap": {"name": "cfg"}}, {"name": "e", "emptyDir": {}}])
    config, empty = mounts_of(one, around(the_pod), {"c": tmp_path, "e": tmp_path})
    assert (config.container_path, config.read_only, empty.read_only) == ("/c", True, False)
    with pytest.raises(ConfigError, match="can't be a mount point"):
        mounts_of(container(volumeMounts=[{"name": "c", "mountPath": "/"}]), around(the_pod), {"c": tmp_path})


def test_the_place_of_all_volumes_is_for_the_agents_eyes_alone(tmp_path: Path) -> None:
    place = private_pods(tmp_path / "agent")
    assert place.stat().st_mode & 0o777 == 0o700
    place.chmod(0o755)  # as an older agent made it
    assert private_pods(tmp_path / "agent").stat().st_mode & 0o777 == 0o700
    (tmp_path / "file").write_text("")
    with pytest.raises(UnavailableError, match="file"):
        private_pods(tmp_path / "file")


def token_volume(name: str) -> JsonObject:
    sources: list[Json] = [{"serviceAccountToken": {"path": "token", "audience": "a", "expirationSeconds": 600}}]
    return {"name": name, "projected": {"sources": sources}}


def test_a_projected_token_is_that_of_the_pod_for_its_audience_and_time() -> None:
    asked: list[tuple[str, str, int]] = []

    def tokens(the_pod: JsonObject, audience: str, seconds: int) -> str:
        asked.append((name_of(the_pod), audience, seconds))
        return "t"

    files = files_of(token_volume("v"), replace(around(pod()), tokens=tokens))
    assert files is not None
    assert files["token"].content == b"t"
    assert asked == [(name_of(pod()), "a", 600)]


@pytest.mark.parametrize(("error", "starts"), [(UnansweredError("nobody"), True), (UnavailableError("no"), False)])
def test_only_what_every_pod_gets_comes_later_where_nobody_can_be_asked(error: Exception, starts: bool) -> None:
    def tokens(_pod: JsonObject, _audience: str, _seconds: int) -> str:
        raise error

    surroundings = replace(around(pod()), tokens=tokens)
    with pytest.raises(ConfigError, match=str(error)):
        files_of(token_volume("v"), surroundings)
    if starts:
        assert files_of(token_volume("kube-api-access-x1"), surroundings) == {}
    else:
        with pytest.raises(ConfigError, match=str(error)):
            files_of(token_volume("kube-api-access-x1"), surroundings)


def parts_of(tmp_path: Path, mount: JsonObject, source: JsonObject, **fields: Json) -> Mount:
    one = container(volumeMounts=[{"name": "v", "mountPath": "/v", **mount}], **fields)
    there = around(pod(one, volumes=[{"name": "v", **source}]), configmaps_cfg=CONFIG)
    (found,) = mounts_of(one, there, sync_volumes(tmp_path / "p", there, Ways(kept=tmp_path / "kept")))
    return found


def test_a_part_of_a_volume_in_which_containers_write_is_left_to_the_runtime(tmp_path: Path) -> None:
    mount = parts_of(tmp_path, {"subPath": "a/./b"}, {"emptyDir": {}})
    assert (mount.sub_path, mount.read_only, mount.host_path.name) == ("a/b", False, "v")
    assert parts_of(tmp_path, {"subPath": "."}, {"emptyDir": {}}).sub_path == ""


def test_a_file_of_a_written_volume_is_mounted_by_itself(tmp_path: Path) -> None:
    mount = parts_of(tmp_path, {"subPath": "b"}, {"configMap": {"name": "cfg"}})
    assert (mount.host_path.read_bytes(), mount.sub_path, mount.read_only) == (b"2", "", True)
    with pytest.raises(ConfigError, match="the volume has no 'z'"):
        parts_of(tmp_path, {"subPath": "z"}, {"configMap": {"name": "cfg"}})


def test_a_part_may_be_named_by_a_variable_that_is_there(tmp_path: Path) -> None:
    env: Json = [{"name": "WHO", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}]
    mount = parts_of(tmp_path, {"subPathExpr": "logs/$(WHO)"}, {"emptyDir": {}}, env=env)
    assert mount.sub_path == "logs/web"
    with pytest.raises(ConfigError, match="names a variable"):
        parts_of(tmp_path, {"subPathExpr": "$(WHAT)"}, {"emptyDir": {}}, env=env)


@pytest.mark.parametrize("path", ["../x", "/x", "a/../../x", "a\nb"])
def test_no_part_is_outside_its_volume(tmp_path: Path, path: str) -> None:
    with pytest.raises(ConfigError, match="not a path inside its volume"):
        parts_of(tmp_path, {"subPath": path}, {"emptyDir": {}})


@pytest.mark.parametrize("mounts", [True, False])
@pytest.mark.parametrize(("kind", "asked"), [("secret", True), ("projected", True), ("configMap", False)])
def test_what_may_be_secret_is_put_into_memory_where_that_may_be(
    kind: str, asked: bool, mounts: bool, tmp_path: Path
) -> None:
    shown: list[Path] = []

    def off_disk(place: Path) -> bool:
        shown.append(place)
        place.mkdir(parents=True, mode=0o700)  # what was mounted has a mode of its own
        return mounts

    source: dict[str, Json] = {
        "secret": {"secretName": "sec"},
        "projected": {"sources": [{"secret": {"name": "sec"}}]},
        "configMap": {"name": "cfg"},
    }
    one = pod(volumes=[{"name": "v", kind: source[kind]}, {"name": "room", "emptyDir": {}}])
    secret: JsonObject = {"metadata": {"name": "sec"}, "data": {"k": "aGlkZGVu"}}
    there = around(one, configmaps_cfg=CONFIG, secrets_sec=secret)
    places = sync_volumes(tmp_path / "p", there, Ways(kept=tmp_path / "kept", off_disk=off_disk))
    assert shown == ([tmp_path / "p/volumes/v"] if asked else [])
    assert places["v"].stat().st_mode & 0o777 == 0o755
    assert (places["v"] / ("k" if asked else "a")).exists()


def bundle(name: str, signer: str, *certificates: str, **labels: str) -> JsonObject:
    return {
        "metadata": {"name": name, "labels": {**labels}},
        "spec": {"signerName": signer, "trustBundle": "what people write\n" + "".join(certificates)},
    }


def certificate(letter: str) -> str:
    return f"-----BEGIN CERTIFICATE-----\n{letter * 4}\n-----END CERTIFICATE-----\n"


ONE, TWO, THREE = certificate("A"), certificate("B"), certificate("C")
BUNDLES = [
    bundle("plain", "", TWO, ONE),
    bundle("a.example:s:live", "a.example/s", ONE, TWO, canary="live"),
    bundle("a.example:s:next", "a.example/s", TWO, THREE, canary="next"),
    bundle("b.example:s:1", "b.example/s", THREE, canary="live"),
]


def projected(path: Path, bundles: list[JsonObject], **projection: Json) -> bytes:
    source: JsonObject = {"clusterTrustBundle": {"path": "trust/anchors.pem", **projection}}
    one = pod(volumes=[{"name": "v", "projected": {"defaultMode": 0o440, "sources": [source]}}])
    place = sync_volumes(path, replace(around(one), bundles=lambda: bundles), Ways(kept=path / "kept"))["v"]
    file = place / "trust" / "anchors.pem"
    assert file.stat().st_mode & 0o777 == 0o440
    return file.read_bytes()


def test_trust_bundles_are_projected_by_name_or_by_signer_each_certificate_once(tmp_path: Path) -> None:
    assert projected(tmp_path, BUNDLES, name="plain") == (ONE + TWO).encode()
    everything: Json = {}
    assert projected(tmp_path, BUNDLES, signerName="a.example/s", labelSelector=everything) == (
        (ONE + TWO + THREE).encode()
    )
    live: Json = {"matchLabels": {"canary": "live"}}
    assert projected(tmp_path, BUNDLES, signerName="a.example/s", labelSelector=live) == (ONE + TWO).encode()


def test_a_bundle_that_changes_replaces_the_file_at_once(tmp_path: Path) -> None:
    projected(tmp_path, BUNDLES, name="plain")
    place = tmp_path / "volumes" / "v"
    before = (place / "..data").readlink()
    projected(tmp_path, BUNDLES, name="plain")
    assert (place / "..data").readlink() == before, "in whatever order they come"
    projected(tmp_path, [bundle("plain", "", THREE)], name="plain")
    assert (place / "..data").readlink() != before


def test_a_bundle_that_is_not_there_is_said_unless_it_is_optional(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match='volume "v" : clustertrustbundle "gone" not found'):
        projected(tmp_path, BUNDLES, name="gone")
    matched = "combination of signerName and labelSelector matched zero ClusterTrustBundles"
    with pytest.raises(ConfigError, match=matched):
        projected(tmp_path, BUNDLES, signerName="c.example/s", labelSelector={})
    with pytest.raises(ConfigError, match=matched):
        projected(tmp_path, BUNDLES, signerName="a.example/s")  # no selector picks nothing
    assert projected(tmp_path, BUNDLES, name="gone", optional=True) == b""
    assert projected(tmp_path, [], signerName="a.example/s", optional=True) == b""
