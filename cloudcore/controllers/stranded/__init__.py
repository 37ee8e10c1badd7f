"""Pods of Nodes that were deleted."""
