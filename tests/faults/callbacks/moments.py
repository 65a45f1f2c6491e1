# Copyright (c) 2026 the mailops.dane authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A callback plugin of ansible-playbook: at chosen task boundaries it runs a command, or is dead.

The environment variable DANE_MOMENTS names a JSON file: ``at``, a list of ``{"play", "task", "nth", "run"}`` (regular
expressions, the nth task that matches both, a command for the shell or KILL); ``die_in`` and ``visited``: die at the
first task of the plays that match, whose boundary is not in the file ``visited`` yet. What happened is added to the
file ``happened``, a line each.
"""

from __future__ import annotations

import json
import os
import pathlib
import re
import signal
import subprocess

from ansible.plugins.callback import CallbackBase

KILL = "KILL"
# A command of the tests is no part of a run with a wrong clock.
OF_THE_RUN = ("LD_PRELOAD", "FAKETIME")


class CallbackModule(CallbackBase):
    """Strikes before the task is given to any host, when nothing of the last one is running any more."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "notification"
    CALLBACK_NAME = "moments"
    CALLBACK_NEEDS_ENABLED = True

    def __init__(self):
        super().__init__()
        plan = json.loads(pathlib.Path(os.environ["DANE_MOMENTS"]).read_text(encoding="utf-8"))
        self.at = [{**moment, "left": moment["nth"]} for moment in plan["at"]]
        self.die_in = plan["die_in"]
        self.visited = pathlib.Path(plan["visited"]) if plan["visited"] else None
        self.happened = pathlib.Path(plan["happened"])
        self.play = ""
        self.seen = {}

    def v2_playbook_on_play_start(self, play):
        """A play, or the next batch of one."""
        self.play = play.get_name()

    def v2_playbook_on_task_start(self, task, is_conditional):
        """The boundary before a task."""
        name = task.get_name()
        for moment in self.at:
            if re.search(moment["play"], self.play) and re.search(moment["task"], name):
                moment["left"] -= 1
                if moment["left"] == 0:
                    self.strike(moment["run"], name)
        if self.die_in and re.search(self.die_in, self.play):
            self.die_once(name)

    def v2_playbook_on_handler_task_start(self, task):
        """Handlers are tasks, too."""
        self.v2_playbook_on_task_start(task, False)

    def die_once(self, name):
        """Be dead, unless a run died here before. The nth task of a name in a play is a boundary of its own."""
        key = f"{self.play} | {name}"
        self.seen[key] = self.seen.get(key, 0) + 1
        boundary = f"{key} | {self.seen[key]}"
        known = self.visited.read_text(encoding="utf-8").splitlines() if self.visited.exists() else []
        if boundary not in known:
            self.note(self.visited, boundary)
            self.strike(KILL, name)

    def strike(self, command, name):
        """Do it, and write down that it was done."""
        if command == KILL:
            self.note(self.happened, f"killed before {name}")
            os.kill(os.getpid(), signal.SIGKILL)
        environment = {key: value for key, value in os.environ.items() if key not in OF_THE_RUN}
        done = subprocess.run(["sh", "-ec", command], env=environment, stdin=subprocess.DEVNULL, capture_output=True,
                              text=True, timeout=60, check=False)
        how = "done" if done.returncode == 0 else f"FAILED with {done.returncode} ({done.stderr.strip()[-300:]})"
        self.note(self.happened, f"{how} before {name}: {command[:100]!r}")

    @staticmethod
    def note(path, line):
        """A line that is on disk before anybody dies."""
        with path.open("a", encoding="utf-8") as file:
            file.write(line.replace("\n", " ") + "\n")
            file.flush()
            os.fsync(file.fileno())
