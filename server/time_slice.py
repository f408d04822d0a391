"""How long the kernel lets a process run before it looks who else wants the core.

A process that wakes up interrupts the one that runs if its own time slice is the shorter one, and it has not had more
than its share. Most have the same slice, 1.4 ms on two cores: whoever was woken beside a dispatcher had to wait for it.
A dispatcher takes the longest there is, and anybody interrupts it; a web worker takes the shortest, and interrupts even
HAProxy, which has just woken it and has nothing more to do for the request. Shares of processor time stay what they
are. The figures are in docs/performance.md.

Needs no right. Linux 6.12 and later heed it, earlier ones accept and ignore it (sched(7), sched_setattr(2)).
"""

import ctypes
import logging
import os
import struct

SHORTEST_US = 100  # the kernel takes nothing below
LONGEST_US = 100_000  # nor above

_CALLS = {
    "x86_64": (314, 315),
    "aarch64": (274, 275),
}  # sched_setattr, sched_getattr; Debian 12's C library has neither
_ATTRIBUTES = struct.Struct("=IIQiIQQQ")  # sched_attr: size, policy, flags, nice, priority, runtime, deadline, period
_RUNTIME = 5
_THIS_PROCESS = 0
_NS_PER_US = 1000

_libc = ctypes.CDLL(None, use_errno=True)
_log = logging.getLogger(__name__)


def set_time_slice(slice_us: int) -> None:
    """Gives this process a time slice of so many microseconds; where that can't be, the log says why."""
    try:
        _set(slice_us * _NS_PER_US)
    except OSError as error:
        _log.warning("the kernel's own time slice is kept: %s", error)


def _set(slice_ns: int) -> None:
    """Sets the runtime, which for an ordinary process is the slice, and keeps all other attributes.

    Raises:
        OSError: the kernel, or a container's filter of system calls, refuses.
    """
    machine = os.uname().machine
    if machine not in _CALLS:
        raise OSError(f"the number of sched_setattr on {machine} is not known here")
    set_call, get_call = _CALLS[machine]
    buffer = ctypes.create_string_buffer(_ATTRIBUTES.size)
    _call(get_call, _THIS_PROCESS, buffer, _ATTRIBUTES.size, 0)
    attributes = [*_ATTRIBUTES.unpack(buffer.raw)]
    attributes[_RUNTIME] = slice_ns
    _call(set_call, _THIS_PROCESS, _ATTRIBUTES.pack(*attributes), 0)


def _call(number: int, *arguments: object) -> None:
    if _libc.syscall(number, *arguments) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
