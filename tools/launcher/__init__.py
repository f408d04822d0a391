"""The code of `tools/run`: the whole gateway on one machine, from the processors to HAProxy.

`options` says what was asked for and `plan` what has to run for it (both pure); `machine` looks whether it can,
`fleet` runs it and keeps it running, `docker` does the same with Compose; `folder` is a run's own, `status` looks into
the segments, `leftovers` names or removes them in the end. `stopping` is how Ctrl-C is heeded, `screen` and `tail` are
what the person sees.
"""
