"""Jobs that have ended go after a while."""
