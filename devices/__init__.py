"""Drivers for real devices, and the bus that keeps them honest."""
