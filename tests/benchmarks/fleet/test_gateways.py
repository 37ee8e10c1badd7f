"""The gateways of the big measurements keep a session as real ones do, though they have nothing to tell."""

from __future__ import annotations

from benchmarks.fleet.gateways import NoReports
from skerry.objects.meta import Revision
from skerry.sync.edge import EdgeIdentity, EdgeSession
from skerry.sync.ports import Instant
from tests.skerry.sync.conversation import welcome

NOW = Instant(wall_ms=0, monotonic_s=0.0)


def test_a_gateway_without_an_outbox_is_welcomed() -> None:
    identity = EdgeIdentity(
        node="n", agent_version="simulated", incarnation="i", boot_id="b", epoch="e1", revision=Revision(10)
    )
    session = EdgeSession(identity, (), NoReports(), NOW)
    session.effects()
    session.receive(welcome(in_step=True, received=0), NOW)
    assert session.session > 0
