"""What happens when links, power, clocks and processes fail: the cases that nobody tests, with a figure each."""
