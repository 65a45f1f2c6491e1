# Copyright (c) 2026 the mailops.dane authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Each test is one rekey of enabled, idle hosts that is stopped, often more than once."""

from __future__ import annotations

import signal
import time

import scene
import snapshot
from runs import served

CERTBOT = r"TASK \[mailops\.dane\.certbot : Obtain a certificate"
WAITING = r"(?m)^ +waiting \d+ s: "
MX1_DEPLOYED = r"TASK \[mailops\.dane\.postfix : Deploy\] \*+\s+changed: \[mx1\.example\.test\]"
WITHDRAW = r"PLAY \[Withdraw"

# Stands before Postfix's own command once: the process that asks for the reload is dead before there is one.
DEADLY_RELOAD = r"""
cat > /usr/local/sbin/postfix <<'END'
#!/bin/sh
if [ "$1" = reload ]; then
    rm -f /usr/local/sbin/postfix
    kill -KILL "$PPID"
    exit 0
fi
exec /usr/sbin/postfix "$@"
END
chmod 755 /usr/local/sbin/postfix
"""


def test_killed_in_certbot_and_interrupted_in_the_wait(rekey):
    scene.lab("lag", "ns1", "15")
    run = rekey.begin().until(CERTBOT)
    delay = rekey.random.uniform(0.5, 3)
    rekey.stage.say(f"certbot may work for {delay:.1f} s")
    time.sleep(delay)
    run.stop(signal.SIGKILL)
    assert set(rekey.targets().values()) == {""}, "the operation is open, and its key not noted yet"

    run = rekey.begin().until(WAITING)
    targets = rekey.targets()
    run.stop(signal.SIGINT)
    assert rekey.targets() == targets and all(targets.values())
    rekey.complete()
    rekey.ended(targets)


def test_killed_in_the_wait_and_after_the_first_host(rekey, play, records):
    run = rekey.begin().until(WAITING)
    time.sleep(rekey.random.uniform(0, 3))
    run.stop(signal.SIGKILL)
    targets = rekey.targets()

    # Nobody knows of the open rekey, and the daily run of enable.yml comes by.
    published = records()
    play("enable")
    assert records() == published and all(len(there) == 2 for there in published.values())
    assert rekey.targets() == targets

    scene.lab("lag", "ns2", "15")
    rekey.begin().until(MX1_DEPLOYED).stop(signal.SIGKILL)
    assert served("mx1") == targets["mx1"] and served("mx2") == rekey.served_before["mx2"]
    rekey.complete()
    rekey.ended(targets)


def test_killed_in_the_reload_and_before_the_withdrawal(rekey, records):
    snapshot.execute("mx1", DEADLY_RELOAD)
    run = rekey.begin()
    assert run.end() == 2
    targets = rekey.targets()
    assert served("mx1") == targets["mx1"] and served("mx2") == rekey.served_before["mx2"]

    rekey.begin().until(WITHDRAW).stop(signal.SIGKILL)
    assert {host: served(host) for host in targets} == targets
    assert all(len(there) == 2 for there in records().values())
    rekey.complete()
    rekey.ended(targets)


def test_only_the_last_host_is_pending(rekey):
    run = rekey.begin(limit="mx2.example.test").until(WAITING)
    targets = rekey.targets()
    run.stop(signal.SIGKILL)
    assert targets["mx1"] is None
    rekey.complete()
    rekey.ended({"mx2": targets["mx2"]})


def test_new_also_begins_where_nothing_is_open(rekey):
    run = rekey.begin(limit="mx2.example.test").until(WAITING)
    pending = rekey.targets()["mx2"]
    run.stop(signal.SIGKILL)
    run = rekey.begin("rekey", "-e", "dane_rekey=new").until(WAITING)
    targets = rekey.targets()
    assert targets["mx2"] == pending and targets["mx1"]
    assert run.end() == 0, run.output[-4000:]
    rekey.ended(targets)
