"""How addresses are tried from outside, by the DNS servers and by gateways for them."""
