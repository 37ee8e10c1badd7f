"""Dialling the cloud, and the shell around the session."""
