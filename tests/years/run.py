# Copyright (c) 2026 the mailops.dane authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Years of a site in less than an hour, while senders deliver: run.py [--short]

The last line counts: ``years: renewals=<n> rekeys=<n> ca_changes=<n> deliveries=<n> failed=0 exposure=0``, exit status 0.
Every figure is the witness's or the senders', over all the time since the first delivery: renewals of all hosts, rekeys
and changes of CA of that host which saw the fewest. What is said before the figures tells what went wrong.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import subprocess
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "lab")]

import events
from judge import verdict, years
from machine import LabError
from scene import Failed, Scene, lab
from year import CERTIFICATE_SECONDS, Year, listens

# Deliveries after the last event, and before the first.
AFTER, BEFORE = 6.0, 11.0


def main():
    """The years; the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--short", action="store_true", help="what fits into minutes")
    options = parser.parse_args()
    plan = events.SHORT if options.short else events.LONG
    try:
        with Scene("years-short" if options.short else "years") as stage:
            line, good = lived(stage, plan)
    except Failed as exc:
        line, good = f"years: FAIL {exc}", False
    print(line, flush=True)
    return 0 if good else 1


def lived(stage, plan):
    """All events of a plan, with the lab up: the last line, and whether all is well."""
    certificates_of_minutes(stage)
    year = Year(stage)
    year.site()
    year.run("enable")
    stage.watch()
    start = stage.deliver()
    time.sleep(BEFORE)
    wrong = []
    try:
        year.start_timers()
        for event in plan.events:
            year.season(**plan.season)
            stage.say(f"--- {event.__doc__.splitlines()[0]}")
            event(year)
        while counted(stage, year, start)[1]["renewals"] < plan.least["renewals"]:
            year.season(**plan.season)
        time.sleep(AFTER)
    except (Failed, LabError, OSError, AssertionError, subprocess.SubprocessError) as exc:
        wrong.append(str(exc) or repr(exc))
    stage.stop_watching()
    return last_line(stage, plan, wrong, *counted(stage, year, start))


def certificates_of_minutes(stage):
    """Both CAs issue certificates that end soon. They forget everything as they are restarted, but nobody knows them yet."""
    edit = f's/"certificateValidityPeriod": [0-9]*/"certificateValidityPeriod": {CERTIFICATE_SECONDS}/'
    lab("exec", "acme", "sh", "-ec", f"sed -i '{edit}' /etc/pebble/*.json; systemctl restart pebble@1 pebble@2")
    for port in (14000, 14001):
        stage.wait_for(lambda port=port: listens(stage.about["hosts"]["acme"]["ipv4"], port), 30, "an ACME server")


def counted(stage, year, start):
    """What there is to judge until now, and what it counts (years.Years, dict)."""
    evidence = years.Years(stage.lab.evidence(stage.witness_file, start, time.time()), year.outages)
    hosts = {host: years.counts(evidence, host) for host in year.mail}
    for host, one in hosts.items():
        stage.say(f"{host}: {one.renewals} renewals, {one.rekeys} rekeys, {one.ca_changes} changes of CA")
    return evidence, {
        "renewals": sum(one.renewals for one in hosts.values()),
        "rekeys": min(one.rekeys for one in hosts.values()),
        "ca_changes": min(one.ca_changes for one in hosts.values()),
    }


def last_line(stage, plan, wrong, evidence, figures):
    """The last line, and whether all is well."""
    result = verdict.judge(evidence)
    (stage.out / "verdict.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    stage.say(f"{evidence.lost_to_restarts()} messages met a host that was being restarted")
    for line in verdict.explain(result):
        stage.say(line)
    return years.closing_line(result, figures, plan.least, wrong)


if __name__ == "__main__":
    sys.exit(main())
