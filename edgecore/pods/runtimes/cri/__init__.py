"""Containers through the Container Runtime Interface, version 1: containerd, CRI-O."""
