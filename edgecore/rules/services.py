"""HTTP services of applications on this gateway, asked for a rule. Keeps nothing.

Only the loopback address is asked, as in KubeEdge: which port is said by the rule's endpoint. The standard library's
client does it in threads of its own, a few at a time: it costs no memory that another client would.
"""

from __future__ import annotations

import asyncio
import http.client
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from skerry.errors import UnavailableError
from skerry.objects.rule_calls import CALL_BYTES_MAX, SERVICE_S_MAX, ServiceReply, ServiceRequest, end_to_end

HOST: Final = "127.0.0.1"
REQUESTS_MAX: Final = 4
"""At a time; the others wait."""
CONNECT_S_MAX: Final = 5.0


class Services:
    """See the module."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(max_workers=REQUESTS_MAX, thread_name_prefix="rule-services")

    async def ask(self, asked: ServiceRequest, body: bytes) -> ServiceReply:
        """Raises `UnavailableError` where there is no answer."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, _ask, asked, body)


def _ask(asked: ServiceRequest, body: bytes) -> ServiceReply:
    where = f"the service on port {asked.port} of the gateway"
    connection = http.client.HTTPConnection(HOST, asked.port, timeout=CONNECT_S_MAX)
    try:
        connection.connect()
        connection.sock.settimeout(SERVICE_S_MAX)
        names = {name.lower() for name, _ in asked.headers}
        connection.putrequest(asked.method, asked.target, skip_accept_encoding=True)
        for name, value in asked.headers:
            connection.putheader(name, value.encode("latin-1", "replace"))
        if "accept" not in names:
            connection.putheader("Accept", "*/*")
        connection.putheader("Content-Length", str(len(body)))
        connection.endheaders(body)
        response = connection.getresponse()
        data = response.read(CALL_BYTES_MAX + 1)
        if len(data) > CALL_BYTES_MAX:
            raise UnavailableError(f"{where} answers more than {CALL_BYTES_MAX} bytes")
        return ServiceReply(status=response.status, headers=end_to_end(response.getheaders()), body=data)
    except TimeoutError as error:
        raise UnavailableError(f"{where} does not answer in time") from error
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise UnavailableError(f"{where} can't be asked: {error or type(error).__name__}") from error
    finally:
        connection.close()
