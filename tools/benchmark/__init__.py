"""Measures the gateway under the contest's load: what `tools/bench` runs.

Pure parts: `scenario` (what is asked for), `payments` (which ids and amounts that makes), `events` (what the load
generator said), `latencies`, `cgroup`, `score`, `reconcile` (is the money right), `card` (all of it for one run),
`compare` (several runs), `report` (as text). Parts that touch the outside: `endpoints` (HTTP), `containers` (docker),
`meters` (cgroup and /proc files), `generator` (k6), `progress` (the live line), `targets` (what is measured, started
and stopped), `run` (one run, in order). A new kind of measurement is a sibling of `run`, chosen in `command_line`.
"""
