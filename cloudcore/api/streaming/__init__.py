"""Conversations with pods over the API: exec, attach and port-forward, in all forms in which clients have them."""
