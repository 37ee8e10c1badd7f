"""CronJobs: Jobs that begin at times of day."""
