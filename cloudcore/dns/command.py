"""`cloudcore dns`: the DNS server, in processes of its own; with or without a cloud beside it."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Sequence
from typing import Final

from cloudcore.dns.settings import DnsSettings, check_dns_settings
from skerry.activation import take_passed
from skerry.daemon import missing_library, start_logging
from skerry.errors import InvalidError, SkerryError
from skerry.settings import add_arguments, resolve

LOG: Final = logging.getLogger("cloudcore.dns")
PREFIX: Final = "SKERRY_DNS_"
"""Of its variables: it may run beside a cloudcore on one machine."""


def main(argv: Sequence[str]) -> int:
    """Run `cloudcore dns ...`; the exit code."""
    parser = argparse.ArgumentParser(
        prog="cloudcore dns",
        description="An authoritative DNS server: answers for the zones of a directory over UDP, TCP and TLS. "
        "SIGHUP or `skerry dns reload` reads them again, without a query lost.",
        epilog="Every flag is also a SKERRY_DNS_ variable and a key of the --config file; the flag wins. "
        "`skerry dns --help`: what asks a running server.",
    )
    add_arguments(parser, DnsSettings, prefix=PREFIX)
    try:
        settings = resolve(DnsSettings, vars(parser.parse_args(argv)), os.environ, prefix=PREFIX)
        check_dns_settings(settings)
        passed = take_passed(os.environ, os.getpid())
    except InvalidError as error:
        parser.error(str(error))
    start_logging(settings.log_level)
    try:
        from cloudcore.dns.supervisor import Supervisor  # with dnspython, after the arguments are known to be good

        Supervisor(settings, passed).run()
    except SkerryError as error:
        LOG.error("cloudcore dns stops: %s", error)
        return 1
    except ModuleNotFoundError as error:
        if not (said := missing_library(error, "cloudcore dns", "cloud")):
            raise
        sys.stderr.write(said + "\n")
        return 1
    return 0
