import socket
from pathlib import Path

from skerry.sdnotify import notify


def test_systemd_hears_that_the_service_is_ready(tmp_path: Path):
    path = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(path)
        assert notify({"NOTIFY_SOCKET": path}, READY="1", STATUS="serving")
        assert systemd.recv(100) == b"READY=1\nSTATUS=serving"


def test_an_abstract_socket_is_understood():
    name = f"@skerry-test-{id(object())}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind("\0" + name[1:])
        assert notify({"NOTIFY_SOCKET": name}, STOPPING="1")
        assert systemd.recv(100) == b"STOPPING=1"


def test_without_systemd_nothing_happens(tmp_path: Path):
    assert not notify({}, READY="1")
    assert not notify({"NOTIFY_SOCKET": str(tmp_path / "gone")}, READY="1")
