"""Edge applications: manifests that run in node groups, each with what is otherwise there."""
