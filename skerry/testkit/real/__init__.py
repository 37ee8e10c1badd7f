"""The real backend of the test kit: real processes at real sites, joined by lines that can be cut and slowed.

`rig` is where its parts meet. Nothing here decides anything about the product: programs are started as a user would
start them and asked from outside.
"""
