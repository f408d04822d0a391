"""The open-loop generator: a process of its own that sends each request when it is due, whatever happens to others.

An *open loop* does not wait for answers, so a slow server can't slow its load down. Latency is counted from the moment
when a request was due, so it includes any wait for a free connection (this avoids Gil Tene's "coordinated omission").
`python -m tools.benchmark.openloop` reads a plan (JSON) from its input, and writes what happens to its output, one JSON
object per line; `tools.benchmark.openload` is the other end.

It shares the machine with its target, so it must be light: it takes a third of k6's CPU (side by side at 3,000/s, on
two busy cores: 35 to 45 µs per request against 110 to 140), most of it in the kernel. It has one process, one thread,
and a number of connections that stay open, with one request at a time on each.

Pure: `plan` (what to do), `schedule` (when), `requests` and `windows` (what is sent), `messages` (what is reported),
`answers` (bytes to answers). With side effects: `ticker` (the kernel's timer), `connection` and `stream` (sending),
`__main__`.
"""
