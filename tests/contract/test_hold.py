# Copyright (c) 2026 the mailops.dane authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""tests/lab/hold.py ends a command with all that it started: the lab is somebody else's afterwards."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

LAB = Path(__file__).resolve().parents[1] / "lab"
HELD = f"import sys; sys.path.insert(0, {str(LAB)!r}); import hold; sys.exit(hold.held(sys.argv[1:], False))"
# A program that dies of the signal and leaves a child in a session of its own behind.
LEAVES_ONE = "setsid sleep 300 & echo $! > {file}; wait"


def _alive(pid):
    stat = Path(f"/proc/{pid}/stat")
    return stat.exists() and stat.read_text(encoding="utf-8").rpartition(")")[2].split()[0] != "Z"


def _until(question, limit=10):
    deadline = time.monotonic() + limit
    while not question() and time.monotonic() < deadline:
        time.sleep(0.05)
    return question()


def test_the_whole_family_ends(tmp_path):
    file = tmp_path / "pid"
    holder = subprocess.Popen([sys.executable, "-c", HELD, "sh", "-c", LEAVES_ONE.format(file=file)])
    assert _until(lambda: file.exists() and file.read_text(encoding="utf-8").strip())
    pid = int(file.read_text(encoding="utf-8"))
    assert _alive(pid)
    holder.terminate()
    assert holder.wait(20) == 128 + 15
    assert not _alive(pid)


def test_a_command_that_ends_by_itself():
    assert subprocess.run([sys.executable, "-c", HELD, "sh", "-c", "exit 3"], check=False).returncode == 3
