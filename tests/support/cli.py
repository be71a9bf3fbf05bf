"""Running the command line inside the test's own process."""

import contextlib
import io
import sys
import warnings
from dataclasses import dataclass

import edgeward.cli


@dataclass(frozen=True)
class Ran:
    """What a command did."""

    status: int
    octets: bytes
    err: str

    @property
    def out(self) -> str:
        return self.octets.decode()


def run(*args: object, stdin: bytes = b"") -> Ran:
    """Run `edgeward ARGS...` and return its exit status and what it wrote."""
    out, err = io.BytesIO(), io.StringIO()
    text = io.TextIOWrapper(out, encoding="utf-8", write_through=True)
    before = sys.stdin
    sys.stdin = io.TextIOWrapper(io.BytesIO(stdin))
    status = 0
    with (
        warnings.catch_warnings(),
        contextlib.redirect_stdout(text),
        contextlib.redirect_stderr(err),
    ):
        try:
            status = edgeward.cli.run([str(arg) for arg in args])
        except SystemExit as stop:
            status = stop.code if isinstance(stop.code, int) else 1
        finally:
            sys.stdin = before
            text.flush()
    return Ran(status, out.getvalue(), err.getvalue())
