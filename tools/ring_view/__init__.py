"""A view of a segment: what its processes, lanes, tables and journals hold at one moment.

- `snapshot`: the data of a view. `reading` and `contents` take it from a read-only mapping.
- `locks`: which process holds a role. `listing`: all segments. `searching`: single payments.
- `alarms`: what an operator must act on. `text` and `as_json`: the output. `__main__`: the program.

Nothing here stores a byte in a segment or touches a lock: trying a lock, even for a moment, could turn away the process
that needs it. Only the standard library and `shm` are imported, so that `python -m tools.ring_view` works in the image
as well.
"""
