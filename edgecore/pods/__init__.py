"""Pods on this gateway: plan, workers, volumes, logs, runtimes."""
