# Copyright (c) 2026 the mailops.dane authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a long time has seen, on made-up worlds."""

from __future__ import annotations

import pytest
from judge import verdict, years
from judge.sightings import CUT_OFF
from worlds import START, World, certificate, stamp

REFUSED = "connect to mx1.example.test[10.99.0.21]:25: Connection refused"
UNTRUSTED = "Server certificate not trusted"


def renewed(number, **more):
    """The certificate of that number for the first key."""
    return certificate("mx1 old", not_after=START + 1e6 + number, **more)


def world(*moments):
    """mx1 presents the first of these certificates, and from each moment on the next: (seconds, certificate), ..."""
    made = World()
    made.chains["mx1"] = lambda t: [[one for at, one in moments if t >= at][-1]]
    return made


def counted(*moments, host="mx1"):
    return tuple(years.counts(world(*moments).evidence(), host))


def test_renewals_rekeys_and_changes_of_ca_are_told_apart():
    assert counted((-9, renewed(0))) == (0, 0, 0)
    assert counted((-9, renewed(0)), (10, renewed(1)), (20, renewed(2))) == (2, 0, 0)
    assert counted((-9, renewed(0)), (10, renewed(1)), (20, certificate("mx1 new"))) == (1, 1, 1)
    assert counted((-9, renewed(0, issuer="ca")), (10, renewed(1, issuer="another"))) == (1, 0, 1)
    assert counted((-9, renewed(0, issuer="ca")), (10, certificate("mx1 new", issuer="ca"))) == (0, 1, 0)


def test_what_changed_before_the_window_or_elsewhere_does_not_count():
    assert counted((-9, renewed(0)), (-0.9, renewed(1))) == (0, 0, 0)
    assert counted((-9, renewed(0)), (10, renewed(1)), host="mx2") == (0, 0, 0)
    assert counted((-9, renewed(0)), (60.4, renewed(1))) == (0, 0, 0)


def judged(reason, at=30.0, outage=("mx1", 25.0, 35.0)):
    """(failures, messages lost to restarts) where one message to mx1 is bounced for a reason."""
    made = World()
    made.lines["s1"] = [
        f"{stamp(START + at)} s1 postfix/smtp[78]: 4RXF5d0Pc2z9: to=<probe@mx1-only.example.test>, relay=none, delay=0.11, "
        f"delays=0.01/0.02/0.06/0.02, dsn=4.4.1, status=bounced ({reason})"]
    host, start, end = outage
    evidence = years.Years(made.evidence(), [years.Outage(host, START + start, START + end)])
    return len(evidence.failures()), evidence.lost_to_restarts()


def test_mail_that_met_a_restart_is_counted_apart():
    assert judged(REFUSED) == (0, 1)


@pytest.mark.parametrize("change", [
    {"reason": UNTRUSTED}, {"at": 24.0}, {"at": 36.0}, {"outage": ("mx2", 25.0, 35.0)},
    {"reason": "TLSA lookup error for mx1.example.test:25"}], ids=["a mismatch", "before", "after", "another host", "DNS"])
def test_every_other_failure_is_one(change):
    assert judged(**{"reason": REFUSED, **change}) == (1, 0)


def exposed(detail, at=30.0, outage=("mx1", 25.0, 35.0)):
    """Seconds of exposure of mx1 where the witness sees no chain at one moment, and says why."""
    host, start, end = outage
    evidence = World().evidence()
    for endpoint in evidence.sightings.endpoints("mx1"):
        evidence.sightings.chains[endpoint] = [
            look._replace(value=(), detail=detail) if abs(look.before - START - at) < 0.5 else look
            for look in evidence.sightings.chains[endpoint]]
    return verdict.judge(years.Years(evidence, [years.Outage(host, START + start, START + end)]))["exposure"]


def test_a_handshake_that_a_restart_cuts_off_shows_nothing():
    assert exposed(CUT_OFF + ": EOF") == 0


@pytest.mark.parametrize("change", [
    {"detail": "STARTTLS not offered"}, {"at": 24.0}, {"at": 36.0}, {"outage": ("mx2", 25.0, 35.0)}])
def test_no_chain_is_an_exposure_else(change):
    assert exposed(**{"detail": CUT_OFF + ": EOF", **change}) > 0


LEAST = {"renewals": 60, "rekeys": 4, "ca_changes": 2}
QUIET = "s2 delivered nothing to mx1 within 5 s before the switch of mx2 at +469.3 s"
RESULT = {"reasons": [], "void": [QUIET], "unseen": [], "from": 100.0, "to": 1100.0, "blind": 9.9, "deliveries": 9, "failed": 0,
          "exposure": 0.0}


def closed(result=None, figures=None, wrong=()):
    return years.closing_line({**RESULT, **(result or {})}, {**LEAST, **(figures or {})}, LEAST, wrong)


def test_the_last_line_counts():
    assert closed() == ("years: renewals=60 rekeys=4 ca_changes=2 deliveries=9 failed=0 exposure=0", True)


@pytest.mark.parametrize("change, says", [
    ({"figures": {"renewals": 59}}, "renewals: 59 instead of 60 or more"),
    ({"figures": {"rekeys": 3}}, "rekeys: 3 instead of 4 or more"),
    ({"result": {"deliveries": 0}}, "nothing was delivered"),
    ({"result": {"reasons": ["s1 to mx1: 1 failed"], "failed": 1}}, "s1 to mx1: 1 failed"),
    ({"result": {"exposure": 0.1}}, "exposure=0.1"),
    ({"wrong": ["renew ended with 2"]}, "renew ended with 2"),
    ({"result": {"unseen": ["the witness never got an answer from mx1 10.99.0.21"]}}, "void: the witness never got"),
    ({"result": {"blind": 10.1}}, "void: the witness saw nothing for 10 s of 1000 s"),
])
def test_what_is_wrong_is_said_in_the_last_line(change, says):
    line, good = closed(**change)
    assert line.startswith("years: FAIL renewals=") and says in line and not good
