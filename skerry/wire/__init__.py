"""Frames and their bytes: what travels between cloud and edge. Pure."""
