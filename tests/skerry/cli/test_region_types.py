"""Which types are to be federated: by a word, a version, or the file that `kubefedctl enable` takes."""

from __future__ import annotations

from pathlib import Path

import pytest

from skerry.cli.region_types import Asked, config_asked, directives
from skerry.errors import BadRequestError, NotFoundError
from skerry.objects.json import map_at, str_at
from skerry.objects.scheme import Kind


def kind(name: str, group: str, version: str = "v1") -> Kind:
    return Kind(group=group, version=version, kind=name, plural=f"{name.lower()}s", namespaced=True)


SERVED = [
    kind("Deployment", "apps"),
    kind("Widget", "acme.dev", "v2"),
    kind("Widget", "acme.dev", "v1"),
    kind("FederatedWidget", "types.kubefed.io", "v1beta1"),
]


@pytest.mark.parametrize(("version", "found"), [("", "v2"), ("v1", "v1")])
def test_a_type_is_federated_in_the_version_that_is_asked_for(version: str, found: str) -> None:
    config = config_asked(SERVED, Asked(word="widgets.acme.dev", version=version))
    assert str_at(config, "spec", "targetType", "version") == found
    assert str_at(config, "metadata", "name") == "widgets.acme.dev"


def test_a_version_that_is_not_served_is_refused_with_those_that_are() -> None:
    with pytest.raises(NotFoundError, match="version v3: there is v2, v1"):
        config_asked(SERVED, Asked(word="widgets", version="v3"))


def test_the_federation_itself_is_not_federated() -> None:
    with pytest.raises(BadRequestError, match="of the federation itself"):
        config_asked(SERVED, Asked(word="federatedwidgets"))


def test_directives_of_a_file_name_the_types(tmp_path: Path) -> None:
    path = tmp_path / "types.yaml"
    path.write_text(
        "{apiVersion: core.kubefed.io/v1beta1, kind: EnableTypeDirective, metadata: {name: deployments.apps}}\n---\n"
        "apiVersion: core.kubefed.io/v1beta1\nkind: EnableTypeDirective\nmetadata: {name: widgets.acme.dev}\n"
        "spec: {targetVersion: v1, federatedGroup: fed.acme.dev, federatedVersion: v1alpha1}\n"
    )
    found = directives(str(path))
    assert found == [
        Asked(word="deployments.apps"),
        Asked(word="widgets.acme.dev", version="v1", group="fed.acme.dev", federated_version="v1alpha1"),
    ]
    federated = map_at(config_asked(SERVED, found[1]), "spec", "federatedType")
    assert (federated["group"], federated["version"]) == ("fed.acme.dev", "v1alpha1")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{apiVersion: v1, kind: ConfigMap, metadata: {name: a}}", "object 1 is no EnableTypeDirective"),
        ("{apiVersion: core.kubefed.io/v1beta1, kind: EnableTypeDirective}", "object 1 has no metadata.name"),
        ("# nothing", "has no objects"),
    ],
)
def test_a_file_that_names_no_type_is_refused(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "types.yaml"
    path.write_text(text)
    with pytest.raises(BadRequestError, match=said):
        directives(str(path))
