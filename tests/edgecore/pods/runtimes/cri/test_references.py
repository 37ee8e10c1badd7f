"""Names of images as a kubelet and Docker understand them, and whose credentials are tried for which."""

from __future__ import annotations

import pytest

from edgecore.pods.port import Credentials, ImageMissingError
from edgecore.pods.runtimes.cri.references import fitting, full_name

DIGEST = "sha256:" + "a1" * 32


@pytest.mark.parametrize(
    ("written", "full"),
    [
        ("nginx", "docker.io/library/nginx:latest"),
        ("nginx:1.27", "docker.io/library/nginx:1.27"),
        ("me/app", "docker.io/me/app:latest"),
        ("docker.io/nginx", "docker.io/library/nginx:latest"),
        ("index.docker.io/me/app:2", "docker.io/me/app:2"),
        ("localhost/app:1", "localhost/app:1"),
        ("localhost:5000/a/b", "localhost:5000/a/b:latest"),
        ("registry.local/a__b/c-d.e:V1_2.3-x", "registry.local/a__b/c-d.e:V1_2.3-x"),
        (f"quay.io/app@{DIGEST}", f"quay.io/app@{DIGEST}"),
        (f"quay.io/app:1@{DIGEST}", f"quay.io/app:1@{DIGEST}"),
        ("[fd00::1]:5000/app", "[fd00::1]:5000/app:latest"),
        ("10.0.0.1:5000/app:1", "10.0.0.1:5000/app:1"),
    ],
)
def test_a_name_is_made_whole(written: str, full: str) -> None:
    assert full_name(written) == full


@pytest.mark.parametrize(
    "written",
    ["", " nginx", "nginx:", "Nginx", "a//b", "a/-b", "nginx@sha256:12", "nginx:" + "t" * 129, "a1" * 32, "b/" * 130],
)
def test_what_is_no_name_is_told_in_a_kubelets_words(written: str) -> None:
    with pytest.raises(ImageMissingError, match="Failed to apply default image tag") as refused:
        full_name(written)
    assert refused.value.reason == "InvalidImageName"
    assert ("must be lowercase" in str(refused.value)) == (written == "Nginx")


def names(image: str, *registries: str) -> list[str]:
    return [each.registry for each in fitting(image, [Credentials(registry=registry) for registry in registries])]


@pytest.mark.parametrize(
    ("registry", "image", "fits"),
    [
        ("https://index.docker.io/v1/", "docker.io/library/nginx:1", True),
        ("docker.io", "docker.io/me/app:1", True),
        ("quay.io", "quay.io/app:1", True),
        ("https://quay.io", "quay.io/app:1", True),
        ("quay.io/me", "quay.io/me/app:1", True),
        ("quay.io/me", "quay.io/you/app:1", False),
        ("*.example.com", "eu.example.com/app:1", True),
        ("*.example.com", "a.eu.example.com/app:1", False),
        ("*.example.com", "example.com/app:1", False),
        ("reg*.example.com:5000", "registry.example.com:5000/app:1", True),
        ("registry.example.com", "registry.example.com:5000/app:1", False),
        ("registry.example.com:5000", "registry.example.com/app:1", False),
        ("registry.local/v2/", "registry.local/app:1", True),
        ("quay.io", "evil-quay.io/app:1", False),
    ],
)
def test_credentials_are_for_their_registry_alone(registry: str, image: str, fits: bool) -> None:
    assert names(image, registry) == ([registry] if fits else [])


def test_who_names_more_is_tried_first() -> None:
    image = "quay.io/me/app:1"
    assert names(image, "quay.io", "other.io", "quay.io/me", "*.io") == ["quay.io/me", "quay.io", "*.io"]
