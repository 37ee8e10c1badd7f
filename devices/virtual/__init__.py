"""Devices that exist in memory: for trying models and manifests without hardware, and the fake form of `Driver`."""
