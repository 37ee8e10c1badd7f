"""Who may do what: role based access control, and the narrow view of a node."""
