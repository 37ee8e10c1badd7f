"""What a container may ask for and be given. Pure.

(`pkg/apis/core/validation`: ValidateContainerResourceRequirements, validateContainerResourceFieldSelector.)
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from skerry.errors import Cause, InvalidError
from skerry.objects.json import Json, JsonObject, map_at, str_at
from skerry.objects.names import qualified_name_faults
from skerry.objects.quantity import Quantity, parse_quantity
from skerry.validation.faults import forbidden, invalid, required, unsupported

HUGE: Final = "hugepages-"
_COMPUTE: Final = ("cpu", "memory")
_OF_CONTAINERS: Final = ("cpu", "memory", "ephemeral-storage")
_STANDARD: Final = frozenset(
    {
        *_OF_CONTAINERS,
        *(f"{which}.{name}" for which in ("requests", "limits") for name in _OF_CONTAINERS),
        *("pods", "resourcequotas", "services", "replicationcontrollers", "secrets", "configmaps"),
        *("persistentvolumeclaims", "storage", "requests.storage", "services.nodeports", "services.loadbalancers"),
    }
)
"""Names without a domain that mean something somewhere."""
_NANO: Final = 10**9
_REFERRED: Final = tuple(sorted(f"{which}.{name}" for which in ("limits", "requests") for name in _OF_CONTAINERS))
_BYTES: Final = ("1", "1k", "1M", "1G", "1T", "1P", "1E", "1Ki", "1Mi", "1Gi", "1Ti", "1Pi", "1Ei")
_DIVISORS: Final = {"cpu": ("1m", "1"), "memory": _BYTES, "ephemeral-storage": _BYTES}


def validate_resources(field: str, resources: JsonObject) -> Iterator[Cause]:
    """The faults of a container's `resources`."""
    limits, requests = map_at(resources, "limits"), map_at(resources, "requests")
    for where, amounts in (("limits", limits), ("requests", requests)):
        for name, amount in amounts.items():
            here = f"{field}.{where}[{name}]"
            yield from _validate_name(here, name)
            quantity = _quantity(amount)
            if quantity is not None:
                yield from _validate_amount(field, here, name, quantity)
    for name, amount in requests.items():
        yield from _validate_request(field, name, amount, limits)
    names = {*limits, *requests}
    if any(name.startswith(HUGE) for name in names) and names.isdisjoint(_COMPUTE):
        yield forbidden(field, "HugePages require cpu or memory")


def validate_resource_field(field: str, ref: JsonObject, *, of_volume: bool) -> Iterator[Cause]:
    """A `resourceFieldRef`: which amount of a container somebody wants to see, and in which unit."""
    resource = str_at(ref, "resource")
    if of_volume and not str_at(ref, "containerName"):
        yield required(f"{field}.containerName")
    _, _, name = resource.partition(".")
    if not resource:
        yield required(f"{field}.resource")
    elif resource not in _REFERRED and not (resource.startswith(("limits.", "requests.")) and name.startswith(HUGE)):
        yield unsupported(f"{field}.resource", resource, _REFERRED)
    divisor = _quantity(ref.get("divisor"))
    units = _DIVISORS.get(name, _BYTES)
    if divisor is not None and divisor.nano and divisor.nano not in {parse_quantity(unit).nano for unit in units}:
        words = " and ".join(units) if len(units) == 2 else ", ".join(units)
        text = f"only divisor's values {words} are supported with the {name} resource"
        yield invalid(f"{field}.divisor", resource, text)


def _validate_name(field: str, name: str) -> Iterator[Cause]:
    faults = qualified_name_faults(name)
    yield from (invalid(field, name, fault) for fault in faults)
    if faults or name in _OF_CONTAINERS or name.startswith(HUGE):
        return
    if "/" not in name:
        if name not in _STANDARD and not name.startswith(f"requests.{HUGE}"):
            yield invalid(field, name, "must be a standard resource type or fully qualified")
        yield invalid(field, name, "must be a standard resource for containers")
    elif not _is_native(name) and (name.startswith("requests.") or qualified_name_faults(f"requests.{name}")):
        yield invalid(field, name, "doesn't follow extended resource name standard")


def _validate_amount(field: str, here: str, name: str, quantity: Quantity) -> Iterator[Cause]:
    if quantity.nano < 0:
        yield invalid(here, str(quantity), "must be greater than or equal to 0")
    elif not _is_native(name) and quantity.nano % _NANO:
        yield invalid(here, str(quantity), "must be an integer")
    elif name.startswith(HUGE):
        page = _quantity(name.removeprefix(HUGE))
        if page is None or not page.nano or quantity.nano % page.nano:
            yield invalid(field, str(quantity), f"{quantity} is not positive integer multiple of {name}")


def _validate_request(field: str, name: str, amount: Json, limits: JsonObject) -> Iterator[Cause]:
    request, limit = _quantity(amount), _quantity(limits.get(name))
    is_fixed = not _is_native(name) or name.startswith(HUGE)
    if request is None:
        return
    if limit is None:
        if is_fixed and name not in limits:
            yield required(f"{field}.limits", "Limit must be set for non overcommitable resources")
    elif is_fixed and request.nano != limit.nano:
        yield invalid(f"{field}.requests", amount, f"must be equal to {name} limit of {limits[name]}")
    elif request.nano > limit.nano:
        yield invalid(f"{field}.requests", amount, f"must be less than or equal to {name} limit of {limits[name]}")


def _is_native(name: str) -> bool:
    return "/" not in name or "kubernetes.io/" in name


def _quantity(amount: Json) -> Quantity | None:
    if not isinstance(amount, str):
        return None
    try:
        return parse_quantity(amount)
    except InvalidError:
        return None  # decoding has refused it already
