"""DaemonSets: one pod of a template on each node that it is for."""
