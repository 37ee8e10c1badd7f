"""What the kernel counted of one TCP connection, as bytes of IP packets: Linux's TCP_INFO.

Counted are segments sent and received, repetitions and bare acknowledgements included, with 20 bytes of TCP header
and the 12 of its timestamps, and the header of IP; frames of the link below (Ethernet, PPP) are not. Keeps nothing.

Source: linux/tcp.h, struct tcp_info, since Linux 4.19.
"""

from __future__ import annotations

import socket
import struct
from typing import Final

_TCP_HEADER: Final = 20 + 12
_IP_HEADERS: Final = {socket.AF_INET: 20, socket.AF_INET6: 40}
_INFO_BYTES: Final = 216
_SEGMENTS_AT: Final = 136
"""tcpi_segs_out, tcpi_segs_in: 32 bits each, after tcpi_bytes_acked and tcpi_bytes_received."""
_RECEIVED_AT: Final = 128
_SENT_AT: Final = 200
"""tcpi_bytes_sent: repetitions included."""


def wire_bytes_of(sock: socket.socket) -> tuple[int, int] | None:
    """(sent, received); None when the socket is closed, or the kernel is too old to say."""
    header = _IP_HEADERS.get(socket.AddressFamily(sock.family))
    if header is None or not hasattr(socket, "TCP_INFO"):
        return None
    try:
        info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _INFO_BYTES)
    except OSError:
        return None
    if len(info) < _SENT_AT + 8:
        return None
    (received,) = struct.unpack_from("Q", info, _RECEIVED_AT)
    segments_out, segments_in = struct.unpack_from("II", info, _SEGMENTS_AT)
    (sent,) = struct.unpack_from("Q", info, _SENT_AT)
    each = header + _TCP_HEADER
    return sent + segments_out * each, received + segments_in * each
