"""Volumes: binding claims to them, making and reclaiming them, and keeping those in use."""
