"""Ingresses: where they are reached, as their gateways tell it."""
