# Copyright (c) 2026 the mailops.dane authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Everything that can go wrong, on the lab, while senders deliver: run.py [--short] [--here] [CASE,...]

The last line counts: ``faults: cases=<n> kills=<n> deliveries=<n> failed=0 exposure=0``, exit status 0. Deliveries,
failures and exposure are the judge's, over all the time from the first delivery to the end; what is said before the
figures tells what went wrong. ``--here`` uses the lab that is up, and leaves it. All cases are shared out between
several labs side by side, where the machine allows it; the last line is then the sum of theirs.
"""

from __future__ import annotations

import argparse
import pathlib
import re
import signal
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "lab"), str(HERE.parent)]

import progress
import pytest
import run_all
import runs
import world
from judge import verdict
from scene import ROOT, Failed, Scene, Stage


def main():
    """Run the cases; the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--short", action="store_true", help="the short selection")
    parser.add_argument("--here", action="store_true", help="use the lab that is up, and leave it")
    parser.add_argument("--list", action="store_true", help="name the cases")
    parser.add_argument("--lane", help="the cases of one lab of several side by side, as 2/3")
    parser.add_argument("cases", nargs="*", help="names; all without")
    options = parser.parse_args()
    chosen = [f"--cases={','.join(options.cases)}", *(["--short"] if options.short else []),
              *([f"--lane={options.lane}"] if options.lane else [])]
    if options.list:
        return pytest.main([*BASE, *chosen, "--collect-only", "-q"])
    if not (options.short or options.here or options.lane or options.cases) and world.possible():
        return side_by_side(run_all.LANES)
    name = "faults-short" if options.short else f"faults-{options.lane[0]}" if options.lane else "faults"
    try:
        if options.here:
            stage = Stage(name)
            stage.clear()
            line, good = run(stage.enter(), chosen)
        else:
            with Scene(name) as stage:
                line, good = run(stage, chosen)
    except Failed as exc:
        line, good = f"faults: FAIL {exc}", False
    # When the lab is gone: it says so, and this is to be the last line.
    print(line, flush=True)
    return 0 if good else 1


# Of a lane (seconds).
LIMIT = 3 * 3600
BASE = ["-c", str(ROOT / "pyproject.toml"), f"--rootdir={ROOT}", "-v", "-s", "--tb=short",
        str(HERE)]


def side_by_side(lanes):
    """All cases, shared out between so many labs, each in a world of its own; the exit status."""
    run_all.LOGS.mkdir(parents=True, exist_ok=True)
    steps = [run_all.Step(f"faults-{number}", [sys.executable, __file__, f"--lane={number}/{lanes}"], needs_tests=True,
                          limit=LIMIT, lab=True) for number in range(1, lanes + 1)]
    with world.room():
        results = run_all.side_by_side(steps, lanes)
    lines = [last_of((run_all.LOGS / f"{name}.log").read_text(encoding="utf-8", errors="replace")) for name in results]
    line, good = summed(lines, [f"{name}: {result.reason}" for name, result in results.items() if result.reason])
    print(line, flush=True)
    return 0 if good else 1


def last_of(log):
    """The last line of the faults in a log, whatever else was said after it (str); empty when there is none."""
    return (re.findall(r"(?m)^faults: .*$", log) or [""])[-1]


def summed(lines, wrong):
    """The last line of several runs side by side, and whether all is well.

    :param lines: theirs. :param wrong: what else went wrong (list of str).
    """
    figures, wrong = dict.fromkeys(("cases", "kills", "deliveries", "failed", "exposure"), 0), list(wrong)
    for line in lines:
        said = re.fullmatch(r"faults: (?:FAIL )?((?:\w+=[\d.]+ ?)+)(?:: (.*))?", line)
        if not said:
            wrong.append(f"no last line, but {line[:200]!r}")
            continue
        for figure in said[1].split():
            name, _equals, number = figure.partition("=")
            figures[name] += float(number)
        wrong += [said[2]] if said[2] else []
    good = not wrong and all(line.startswith("faults: cases=") for line in lines)
    return closing(figures, wrong, good), good


def closing(figures, wrong, good):
    """The last line (str)."""
    told = " ".join(f"{name}={figures[name]:.0f}" for name in ("cases", "kills", "deliveries", "failed"))
    return (f"faults: {'' if good else 'FAIL '}{told} exposure={verdict.seconds(figures['exposure'])}"
            + ("" if good else ": " + "; ".join(wrong)))


def run(stage, chosen):
    """The cases, with the lab up: the last line, and whether all is well."""
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
    return last_line(stage, tally, int(status))


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
    good = not wrong and not counts["failed"] and not counts["exposure"]
    return closing({"cases": len(tally.passed), "kills": runs.Run.kills, **counts}, wrong, good), good


def _interrupted(_number, _frame):
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
