"""What holds for all tests: how Hypothesis looks for counter-examples.

Which tests run is a matter of markers (`slow`, `containers`, see pyproject.toml) and of `./tools/test`.
"""

from hypothesis import settings

# No deadline: a busy machine makes an example slow, not wrong. The blob printed with a failure replays it anywhere.
settings.register_profile("project", deadline=None, print_blob=True)
settings.load_profile("project")
