"""Deployments: rolling from one template to the next through ReplicaSets."""
