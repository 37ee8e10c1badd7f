"""Join tokens come to an end."""

from cloudcore.controllers.jointoken.controller import KEPT_S, JoinTokenController
from skerry.objects.enrolment import JoinToken, token_secret
from skerry.objects.times import time_text
from tests.cloudcore.worlds import make_world


async def test_a_token_is_deleted_some_days_after_it_expired_and_other_secrets_stay():
    async with make_world() as world:
        controller = JoinTokenController(world.tools)
        token = JoinToken(id="0123456789", secret="ab" * 16, pin="A" * 43, node="eu-1")
        expires = time_text(world.clock.wall_ms() + 3_600_000)
        await world.create("secrets", token_secret(token, expires=expires, labels={}), "kube-system")
        for namespace, type_ in (("kube-system", "Opaque"), ("d", "skerry.dev/join-token")):
            await world.create("secrets", {"metadata": {"name": "other"}, "type": type_}, namespace)
        await world.settle(controller)
        assert world.names("secrets") == ["other", "join-token-0123456789", "other"]
        key = world.key("secrets", "join-token-0123456789", "kube-system")
        world.clock.advance(3600 + KEPT_S - 10)
        again_s = await controller.reconcile(key)
        assert again_s is not None and 0 < again_s <= 10
        world.clock.advance(10)
        assert await controller.reconcile(key) is None
        assert world.names("secrets") == ["other", "other"]
        assert await controller.reconcile(key) is None
