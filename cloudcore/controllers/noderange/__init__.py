"""Ranges of addresses for the pods of each node."""
