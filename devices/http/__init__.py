"""Devices that are asked over HTTP."""
