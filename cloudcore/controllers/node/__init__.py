"""Nodes: marking those that new pods should not go to."""
