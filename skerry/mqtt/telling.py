"""What is retained, told to those who subscribe later: a portion at a time, as fast as each client reads.

Ten thousand retained messages are more than a connection holds, and 256 subscriptions of one packet may each want all
of them. So a subscription is told what was retained when it was made portion by portion; what is published meanwhile
it hears as usual, and is not told again.

Pure. What is yet to be told is each session's, and for a session that is kept a mark on the subscription's row: after
a crash such a subscription is told everything once more. Source: MQTT 5.0, sections 3.3.1.3 and 3.8.3.1.
"""

from __future__ import annotations

from typing import Final

from skerry.mqtt.kept import Subscription
from skerry.mqtt.ledger import Ledger
from skerry.mqtt.limits import Limits
from skerry.mqtt.outbound import Outbound
from skerry.mqtt.routing import Retained
from skerry.mqtt.session import Session, Telling
from skerry.mqtt.topics import shared

PORTION_BYTES: Final = 64 * 1024
"""Told at once."""
LOOK_BYTES: Final = 8
"""Of a portion, what it costs to look at one retained topic: a look at all of 10,000 is a portion of its own."""


class Teller:
    """See the module."""

    def __init__(self, limits: Limits, retained: Retained, ledger: Ledger, out: Outbound) -> None:
        self.behind: dict[int, Session] = {}
        """By connection, who is yet to be told something."""
        self._limits = limits
        self._retained = retained
        self._ledger = ledger
        self._out = out

    def begin(self, session: Session, subscription: Subscription, *, new: bool) -> None:
        """It was made, or made again: then it is told from the start."""
        wanted = subscription.wanted
        session.tellings.pop(wanted.filter, None)
        if shared(wanted.filter)[0] or wanted.retain_handling == 2 or (wanted.retain_handling == 1 and not new):
            return
        if len(self._retained):
            session.tellings[wanted.filter] = Telling(until=self._retained.newest)
            self.resume(session)

    def resume(self, session: Session) -> None:
        """Its client is there."""
        if session.tellings and session.connection is not None:
            self.behind[session.connection.number] = session

    def gone(self, number: int) -> None:
        """A connection has ended."""
        self.behind.pop(number, None)

    def go_on(self, number: int, now_s: float) -> bool:
        """Tell a portion, to a client that has room for it; whether there was something to do. A client that has to
        acknowledge first is told more when it has."""
        session = self.behind[number]
        left = PORTION_BYTES
        while session.tellings and left > 0:
            filter, telling = next(iter(session.tellings.items()))
            if filter in session.hushed or filter not in session.subscriptions:
                self._done(session, filter)
            elif telling.topics is None:
                telling.topics = self._retained.topics(shared(filter)[1])[::-1]
                left -= LOOK_BYTES * len(self._retained)
            elif not telling.topics:
                self._done(session, filter)
            elif len(session.queue) >= self._limits.inflight:
                break
            else:
                left -= self._tell(session, session.subscriptions[filter], telling.topics.pop(), telling.until, now_s)
        if not session.tellings:
            self.gone(number)
        return left < PORTION_BYTES

    def _tell(self, session: Session, subscription: Subscription, topic: str, until: int, now_s: float) -> int:
        wanted = subscription.wanted
        message = self._retained.get(topic, until, now_s)
        if message is None or (wanted.no_local and message.origin == session.client):
            return LOOK_BYTES
        ids = (subscription.identifier,) if subscription.identifier else ()
        self._out.deliver(
            session, message, qos=min(wanted.qos, message.qos), retain=True, ids=ids, now_s=now_s, droppable=False
        )
        return message.size

    def _done(self, session: Session, filter: str) -> None:
        del session.tellings[filter]
        self._ledger.subscription(session, filter)
