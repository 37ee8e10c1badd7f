"""Which certificate is shown, by what pods know it, and how the cloud comes to sign one."""

from __future__ import annotations

import asyncio
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from cloudcore.pki.certificates import Authority, new_authority, requested_names, sign_serving
from edgecore.local_api.certificates import CA_FILE, make_missing
from edgecore.local_api.issuing import Issuing, IssuingParts
from edgecore.local_api.served import CLOUD_FILE, TRUST, ServedCertificates
from edgecore.store.memory import MemoryEdgeStore
from edgecore.store.port import EdgeBatch, Held
from edgecore.store.shell import AsyncEdgeStore
from skerry.clocks import ManualClock
from skerry.errors import BadRequestError, UnavailableError
from skerry.objects.cloud_calls import CallHead, CloudAnswer
from skerry.objects.enrolment import read_request
from skerry.objects.gateway_serving import SERVING_PATH, Served, served_obj
from skerry.objects.json import JsonObject, encode_object
from skerry.objects.meta import Revision, Stamp

BEGUN = datetime.now(UTC).replace(microsecond=0)
"""The real time, as TLS in these tests judges by the machine's clock."""
HOSTS = ["127.0.0.1", "169.254.20.11", "192.0.2.7"]
NO_WAIT_S = 30


def ms(moment: datetime) -> int:
    return round(moment.timestamp() * 1000)


