"""Device twins on this gateway: merge, and the keeper that acts on it."""
