#!/usr/bin/env python3
# Copyright (c) 2026 the mailops.dane authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The negative control: a rekey done wrong by hand, which the judge has to notice.

On a fresh lab, without the collection: both mail hosts get a key, a self-signed certificate and a ``3 1 1`` record, and
the senders deliver. Then mx1 is given another key whose record follows five seconds later. This passes only if the
judge reports failed deliveries and exposure, of mx1, since the switch, and nothing of the sort for mx2.

The last line is ``demo-broken: PASS failed=<n> exposure=<s>``, or FAIL with what is missing. The lab is taken down in
any case.
"""

from __future__ import annotations

import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import dns.query
import dns.rcode
import dns.tsigkeyring
import dns.update

LAB = pathlib.Path(__file__).resolve().parent
ROOT = LAB.parents[1]
OUT = ROOT / "build" / "demo-broken"
TTL = 10
BEFORE, RECORD_LATE, RECOVERY = 15.0, 5.0, 45.0

sys.path.insert(0, str(LAB))
from judge import timeline, verdict
from judge.labfile import Lab

# A new key with a self-signed certificate, in one file as Postfix wants it; says the key's SHA-256.
NEW_KEY = r"""
set -e
cd /etc/postfix
umask 077
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 -subj "/CN=$(hostname)" \
    -addext "subjectAltName=DNS:$(hostname)" -keyout byhand.key -out byhand.crt 2>/dev/null
cat byhand.key byhand.crt > byhand.new
openssl x509 -in byhand.crt -noout -pubkey | openssl pkey -pubin -outform DER | openssl dgst -sha256 -r
mv byhand.new byhand.pem
"""
SETTINGS = r"""
postconf -e smtpd_tls_security_level=may smtpd_tls_chain_files=/etc/postfix/byhand.pem
postfix reload 2>/dev/null
"""
RELOAD = "postfix reload 2>/dev/null\n"


class Failed(Exception):
    """The control cannot be run, or did not show what it has to."""


def say(text):
    """A line of progress."""
    print(f"demo-broken {time.monotonic() - STARTED:6.1f}s  {text}", flush=True)


def lab(*command, said=False):
    """Run a lab.py command; its output where wanted."""
    done = subprocess.run([sys.executable, str(LAB / "lab.py"), *command], check=False, text=True,
                          stdout=subprocess.PIPE if said else None)
    if done.returncode:
        raise Failed(f"lab.py {' '.join(command[:2])} ended with {done.returncode}")
    return done.stdout


def new_key(host, then):
    """Give a mail host a new key; the ``3 1 1`` record of it."""
    return f"3 1 1 {lab('exec', host, 'sh', '-c', NEW_KEY + then, said=True).split()[0]}"


def publish(about, owner, record):
    """Make this record the only one at its name, by one signed update at the primary."""
    key = about["tsig"]
    ring = dns.tsigkeyring.from_text({key["name"]: (key["algorithm"], key["secret"])})
    update = dns.update.UpdateMessage(about["zone"] + ".", keyring=ring)
    update.delete(owner, "TLSA")
    update.add(owner, TTL, "TLSA", record)
    answer = dns.query.tcp(update, about["hosts"][about["primary"]]["ipv4"], timeout=5)
    if answer.rcode():
        raise Failed(f"the update of {owner} was refused: {dns.rcode.to_text(answer.rcode())}")


def wait_for(question, limit, what):
    """Ask until yes."""
    deadline = time.monotonic() + limit
    while not question():
        if time.monotonic() > deadline:
            raise Failed(f"{what} did not happen within {limit:.0f} s")
        time.sleep(0.5)


def rollover(about, the_lab):
    """From the lab's first state to the end of the broken rekey: (start, switch, end) as epochs."""
    say("first keys and records, by hand")
    for host in the_lab.names:
        publish(about, the_lab.owner(host), new_key(host, SETTINGS))
    lab("senders", "start")
    began = time.time()
    for host in the_lab.names:
        wait_for(lambda h=host: the_lab.delivering(h, began), 30, f"verified delivery to {host}")
    start = time.time()
    say("all senders deliver; they go on for a while")
    time.sleep(BEFORE)
    say("mx1 is given another key, and its record is not out")
    switched = time.time()
    record = new_key("mx1", RELOAD)
    time.sleep(RECORD_LATE)
    say("the record follows")
    publish(about, the_lab.owner("mx1"), record)
    published = time.time()
    wait_for(lambda: the_lab.delivering("mx1", published), RECOVERY, "recovery")
    time.sleep(verdict.NEAR)
    return start, switched, time.time()


def flaws(result, switched):
    """What the judge should have reported and did not, or the other way round (list of text)."""
    wrong = []
    if not result["failed"]:
        wrong.append("the judge saw no failed delivery")
    if not result["exposure"]:
        wrong.append("the judge saw no exposure")
    if not result["verified"]:
        wrong.append("nothing was delivered at all, so the failures prove nothing")
    # exposure is counted from the witness's last look at the old key, a moment before the switch
    early = switched - result["from"] - 2.0
    for failure in result["failures"]:
        if isinstance(failure, str) or failure["host"] != "mx1" or failure["at"] < early:
            wrong.append(f"a failure that nobody caused: {failure}")
    for mismatch in result["mismatches"]:
        if mismatch["host"] != "mx1" or mismatch["start"] < early:
            wrong.append(f"exposure that nobody caused: {mismatch}")
    return wrong + result["void"]


def judged(the_lab, witness, start, switched, end):
    """Judge, keep everything, print the last line; the exit status."""
    evidence = the_lab.evidence(witness, start, end)
    result = verdict.judge(evidence)
    (OUT / "verdict.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    (OUT / "timeline.svg").write_text(timeline.draw(evidence, result), encoding="utf-8")
    for line in verdict.explain(result):
        say(line)
    wrong = flaws(result, switched)
    figures = f"failed={result['failed']} exposure={verdict.seconds(result['exposure'])}"
    print(f"demo-broken: {'FAIL' if wrong else 'PASS'} {figures}{': ' if wrong else ''}{'; '.join(wrong)}", flush=True)
    return 1 if wrong else 0


def stop_witness(process):
    """Let the witness write everything down."""
    if process and process.poll() is None:
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()


def main():
    """The whole control; the exit status."""
    OUT.mkdir(parents=True, exist_ok=True)
    witness, process = OUT / "witness.jsonl", None
    witness.unlink(missing_ok=True)
    try:
        lab("up", "--fresh")
        path = ROOT / "build" / "lab" / "lab.json"
        about, the_lab = json.loads(path.read_text(encoding="utf-8")), Lab(path)
        process = subprocess.Popen([sys.executable, str(LAB / "judge"), "witness", "--out", str(witness)])
        wait_for(witness.exists, 10, "the witness's start")
        start, switched, end = rollover(about, the_lab)
        stop_witness(process)
        return judged(the_lab, witness, start, switched, end)
    except Failed as error:
        print(f"demo-broken: FAIL {error}", flush=True)
        return 1
    finally:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        stop_witness(process)
        subprocess.run([sys.executable, str(LAB / "lab.py"), "down"], check=False)


def interrupted(number, _frame):
    """A signal ends the control through its ``finally``."""
    print(f"demo-broken: FAIL ended by signal {number}", flush=True)
    raise SystemExit(128 + number)


STARTED = time.monotonic()

if __name__ == "__main__":
    for caught in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(caught, interrupted)
    os.environ["PYTHONDONTWRITEBYTECODE"] = "1"
    sys.exit(main())
