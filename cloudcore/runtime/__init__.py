"""What every controller stands on: work queue, backoff, informer, manager, and the events they tell people."""
