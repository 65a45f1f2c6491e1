# Copyright (c) 2026 the mailops.dane authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Faults of name servers and resolvers while a rekey runs."""

from __future__ import annotations

import re
import time

import breaking
import hosts
import scene
import zone
from progress import Cases
from runs import LONG_WAIT, PREPARE, WAITING, Moment, served

NS1 = hosts.HOSTS["ns1"].ipv4
PRIMARY = hosts.HOSTS["ns0"].ipv4
# A server that is silent is waited for at each look, and with patience.
QUICK = ("-e", '{"dane_wait_timeout": 40, "dane_dns_timeout": 1}')
BRISK = ("-e", '{"dane_dns_timeout": 1}')
RAISED = 10 * hosts.TTL
IN_CACHES_AND_MORE = 2 * hosts.TTL + 3


class TestNameServers(Cases):
    minutes = 7

    def test_resolver_servfail_from_the_start(self, rekey):
        rekey.break_now(breaking.resolver_fails())
        rekey.refused(*QUICK, says=["mx1.example.test", "SERVFAIL"])
        assert set(rekey.targets().values()) == {None}, "nothing was begun"

    def test_key_revoked_before_the_publication(self, rekey, records):
        before = records()
        fault = rekey.break_at(PREPARE, "tlsa : Publish$", breaking.key_revoked())
        rekey.refused(says=["_25._tcp.mx1.example.test.", PRIMARY, "BADKEY"], at=[fault])
        assert records() == before

    def test_secondary_stopped(self, rekey):
        """It is silent when the new records are published, and longer than anybody waits."""
        fault = rekey.break_at(PREPARE, "tlsa : Publish$", breaking.silent("ns1"))
        rekey.refused(*QUICK, says=["ns1.example.test.", NS1, "Cannot go on: after 4", "run the same playbook again"],
                      at=[fault])
        assert not rekey.changed()

    def test_resolver_servfail_in_the_wait(self, rekey):
        """A resolver that is restarted is no reason to give up: the same run goes on by itself."""
        run = rekey.until(WAITING)
        fault = breaking.resolver_fails()
        rekey.break_now(fault)
        time.sleep(12)
        assert run.alive and not rekey.changed()
        rekey.lift()
        run.until(r"PLAY \[Deploy", limit=90)

    def test_key_revoked_before_the_withdrawal(self, rekey, records):
        run = rekey.until(r"PLAY \[Withdraw", limit=150)
        rekey.break_now(breaking.key_revoked())
        rekey.must_refuse(run, ["_25._tcp.mx1.example.test.", PRIMARY, "BADKEY"])
        rekey.lift()
        assert all(len(there) == 2 for there in records().values())
        assert set(rekey.targets().values()) == {served(host) for host in rekey.hosts}


class TestSilence(Cases):
    minutes = 3

    def test_secondary_silent_at_the_end_of_the_wait(self, rekey):
        """It has the new records, and every cache has let the old ones go; but who knows what it comes back with?"""
        run = rekey.until(r"about \d+ s left", "-e", f'{{"dane_dns_timeout": 1, "dane_ttl_floor": {LONG_WAIT}}}')
        struck = time.monotonic()
        rekey.break_now(breaking.silent("ns1"))
        run.until(f"server {re.escape(NS1)} does not answer, and may come back", limit=LONG_WAIT)
        time.sleep(max(0.0, struck + LONG_WAIT + 4 - time.monotonic()))
        assert run.alive and not rekey.changed(), "it went on although a server was silent"
        rekey.lift()
        run.until(r"PLAY \[Deploy", limit=90)


class TestPrimary(Cases):
    minutes = 5

    def test_ttl_raised_tenfold_in_the_wait(self, rekey):
        """Both records, with another TTL: no sender that holds this RRset refuses either key."""
        rekey.until(WAITING, *BRISK)
        breaking.set_ttl(RAISED, rekey.hosts)

    def test_primary_down_between_publish_and_withdraw(self, rekey, records):
        """It may stop the deployment or the withdrawal; never in between, and the records stay."""
        run = rekey.until(r"PLAY \[Deploy", *BRISK, limit=200)
        rekey.break_now(breaking.silent("ns0"))
        rekey.must_refuse(run, [PRIMARY])
        rekey.lift()
        assert all(len(there) == 2 for there in records().values())


class TestTtl(Cases):
    minutes = 6

    def test_ttl_raised_tenfold_before_the_publication(self, rekey, records):
        """Caches take in the old RRset with a TTL ten times as long, right before the new one is there: once that is
        replaced, nobody could see any more that it was there."""
        # Another case may have left it raised.
        rekey.break_now(breaking.ttl_raised(rekey.hosts, hosts.TTL))
        before = records()
        raised = breaking.ttl_raised(rekey.hosts, RAISED)
        rekey.refused(says=["_25._tcp.mx1.example.test.", f"(TTL {RAISED})", "run again, for a new look"],
                      at=[Moment(PREPARE, "tlsa : Publish$", raised.on)])
        assert records() == before and not rekey.changed()
        rekey.deployed_after_publication = 2 * RAISED
        rekey.until(WAITING)


class TestSignatures(Cases):
    minutes = 3

    def test_signatures_end_before_the_step(self, rekey):
        """Signing has stopped: what is signed now will be bogus before the wait is over, and every sender defers then."""
        rekey.break_now(breaking.signatures_end_soon(400))
        breaking.set_ttl(hosts.TTL + 1, rekey.hosts)
        breaking.set_ttl(hosts.TTL, rekey.hosts)
        rekey.refused("-e", '{"dane_ttl_slack": 600, "dane_wait_timeout": 20}', says=["_25._tcp.mx1.example.test.", "RRSIG"])
        assert not rekey.changed()


class TestAfterwards(Cases):
    """Nothing can prevent that a server falls back when all is done. Not judged: senders are hurt, as they must be."""

    def test_falls_back_after_the_deployment(self, rekey, progress):
        rekey.complete()
        rekey.ended({host: served(host) for host in rekey.hosts})
        scene.lab("senders", "stop")
        progress.window_ends(time.time())
        # The judge counts from the last sample that was still right.
        time.sleep(3)
        try:
            self.audited(rekey)
        finally:
            # The next rekey needs what this one had.
            rekey.lift()
            zone.wait_in_step(time.monotonic() + 15)
            time.sleep(IN_CACHES_AND_MORE)
            progress.began = rekey.stage.deliver()
        run = rekey.begin("audit")
        assert run.end() == 0, run.output[-3000:]

    @staticmethod
    def audited(rekey):
        """The audit has to name what fell back."""
        rekey.break_now(breaking.falls_back())
        time.sleep(3)
        run = rekey.begin("audit")
        assert run.end() == 2
        for text in ("mx1.example.test:25: no match", "mx2.example.test:25: no match", f"ns1.example.test. ({NS1}, SOA serial",
                     "It fell back"):
            assert text in run.said, f"{text} is not named:\n{run.output[-4000:]}"

    def test_completed(self, rekey):
        """It was, before the server fell back."""
