"""Leases of nodes."""
