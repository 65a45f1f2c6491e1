# Copyright (c) 2026 the mailops.dane authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Run every check of the project and say at the end, in one line, what passed and what failed.

    run_all.py [step ...]      all steps, or those named; `make test` runs this

Each step is a make target. Its output goes to build/logs/<step>.log; of a failed step the end is shown. A step fails
when its command fails, when it takes too long, when one of its tests fails, and when there is no sign that it tested
anything: a check that ran nothing must not look like one that passed. Standard library only, because the first step
makes the environment that holds everything else.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

sys.path.insert(0, str(Path(__file__).resolve().parent / "lab"))

import world

REPOSITORY = Path(__file__).resolve().parents[1]
LOGS = REPOSITORY / "build" / "logs"
TAIL_LINES = 60
# The longest scenarios begin first, so that at the end no lane is left with much.
LONGEST = ("csr", "standby", "issuers", "algorithms", "default", "renew", "refuse")
MINUTES = 60
# CI has two cores. What has a lab mostly waits, so two labs run side by side, each in a world of its own, and what only
# computes runs beside them, one at a time. With a third lab all of them took as much longer as there were more.
LANES = 2
AT_ONCE = 1
RUNNING = set()
SAYING = threading.Lock()

# pytest's closing line, also when another program (molecule) ran it: "=== 3 passed, 1 skipped in 0.12s ==="
PYTEST_LINE = re.compile(r"^=*\s*(?P<counts>\d+ \w+(?:, \d+ \w+)*) in \d+(?:\.\d+)?s\b")
# What says why, in a log: a test's name and reason, what an assertion found, what Ansible says of a task.
CAUSE = re.compile(r"^(FAILED |ERROR |E  +|fatal: |\w+: FAILED)")
CAUSES, CAUSE_WIDTH = 8, 600
TERMINAL_CODES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


class Step(NamedTuple):
    """One make target, and how to see in its log that it really tested something."""

    name: str
    command: list
    evidence: str = ""          # regular expression that the log must contain
    needs_tests: bool = False   # at least one pytest test must have run and passed
    limit: int = 20 * MINUTES   # seconds
    essential: bool = False     # without it no later step can work
    lab: bool = False           # needs a lab; the others only compute


class Counts(NamedTuple):
    """Tests of pytest, summed."""

    passed: int = 0
    failed: int = 0
    skipped: int = 0

    def plus(self, other):
        return Counts(*(mine + theirs for mine, theirs in zip(self, other)))


class Result(NamedTuple):
    step: Step
    counts: Counts
    seconds: float
    reason: str                 # why it failed; empty when it passed


def steps():
    """Every step (list of Step)."""
    computing = [
        Step("venv", ["make", "venv"], limit=20 * MINUTES, essential=True),
        Step("collection", ["make", "collection"], essential=True),
        Step("lab-image", ["make", "lab-image"], essential=True),
        Step("contract", ["make", "contract"], needs_tests=True),
        Step("lint", ["make", "lint"], evidence=r"Passed: 0 failure\(s\), 0 warning\(s\) in [1-9]\d* files"),
        Step("unit", ["make", "unit"], needs_tests=True),
        Step("unit-2.18", ["make", "unit-2.18"], needs_tests=True),
        Step("oldpython", ["make", "oldpython"], needs_tests=True),
        Step("model-short", ["make", "model-short"],
             evidence=r"(?m)^model: states=[1-9]\d* runs=[1-9]\d* violations=0 mutants=([1-9]\d*)/\1$"),
        Step("certbots", ["make", "certbots"], needs_tests=True),
        Step("sanity", ["make", "sanity"], evidence=r'Running sanity test "validate-modules"', limit=20 * MINUTES),
        Step("sanity-2.18", ["make", "sanity-2.18"], evidence=r'Running sanity test "validate-modules"',
             limit=20 * MINUTES),
    ]
    others = [
        Step("faults-short", ["make", "faults-short"], needs_tests=True, limit=20 * MINUTES, lab=True,
             evidence=r"(?m)^faults: cases=[1-9]\d* kills=[1-9]\d* deliveries=[1-9]\d* failed=0 exposure=0$"),
        Step("years-short", ["make", "years-short"], limit=20 * MINUTES, lab=True,
             evidence=r"(?m)^years: (renewals|rekeys|ca_changes)=[1-9].* deliveries=[1-9]\d* failed=0 exposure=0$"),
    ]
    control = Step("demo-broken", ["make", "demo-broken"], evidence=r"(?m)^demo-broken: PASS failed=[1-9]",
                   limit=20 * MINUTES, lab=True)
    scenarios = sorted((path.parent.name for path in REPOSITORY.glob("molecule/*/molecule.yml")), key=lambda name: (
        LONGEST.index(name) if name in LONGEST else len(LONGEST), name))
    if not scenarios:
        # Not nothing: a step that fails, so that scenarios which got lost are noticed.
        return [*computing, *others, Step("molecule", ["make", "molecule"], needs_tests=True)]
    return [
        *computing,
        *(Step(f"molecule-{name}", ["make", "molecule", f"SCENARIO={name}"], evidence=r"PLAY RECAP|\d+ passed",
               limit=40 * MINUTES, lab=True) for name in scenarios),
        *others,
        control,
    ]


