"""A Job whose cloud loses one leader after the other: who leads next goes on, and nothing runs twice."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from tests.postgres_server import postgres_server
from tests.system.real_fleet import until
from tests.system.several_clouds import leader_of, ready, several_clouds

pytestmark = [pytest.mark.system, pytest.mark.timeout(240)]

COMPLETIONS = 24


def indexed(book: Path) -> Any:
    script = f"sleep 0.3; echo $JOB_COMPLETION_INDEX >> {book}"
    container = {"name": "c", "image": "sh", "command": ["sh", "-c", script]}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": "indexed"},
        "spec": {
            "completionMode": "Indexed",
            "completions": COMPLETIONS,
            "parallelism": 3,
            "template": {"spec": {"restartPolicy": "Never", "containers": [container]}},
        },
    }


def test_each_index_runs_once_whoever_leads(tmp_path: Path) -> None:
    book = tmp_path / "book"
    with postgres_server() as server, several_clouds(tmp_path, server, count=3) as clouds:
        until(lambda: leader_of(clouds), "one leads")
        edge = clouds.edge("eu-1", clouds.replicas)
        if edge.process is None:
            edge.start()
        until(lambda: ready(clouds.replicas[0], "eu-1") == "True", "the node is ready")
        clouds.replicas[0].kubectl("create", "-f", "-", stdin=json.dumps(indexed(book)))
        try:
            for _ in range(2):
                time.sleep(2)
                until(lambda: leader_of(clouds), "one leads", deadline_s=60)
                killed = leader_of(clouds)
                assert killed is not None
                clouds.kill(killed)
                clouds.start(killed)
            cloud = clouds.replicas[2]
            cloud.kubectl("wait", "--for=condition=complete", "job/indexed", "--timeout=55s")
            status = json.loads(cloud.kubectl("get", "job", "indexed", "-o", "json"))["status"]
            assert (status["completedIndexes"], status.get("failed", 0)) == (f"0-{COMPLETIONS - 1}", 0)
            assert sorted(int(line) for line in book.read_text().split()) == list(range(COMPLETIONS))
            assert len(json.loads(cloud.kubectl("get", "pods", "-o", "json"))["items"]) == COMPLETIONS
        finally:
            edge.end_containers()
