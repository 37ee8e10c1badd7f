"""Which ClusterTrustBundles a pod projects, and what a file of them says."""

from __future__ import annotations

import pytest

from skerry.errors import BadRequestError
from skerry.objects.json import Json, JsonObject
from skerry.objects.trust_bundles import anchors_of, names_of, picked, signers_of


def pod(*projections: JsonObject) -> JsonObject:
    sources: list[Json] = [{"clusterTrustBundle": each} for each in projections]
    return {"spec": {"volumes": [{"name": "c", "configMap": {}}, {"name": "t", "projected": {"sources": sources}}]}}


def bundle(signer: str, text: str = "", **labels: str) -> JsonObject:
    return {"metadata": {"labels": {**labels}}, "spec": {"signerName": signer, "trustBundle": text}}


def test_a_name_goes_before_a_signer() -> None:
    the_pod = pod({"name": "a"}, {"signerName": "x.example/s"}, {"name": "b", "signerName": "y.example/s"}, {})
    assert (names_of(the_pod), signers_of(the_pod)) == ({"a", "b"}, {"x.example/s"})
    assert (names_of({}), signers_of({})) == (frozenset(), frozenset())


def test_labels_pick_among_those_of_the_signer() -> None:
    live, other = bundle("x.example/s", canary="live"), bundle("x.example/s")
    bundles = [live, other, bundle("y.example/s", canary="live")]
    asked: JsonObject = {"signerName": "x.example/s", "labelSelector": {"matchLabels": {"canary": "live"}}}
    assert picked(asked, bundles) == [live]
    assert picked({**asked, "labelSelector": {}}, bundles) == [live, other]
    assert picked({"signerName": "x.example/s"}, bundles) == []
    wrong: JsonObject = {"matchExpressions": [{"key": "a", "operator": "Is"}]}
    with pytest.raises(BadRequestError):
        picked({**asked, "labelSelector": wrong}, bundles)


def test_certificates_are_written_in_lines_of_64_without_what_is_between() -> None:
    long = "QUJD" * 20
    text = f"# of whom\n-----BEGIN CERTIFICATE-----\n{long}\n-----END CERTIFICATE-----\nand so on"
    said = anchors_of([bundle("", text), bundle("", text)]).decode()
    assert said.splitlines() == ["-----BEGIN CERTIFICATE-----", long[:64], long[64:], "-----END CERTIFICATE-----"]
    assert anchors_of([]) == b"" and anchors_of([bundle("", "nothing")]) == b""
