"""Runs scripts in forks of one that has TensorFlow imported: warm_server.py MODULE ...

Reads commands as lines of JSON, {"script", "flags", "environment", "seconds"}, and answers each
with a line [exit status, bytes of memory at the peak, output]. Importing TensorFlow takes five
seconds of a CPU, which most scripts that the tests start would each pay for. MODULEs are imported,
too.
"""

from __future__ import annotations

import importlib
import json
import os
import runpy
import signal
import sys
import tempfile
from typing import Any

import keras  # noqa: F401
import tensorflow


def become(command: dict[str, Any], output: int) -> None:
    """Makes this process look like that of the script."""
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.environ.clear()
    os.environ.update(command["environment"])
    paths = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    script = command["script"]
    folder = os.path.dirname(script)
    if os.path.basename(script) == "__main__.py":  # Its package, as by `python -m`.
        folder = os.path.dirname(folder)
    sys.path[:1] = [folder, *filter(None, paths)]
    sys.argv = [script, *command["flags"]]
    signal.alarm(command["seconds"])
    runpy.run_path(script, run_name="__main__")


def main() -> None:
    tensorflow.config.list_physical_devices()  # Looks for GPUs, and says so, before any fork.
    for module in sys.argv[1:]:
        importlib.import_module(module)
    for line in iter(sys.stdin.readline, ""):
        with tempfile.TemporaryFile() as output:
            child = os.fork()
            if child == 0:
                become(json.loads(line), output.fileno())
                return  # The interpreter ends as it does after any script.
            _, status, usage = os.wait4(child, 0)
            output.seek(0)
            text = output.read().decode(errors="replace")
        answer = os.waitstatus_to_exitcode(status), usage.ru_maxrss * 1024, text
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
