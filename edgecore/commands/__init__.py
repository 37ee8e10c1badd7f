"""Commands from the cloud: each is begun at most once on this gateway, and its end is told."""
