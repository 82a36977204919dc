"""`PYTHON -I -S launch.py PARENT PROGRAM [ARGUMENT...]`: becomes PROGRAM, which ends when PARENT's thread does.

The host's process group is the first means against orphans; this one works also when nobody is left to end it.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1  # kept by exec

if __name__ == "__main__":
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != int(sys.argv[1]):
        os._exit(1)  # it was gone before
    for number in (signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(number, signal.SIG_DFL)  # Python ignores these, and exec would keep that
    try:
        os.execvp(sys.argv[2], sys.argv[2:])  # noqa: S606  no shell is what is wanted
    except OSError as error:
        sys.exit(f"{sys.argv[2]} cannot be started: {error.strerror}: see its mode and first line")
