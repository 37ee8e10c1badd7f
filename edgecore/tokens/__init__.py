"""Tokens of the ServiceAccounts of this gateway's pods."""
