"""What controllers run on: work queue, backoff, informers, manager."""
