# Copyright (c) 2026 the mailops.dane authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Faults of mail hosts, of the way to them, of clocks and of operators while a rekey runs."""

from __future__ import annotations

import json
import re
import signal

import breaking
import pytest
import snapshot
from progress import Cases
from runs import DEPLOY, LEDGER, PREPARE, WAITING, WITHDRAW, served

STATE, CERTBOT, POSTFIX = "/var/lib/mailops-dane", "/etc/letsencrypt", "/etc/postfix"


class TestPostfix(Cases):
    minutes = 6

    def test_configuration_refused(self, rekey):
        fault = rekey.break_at(DEPLOY, "postfix : Deploy$", breaking.configuration_refused("mx1"))
        rekey.refused(says=["mx1.example.test", "postfix refuses its configuration; nothing was changed",
                            "bad numerical configuration"], at=[fault])
        assert not rekey.changed()

    def test_reload_fails(self, rekey):
        fault = rekey.break_at(DEPLOY, "postfix : Deploy$", breaking.reload_fails("mx1"))
        rekey.refused(says=["mx1.example.test", "postfix did not reload", "the Postfix mail system is not here",
                            "the old chain file is back"], at=[fault])
        assert not rekey.changed()

    def test_main_cf_rewritten(self, rekey):
        fault = rekey.break_at(DEPLOY, "postfix : Deploy$", breaking.main_cf_rewritten("mx1"))
        rekey.refused(says=["mx1.example.test", "smtpd_tls_chain_files = /etc/ssl/private/other-role.pem"], at=[fault])
        assert not rekey.changed()

    def test_connection_lost_between_replace_and_reload(self, rekey):
        """The host finishes alone; nobody hears of it."""
        fault = rekey.break_at(DEPLOY, "postfix : Deploy$", breaking.connection_lost_before_the_reload("mx1"))
        rekey.refused(says=["mx1.example.test", "UNREACHABLE"], at=[fault])
        assert served("mx2") == rekey.served_before["mx2"]


class TestUnreachable(Cases):
    minutes = 7

    def test_canary_unreachable(self, rekey):
        fault = rekey.break_at(DEPLOY, "", breaking.unreachable("mx1"))
        rekey.refused(says=["mx1.example.test", "UNREACHABLE"], at=[fault])
        assert not rekey.changed()

    def test_middle_unreachable(self, rekey):
        assert len(rekey.hosts) >= 3, "this lab has no mail host in the middle: DANE_LAB_MAIL_HOSTS=3 gives it one"
        unreachable_in_its_turn(rekey, 1)

    def test_last_unreachable(self, rekey):
        unreachable_in_its_turn(rekey, len(rekey.hosts) - 1)

    def test_unreachable_in_the_withdrawal(self, rekey):
        fault = rekey.break_at(WITHDRAW, "tlsa : Withdraw$", breaking.unreachable("mx2"))
        rekey.refused(says=["mx2.example.test", "UNREACHABLE"], at=[fault])


def unreachable_in_its_turn(rekey, number):
    """This host cannot be reached when it is to deploy: those before it have, those after it have not."""
    host = rekey.hosts[number]
    fault = rekey.break_at(DEPLOY, "postfix : Look", breaking.unreachable(host), nth=number + 1)
    rekey.refused(says=[f"{host}.example.test", "UNREACHABLE"], at=[fault])
    assert rekey.changed() == set(rekey.hosts[:number])


