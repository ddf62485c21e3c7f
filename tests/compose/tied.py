"""`python tied.py USER GROUP COMMAND…`: becomes the command, run by that user (numbers; -1: who it is), which ends when
the thread that began it does, so that nothing outlives a test that is killed."""

from __future__ import annotations

import ctypes
import os
import sys

PR_SET_PDEATHSIG = 1
SIGKILL = 9

if __name__ == "__main__":
    user, group, command = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:]
    if user >= 0:
        os.setgroups([])
        os.setgid(group)
        os.setuid(user)
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, SIGKILL)
    os.execvp(command[0], command)
