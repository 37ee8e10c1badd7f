"""What the spec of a claim may say, in a claim or in a pod's volume (`pkg/apis/core/validation`). Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from skerry.errors import BadRequestError, Cause, InvalidError
from skerry.objects.json import Json, JsonObject, map_at, str_at, strs_at
from skerry.objects.names import subdomain_faults
from skerry.objects.quantity import Quantity, canonical, parse_quantity
from skerry.objects.select import label_selector
from skerry.validation.faults import forbidden, invalid, named, one_of, required, unsupported

_MODES: Final = ("ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod")
VOLUME_MODES: Final = ("Block", "Filesystem")


def validate_claim_spec(field: str, spec: JsonObject) -> Iterator[Cause]:
    """Of a claim, or of the template of one in a pod's volume."""
    yield from access_modes(f"{field}.accessModes", spec, needed="at least 1 access mode is required")
    requested: Json = map_at(spec, "resources", "requests").get("storage")
    if requested is None:
        yield required(f"{field}.resources[storage]")
    else:
        yield from positive(f"{field}.resources[storage]", requested)
    if isinstance(spec.get("selector"), dict):
        try:
            label_selector(spec["selector"])
        except BadRequestError as error:
            yield invalid(f"{field}.selector", spec["selector"], str(error))
    yield from named(f"{field}.storageClassName", str_at(spec, "storageClassName"), subdomain_faults, needed=False)
    yield from one_of(f"{field}.volumeMode", str_at(spec, "volumeMode"), VOLUME_MODES, needed=False)


def access_modes(field: str, spec: JsonObject, *, needed: str) -> Iterator[Cause]:
    modes = strs_at(spec, "accessModes")
    if not modes:
        yield required(field, needed)
    for mode in modes:
        if mode not in _MODES:
            yield unsupported(field, mode, _MODES)
    if "ReadWriteOncePod" in modes and len({*modes}) > 1:
        yield forbidden(field, "may not use ReadWriteOncePod with other access modes")


def quantity_of(amount: Json) -> Quantity | None:
    if not isinstance(amount, str | int | float) or isinstance(amount, bool):
        return None
    try:
        return parse_quantity(canonical(amount))
    except InvalidError:
        return None  # decoding has refused it already


def positive(field: str, amount: Json) -> Iterator[Cause]:
    quantity = quantity_of(amount)
    if quantity is not None and quantity.nano <= 0:
        yield invalid(field, amount, "must be greater than zero")
