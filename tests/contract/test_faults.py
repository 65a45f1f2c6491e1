# Copyright (c) 2026 the mailops.dane authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""All faults in several labs: none is left out, none is tried twice, and the one last line hides nothing."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

FAULTS = Path(__file__).resolve().parents[1] / "faults" / "run.py"
ONE = "faults: cases=3 kills=2 deliveries=100 failed=0 exposure=0"
SUMMED = """
import pathlib, sys
sys.path.insert(0, str(pathlib.Path({run!r}).parent))
import run
print(*run.summed([run.last_of(log) for log in {lines!r}], {wrong!r}))
"""


def _listed(*arguments):
    listed = subprocess.run([sys.executable, str(FAULTS), "--list", *arguments], capture_output=True, text=True, check=False)
    assert listed.returncode == 0, listed.stdout + listed.stderr
    cases, which = [], ""
    for kind, name in re.findall(r"<(Class|Function) (\S+)>", listed.stdout):
        which = name if kind == "Class" else which
        cases += [f"{which}.{name}"] if kind == "Function" else []
    return cases


def test_lanes_share_all_cases():
    every, lanes = _listed(), [_listed(f"--lane={number}/3") for number in (1, 2, 3)]
    assert all(lanes) and len(every) > 50
    assert sorted(case for lane in lanes for case in lane) == sorted(every)


@pytest.mark.parametrize(("lines", "wrong", "expected"), [
    ([ONE, ONE], [], "faults: cases=6 kills=4 deliveries=200 failed=0 exposure=0 True"),
    ([f"faults: FAIL no\nfaults-1 9.0s  killed\n{ONE}\nlab  3.1s  the lab is gone\n", ONE], [],
     "faults: cases=6 kills=4 deliveries=200 failed=0 exposure=0 True"),
    ([ONE, "faults: FAIL cases=1 kills=0 deliveries=5 failed=1 exposure=0.4: mail failed"], [],
     "faults: FAIL cases=4 kills=2 deliveries=105 failed=1 exposure=0.4: mail failed False"),
    # What a lane says of itself is not all: its exit status counts as well.
    ([ONE, ONE], ["faults-2: exit status 1"],
     "faults: FAIL cases=6 kills=4 deliveries=200 failed=0 exposure=0: faults-2: exit status 1 False"),
    ([ONE, "Killed"], [], "faults: FAIL cases=3 kills=2 deliveries=100 failed=0 exposure=0: no last line, but '' False"),
    ([ONE, "faults: FAIL the lab does not come up"], [],
     "faults: FAIL cases=3 kills=2 deliveries=100 failed=0 exposure=0: no last line, but "
     "'faults: FAIL the lab does not come up' False"),
])
def test_last_line(lines, wrong, expected):
    said = subprocess.run([sys.executable, "-c", SUMMED.format(run=str(FAULTS), lines=lines, wrong=wrong)],
                          capture_output=True, text=True, check=False)
    assert said.stdout.strip() == expected, said.stderr
