"""The Kubernetes-compatible HTTP API."""
