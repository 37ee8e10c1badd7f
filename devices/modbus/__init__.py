"""Modbus: registers, bus and driver."""
