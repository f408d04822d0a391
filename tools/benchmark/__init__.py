"""Measures the gateway under load: what `tools/bench` runs.

Two kinds of load. The contest's own, by k6 (`load.js`, users who wait for their answers): `scenario` says what,
`generator` runs it, `run` is one such run in order, `card` its result and `report` that as text, `score` and `oracle`
what it earned and what could be earned. And constant rates, by a generator of our own (`openloop`): `openload` runs it,
`openrun` is such loads in order, `saturate`, `drain`, `summary` and `soak` are the commands, `sheet` their result,
`rows` and `sheet_report` how it is made and shown.

Pure parts beside these: `payments` (which ids and amounts a load makes), `events` and `tally` (what generators say),
`latencies` and `histogram`, `cgroup`, `reconcile` (is the money right), `outcome` (what card and sheet share),
`search`, `compare` (several runs), `text` and `usage` (pieces of reports), `documents` (JSON to dataclasses). Parts
that touch the outside: `endpoints` (HTTP), `containers` (docker), `meters` (cgroup and /proc files), `child`
(processes), `preparing`, `auditing`, `settling` and `exactness` (before, during and after a load), `progress` (the live
line), `targets` (what is measured, started and stopped). `sitting` takes targets in turn; `command_line` and `choices`
are the options. A new kind of measurement is a sibling of `run` or `drain`, chosen in `command_line`.
"""
