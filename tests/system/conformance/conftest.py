"""One cloud for all conformance tests, and a namespace for each."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.system.cloud_process import cloud_process
from tests.system.conformance.cluster import Cluster


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Shared: tests keep to names and namespaces of their own."""
    with cloud_process(tmp_path_factory.mktemp("conformance") / "cloud") as cloud:
        made = Cluster(cloud)
        yield made
        made.close()


@pytest.fixture
def ns(cluster: Cluster) -> Iterator[str]:
    with cluster.namespace("e2e") as name:
        yield name
