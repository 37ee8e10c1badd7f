"""What every command of the tree has around it."""

from __future__ import annotations

import select
import signal
import socket

import click
from click.testing import CliRunner

from skerry.cli.target import Target, with_target


def test_a_command_that_waits_is_interrupted_now_and_then_so_that_it_sees_what_signals_it_missed() -> None:
    """Python notes a signal and goes on into the system call that it was about to make: one more ends that."""
    heard, told = socket.socketpair()
    told.setblocking(False)
    seen: list[bytes] = []

    @click.command()
    @with_target
    def waiting(target: Target) -> None:
        ready, _, _ = select.select([heard], [], [], 20)
        seen.append(heard.recv(1) if ready else b"")

    before = signal.set_wakeup_fd(told.fileno())
    try:
        assert CliRunner().invoke(waiting).exit_code == 0
    finally:
        signal.set_wakeup_fd(before)
        heard.close()
        told.close()
    assert seen == [bytes([signal.SIGURG])]
    assert signal.getsignal(signal.SIGURG) == signal.SIG_DFL
