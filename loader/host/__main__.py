"""`PYTHON -m loader.host --channel FD,FD,FD ... --lifeline FD [ENTRY]`: a Python engine host.

Responsible for the process: its import path, its signals, where logging goes, how it ends. The
supervisor starts it with -P; people do not start it by hand.
"""

from __future__ import annotations

import os
import platform
import signal
import sys

VERSION_MISMATCH = 2
LOADER_GONE = 3
SWITCH_INTERVAL_S = 0.0005  # a thread waits this long for the GIL behind pure-Python computing


def main(arguments: list[str]) -> int:
    """Serves until the loader says stop or has gone; the exit code of the process."""
    if not sys.flags.safe_path and sys.path:
        del sys.path[0]  # the current folder, which -m puts there
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the loader's; it stops its hosts

    from loader import __version__, _host
    from loader.host.driver import Driver

    if _host.__version__ != __version__:
        print(  # noqa: T201
            f"loader {__version__} found its compiled part in version {_host.__version__}: "
            f"run `{sys.executable} -m pip install --force-reinstall engine-loader=={__version__}`",
            file=sys.stderr,
        )
        return VERSION_MISMATCH
    # The last argument names the wrapper, for whoever lists processes; init says it again.
    options = [one for index, one in enumerate(arguments) if not _is_entry(arguments, index)]
    sys.argv = [
        arguments[-1] if arguments and _is_entry(arguments, len(arguments) - 1) else ""
    ]  # the wrapper's
    runtime = f"python {platform.python_version()} {sys.executable}"
    return _host.serve(options, runtime, Driver(sends_logging=True))


def _is_entry(arguments: list[str], index: int) -> bool:
    is_value = index > 0 and arguments[index - 1].startswith("--") and "=" not in arguments[index - 1]
    return not arguments[index].startswith("--") and not is_value


def leave(code: int) -> None:
    """Ends the process at once: threads of the wrapper cannot keep it alive."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            continue  # the wrapper closed it
    if code == LOADER_GONE:
        os.killpg(0, signal.SIGKILL)  # what the wrapper forked, and this process: no orphan
    os._exit(code)


if __name__ == "__main__":
    leave(main(sys.argv[1:]))
