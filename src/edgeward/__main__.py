"""Where the program begins, as `edgeward` and as `python -m edgeward`, and where it ends.

Most commands are short, and most of their time is the interpreter's: so nothing is loaded before the garbage collector is off, and nothing
is taken apart at the end.
"""

import atexit
import contextlib
import gc
import os
import sys
import threading
from importlib import import_module
from typing import NoReturn


def main() -> NoReturn:
    """Run the command line and end with its exit status: 0 good, 1 findings, 2 usage, 65 input is not what it claims, 69 unavailable,
    70 our bug.

    Collections while modules load and at the end cost a fifth of the time of a short command. Commands that live long turn them on again.
    """
    gc.disable()
    _open_what_is_closed()
    leave(import_module("edgeward.cli").run())


def _open_what_is_closed() -> None:
    """Whoever starts us without a standard stream wants nothing of it; left closed, the next file that is opened would be in its place."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(os.open(os.devnull, os.O_RDWR), mode, encoding="utf-8"))


def leave(status: int) -> NoReturn:
    """End the process with `status` once everything is written: its memory is given back as a whole, not object by object, which would
    be a tenth of the time of a short command. What waits for the end of the interpreter gets it; where threads are left, it ends as usual.
    """
    if threading.active_count() > 1:
        sys.exit(status)
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(AttributeError, OSError, ValueError):  # a closed one; a reader that went away
            stream.flush()
    os._exit(status)


if __name__ == "__main__":  # a worker process imports this module under another name
    main()
