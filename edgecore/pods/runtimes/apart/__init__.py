"""Programs that live beside a container and without the agent: its supervisor, and commands in it.

They are run from this directory, as modules of a program of their own, and import no package of ours: a process for
each container is to cost less than 3 MB. Those that import nothing but what is built in are the agent's as well.
"""
