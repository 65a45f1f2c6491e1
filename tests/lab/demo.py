#!/usr/bin/env python3
# Copyright (c) 2026 the mailops.dane authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The main job, seen from outside: two real mail hosts change their keys while real DANE-only senders deliver.

A fresh lab; ``enable.yml`` brings both hosts under DANE; the senders start; one secondary begins to lag; ``rekey.yml``.
The last line is the verdict, ``demo: PASS hosts=2 deliveries=<n> verified=<n> failed=0 exposure=0`` or ``demo: FAIL ...``.
The picture of it is build/demo/timeline.svg.
"""

from __future__ import annotations

import sys
import time

from scene import Failed, Scene, lab

LAG_SECONDS = 20
# The lagging secondary gets the withdrawal late, too.
BEFORE, AFTER = 12.0, LAG_SECONDS + 8.0


def main():
    """The whole demo; the exit status."""
    try:
        with Scene("demo") as scene:
            scene.play("enable")
            scene.watch()
            start = scene.deliver()
            scene.say("three DANE-only senders deliver to both hosts, one message a second each")
            time.sleep(BEFORE)
            lab("lag", "ns1", str(LAG_SECONDS))
            scene.say(f"from now on the secondary ns1 gets every change {LAG_SECONDS} s late")
            scene.play("rekey")
            time.sleep(AFTER)
            result = scene.judge(start)
            scene.say(f"the picture: {scene.out / 'timeline.svg'}")
            line = scene.verdict_line(result)
    except Failed as exc:
        line = f"demo: FAIL {exc}"
    print(line, flush=True)
    return 0 if line.startswith("demo: PASS") else 1


if __name__ == "__main__":
    sys.exit(main())
