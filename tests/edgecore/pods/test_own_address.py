"""By which address a gateway is reached while it has no way out."""

from __future__ import annotations

from edgecore.pods.own_address import NO_ROUTE, or_known, own_addresses, site_address


def test_this_machine_has_one() -> None:
    (address,) = own_addresses()
    assert address.count(".") == 3


def test_without_a_way_out_an_interface_of_the_site_says_it() -> None:
    held = {"lo": "127.0.0.1", "usb0": "169.254.3.4", "wlan0": "", "eth0": "10.1.2.3", "eth1": "10.9.9.9"}
    assert site_address([*held], held.__getitem__) == ("10.1.2.3",)
    assert site_address(["lo", "usb0", "wlan0"], held.__getitem__) == ()


def test_without_any_the_last_one_counts_and_never_beside_another() -> None:
    assert or_known(NO_ROUTE, "10.1.2.3") == ("10.1.2.3",)
    assert or_known(NO_ROUTE, None), "that of an interface, or none at all"
    assert or_known(("10.1.2.4",), "10.1.2.3") == ("10.1.2.4",)
