# Copyright (c) 2026 the mailops.dane authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The judge's reading of Postfix's and Unbound's logs. The lines are Postfix 3.7's and Unbound 1.17's own."""

from __future__ import annotations

import pytest
from judge import senders
from worlds import START, delivery_lines, stamp

DOMAINS = {"mx1-only.example.test": "mx1"}
PEER4 = "mx1.example.test[10.99.0.21]:25"
PEER6 = "mx1.example.test[fd99:0:0:1::21]:25"
TAIL = ": TLSv1.3 with cipher TLS_AES_256_GCM_SHA384 (256/256 bits)"


def read(*texts, service="smtp", pid=77):
    log = senders.PostfixLog("s1", DOMAINS, START)
    log.feed(f"{stamp(START + i)} s1 postfix/{service}[{pid}]: {text}\n" for i, text in enumerate(texts))
    return log


def outcome(relay=PEER4, end="dsn=2.0.0, status=sent (250 2.0.0 Ok)"):
    return f"4RXF5d: to=<probe@mx1-only.example.test>, relay={relay}, delay=0.1, delays=0/0/0.1/0, {end}"


def test_a_verified_delivery():
    (delivery,) = read(f"Verified TLS connection established to {PEER4}{TAIL}", outcome()).deliveries
    assert (delivery.host, delivery.verified, delivery.status, delivery.failed) == ("mx1", True, "sent", False)
    assert delivery.at == pytest.approx(START + 1)


@pytest.mark.parametrize("level", ["Trusted", "Untrusted", "Anonymous"])
def test_sent_but_not_verified_is_a_failure(level):
    (delivery,) = read(f"{level} TLS connection established to {PEER4}{TAIL}", outcome()).deliveries
    assert delivery.failed and level in delivery.reason


def test_sent_without_tls_is_a_failure():
    (delivery,) = read(outcome()).deliveries
    assert delivery.failed and "none" in delivery.reason


def test_verified_towards_another_address_does_not_count():
    (delivery,) = read(f"Verified TLS connection established to {PEER6}{TAIL}", outcome(PEER4)).deliveries
    assert delivery.failed


def test_a_verified_line_serves_one_delivery_only():
    first, second = read(f"Verified TLS connection established to {PEER4}{TAIL}", outcome(), outcome()).deliveries
    assert not first.failed and second.failed


@pytest.mark.parametrize(
    "end",
    [
        "dsn=4.7.5, status=deferred (Server certificate not trusted)",
        "dsn=4.7.5, status=bounced (Server certificate not verified)",
        "dsn=4.7.5, status=deferred (TLSA lookup error for mx1.example.test:25)",
        "dsn=4.7.4, status=deferred (TLS is required, but was not offered by host mx1.example.test[10.99.0.21])",
        "dsn=4.4.1, status=deferred (connect to mx1.example.test[10.99.0.21]:25: Connection refused)",
    ],
)
def test_failures_and_their_reason(end):
    (delivery,) = read(f"Untrusted TLS connection established to {PEER4}{TAIL}", outcome(end=end)).deliveries
    assert delivery.failed and not delivery.verified
    assert delivery.reason == end.partition("(")[2][:-1]


def test_a_dane_warning_of_the_same_process_explains_the_failure():
    log = read(
        "warning: TLS policy lookup for mx1-only.example.test/mx1.example.test: TLSA records are unusable",
        outcome("none", "dsn=4.7.5, status=deferred (mx1.example.test: no usable TLSA)"),
    )
    assert "unusable" in log.deliveries[0].reason


def test_a_first_address_that_mismatched_is_a_stumble():
    log = read(
        f"Untrusted TLS connection established to {PEER6}{TAIL}",
        "4RXF5d: Server certificate not trusted",
        f"Verified TLS connection established to {PEER4}{TAIL}",
        outcome(),
    )
    (delivery,) = log.deliveries
    assert delivery.failed and delivery.status == "sent"
    assert delivery.reason == "Server certificate not trusted, at another address of the host"


def test_a_delivery_that_failed_at_both_addresses_is_one_failure():
    log = read(
        f"Untrusted TLS connection established to {PEER6}{TAIL}",
        "4RXF5d: Server certificate not verified",
        f"Untrusted TLS connection established to {PEER4}{TAIL}",
        outcome(end="dsn=4.7.5, status=deferred (Server certificate not verified)"),
    )
    (delivery,) = log.deliveries
    assert delivery.failed and delivery.reason == "Server certificate not verified"


def test_suspended_by_the_queue_manager_is_a_failure():
    log = read(outcome("none", "dsn=4.7.5, status=deferred (delivery temporarily suspended: Server certificate not "
                       "trusted)"), service="error")
    assert log.deliveries[0].failed


def test_other_recipients_are_none_of_its_business():
    log = read("4RXF5d: to=<root@s1.example.test>, relay=local, delay=0.1, delays=0/0/0/0, dsn=2.0.0, status=sent (x)")
    assert not log.deliveries


def test_interleaved_processes_are_told_apart():
    good, bad = delivery_lines("mx1", START, pid=1), delivery_lines("mx1", START, "Untrusted", pid=2)
    log = senders.PostfixLog("s1", DOMAINS, START)
    log.feed([good[0], bad[0], bad[1], good[1]])
    assert [d.failed for d in log.deliveries] == [True, False]


def test_a_queued_message_waits_for_its_outcome():
    active = "4RXF5d: from=<probe@s1.example.test>, size=300, nrcpt=1 (queue active)"
    assert "4RXF5d" in read(active).queued
    assert not read(active, outcome()).queued


@pytest.mark.parametrize("written", ["Jan 15 08:00:00", "2027-01-15T08:00:00Z", "2027-01-15T09:00:00+01:00"])
def test_stamps(written):
    log = senders.PostfixLog("s1", DOMAINS, START)
    log.feed([f"{written} s1 postfix/smtp[7]: {outcome()}"])
    assert (log.deliveries[0].at, log.deliveries[0].resolution) == (START, 1.0)


def test_a_stamp_without_year_is_taken_near():
    assert senders._epoch("Dec 31 23:59:59", 1_798_761_600 + 5)[0] == 1_798_761_599


@pytest.mark.parametrize(
    "head", ["[1800000000] unbound[12:0] info:", "2027-01-15T08:00:00.000000+00:00 s1 unbound[12]: [12:0] info:",
             "Jan 15 08:00:00 s1 unbound[12]: [12:0] reply:", "2027-01-15T08:00:00Z s1 unbound: [12:0] info:"]
)
def test_unbound_fetches(head):
    reply = f"{head} 127.0.0.1 _25._tcp.MX1.example.test. TLSA IN NOERROR 0.002 %d 143"
    (fetch,) = senders.fetches([reply % 0, reply % 1, "anything else"], "s1", START)
    assert (fetch.owner, fetch.at) == ("_25._tcp.mx1.example.test.", START)


def test_unbound_failures_are_no_fetches():
    line = "[1800000000] unbound[12:0] info: 127.0.0.1 _25._tcp.mx1.example.test. TLSA IN SERVFAIL 0.002 0 143"
    assert not senders.fetches([line], "s1", START)
