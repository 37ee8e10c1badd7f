"""`cloudcore`: the composition root, the only place where the real parts of the cloud meet.

Keeps DIR/cloud.db (the store), DIR/pki, DIR/admin.kubeconfig and DIR/endpoints.json. Parts run in one task group: a
part that crashes stops the process, with one line that says which and why; whoever supervises it starts it again,
and everything is read back from the store. SIGTERM and SIGINT stop it within seconds.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import resource
import sys
from collections.abc import Sequence
from typing import Final

from cloudcore.config import CloudSettings, check_settings
from skerry.daemon import leaves, missing_library, start_logging
from skerry.errors import InvalidError, SkerryError
from skerry.settings import add_arguments, resolve, suspects

LOG: Final = logging.getLogger("cloudcore")


def main(argv: Sequence[str] | None = None) -> None:
    """The console script."""
    try:
        _main(argv)
    except ModuleNotFoundError as error:
        if not (said := missing_library(error, "cloudcore", "cloud")):
            raise
        sys.exit(said)


def _main(argv: Sequence[str] | None) -> None:
    words = list(sys.argv[1:] if argv is None else argv)
    if words[:1] == ["ca"]:
        from cloudcore.pki import command  # of no use to a cloud that starts

        sys.exit(command.main(words[1:]))
    if words[:1] == ["token-key"]:
        from cloudcore.pki import token_command

        sys.exit(token_command.main(words[1:]))
    if words[:1] == ["dns"]:
        from cloudcore.dns import command as dns_command

        sys.exit(dns_command.main(words[1:]))
    parser = argparse.ArgumentParser(
        prog="cloudcore",
        description="Skerry's control plane in one process: API, store, controllers, scheduler and hub. "
        "kubectl and other Kubernetes clients work with DIR/admin.kubeconfig.",
        epilog="Every flag is also a SKERRY_ variable and a key of the --config file; the flag wins. "
        "`cloudcore ca --help`: the certificate authorities; `cloudcore token-key --help`: the keys of tokens; "
        "`cloudcore dns --help`: the DNS server.",
    )
    add_arguments(parser, CloudSettings)
    arguments = vars(parser.parse_args(words))
    try:
        settings = resolve(CloudSettings, arguments, os.environ)
        check_settings(settings)
    except InvalidError as error:
        parser.error(str(error))
    start_logging(settings.log_level)
    for line in suspects(CloudSettings, os.environ):
        LOG.warning("%s", line)
    sys.exit(run(settings))


def run(settings: CloudSettings) -> int:
    """Serve until told to stop; the exit code."""
    from cloudcore.cloud import serve  # the heavy imports, after the arguments are known to be good

    _raise_file_limit()
    try:
        asyncio.run(serve(settings))
    except (BaseExceptionGroup, SkerryError) as fault:
        for error in leaves(fault):
            _say(error)
        return 1
    return 0


def _raise_file_limit() -> None:
    """Each gateway and each watch is an open file; shells and systemd begin with 1,024 and allow far more."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _say(error: BaseException) -> None:
    if isinstance(error, SkerryError):
        LOG.error("cloudcore stops: %s", error)
    elif said := missing_library(error, "cloudcore", "cloud"):
        LOG.error("cloudcore stops: %s", said)
    else:
        LOG.error("cloudcore stops", exc_info=error)


if __name__ == "__main__":
    main()
