"""The work of a function as a number of calls, which no load of the machine changes."""

import sys


def calls(function):
    """Number of calls, of Python and of C functions."""
    number = 0

    def count(_frame, event, _argument):
        nonlocal number
        number += event in ("call", "c_call")

    sys.setprofile(count)
    try:
        function()
    finally:
        sys.setprofile(None)
    return number
