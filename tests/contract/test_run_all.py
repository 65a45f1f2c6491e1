# Copyright (c) 2026 the mailops.dane authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""tests/run_all.py counts right, and does not take silence for success."""

from __future__ import annotations

import contextlib
import importlib.util
import sys
from pathlib import Path

import pytest

SOURCE = Path(__file__).resolve().parents[1] / "run_all.py"


@pytest.fixture(name="run_all")
def _run_all(tmp_path, monkeypatch):
    spec = importlib.util.spec_from_file_location("run_all", SOURCE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "REPOSITORY", tmp_path)
    monkeypatch.setattr(module, "LOGS", tmp_path / "logs")
    (tmp_path / "logs").mkdir()
    return module


def _step(run_all, code, **more):
    return run_all.Step("step", [sys.executable, "-c", code], **more)


@pytest.mark.parametrize("code, more, reason", [
    ("print('3 passed in 0.1s')", {"needs_tests": True}, ""),
    ("print('=== 3 passed, 1 failed in 0.1s ===')", {"needs_tests": True}, "1 failed tests"),
    ("print('no tests ran in 0.1s')", {"needs_tests": True}, "no test ran"),
    ("print('2 skipped in 0.1s')", {"needs_tests": True}, "no test ran"),
    ("", {"evidence": r"\S"}, "no sign"),
    ("print('checked 3 files')", {"evidence": "checked [1-9]"}, ""),
    ("raise SystemExit(3)", {}, "exit status 3"),
    ("import time; print('x', flush=True); time.sleep(60)", {"limit": 1}, "stopped after 1 s"),
    # Standard input is closed, as in CI: a question does not hang.
    ("input()", {}, "exit status 1"),
])
def test_step(run_all, code, more, reason):
    result = run_all.run(_step(run_all, code, **more))
    assert (reason in result.reason) if reason else result.reason == ""


def test_counts_of_log(run_all):
    log = ("\x1b[32m======= 5 passed, 2 skipped in 3.21s =======\x1b[0m\nfoo 9 passed in the morning\n"
           "1 failed, 1 passed, 1 error, 1 xpassed, 3 warnings in 61.00s (0:01:01)\n")
    assert run_all.counts_of_log(log) == run_all.Counts(passed=6, failed=3, skipped=2)


def test_counts_of_junit(run_all, tmp_path):
    file = tmp_path / "x.xml"
    file.write_text('<testsuites><testsuite tests="7" failures="1" errors="1" skipped="2"/></testsuites>')
    assert run_all.counts_of_junit(file) == run_all.Counts(passed=3, failed=2, skipped=2)


def test_an_old_junit_file_does_not_count(run_all):
    (run_all.LOGS / "step.xml").write_text('<testsuite tests="7" failures="0" errors="0" skipped="0"/>')
    assert run_all.run(_step(run_all, "", needs_tests=True)).reason == "no test ran"


def test_closing_line_and_exit_status(run_all, monkeypatch, capsys):
    good = run_all.Step("good", [sys.executable, "-c", "print('4 passed, 1 skipped in 1.0s')"])
    bad = run_all.Step("bad", [sys.executable, "-c", "print('2 failed, 1 passed in 1.0s'); exit(1)"])
    monkeypatch.setattr(run_all, "steps", lambda: [good, bad])
    assert run_all.main([]) == 1
    assert capsys.readouterr().out.splitlines()[-1] == "6 passed, 3 failed, 1 skipped"
    assert run_all.main(["good"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "5 passed, 0 failed, 1 skipped"


def test_the_cause_of_a_failure_stands_beside_the_summary(run_all, monkeypatch, capsys):
    code = "print('x\\nE   assert 2 == 1\\nFAILED test_x.py::test_y - ' + 'z' * 9999 + '\\n' * 200); exit(1)"
    monkeypatch.setattr(run_all, "steps", lambda: [run_all.Step("bad", [sys.executable, "-c", code])])
    assert run_all.main([]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[-3] == "bad: E   assert 2 == 1"
    assert lines[-2].startswith("bad: FAILED test_x.py::test_y - zzz") and len(lines[-2]) < 700


def test_nothing_runs_after_an_essential_step_failed(run_all, monkeypatch, capsys):
    first = run_all.Step("first", [sys.executable, "-c", "exit(1)"], essential=True)
    second = run_all.Step("second", [sys.executable, "-c", "print('1 passed in 1.0s')"])
    monkeypatch.setattr(run_all, "steps", lambda: [first, second])
    assert run_all.main([]) == 1
    assert capsys.readouterr().out.splitlines()[-1] == "0 passed, 2 failed"


def test_no_scenario_is_a_failure(run_all):
    assert run_all.steps()[-1].name == "molecule" and run_all.steps()[-1].needs_tests
    (run_all.REPOSITORY / "molecule" / "rekey").mkdir(parents=True)
    (run_all.REPOSITORY / "molecule" / "rekey" / "molecule.yml").touch()
    assert ["make", "molecule", "SCENARIO=rekey"] in [step.command for step in run_all.steps() if step.lab]


_MEET = """
import pathlib, sys, time
here, other = map(pathlib.Path, sys.argv[1:])
here.touch()
deadline = time.monotonic() + 20
while not other.exists():
    assert time.monotonic() < deadline
    time.sleep(0.05)
"""


def _who_meet(run_all, tmp_path, **more):
    """Two steps that pass only if they run at the same time."""
    files = [str(tmp_path / "one"), str(tmp_path / "two")]
    return [run_all.Step(name, [sys.executable, "-c", _MEET, *order], **more)
            for name, order in (("one", files), ("two", files[::-1]))]


def test_two_labs_run_side_by_side_each_in_its_world(run_all, monkeypatch, tmp_path):
    worlds = []
    monkeypatch.setattr(run_all.world, "possible", lambda: True)
    monkeypatch.setattr(run_all.world, "room", contextlib.nullcontext)
    monkeypatch.setattr(run_all.world, "command", lambda name, command: worlds.append(name) or command)
    assert [result.reason for result in run_all.run_all(_who_meet(run_all, tmp_path, lab=True))] == ["", ""]
    assert sorted(worlds) == ["one", "two"]


def test_where_there_are_no_worlds_labs_run_one_after_the_other(run_all, monkeypatch):
    apart = []
    monkeypatch.setattr(run_all.world, "possible", lambda: False)
    monkeypatch.setattr(run_all, "side_by_side", lambda chosen, lanes: apart.append(lanes) or {
        step.name: run_all.Result(step, run_all.Counts(), 0.0, "") for step in chosen})
    run_all.run_all([_step(run_all, "", lab=True)])
    assert apart == [1]
