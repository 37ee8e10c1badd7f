"""Node groups: which nodes are in which."""
