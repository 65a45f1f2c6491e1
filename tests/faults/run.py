# Copyright (c) 2026 the mailops.dane authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Everything that can go wrong, on the lab, while senders deliver: run.py [--short] [--here] [CASE,...]

The last line counts: ``faults: cases=<n> kills=<n> deliveries=<n> failed=0 exposure=0``, exit status 0. Deliveries,
failures and exposure are the judge's, over all the time from the first delivery to the end; what is said before the
figures tells what went wrong. ``--here`` uses the lab that is up, and leaves it.
"""

from __future__ import annotations

import argparse
import pathlib
import signal
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "lab")]

import progress
import pytest
import runs
from judge import verdict
from scene import ROOT, Failed, Scene, Stage


def main():
    """Run the cases; the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--short", action="store_true", help="the short selection")
    parser.add_argument("--here", action="store_true", help="use the lab that is up, and leave it")
    parser.add_argument("--list", action="store_true", help="name the cases")
    parser.add_argument("cases", nargs="*", help="names; all without")
    options = parser.parse_args()
    chosen = [f"--cases={','.join(options.cases)}", *(["--short"] if options.short else [])]
    if options.list:
        return pytest.main([*BASE, *chosen, "--collect-only", "-q"])
    name = "faults-short" if options.short else "faults"
    try:
        if options.here:
            stage = Stage(name)
            stage.clear()
            return run(stage.enter(), chosen)
        with Scene(name) as stage:
            return run(stage, chosen)
    except Failed as exc:
        print(f"faults: FAIL {exc}", flush=True)
        return 1


BASE = ["-c", str(ROOT / "pyproject.toml"), f"--rootdir={ROOT}", "-v", "-s", "--tb=short",
        str(HERE)]


def run(stage, chosen):
    """The cases, with the lab up."""
    # Within a test an exit would be one more failure.
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupted)
    tally = progress.Progress(stage)
    junit = ROOT / "build" / "logs" / f"{stage.name}.xml"
    junit.parent.mkdir(parents=True, exist_ok=True)
    try:
        status = pytest.main([*BASE, f"--junit-xml={junit}", "-o", "junit_family=xunit2", *chosen], plugins=[tally])
    finally:
        stage.stop_watching()
    tally.window_ends(time.time())
    line, good = last_line(stage, tally, int(status))
    print(line, flush=True)
    return 0 if good else 1


def last_line(stage, tally, status):
    """The last line, and whether all is well."""
    counts = {"deliveries": 0, "failed": 0, "exposure": 0.0}
    wrong = [f"failing: {', '.join(dict.fromkeys(tally.failed))}"] if tally.failed else []
    for start, end in tally.windows:
        evidence = stage.lab.evidence(stage.witness_file, start, end)
        result = verdict.judge(evidence)
        for key in counts:
            counts[key] += result[key]
        wrong += [reason for reason in result["reasons"] if not tally.failed]
    if status and not wrong:
        wrong = [f"pytest ended with {status}"]
    if not (counts["deliveries"] and tally.passed) and not wrong:
        wrong = ["nothing was tested"]
    figures = (f"cases={len(tally.passed)} kills={runs.Run.kills} deliveries={counts['deliveries']} "
               f"failed={counts['failed']} exposure={verdict.seconds(counts['exposure'])}")
    good = not wrong and not counts["failed"] and not counts["exposure"]
    return f"faults: {'' if good else 'FAIL '}{figures}" + ("" if good else ": " + "; ".join(wrong)), good


def _interrupted(_number, _frame):
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