def counts_of_junit(path):
    """What a junit file of pytest says (Counts)."""
    total = Counts()
    for suite in ElementTree.parse(path).getroot().iter("testsuite"):
        number = {key: int(suite.get(key, 0)) for key in ("tests", "failures", "errors", "skipped")}
        failed, skipped = number["failures"] + number["errors"], number["skipped"]
        total = total.plus(Counts(number["tests"] - failed - skipped, failed, skipped))
    return total


def counts_of_log(text):
    """What the closing lines of pytest in a log say (Counts)."""
    total = Counts()
    for line in TERMINAL_CODES.sub("", text).splitlines():
        found = PYTEST_LINE.match(line.strip())
        if found:
            number = {word: int(count) for count, word in re.findall(r"(\d+) (\w+)", found["counts"])}
            total = total.plus(Counts(
                number.get("passed", 0) + number.get("xfailed", 0),
                number.get("failed", 0) + number.get("error", 0) + number.get("errors", 0) + number.get("xpassed", 0),
                number.get("skipped", 0),
            ))
    return total


def judge(step, returncode, counts, log):
    """Why a finished step failed (str), empty when it passed.

    :param returncode: of the command, None when it was stopped for taking too long.
    """
    if returncode is None:
        return f"stopped after {step.limit} s"
    if returncode:
        return f"exit status {returncode}"
    if counts.failed:
        return f"{counts.failed} failed tests"
    if step.needs_tests and not counts.passed:
        return "no test ran"
    if step.evidence and not re.search(step.evidence, TERMINAL_CODES.sub("", log)):
        return f"no sign in the log that it tested anything ({step.evidence})"
    return ""


def execute(command, log, limit):
    """Run a command with its output in the file `log`; its exit status, or None when it was stopped (int or None)."""
    with log.open("wb") as output:
        process = subprocess.Popen(command, cwd=REPOSITORY, stdin=subprocess.DEVNULL, stdout=output,
                                   stderr=subprocess.STDOUT, start_new_session=True)
        RUNNING.add(process)
        try:
            return process.wait(timeout=limit)
        except subprocess.TimeoutExpired:
            stop(process)
            return None
        except KeyboardInterrupt:
            stop(process)
            raise
        finally:
            RUNNING.discard(process)


def stop(process):
    """End a step with everything it started: politely, so that it can take down what it put up, then not."""
    for number, patience in ((signal.SIGINT, 60), (signal.SIGTERM, 20), (signal.SIGKILL, 10)):
        try:
            os.killpg(process.pid, number)
            process.wait(timeout=patience)
            return
        except ProcessLookupError:
            return
        except subprocess.TimeoutExpired:
            continue


def run(step, apart=False):
    """Run one step and say how it went (Result).

    :param apart: in a world of its own (bool).
    """
    junit, log = LOGS / f"{step.name}.xml", LOGS / f"{step.name}.log"
    junit.unlink(missing_ok=True)
    start = time.monotonic()
    # Senders and their judge must not be kept waiting by what computes.
    command = step.command if step.lab else ["nice", *step.command]
    returncode = execute(world.command(step.name, command) if apart else command, log, step.limit)
    seconds = time.monotonic() - start
    text = log.read_text(encoding="utf-8", errors="replace")
    counts = counts_of_junit(junit) if junit.exists() else counts_of_log(text)
    return Result(step, counts, seconds, judge(step, returncode, counts, text))


