"""Forms of answers of the Kubernetes API, for all that serve it: Status objects, tables, discovery. Pure."""
