"""How cloud and edge stay in step: pure machines; what they ask for is done by shells in the two cores."""
