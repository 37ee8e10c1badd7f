"""Readings on their way to places other than the cloud, as Devices' `pushMethod`s ask."""
