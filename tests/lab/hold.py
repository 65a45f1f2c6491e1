# Copyright (c) 2026 the mailops.dane authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Hold the lab for a command and for all that it starts: hold.py [--down] COMMAND [ARGUMENT ...]

Nobody else on this machine starts, resets or removes a lab meanwhile. With --down the lab is taken down afterwards,
whatever became of the command.
"""

from __future__ import annotations

import os
import pathlib
import signal
import subprocess
import sys
import time

LAB = pathlib.Path(__file__).resolve().parent

sys.path.insert(0, str(LAB))
import machine

# Somebody else's scene, and one more that waits too.
PATIENCE = 1200
# What is asked to end may take down what it put up; then it is ended.
GRACE = 30


def main(arguments):
    """Run the command; its exit status."""
    down = arguments[:1] == ["--down"]
    command = arguments[1:] if down else arguments
    if not command:
        sys.exit(__doc__)
    try:
        with machine.locked(PATIENCE):
            os.environ[machine.HELD] = "1"
            # For what cannot ask machine.py: molecule's own configuration.
            os.environ[machine.PLACE] = str(machine.BUILD)
            return held(command, down)
    except machine.LabError as error:
        machine.fail(error)


def held(command, down):
    """The same, with the lab held."""
    asked = []
    # Before the command is there: who is ended in between would leave it behind. It does not inherit functions.
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: asked.append(time.monotonic()))
    process = subprocess.Popen(command)
    # The command ends first and cleans up; Ctrl-C at a terminal reaches it without our help. This it would inherit.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    status = watched(process, asked)
    if down:
        subprocess.run([sys.executable, str(LAB / "lab.py"), "down"], check=False)
    return status if status >= 0 else 128 - status


def watched(process, asked):
    """The exit status of a command that ends by itself, or with all that it started once ``asked`` is not empty.

    What a command started outlives it when it is ended before it could end that: so its family is known from before.
    """
    started, told = set(), False
    while process.poll() is None:
        if asked:
            started |= set(machine.family(process.pid))
            if not told:
                process.terminate()
            told = True
            if time.monotonic() - asked[0] > GRACE:
                process.kill()
        time.sleep(0.1)
    for number in (signal.SIGTERM, signal.SIGKILL):
        left = [pid for pid in started if pathlib.Path(f"/proc/{pid}").exists()]
        machine.kill(left, number)
        deadline = time.monotonic() + 5
        while number == signal.SIGTERM and time.monotonic() < deadline and any(
                pathlib.Path(f"/proc/{pid}").exists() for pid in left):
            time.sleep(0.1)
    return process.returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
