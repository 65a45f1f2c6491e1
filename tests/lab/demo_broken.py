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

import os
import subprocess
import sys
import time

import dns.query
import dns.rcode
import dns.tsigkeyring
import dns.update
from judge import verdict
from scene import LAB, Failed, Scene

TTL = 10
BEFORE, RECORD_LATE, RECOVERY = 15.0, 5.0, 45.0

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


def new_key(host, then):
    """Give a mail host a new key; the ``3 1 1`` record of it."""
    command = [sys.executable, str(LAB / "lab.py"), "exec", host, "sh", "-c", NEW_KEY + then]
    done = subprocess.run(command, check=False, text=True, stdout=subprocess.PIPE)
    if done.returncode:
        raise Failed(f"a new key on {host}: lab.py exec ended with {done.returncode}")
    return f"3 1 1 {done.stdout.split()[0]}"


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


def rollover(scene):
    """From the lab's first state to the end of the broken rekey: (start, switch) as epochs."""
    scene.say("first keys and records, by hand")
    for host in scene.lab.names:
        publish(scene.about, scene.lab.owner(host), new_key(host, SETTINGS))
    start = scene.deliver()
    scene.say("all senders deliver; they go on for a while")
    time.sleep(BEFORE)
    scene.say("mx1 is given another key, and its record is not out")
    switched = time.time()
    record = new_key("mx1", RELOAD)
    time.sleep(RECORD_LATE)
    scene.say("the record follows")
    publish(scene.about, scene.lab.owner("mx1"), record)
    published = time.time()
    scene.wait_for(lambda: scene.lab.delivering("mx1", published), RECOVERY, "recovery")
    time.sleep(verdict.NEAR)
    return start, switched


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


def judged(scene, start, switched):
    """Judge, keep everything; the last line."""
    result = scene.judge(start, check_end=False)
    wrong = flaws(result, switched)
    figures = f"failed={result['failed']} exposure={verdict.seconds(result['exposure'])}"
    return f"demo-broken: {'FAIL' if wrong else 'PASS'} {figures}{': ' if wrong else ''}{'; '.join(wrong)}"


def main():
    """The whole control; the exit status."""
    try:
        with Scene("demo-broken") as scene:
            scene.watch()
            line = judged(scene, *rollover(scene))
    except Failed as error:
        line = f"demo-broken: FAIL {error}"
    print(line, flush=True)
    return 0 if line.startswith("demo-broken: PASS") else 1


if __name__ == "__main__":
    os.environ["PYTHONDONTWRITEBYTECODE"] = "1"
    sys.exit(main())
