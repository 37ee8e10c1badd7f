"""The edge's memory in one SQLite file."""
