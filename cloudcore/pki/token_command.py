"""`cloudcore token-key`: which keys sign ServiceAccount tokens, a new one, and the end of an old one.

`rotate` makes a key that signs from the next start of cloudcore on; what was signed before stays good, and gateways
and others who read `/openid/v1/jwks` learn of the new key. `retire` ends a former key: with it end all tokens that it
signed, of pods that have not had another since. Keeps DIR/pki/sa.key.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from cloudcore.pki.directory import open_pki, retire_token_key, rotate_token_keys
from cloudcore.pki.token_keys import TokenKeys
from skerry.errors import SkerryError
from skerry.objects.account_tokens import algorithm_of


def main(argv: Sequence[str]) -> int:
    """Run `cloudcore token-key ...`; the exit code."""
    parser = argparse.ArgumentParser(prog="cloudcore token-key", description="The keys of ServiceAccount tokens.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, text in (
        ("list", "show the keys"),
        ("rotate", "make a key that signs from the next start on; what the old one signed stays good"),
        ("retire", "end a former key, by its id, and all tokens that it signed"),
    ):
        command = commands.add_parser(name, help=text, description=text)
        command.add_argument("--data", type=Path, required=True, help="cloudcore's directory")
        if name == "rotate":
            command.add_argument(
                "--algorithm",
                choices=("ES256", "RS256"),
                default="ES256",
                help="RS256: for relying parties that know no other (default: %(default)s)",
            )
        if name == "retire":
            command.add_argument("id", help="as `cloudcore token-key list` shows it")
    arguments = parser.parse_args(argv)
    try:
        sys.stdout.write(_run(arguments))
    except SkerryError as error:
        sys.stderr.write(f"cloudcore token-key {arguments.command}: {error}\n")
        return 1
    return 0


def _run(arguments: argparse.Namespace) -> str:
    match arguments.command:
        case "rotate":
            keys = rotate_token_keys(arguments.data, arguments.algorithm)
            return (
                f"key {keys.ids[0]} signs from the next start of cloudcore on; tokens by {keys.ids[1]} stay good "
                "until it is retired\n"
            )
        case "retire":
            retire_token_key(arguments.data, arguments.id)
            return f"tokens by key {arguments.id} are good no more, from the next start of cloudcore on\n"
        case _:
            return _listed(open_pki(arguments.data, now=None).token_keys)


def _listed(keys: TokenKeys) -> str:
    lines = [f"{'ID':<32}  {'STATE':<7}  ALGORITHM"]
    for name, key in zip(keys.ids, keys.public, strict=True):
        state = "signs" if name == keys.ids[0] else "former"
        lines.append(f"{name:<32}  {state:<7}  {algorithm_of(key)}")
    return "\n".join(lines) + "\n"