class Place:
    """A gateway's directory, clock and store, and a cloud's authority."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.clock = ManualClock(wall_ms=ms(BEGUN))
        self.store = AsyncEdgeStore(MemoryEdgeStore(incarnation="i", clock=self.clock))
        self.authority = new_authority(name="skerry", now=BEGUN)
        self.revision = 0
        self.served = self.begun()
        make_missing(directory, self.served.names)
        self.own = (directory / CA_FILE).read_text()

    def begun(self) -> ServedCertificates:
        return ServedCertificates(self.directory, self.store, self.clock, hosts=HOSTS)

    async def trust(self, *authorities: Authority) -> None:
        pem = "".join(each.pem for each in authorities)
        body: JsonObject = {"metadata": {"name": TRUST.name}, "data": {"ca.crt": pem}}
        self.revision += 1
        held = Held(key=TRUST, stamp=Stamp("u", Revision(self.revision)), body=encode_object(body))
        await self.store.apply(EdgeBatch(puts=(held,)))

    def sign(self, csr_pem: str) -> Served:
        now = datetime.fromtimestamp(self.clock.wall_ms() / 1000, UTC)
        pem = sign_serving(self.authority, csr_pem, user="system:node:g1", groups=["system:nodes"], now=now)
        return Served(certificate_pem=pem, authority_pem=self.authority.pem)

    def signed(self) -> None:
        request = self.served.request()
        assert request is not None
        self.served.keep(request, self.sign(request.csr_pem))

    def is_shown(self, host: str = "169.254.20.11") -> bool:
        """The cloud's, as a client with nothing but the cloud's authority finds it."""
        return _accepted(self.served.context(host), self.authority.pem, host)


def _accepted(server: ssl.SSLContext, authority_pem: str, host: str) -> bool:
    client = ssl.create_default_context(cadata=authority_pem)
    client.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    from_server, from_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    asks = client.wrap_bio(from_server, from_client, server_hostname=host)
    answers = server.wrap_bio(from_client, from_server, server_side=True)
    for _ in range(6):
        for side in (asks, answers):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
            except ssl.SSLError:
                return False
    return True


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


async def test_before_the_first_link_pods_know_the_gateways_own_authority(place: Place) -> None:
    assert place.served.authority("169.254.20.11") == place.own
    assert not place.is_shown() and place.served.is_due
    assert _accepted(place.served.context("169.254.20.11"), place.own, "169.254.20.11")


async def test_before_anything_is_made_there_is_no_authority(tmp_path: Path) -> None:
    clock = ManualClock()
    store = AsyncEdgeStore(MemoryEdgeStore(incarnation="i", clock=clock))
    served = ServedCertificates(tmp_path, store, clock, hosts=HOSTS)
    assert served.authority("127.0.0.1") == "" and served.request() is None


async def test_what_the_cloud_signed_is_shown_at_the_machines_own_addresses_and_kept(place: Place) -> None:
    await place.trust(place.authority)
    place.signed()
    assert place.is_shown() and place.is_shown("127.0.0.1") and not place.served.is_due
    assert [place.served.authority(host) for host in HOSTS] == ["", "", place.own]
    assert not place.is_shown("192.0.2.7"), "others may ask there, and the cloud does not sign for it"
    place.served = place.begun()
    assert place.is_shown() and place.served.authority("169.254.20.11") == ""


async def test_people_on_the_gateway_check_either_by_the_file(place: Place) -> None:
    await place.trust(place.authority)
    place.signed()
    assert await place.served.make() is False
    both = (place.directory / CA_FILE).read_text()
    assert both == place.own + place.authority.pem
    for host in HOSTS:
        assert _accepted(place.served.context(host), both, host if host != "192.0.2.7" else "127.0.0.1")


async def test_until_pods_are_told_of_that_authority_the_own_one_is_shown(place: Place) -> None:
    place.signed()
    assert not place.is_shown() and place.served.authority("127.0.0.1") == place.own
    await place.trust(place.authority)
    assert place.is_shown()


@pytest.mark.parametrize("year", [1970, 2300])
async def test_a_clock_by_which_nobody_could_check_it_has_the_own_one_shown(place: Place, year: int) -> None:
    await place.trust(place.authority)
    place.signed()
    place.clock.step_wall(ms(datetime(year, 1, 2, tzinfo=UTC)) - place.clock.wall_ms())
    assert place.served.authority("169.254.20.11") == place.own
    assert _accepted(place.served.context("169.254.20.11"), place.own, "169.254.20.11")
    place.clock.step_wall(ms(BEGUN + timedelta(hours=1)) - place.clock.wall_ms())
    assert place.is_shown() and place.served.authority("169.254.20.11") == ""


async def test_a_year_alone_goes_over_to_the_own_one_with_pods_told_before(place: Place) -> None:
    await place.trust(place.authority)
    place.signed()
    place.clock.step_wall(ms(BEGUN + timedelta(days=250)) - place.clock.wall_ms())
    assert place.served.is_due and place.served.authority("127.0.0.1") == "", "there is time to renew it"
    place.clock.step_wall(ms(BEGUN + timedelta(days=320)) - place.clock.wall_ms())
    assert place.served.authority("127.0.0.1") == place.own, "that is what is shown next"
    place.clock.step_wall(ms(BEGUN + timedelta(days=366)) - place.clock.wall_ms())
    assert _accepted(place.served.context("127.0.0.1"), place.own, "127.0.0.1")


async def test_another_authority_of_the_cloud_makes_it_due_and_a_retired_one_ends_it(place: Place) -> None:
    await place.trust(place.authority)
    place.signed()
    newer = new_authority(name="skerry", now=BEGUN)
    await place.trust(newer, place.authority)
    assert place.served.is_due and place.is_shown() and place.served.authority("127.0.0.1") == ""
    await place.trust(newer)
    assert place.served.authority("127.0.0.1") == place.own
    assert not _accepted(place.served.context("127.0.0.1"), place.authority.pem, "127.0.0.1")


async def test_a_damaged_file_is_as_none(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    await place.trust(place.authority)
    place.signed()
    path = place.directory / CLOUD_FILE
    path.write_text(path.read_text()[:700])
    with caplog.at_level("WARNING"):
        place.served = place.begun()
    assert place.served.is_due and place.served.authority("127.0.0.1") == place.own
    assert "can't be used" in caplog.text


async def test_an_answer_that_is_no_certificate_is_not_kept(place: Place) -> None:
    request = place.served.request()
    assert request is not None
    for pem in ("", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"):
        with pytest.raises(BadRequestError):
            place.served.keep(request, Served(certificate_pem=pem, authority_pem=place.authority.pem))
    assert not (place.directory / CLOUD_FILE).exists()


class Cloud:
    """Signs as the real one does, or says what it was told to."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.asked = 0
        self.answer: CloudAnswer | None = None
        self.is_away = False

    async def ask(self, head: CallHead, body: bytes = b"") -> CloudAnswer:
        self.asked += 1
        assert (head.method, head.path, head.own) == ("POST", SERVING_PATH, True)
        if self.is_away:
            raise UnavailableError("the link is gone")
        csr_pem = read_request(body, with_token=False).csr_pem
        assert "169.254.20.11" in requested_names(csr_pem)
        return self.answer or CloudAnswer(code=201, body=encode_object(served_obj(self.place.sign(csr_pem))))


