"""What a pod of the proxy's tests runs: an HTTP server of the standard library alone."""

from __future__ import annotations

import base64
import hashlib
import json
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") == "chunked":
            body = b""
            while size := int(self.rfile.readline(), 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            return body
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def _say(self, body: bytes, code: int = 200, content_type: str = "text/plain", **headers: str) -> None:
        self.send_response(code)
        for name, value in {"Content-Type": content_type, **headers}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def answer(self) -> None:
        body = self._body()
        path = self.path.partition("?")[0]
        if path == "/echo":
            self._say(body)
        elif path == "/redirect":
            self._say(b"", 302, Location="/elsewhere?x=1")
        elif path == "/page":
            self._say(b'<html><a href="/linked">x</a></html>', content_type="text/html")
        elif path == "/slow":
            self._slow()
        elif path == "/socket":
            self._socket()
        else:
            said = {"method": self.command, "path": self.path, "headers": dict(self.headers)}
            self._say(json.dumps(said).encode(), content_type="application/json")

    def _slow(self) -> None:
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for piece in (b"first\n", b"last\n"):
            self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
            time.sleep(3)
        self.wfile.write(b"0\r\n\r\n")

    def _socket(self) -> None:
        """A WebSocket that gives back what it gets (RFC 6455)."""
        magic = self.headers["Sec-WebSocket-Key"] + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
        self.send_response(101)
        self.send_header("Connection", "Upgrade")
        self.send_header("Upgrade", "websocket")
        self.send_header("Sec-WebSocket-Accept", base64.b64encode(hashlib.sha1(magic.encode()).digest()).decode())
        self.end_headers()
        self.close_connection = True
        while len(head := self.rfile.read(2)) == 2:
            size = head[1] & 127
            if size >= 126:
                size = int.from_bytes(self.rfile.read(2 if size == 126 else 8), "big")
            mask = self.rfile.read(4)
            data = self.rfile.read(size)
            plain = (int.from_bytes(data, "big") ^ int.from_bytes((mask * (size // 4 + 1))[:size], "big")).to_bytes(
                size, "big"
            )
            if size < 126:
                length = bytes((size,))
            elif size < 65_536:
                length = b"\x7e" + size.to_bytes(2, "big")
            else:
                length = b"\x7f" + size.to_bytes(8, "big")
            self.wfile.write(head[:1] + length + plain)
            if head[0] & 15 == 8:
                return


for method in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"):
    setattr(Handler, f"do_{method}", Handler.answer)

if __name__ == "__main__":
    print("serving", flush=True)
    ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
