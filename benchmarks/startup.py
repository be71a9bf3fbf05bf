"""How long `edgeward inspect` of one certificate takes beside `python -c "import cryptography.x509"`, in CPU time.

    python benchmarks/startup.py [--environment VENV] [--pairs 30]

Both are started in turn from the same virtual environment, the console script as `pip install .` makes it, and the median of each and of
the ratio of the pairs is printed: machines are shared, and a pair is slowed down as one.
"""

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

FORMS = ([], ["--json"])


def spent(command: list[str]) -> float:
    """Milliseconds of CPU, in user and kernel mode, of a program that must end well."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env={**os.environ, "NO_COLOR": "1"})
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return 1000 * (after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime)


def compare(python: str, command: list[str], pairs: int) -> tuple[float, float, float]:
    """The medians of the library's import, of the command, and of the ratio in each pair."""
    ours, theirs = [], []
    for _ in range(pairs):
        theirs.append(spent([python, "-c", "import cryptography.x509"]))
        ours.append(spent(command))
    ratios = [b / a for a, b in zip(theirs, ours, strict=True)]
    return statistics.median(theirs), statistics.median(ours), statistics.median(ratios)


def main() -> None:
    """Measure and print one table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--environment", type=Path, default=Path(sys.prefix), help="the virtual environment to measure")
    parser.add_argument("--pairs", type=int, default=30)
    arguments = parser.parse_args()
    python, program = (str(arguments.environment / "bin" / name) for name in ("python", "edgeward"))
    with tempfile.TemporaryDirectory() as directory:
        made = [program, "cert", "self-signed", "--name", "edge.example", "--out-dir", directory]
        subprocess.run(made, check=True, capture_output=True)
        certificate = f"{directory}/edge.example.crt"
        print(f"{'':<34}{'library':>10}{'edgeward':>10}{'ratio':>8}   ms of CPU, medians of {arguments.pairs} pairs")
        for form in FORMS:
            command = [program, "inspect", certificate, *form]
            theirs, ours, ratio = compare(python, command, arguments.pairs)
            print(f"{' '.join(['edgeward inspect cert.pem', *form]):<34}{theirs:>10.1f}{ours:>10.1f}{ratio:>8.2f}")


if __name__ == "__main__":
    main()
