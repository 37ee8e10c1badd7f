"""Which printer a kind has. Pure; built-in ones are in the files beside this one."""

from __future__ import annotations

from typing import Final

from skerry.forms.tables import (
    applications,
    cluster,
    commands,
    device_rules,
    devices,
    federation,
    gslb,
    multicluster_dns,
    pods,
    rules,
    services,
    sinks,
    workloads,
)
from skerry.forms.tables.custom import DEFAULT, PrinterColumn, custom_printer
from skerry.forms.tables.table import Printer
from skerry.objects.scheme import Kind

_PRINTERS: Final[dict[tuple[str, str], Printer]] = {
    ("", "Pod"): pods.POD,
    **workloads.PRINTERS,
    **cluster.PRINTERS,
    **services.PRINTERS,
    **devices.PRINTERS,
    **commands.PRINTERS,
    **sinks.PRINTERS,
    **device_rules.PRINTERS,
    **gslb.PRINTERS,
    **multicluster_dns.PRINTERS,
    **rules.PRINTERS,
    **applications.PRINTERS,
    **federation.PRINTERS,
}


def printer_of(kind: Kind, given: tuple[PrinterColumn, ...]) -> Printer:
    """The printer of a kind; `given` are the columns that its CustomResourceDefinition describes."""
    return custom_printer(given) if kind.custom else _PRINTERS.get((kind.group, kind.kind), DEFAULT)
