"""The agent put together, part by part: those first that pods need to run again."""
