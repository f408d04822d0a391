"""Seeds that once found a bug, each with what it was. They are run with every test run.

A seed leads to the same run only as long as nothing else draws from its randomness, so an old one may have come to mean
another run. The test that belongs to each bug's own place is what holds it down; these are kept because they are cheap.
"""

REGRESSIONS: dict[int, str] = {}
