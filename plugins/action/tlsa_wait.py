# Copyright (c) 2026 the mailops.dane authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Repeat the module tlsa_wait, one look per call, until the answer is yes or the time is over.

Here and not in the module, because only the controller can show progress, and because a module that runs for hours
dies with its connection. All that has been seen is in ``memories``, which goes from one look to the next.
"""

from __future__ import annotations

import time

from ansible.errors import AnsibleActionFail, AnsibleConnectionFailure
from ansible.plugins.action import ActionBase
from ansible.utils.display import Display
from ansible_collections.mailops.dane.plugins.module_utils import _fields, _wait

MODULE = "mailops.dane.tlsa_wait"
SHOW_EVERY = 30
# By how much (seconds) the time that passed may differ between two clocks from one look to the next.
JUMP = 60
display = Display()


def _elapsed():
    """Seconds of a clock that nobody can set, and that runs while the computer sleeps, where the system has one."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


class ActionModule(ActionBase):
    """The action; its options are the module's."""

    _supports_async = False
    clock = staticmethod(_elapsed)
    sleep = staticmethod(time.sleep)

    def run(self, tmp=None, task_vars=None):
        """Wait. Fails with what each server said last."""
        super().run(tmp, task_vars)
        args = dict(self._task.args)
        timeout, interval = _seconds(args, "timeout", 86400), max(1, _seconds(args, "interval", 10))
        quiet = str(args.get("progress", "auto")) == "off"
        if self._task.run_once or (timeout and not self._task.check_mode):
            self._refuse_other_strategies()
        started, shown, known, last, offset = self.clock(), None, None, None, None
        while True:
            try:
                result = self._execute_module(module_name=MODULE, module_args=args, task_vars=task_vars)
            except AnsibleConnectionFailure as exc:
                if last is None:
                    raise
                result = {"failed": True, "msg": str(exc)}
            waited = self.clock() - started
            if result.get("failed"):
                # A resolver or connection that is being restarted is no reason to give up: it says "not yet", like a
                # late server.
                if last is None or waited >= timeout:
                    return {**result, "waited": waited}
                text = state = result.get("msg", "the look failed")
            else:
                _check_result(result)
                # The clock that looks against one that nobody can set: a jump ahead would end the wait too early.
                before, offset = offset, result["now"] - self.clock()
                if before is not None and abs(offset - before) > JUMP:
                    return self._jumped(result, waited, offset - before)
                last, text = result, _wait.progress(result)
                state = _wait.standing(result)
                args["memories"] = {name["name"]: name["memory"] for name in result["names"]}
                if result["answer"]["yes"] or not timeout or self._task.check_mode:
                    return {**result, "waited": waited, "late": []}
            if waited >= timeout:
                return self._too_late(last, waited, text)
            if not quiet and (state != known or waited - shown >= SHOW_EVERY):
                display.display(f"  waiting {waited:.0f} s: {text}")
                known, shown = state, waited
            self.sleep(min(self._pause(last, interval), max(0.1, timeout - waited)))

    @staticmethod
    def _pause(last, interval):
        safe_at = last["answer"]["safe_at"]
        if safe_at is None:
            return interval
        # A little after the moment, by the clock of the host that looks.
        return min(interval, max(0.5, safe_at - last["now"] + 0.2))

    @staticmethod
    def _jumped(result, waited, seconds):
        return {
            **result, "failed": True, "waited": waited,
            "msg": f"Cannot go on: while waiting, the clock of the host that looks has jumped by {seconds:+.0f} s, so what "
                   "was seen cannot be dated. Set the clocks by NTP, then run the same playbook again: it goes on from "
                   "what the ledgers hold.",
        }

    @staticmethod
    def _too_late(last, waited, text):
        lines = _wait.last_words(last)
        late = sorted(owner for owner, answer in last.get("answers", {}).items() if not answer["yes"])
        return {
            # The hosts of other names need not wait for these.
            **last, "failed": len(late) == len(last.get("answers", {})), "waited": waited, "last_words": lines, "late": late,
            "msg": f"Cannot go on: after {waited:.0f} s {text}. Nothing is lost: run the same playbook again, and it "
                   "goes on from here. What each server said last: " + " | ".join(lines),
        }

    def _refuse_other_strategies(self):
        play = self._task.get_play() if hasattr(self._task, "get_play") else self._task.play
        strategy = (getattr(play, "strategy", None) or "linear").rpartition(".")[2]
        if strategy != "linear":
            raise AnsibleActionFail(
                f"Cannot go on under strategy {strategy!r}: every host would look and wait for itself. Use the linear "
                "strategy for this play")


def _check_result(result):
    """Make sure that a result is one of this module: whoever guesses what an answer means may guess a yes."""
    try:
        _wait.progress(result), _wait.standing(result), _wait.last_words(result)
        answer = result["answer"]
        _fields.seconds(result["now"]), _fields.seconds_or_none(answer["safe_at"])
        memories = {_fields.text(name["name"]): name["memory"] for name in result["names"]}
        understood = isinstance(answer["yes"], bool) and all(isinstance(one, dict) for one in memories.values())
    except _fields.MALFORMED:
        understood = False
    if not understood:
        raise AnsibleActionFail(
            f"Cannot go on: the module {MODULE} returned what this action does not understand: {result!r:.300}. Is another "
            "version of the collection installed beside this one?")


def _seconds(args, name, default):
    value = args.get(name, default)
    try:
        return int(default if value is None else value)
    except (TypeError, ValueError, OverflowError):
        raise AnsibleActionFail(f"Cannot use {name}={value!r}: expected a number of seconds") from None
