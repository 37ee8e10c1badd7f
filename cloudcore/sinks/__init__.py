"""Readings of the history, sent on to databases, brokers and services of others."""
