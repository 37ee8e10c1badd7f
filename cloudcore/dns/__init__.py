"""The authoritative DNS server: a pure core that answers packets, and processes that carry them; `cloudcore dns`.

`zone`, `lookup`, `assembly`, `options`, `cookies`, `limiter`, `replies` and `responder` are pure, on messages of
`skerry.dns`. `zonefile` reads and writes zones with dnspython. `datagrams`, `streams`, `sockets`, `processes` and
`supervisor` are the shell.
"""
