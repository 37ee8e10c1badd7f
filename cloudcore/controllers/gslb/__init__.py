"""Names that DNS answers for: what Gslbs, GlobalServices and DNSEndpoints come to, and the zones that have them."""