class Link:
    connected = False


async def until(level: object, task: asyncio.Task[None]) -> None:
    assert callable(level)
    async with asyncio.timeout(NO_WAIT_S):
        while not level():
            done, _ = await asyncio.wait((task,), timeout=0.01)
            assert not done, task


async def test_it_is_asked_for_with_the_first_session_and_pods_are_told(place: Place) -> None:
    cloud, link, changed = Cloud(place), Link(), list[str]()
    issuing = Issuing(
        IssuingParts(
            served=place.served,
            calls=cloud,
            store=place.store,
            hosts=HOSTS,
            connected=lambda: link.connected,
            changed=lambda: changed.append("told"),
        )
    )
    task = asyncio.create_task(issuing.run())
    try:
        issuing.poke()
        await asyncio.sleep(0)
        assert cloud.asked == 0
        link.connected, cloud.is_away = True, True
        issuing.poke()
        await until(lambda: cloud.asked == 1, task)
        assert not changed
        cloud.is_away = False
        issuing.poke()  # another session
        await until(lambda: cloud.asked == 2 and not place.served.is_due, task)
        assert not changed, "pods don't know its authority yet"
        await place.trust(place.authority)
        await until(lambda: changed == ["told"], task)
        assert place.is_shown()
        place.authority = new_authority(name="skerry", now=BEGUN)
        await place.trust(place.authority)
        await until(lambda: cloud.asked == 3 and place.is_shown(), task)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_a_cloud_that_refuses_or_is_too_old_leaves_what_there_is(
    place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    cloud = Cloud(place)
    issuing = Issuing(
        IssuingParts(
            served=place.served,
            calls=cloud,
            store=place.store,
            hosts=HOSTS,
            connected=lambda: True,
            changed=lambda: None,
        )
    )
    cloud.answer = CloudAnswer(code=404, body=b"{}")
    with caplog.at_level("INFO"):
        task = asyncio.create_task(issuing.run())
        try:
            await until(lambda: "too old" in caplog.text, task)
            cloud.answer = CloudAnswer(code=403, body=encode_object({"message": "not by this name"}))
            issuing.poke()
            await until(lambda: "reason=not by this name" in caplog.text, task)
            for body, why in ((b"[]", "is no object"), (b"[" * 100_000, "is not JSON")):
                cloud.answer = CloudAnswer(code=500, body=body)
                issuing.poke()
                await until(lambda why=why: why in caplog.text, task)
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
    assert place.served.authority("127.0.0.1") == place.own


async def test_a_session_that_begins_while_the_cloud_is_asked_has_it_asked_again(place: Place) -> None:
    cloud = Poking(place)
    cloud.is_away = True
    issuing = cloud.issuing = Issuing(
        IssuingParts(
            served=place.served,
            calls=cloud,
            store=place.store,
            hosts=HOSTS,
            connected=lambda: True,
            changed=lambda: None,
        )
    )
    task = asyncio.create_task(issuing.run())
    try:
        await until(lambda: cloud.asked == 2, task)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


class Poking(Cloud):
    """Another session begins during the first question."""

    issuing: Issuing | None = None

    async def ask(self, head: CallHead, body: bytes = b"") -> CloudAnswer:
        if self.issuing is not None and self.asked == 0:
            self.issuing.poke()
        return await super().ask(head, body)
