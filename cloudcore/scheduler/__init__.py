"""Which node runs a pod: filters, scores, binding."""
