"""The code of `tools/run`: the whole gateway on one machine, from the processors to HAProxy.

`options` says what was asked for, `plan` what has to run for it (both pure); `fleet` runs it and keeps it running,
`docker` does so with Compose; `status` looks into the segments, `leftovers` removes or names them at the end.
"""
