"""Foreign programs that the tests compare with; one that is not installed skips its tests and says so."""

import shutil
import subprocess
from collections.abc import Callable

import pytest


def needs(name: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Skip a test, loudly, where the program `name` is not installed."""
    return pytest.mark.skipif(shutil.which(name) is None, reason=f"{name} is not installed: nothing to compare with")


def ran(*command: object, stdin: bytes = b"") -> bytes:
    """The standard output of a program that must succeed."""
    done = subprocess.run([str(part) for part in command], input=stdin, capture_output=True, check=False)
    assert done.returncode == 0, f"{command}: {done.stderr.decode(errors='replace')}"
    return done.stdout
