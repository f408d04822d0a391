"""A look into a segment: what its processes, lanes, tables and journals hold at one moment.

`snapshot.py` says what a look shows, `reading.py` and `contents.py` take it from a read-only mapping, `locks.py` tells
who holds a role, `listing.py` looks at all segments there are, `searching.py` at single payments, `alarms.py` says what
needs a person, `text.py` and `as_json.py` are what people and programs get to see, `__main__.py` is the program.
Nothing here stores a byte in a segment or touches a lock: a lock tried, even for a moment, could turn away the process
that needs it. Only the standard library and `shm` are imported, so that `python -m tools.ring_view` works in the image
as well.
"""
