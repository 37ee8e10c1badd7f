"""Tokens of Secrets, and the keys by which gateways know tokens."""
