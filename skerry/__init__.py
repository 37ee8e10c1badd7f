"""The shared kernel: what cloud and edge must agree on."""

from typing import Final

VERSION: Final = "0.1.0"
"""Of the distribution; `pyproject.toml` says the same, and a test holds them together."""
