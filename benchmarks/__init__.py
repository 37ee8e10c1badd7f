"""What Skerry promises to cost, measured: one file a budget."""
