"""The code of `tools/run`: the whole gateway on one machine, from the processors to HAProxy.

- `options` (pure): the command line. `plan` (pure): which services it needs.
- `machine`: checks that they can run here. `fleet`: runs them and keeps them running. `docker`: the same with Compose.
- `folder`: a run's own folder. `status`: counts payments in the segments. `leftovers`: removes the segments at the
  end, or names those that stay.
- `stopping`: handles Ctrl-C. `screen` and `tail`: what the user sees.
"""
