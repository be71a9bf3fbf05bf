"""The process that `edgeward agent` becomes: `python -m edgeward.agent DIRECTORY LEVEL [HUB]`, with nothing of the command line in it.

It lives for years on a small device, so it holds what it needs and no more (`docs/decisions/0011-small-agent.md`).
"""

import gc
import importlib
import sys
import types

from edgeward.errors import EdgewardError

_STAND_INS = ("importlib.metadata", "typing_extensions")
"""What libraries import only to know their own version or to serve older Pythons: 1.5 MB for nothing. An empty module stands in for each
while they load; should one ever need it, its import fails, and everything is loaded as usual."""


def load() -> types.ModuleType:
    """The agent's own module, `edgeward.agent.serve`, and all that it imports."""
    absent = [name for name in _STAND_INS if name not in sys.modules]
    try:
        for name in absent:
            sys.modules[name] = types.ModuleType(name)
        importlib.import_module("edgeward.agent.over_websocket")  # which every agent falls back to
        return importlib.import_module("edgeward.agent.serve")
    except (AttributeError, ImportError):
        for name in absent:
            sys.modules.pop(name, None)
        return importlib.import_module("edgeward.agent.serve")
    finally:
        for name in absent:
            if getattr(sys.modules.get(name), "__spec__", None) is None:
                sys.modules.pop(name, None)


def main(arguments: list[str]) -> int:
    """Run the agent; the exit status."""
    gc.disable()
    serve = load()
    gc.collect()
    gc.freeze()
    gc.enable()
    try:
        serve.main(*arguments)
    except EdgewardError as error:
        print(f"error: {error}", *([f"hint: {error.hint}"] if error.hint else []), sep="\n", file=sys.stderr)  # noqa: T201  # a shell
        return error.exit_status
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