def show_end(step):
    log = LOGS / f"{step.name}.log"
    print(f"----- the end of {log.relative_to(REPOSITORY)}")
    for line in log.read_text(encoding="utf-8", errors="replace").splitlines()[-TAIL_LINES:]:
        print(f"    {line}")
    print("-----", flush=True)


def causes(result):
    """The last lines of a failed step's log that say why, so that they stand beside the summary (list of str)."""
    text = (LOGS / f"{result.step.name}.log").read_text(encoding="utf-8", errors="replace")
    lines = [line.strip() for line in TERMINAL_CODES.sub("", text).splitlines() if CAUSE.match(line.strip())]
    return [f"{result.step.name}: {line[:CAUSE_WIDTH]}" for line in lines[-CAUSES:]]


def table(results):
    """The summary, a line per step (list of str)."""
    width = max(len(result.step.name) for result in results)
    lines = [f"{'step':<{width}}  result  seconds  tests"]
    for result in results:
        counts = result.counts
        tests = f"{counts.passed} passed, {counts.failed} failed, {counts.skipped} skipped" if any(counts) else "-"
        verdict = "FAILED" if result.reason else "ok"
        lines.append(f"{result.step.name:<{width}}  {verdict:<6}  {result.seconds:>7.0f}  {tests}"
                     + (f"  ({result.reason})" if result.reason else ""))
    return lines


def closing_line(results):
    """What passed and failed, counted over tests and steps alike (str)."""
    total = Counts()
    for result in results:
        total = total.plus(result.counts).plus(Counts(failed=1) if result.reason else Counts(passed=1))
    return f"{total.passed} passed, {total.failed} failed" + (f", {total.skipped} skipped" if total.skipped else "")


def run_all(chosen):
    """Run the steps (list of Step); the results, also of those that could not run (list of Result).

    Where the machine does not allow worlds there is one lab, and steps with a lab run one after the other.
    """
    results, missing = {}, ""
    for step in chosen:
        if step.essential and not missing:
            results[step.name] = report(step)
            missing = step.name if results[step.name].reason else ""
    rest = [step for step in chosen if step.name not in results]
    if missing:
        results.update({step.name: Result(step, Counts(), 0.0, f"not run: {missing} failed") for step in rest})
    else:
        if any(step.lab for step in rest) and world.possible():
            with world.room():
                results.update(side_by_side(rest, LANES))
        else:
            results.update(side_by_side(rest, 1))
    return [results[step.name] for step in chosen]


def side_by_side(chosen, lanes):
    """Run steps with so many labs at a time; each in a world of its own, if more than one (dict of Result by name)."""
    with ThreadPoolExecutor(AT_ONCE) as computing, ThreadPoolExecutor(lanes) as labs:
        futures = {step.name: labs.submit(report, step, lanes > 1) if step.lab else computing.submit(report, step)
                   for step in chosen}
        try:
            return {name: future.result() for name, future in futures.items()}
        except KeyboardInterrupt:
            for pool in (computing, labs):
                pool.shutdown(wait=False, cancel_futures=True)
            for process in list(RUNNING):
                stop(process)
            raise


def report(step, apart=False):
    """Run one step and say it (Result)."""
    print(f"{step.name} ...", flush=True)
    result = run(step, apart)
    with SAYING:
        print(f"{step.name}: {'FAILED, ' + result.reason if result.reason else 'ok'} in {result.seconds:.0f} s",
              flush=True)
        if result.reason:
            show_end(step)
    return result


def main(names):
    known = {step.name: step for step in steps()}
    unknown = [name for name in names if name not in known]
    if unknown:
        sys.exit(f"Cannot run {', '.join(unknown)}: the steps are {', '.join(known)}")
    LOGS.mkdir(parents=True, exist_ok=True)
    start = time.monotonic()
    results = run_all([known[name] for name in names] or list(known.values()))
    print(f"\nWall time {time.monotonic() - start:.0f} s\n" + "\n".join(table(results)))
    for result in results:
        # One that could not run has no log.
        if result.reason and result.seconds:
            print("\n".join(causes(result)))
    print(closing_line(results), flush=True)
    return 1 if any(result.reason for result in results) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
