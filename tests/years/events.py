# Copyright (c) 2026 the mailops.dane authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What happens to a site in years. Each event sees to it that what it promises came true; mail is the judge's matter."""

from __future__ import annotations

import time
from typing import NamedTuple

import snapshot
from scene import Failed
from year import DUE, MOST_RUNS

KEY, KEY_AND_ISSUER = ["3 1 1"], ["3 1 1", "2 1 1"]


def rekey_that_is_due(year):
    """The yearly rekey: the scheduled run that is there each day finds keys that are due."""
    before = year.served()
    year.a_year_passes()
    said = year.run("rekey", *DUE)
    year.must(said.count("is due since") == len(year.mail), "not every host was due")
    _rekeyed(year, before)


def rekey_by_runs_that_never_wait(year):
    """The same with `dane_wait: defer`: the first run publishes, a later one deploys and withdraws."""
    before = year.served()
    year.a_year_passes()
    for number in range(MOST_RUNS):
        year.run("rekey", *DUE, "-e", "dane_wait=defer")
        if not any(year.operations().values()):
            year.must(number, "the first run waited")
            return _rekeyed(year, before)
        time.sleep(3)
    raise Failed(f"the rekey is open after {MOST_RUNS} runs")


def _rekeyed(year, before):
    after, records = year.served(), year.records()
    for host in year.mail:
        year.must(after[host].key != before[host].key, f"{host} has the key that was due")
        of_keys = {record for record in records[host] if record.startswith("3 1 1 ")}
        year.must(of_keys == {f"3 1 1 {after[host].key}"}, f"{host}: {of_keys} are published")
    year.must(not any(year.operations().values()), "an operation is open")


def another_ca(year):
    """An administrator has the certificates issued elsewhere. Records on the key do not mind: the gate serves them."""
    before = _asked_elsewhere(year)
    year.stage.wait_for(lambda: all(one.issuer != before[host].issuer for host, one in year.served().items()), 120,
                        "certificates of the other CA at every host")


def another_ca_under_records_on_the_issuer(year):
    """With records on issuers the gate refuses a new one on each host, until renew.yml has published and waited."""
    # Also one that issued before, half a year ago, would be published still.
    year.restart_the_other_authority()
    begun = time.time()
    before = _asked_elsewhere(year)
    for host in year.mail:
        year.must(year.served()[host].issuer == before[host].issuer, f"{host} serves an issuer that nobody published")
        year.must(year.journal(host, begun, "in 2 1 1") > 0, f"{host}: the journal has no refusal")
    year.run("renew")
    for host, one in year.served().items():
        year.must(one.issuer != before[host].issuer and one.key == before[host].key, f"{host} serves {one}")


def issuers_that_alternate_at_random(year, times=6):
    """The authority issues from one intermediate or the other, as it happens. Both are published, so the gate serves each."""
    about, before = year.stage.about["acme"], year.served()
    for _time in range(times):
        year.acme = year.chance.choice((about["directory"], about["other_directory"]))
        for host in year.mail:
            said = " ".join(year.certonly(host, year.acme, "--reuse-key").text.split())
            year.must("serves the renewed certificate" in said, f"{host}: certbot said {said[-1500:]}")
            year.must(year.served()[host].key == before[host].key, f"{host} serves another key")
    year.site(dane_acme_server=year.acme)


def _asked_elsewhere(year):
    about, before = year.stage.about["acme"], year.served()
    year.acme = about["other_directory"] if year.acme == about["directory"] else about["directory"]
    for host in year.mail:
        said = year.certonly(host, year.acme, "--reuse-key")
        year.must("Successfully received certificate" in said.text, f"{host}: certbot said {said.text[-1500:]}")
    year.site(dane_acme_server=year.acme)
    return before


def records_on_the_issuer(year):
    """From records on the key to records on the key and on the issuer (RFC 7671 section 8)."""
    year.site(dane_records=KEY_AND_ISSUER)
    year.run("renew")
    for host, records in year.records().items():
        year.must({record[:5] for record in records} == set(KEY_AND_ISSUER), f"{host}: {records}")


def records_on_the_key_again(year):
    """And back: the records on issuers go, those that issued long ago too."""
    year.site(dane_records=KEY)
    year.run("renew")
    for host, records in year.records().items():
        year.must({record[:5] for record in records} == set(KEY), f"{host}: {records}")


def reuse_key_is_dropped(year):
    """Somebody's certbot forgot that renewals keep the key; the daily enable.yml comes before the next renewal."""
    host = next(iter(year.mail))
    conf = f"/etc/letsencrypt/renewal/{year.lineage(host)}.conf"
    before = year.served()[host]
    year.hold_certbot(host, True)
    snapshot.execute(host, f"sed -i '/^reuse_key/d' {conf}")
    year.must("reuse_key" not in snapshot.execute(host, f"cat {conf}"), "it was not dropped")
    year.run("enable")
    year.must("reuse_key = True\n" in snapshot.execute(host, f"cat {conf}"), f"{host}: reuse_key is not back")
    year.hold_certbot(host, False)
    year.must(year.served()[host].key == before.key, f"{host} serves another key")


def certonly_by_hand_with_a_new_key(year, refusals=2):
    """An administrator's certbot makes a key that nobody published, and certbot's timer others: none of them is served."""
    host = list(year.mail)[-1]
    begun = time.time()
    # By the next renewal that was under way the certificate may change once more, and by nothing else.
    said = year.certonly(host, year.acme, "--new-key")
    before = year.served()[host]
    year.must("Hook 'deploy-hook' reported error code 1" in said.text, f"{host}: certbot said {said.text[-1500:]}")
    year.stage.wait_for(lambda: year.journal(host, begun, "no lineage has key") >= refusals, 240,
                        f"{refusals} refusals in the journal of {host}")
    year.must(year.served()[host] == before, f"{host} serves something else")
    # Its key is gone from certbot's files, so the rekey has to bring in another one.
    rekey_that_is_due(year)


def reboots(year):
    """Every host, one after the other."""
    for host in year.mail:
        before = year.served()[host]
        year.reboot(host)
        year.must(year.served()[host].key == before.key, f"{host} serves another key")


def emergency(year):
    """The keys are in the wrong hands: another one, whatever lies ready, and the old ones are never used again."""
    before = year.served()
    said = year.run("rekey", "-e", "dane_reason=compromise")
    year.must("is compromised" in said, "the run did not say what lies ahead")
    _rekeyed(year, before)


class Plan(NamedTuple):
    """What happens in which order; the least that the last line has to count; what a season between two events is."""

    events: tuple
    least: dict
    season: dict


LONG = Plan(
    (rekey_that_is_due, another_ca, reuse_key_is_dropped, reboots, rekey_by_runs_that_never_wait,
     certonly_by_hand_with_a_new_key, records_on_the_issuer, another_ca_under_records_on_the_issuer,
     issuers_that_alternate_at_random, another_ca_under_records_on_the_issuer, records_on_the_key_again, reboots,
     emergency),
    least={"renewals": 60, "rekeys": 4, "ca_changes": 3}, season={"renewals": 3, "runs": 1})
SHORT = Plan(
    (another_ca, reboots), least={"renewals": 6, "rekeys": 0, "ca_changes": 1}, season={"renewals": 1, "runs": 0})
