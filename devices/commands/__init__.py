"""Commands that need driver code and no agent: entry points of `skerry.commands` (see `skerry.cli.plugged`)."""
