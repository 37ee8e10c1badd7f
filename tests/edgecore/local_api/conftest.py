from __future__ import annotations

import pytest

from tests.edgecore.local_api.stage import Api


@pytest.fixture
def api() -> Api:
    return Api()
