"""The open-loop generator: a process of its own that sends requests when they are due, whatever became of the others.

An *open loop* does not wait for answers, so a slow server can't slow its load down, and latency is counted from the
moment a request was due: what waits for a free connection is late, and shown so (no coordinated omission, as Gil Tene
calls the other way). `python -m tools.benchmark.openloop` reads a plan (JSON) from its input, and writes what happens
to its output, one JSON object per line; `tools.benchmark.openload` is the other end.

Light, because it shares the machine with what it measures: a third of what k6 takes (side by side at 3,000/s, on two
busy cores: 35 to 45 µs of CPU per request against 110 to 140), most of it in the kernel. One process and one thread;
a number of connections that stay open, one request at a time on each.

Pure are `plan` (what to do), `schedule` (when), `requests` and `windows` (what is sent), `messages` (what is said of
it), `answers` (bytes to answers). `ticker` is the kernel's timer, `connection` and `stream` send, `__main__` starts.
"""
