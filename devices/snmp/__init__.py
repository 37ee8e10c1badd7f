"""Devices that are asked over SNMP."""
