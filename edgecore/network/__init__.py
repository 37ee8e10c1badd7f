"""Service names and addresses on the gateway."""
