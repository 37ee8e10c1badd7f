"""What HAProxy says of itself, in the words of its versions."""

from __future__ import annotations

import pytest

from edgecore.network.balancing import Backend
from edgecore.network.ingress.process import Processes, fault_in, processes_in, servers_in, version_in
from skerry.errors import UnavailableError

NEW = """#<PID>          <type>          <reloads>       <uptime>        <version>
30200           master          2 [failed: 0]   0d00h00m02s     2.6.12-1+deb12u4
# workers
30203           worker          0               0d00h00m01s     2.6.12-1+deb12u4
# old workers
30100           worker          1               0d00h00m01s     2.6.12-1+deb12u4
# programs

"""
OLD = """#<PID>          <type>          <relative PID>  <reloads>       <uptime>        <version>
1162            master          0               5               0d00h02m07s     2.4.0
# workers
1271            worker          1               0               0d00h00m00s     2.4.0
# old workers
1233            worker          [was: 1]        3               0d00h00m43s     2.4.0
"""
STATE = (
    "1\n# be_id be_name srv_id srv_name srv_addr srv_op_state srv_admin_state srv_uweight srv_iweight srv_time "
    "a b c d e f g srv_fqdn srv_port srvrecord h i j k l\n"
    "4 d:web:1 1 s1 10.0.0.1 2 0 1 1 4 6 3 4 6 0 0 0 - 8080 - 0 0 - - 0\n"
    "4 d:web:1 2 s2 127.0.0.1 0 5 1 1 4 1 0 0 14 0 0 0 - 1 - 0 0 - - 0\n"
)


@pytest.mark.parametrize(("text", "master", "worker"), [(NEW, 30200, 30203), (OLD, 1162, 1271)])
def test_the_newest_worker_is_told_from_those_that_end(text: str, master: int, worker: int):
    assert processes_in(text) == Processes(master=master, workers=(worker,))


def test_a_master_that_says_nothing_is_none():
    assert processes_in("") is None


def test_servers_that_are_away_are_nobody():
    assert servers_in(STATE) == {"d:web:1": (Backend(address="10.0.0.1", port=8080), None)}


def test_the_reason_is_the_first_alert():
    said = "[NOTICE]   (7) : New\n[ALERT]    (7) : Starting frontend http: cannot bind socket (Address in use)\n"
    assert fault_in(said) == "Starting frontend http: cannot bind socket (Address in use)"
    assert fault_in("") == ""


def test_a_program_that_is_too_old_is_refused_by_its_version():
    assert version_in("HAProxy version 2.6.12-1+deb12u4 2026/01/01 - https://haproxy.org/\n") == "2.6.12-1+deb12u4"
    assert version_in("HA-Proxy version 2.4.0-6c0a1ba 2021/05/14") == "2.4.0-6c0a1ba"
    with pytest.raises(UnavailableError, match=r"haproxy 2\.2\.9 is too old: install 2\.4 or newer"):
        version_in("HA-Proxy version 2.2.9 2021/01/01")
    with pytest.raises(UnavailableError, match="says no version"):
        version_in("command not found")
