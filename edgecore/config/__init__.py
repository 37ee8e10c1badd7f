"""The settings of `edgecore`, read once, in `main`: what may be set, and by subject what follows from it."""
