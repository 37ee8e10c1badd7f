"""Eviction of pods by taints of their nodes."""
