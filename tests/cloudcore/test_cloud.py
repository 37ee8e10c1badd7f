import json
from pathlib import Path

import pytest

from cloudcore.cloud import Endpoints
from cloudcore.config import CloudSettings
from cloudcore.main import run


def test_endpoints_are_told_as_clients_write_them():
    endpoints = Endpoints(host="::1", https_port=1, hub_port=2, kubeconfig=Path("/d/admin.kubeconfig"))
    told = json.loads(endpoints.body())
    assert (told["https"], told["hub"], told["https_port"], told["hub_port"]) == ("[::1]:1", "[::1]:2", 1, 2)
    assert told["kubeconfig"] == "/d/admin.kubeconfig"


def test_a_start_that_can_not_be_is_one_line_and_a_code(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    (tmp_path / "file").write_text("")
    assert run(CloudSettings(data=tmp_path / "file")) == 1
    (record,) = [record for record in caplog.records if record.name == "cloudcore"]
    assert "cloudcore stops:" in record.getMessage() and "file" in record.getMessage()
    assert record.exc_info is None
