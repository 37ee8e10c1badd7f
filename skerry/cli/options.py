"""Options that many commands have, each said once."""

from __future__ import annotations

from typing import Final

import click

namespace_option: Final = click.option("-n", "--namespace", default="", help="Namespace (default: the context's).")
everywhere_option: Final = click.option("-A", "--all-namespaces", is_flag=True, help="In every namespace.")
form_option: Final = click.option("-o", "--output", "form", default="text", help="text, json, yaml or name.")
data_option: Final = click.option("-o", "--output", "form", default="text", help="text, json or yaml.")
table_option: Final = click.option("-o", "--output", "form", default="table", help="table, wide, json, yaml or name.")
