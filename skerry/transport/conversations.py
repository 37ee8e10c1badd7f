"""An exec or attach between a client and a gateway: what goes from one to the other, and how it ends.

The client is a `Terminal`, in whatever form it came; the gateway is a pipe of messages
(`skerry.objects.pod_streams`). Keeps the credit of standard input alone. A crash ends the conversation: the process
on the gateway is hung up on.
"""

from __future__ import annotations

import asyncio
from typing import Literal, Protocol

from skerry.errors import BadRequestError, NotFoundError, ProtocolError, SkerryError, UnavailableError
from skerry.forms.channels import internal_error, status_of
from skerry.objects.json import JsonObject
from skerry.objects.pod_streams import (
    INPUT_BYTES_MAX,
    PIECE_BYTES_MAX,
    Begun,
    Exited,
    Input,
    InputEnded,
    InputRead,
    Message,
    Messages,
    Output,
    Resized,
    Session,
    encode,
)
from skerry.ports import Pipe
from skerry.waits import end_tasks


class Terminal(Protocol):
    """The client's side. Raises `UnavailableError` where it has gone."""

    async def receive(self) -> Input | InputEnded | Resized | None:
        """What the client does next; None when it has hung up."""
        ...

    async def output(self, channel: Literal[1, 2], data: bytes) -> None: ...

    async def finish(self, status: JsonObject) -> None:
        """How it ended, and the end of all channels."""
        ...


class RefusedByGatewayError(SkerryError):
    """The gateway does not begin: said as text, as a kubelet says it."""

    def __init__(self, message: str, *, code: int) -> None:
        super().__init__(message)
        self.code = code


class Conversation:
    """One exec or attach, on a pipe that was opened for it."""

    def __init__(self, pipe: Pipe, session: Session) -> None:
        self._pipe = pipe
        self._session = session
        self._messages = Messages()
        self._arrived: list[Message] = []
        self._credit = INPUT_BYTES_MAX
        self._more_credit = asyncio.Event()

    async def begin(self) -> None:
        """Until the gateway has begun. Raises `RefusedByGatewayError` where it does not, and `UnavailableError` where
        it can't be asked."""
        try:
            message = await self._next()
        except NotFoundError as error:
            raise RefusedByGatewayError(str(error), code=404) from error
        except BadRequestError as error:
            raise RefusedByGatewayError(str(error), code=500) from error
        if not isinstance(message, Begun):
            raise UnavailableError("the gateway's answer makes no sense")

    async def run(self, terminal: Terminal) -> Exited | None:
        """Until it ends; None when the client hung up before."""
        coming = asyncio.create_task(self._take_in(terminal))
        going = asyncio.create_task(self._give_out(terminal))
        try:
            await asyncio.wait((coming, going), return_when=asyncio.FIRST_COMPLETED)
            if not going.done():
                await coming
                return None
            return await going
        finally:
            await end_tasks(coming, going)

    async def _give_out(self, terminal: Terminal) -> Exited:
        """Everything that the process says, and how it ended."""
        exited: Exited | None = None
        status: JsonObject
        try:
            while exited is None:
                match await self._next():
                    case Output() as output:
                        await terminal.output(output.channel, output.data)
                    case InputRead(count=count):
                        self._credit += count
                        self._more_credit.set()
                    case Exited() as message:
                        exited = message
                    case None:
                        raise UnavailableError("the gateway broke off")
                    case _:
                        pass
            status = status_of(exited, self._session.command)
        except (ProtocolError, UnavailableError, BadRequestError, NotFoundError) as error:
            exited = Exited(exit_code=0, failure=str(error))
            status = internal_error(str(error))
        await terminal.finish(status)
        return exited

    async def _take_in(self, terminal: Terminal) -> None:
        """Everything that the client does, until it hangs up."""
        while (event := await terminal.receive()) is not None:
            if isinstance(event, Input):
                await self._feed(event.data)
            else:
                await self._send(event)

    async def _feed(self, data: bytes) -> None:
        at = 0
        while at < len(data):
            while self._credit == 0:
                self._more_credit.clear()
                await self._more_credit.wait()
            piece = data[at : at + min(self._credit, PIECE_BYTES_MAX)]
            self._credit -= len(piece)
            at += len(piece)
            await self._send(Input(data=piece))

    async def _send(self, message: Message) -> None:
        try:
            await self._pipe.write(encode(message))
        except SkerryError:
            # Whoever reads from the gateway hears the same, and says it to the client.
            await asyncio.get_running_loop().create_future()

    async def _next(self) -> Message | None:
        """The gateway's next message; None at the end."""
        while not self._arrived:
            data = await self._pipe.read()
            if not data:
                return None
            self._arrived = self._messages.receive(data)
        return self._arrived.pop(0)
