"""The control plane: API, controllers, scheduler, hub, in one process on one store."""
