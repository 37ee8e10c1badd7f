"""Suites that run on anybody's manifests: what an app does when the link, the power or the cloud goes."""
