"""The session's state machines: how cloud and edge stay in step. Pure."""