class TestDisk(Cases):
    """A disk that is full at each write of a rekey, one after the other; of one host, as the others would go on."""

    hosts = ("mx1",)
    minutes = 10

    @pytest.fixture(scope="class", autouse=True)
    def ground(self, rekey):
        disks = [breaking.small_disk("mx1", directory) for directory in (STATE, CERTBOT, POSTFIX)]
        for disk in disks:
            disk.strike()
        yield
        for disk in disks:
            disk.lift()

    @pytest.mark.parametrize(("where", "play", "task"), [
        (STATE, PREPARE, "preflight : Look at the endpoints"),
        (STATE, PREPARE, "tlsa : Open the operation"),
        (CERTBOT, PREPARE, "certbot : (Obtain a certificate|Check that it was issued)$"),
        (STATE, PREPARE, "certbot : Assemble the chain"),
        (STATE, PREPARE, "certbot : Note the key"),
        (STATE, PREPARE, "tlsa : Note in the ledgers"),
        (STATE, PREPARE, "tlsa : Keep what was seen while waiting"),
        (STATE, DEPLOY, "postfix : Deploy$"),
        (POSTFIX, DEPLOY, "postfix : Deploy$"),
        (STATE, WITHDRAW, "preflight : Look at the endpoints"),
        (STATE, WITHDRAW, "tlsa : Note in the ledgers"),
        (STATE, WITHDRAW, "tlsa : Close the operation"),
    ], ids=["look", "operation", "certbot", "candidate", "key", "intent", "memory", "deploy-ledger", "deploy-chain",
            "last-look", "last-intent", "close"])
    def test_disk_full(self, rekey, where, play, task):
        before = rekey.changed()
        fault = rekey.break_at(play, task, breaking.full("mx1", where))
        run = rekey.refused(says=["mx1.example.test", "No space left on device"], at=[fault])
        stopped = re.findall(r"(?m)^TASK \[(.*)\]", run.output.partition("fatal: ")[0])[-1]
        assert re.search(task, stopped), f"it stopped at {stopped!r}"
        if play != WITHDRAW:
            assert rekey.changed() == before
        assert json.loads(snapshot.execute("mx1", f"cat {LEDGER}"))["format"]


class TestOperators(Cases):
    minutes = 3

    def test_two_operators_at_once(self, rekey):
        """Both may succeed, one may be refused, or each by the other; what is open then is completed by anybody."""
        rekey.only_one_key = False
        first, second = rekey.another(), rekey.another()
        ended = first.end(), second.end()
        for run, status in zip((first, second), ended):
            refusals = [line for line in run.output.splitlines() if line.startswith("fatal: ")]
            rekey.stage.say(f"an operator: exit status {status}, {refusals}")
            assert (status == 0) == (not refusals), run.output[-3000:]
        assert set(ended) <= {0, 2}


class TestReinstalled(Cases):
    hosts = ("mx2",)

    def test_ledger_lost_in_the_wait(self, rekey, records):
        """Nobody knows any more what is ours and what may be in caches: rekey says what to do, and enable takes it in."""
        rekey.until(WAITING).stop(signal.SIGKILL)
        before, lost = records(), rekey.targets()["mx2"]
        rekey.break_now(breaking.ledger_lost("mx2"))
        rekey.refused(says=["mx2.example.test", "run enable.yml first"])
        assert rekey.begin("enable").end() == 0, rekey.running.output[-3000:]
        assert all(set(before[owner]) >= set(there) for owner, there in records().items())
        rekey.only_one_key = False
        # What only the lost ledger knew to be ours stays published, and is named at every run.
        rekey.records_end_alone = False
        assert lost in rekey.running.said, rekey.running.output[-4000:]


class TestClocks(Cases):
    """No clock is trusted more than it deserves; when it is right again, the same command completes the rekey."""

    # The others would go on.
    hosts = ("mx1",)
    minutes = 6

    @pytest.mark.parametrize("offset", ["+3h", "-3h"])
    def test_controllers_clock(self, rekey, offset):
        rekey.refused(says=["clock"], env=breaking.controllers_clock(offset))
        assert not rekey.changed()

    @pytest.mark.parametrize("offset", ["+3h", "-3h"])
    def test_hosts_clock(self, rekey, offset):
        rekey.break_now(breaking.clock("mx1", offset))
        rekey.refused(says=["mx1.example.test", "clock"])
        assert not rekey.changed()

    def test_clock_jumps_in_the_wait(self, rekey):
        """A host's clock was right when the wait began, and is wrong when it deploys: no wait is shortened by that."""
        rekey.until(WAITING).stop(signal.SIGKILL)
        for offset in ("+3h", "-3h"):
            rekey.break_now(breaking.clock("mx1", offset))
            rekey.refused(says=["mx1.example.test", "clock"])
            assert not rekey.changed()
