"""The spine: one revisioned log, current objects, and the watch cache over them."""
