# Copyright (c) 2026 the mailops.dane authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The judge's command line: ``python3 tests/lab/judge witness|verdict|timeline --help``."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import pathlib
import signal
import sys
import time

if not __package__:  # called by path
    sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from judge import timeline, verdict, witness
from judge.labfile import Lab

ROOT = pathlib.Path(__file__).resolve().parents[3]
EXIT = {"PASS": 0, "FAIL": 1, "VOID": 2}


def arguments(given):
    """The command line, read."""
    parser = argparse.ArgumentParser(prog="judge", description="Judges a rollover in the lab from outside.")
    commands = parser.add_subparsers(dest="command", required=True)
    about = {
        "witness": "watch until SIGTERM, SIGINT or --until-file; appends JSON lines to --out",
        "verdict": "judge a window; exit 0 PASS, 1 FAIL, 2 void; the last line says it",
        "timeline": "draw a window as SVG to --out",
    }
    made = {name: commands.add_parser(name, help=text, description=text) for name, text in about.items()}
    for command in made.values():
        command.add_argument("--lab", default=ROOT / "build/lab/lab.json", help="the lab's lab.json")
    made["witness"].add_argument("--out", required=True)
    made["witness"].add_argument("--until-file", help="stop once this file exists")
    made["witness"].add_argument("--rsa", action="store_true", help="as a client that knows RSA keys only")
    for name in ("verdict", "timeline"):
        command = made[name]
        command.add_argument("--witness", required=True, help="what the witness wrote")
        command.add_argument("--logs", help="directory with <sender>/mail.log (default: as lab.json says)")
        command.add_argument("--from", dest="start", type=float, help="epoch (default: the witness's first look)")
        command.add_argument("--to", dest="end", type=float, help="epoch (default: the witness's last look)")
    made["timeline"].add_argument("--out", required=True)
    judged = made["verdict"]
    judged.add_argument("--name", default="verdict", help="first word of the last line, such as demo")
    judged.add_argument("--json", help="write the whole result there")
    judged.add_argument("--timeline", help="draw the window as SVG there")
    judged.add_argument("--expect-new-keys", action="store_true",
                        help="every host must end with a new key, and with the wanted records on all servers")
    judged.add_argument("--check-records", action="store_true",
                        help="the wanted records must be on all servers at the end, whether the keys are new or not")
    judged.add_argument("--extra-records", type=int, default=0, metavar="N",
                        help="how many records there are beside '3 1 1' of the served key, such as 1 for a standby")
    judged.add_argument("--want", action="append", default=[], metavar="OWNER=RECORD",
                        help="the wanted records instead, once per record")
    return parser.parse_args(given)


def wanted(options):
    """--want as {owner: [record]}, or None."""
    found = {}
    for item in options.want:
        owner, _equals, record = item.partition("=")
        found.setdefault(owner.lower().rstrip(".") + ".", []).append(record.strip().lower())
    return found or None


def watch(options):
    """Be the witness; the senders' caches log their answers meanwhile, which proves what they held."""
    lab, since = Lab(options.lab), time.time()
    seer = witness.Witness(lab.plan(), options.out, rsa=options.rsa)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, seer.stop)
    with contextlib.suppress(OSError):  # late looks make a verdict void, so a busy machine must not delay them
        os.nice(-10)
    _note(lab.log_answers())
    seer.run(options.until_file)
    _note(lab.collect_answers(since))


def _note(wrong):
    if wrong:
        print(f"witness: the senders' caches cannot be looked into: {wrong}", file=sys.stderr, flush=True)


def judge(options):
    """Judge and say it."""
    evidence = Lab(options.lab, options.logs).evidence(options.witness, options.start, options.end)
    result = verdict.judge(
        evidence, options.expect_new_keys or options.check_records or bool(options.want), options.expect_new_keys,
        options.extra_records, wanted(options),
    )
    if options.json:
        _write(options.json, json.dumps(result, indent=1) + "\n")
    if options.timeline:
        _write(options.timeline, timeline.draw(evidence, result))
    for line in verdict.explain(result):
        print(line)
    print(verdict.render(result, options.name), flush=True)
    return EXIT[result["outcome"]]


def draw(options):
    """Draw only."""
    evidence = Lab(options.lab, options.logs).evidence(options.witness, options.start, options.end)
    _write(options.out, timeline.draw(evidence))


def _write(path, text):
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def main(given=None):
    """One command; the exit status."""
    options = arguments(given)
    return {"witness": watch, "verdict": judge, "timeline": draw}[options.command](options) or 0


if __name__ == "__main__":
    sys.exit(main())
