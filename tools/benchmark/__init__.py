"""Measures the gateway under load: what `tools/bench` runs.

There are two kinds of load:

- The contest's own, by k6 (`load.js`: users who wait for their answers). `scenario` describes it, `generator` runs k6,
  `run` carries out one run, `card` is its result and `report` shows it. `score` and `oracle`: what the run earned and
  what could be earned.
- Constant rates, by a generator of our own (`openloop`). `openload` runs it, `openrun` carries out such loads.
  `saturate`, `drain`, `summary` and `soak` are the commands. `sheet` is their result, `rows` makes it, `sheet_report`
  shows it.

Other pure parts: `payments` (ids and amounts of a load), `events` and `tally` (the generators' messages), `latencies`
and `histogram`, `cgroup`, `reconcile` (is the money right), `outcome` (what card and sheet share), `search`, `compare`
(several runs), `text` and `usage` (pieces of reports), `documents` (JSON to dataclasses).

Parts with side effects: `endpoints` (HTTP), `containers` (docker), `meters` (cgroup and /proc files), `child`
(processes), `preparing`, `auditing`, `settling` and `exactness` (before, during and after a load), `progress` (the live
line), `targets` (what is measured, started and stopped). `sitting` takes targets in turn; `command_line` and `choices`
are the options. A new kind of measurement is a sibling of `run` or `drain`, chosen in `command_line`.
"""
