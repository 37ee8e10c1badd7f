"""`skerry dns ...`: what asks a running server over its unix socket, and what looks at zone files without one."""
