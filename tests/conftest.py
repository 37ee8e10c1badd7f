"""What holds for all tests: Hypothesis searches the same examples in every run, however slow the machine is.

A run fails for a change of the code, never for its luck or its neighbours. New examples are searched with
`pytest --hypothesis-profile search`; what that finds is written down as an `@example` or a test.
"""

from __future__ import annotations

from hypothesis import HealthCheck, settings

settings.register_profile(
    "repeatable",
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.register_profile("search", deadline=None, suppress_health_check=[HealthCheck.too_slow], max_examples=2000)
settings.load_profile("repeatable")
