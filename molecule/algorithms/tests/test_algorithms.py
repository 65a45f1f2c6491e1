# Copyright (c) 2026 the mailops.dane authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""From an ECDSA key to an ECDSA and an RSA key in one file, both rolled and renewed, and back to one.

The tests are one story and run in their order; the verdicts on its parts come last.
"""

from __future__ import annotations

import json
import time

import containers
import hosts
import pytest
from judge import sightings
from scene import AFTER, BEFORE

pytestmark = pytest.mark.usefixtures("in_order")
CHAIN = "/etc/postfix/dane-chain.pem"
BOTH = ("ecdsa", "rsa")
# A sender that has no use for ECDSA keys: in TLS 1.2 the cipher says which key the server has to have.
RSA_ONLY = ("postconf -e 'smtp_tls_mandatory_protocols = >=TLSv1.2, <=TLSv1.2' "
            "smtp_tls_mandatory_exclude_ciphers=aECDSA && postfix reload 2>/dev/null")
ANY_KEY = ("postconf -X smtp_tls_mandatory_protocols smtp_tls_mandatory_exclude_ciphers && "
           "postfix reload 2>/dev/null")


def types(*wanted):
    """The option that names these key types."""
    return "-e", json.dumps({"dane_key_types": wanted})


@pytest.fixture(scope="module", autouse=True)
def windows(play, stage):
    """Both hosts under DANE, senders delivering, the witnesses watching; the windows that are judged ({name: [from, to]})."""
    play("enable", "-e", json.dumps({"dane_hook_resolvers": [stage.about["resolver"]["ipv4"]]}))
    stage.watch(rsa=True)
    start = stage.deliver()
    time.sleep(BEFORE)
    return {"added": [start]}


@pytest.fixture(name="senders")
def fixture_senders():
    """A function that runs a script on s3, the sender that is to know RSA only for a while."""
    return lambda script: containers.execute(hosts.HOSTS["s3"], "sh", "-c", script)


def of(*served):
    """The records of what is served."""
    return {f"3 1 1 {one.spki}" for one in served}


def served(host):
    """What a host serves to clients that know only the one, and only the other key type."""
    return [host.served(algorithm) for algorithm in BOTH]


def test_a_virgin_host_gets_ecdsa(mail, published):
    for host in mail.values():
        ecdsa, rsa = served(host)
        assert rsa is None
        assert published(host.host.name) == of(ecdsa)


def test_rsa_is_added(play, mail, published, windows):
    before = {short: host.served() for short, host in mail.items()}
    played = play("renew", *types(*BOTH))
    for short, host in mail.items():
        ecdsa, rsa = served(host)
        assert ecdsa == before[short] and rsa.spki != ecdsa.spki, "nothing of the key that was there changes"
        assert published(host.host.name) == of(ecdsa, rsa)
        assert host.run("grep", "-c", "BEGIN .*PRIVATE KEY", CHAIN).text == "2\n"
        assert host.run("certbot", "certificates").text.count("Certificate Name:") == 2
    assert "WARNING" not in played.output
    time.sleep(AFTER)
    windows["added"].append(time.time())


def test_what_is_served_now_is_the_default(play, stage, mail, zone_hash):
    """Neither no option nor another order of the same changes anything."""
    before = {short: (host.untouched(), served(host)) for short, host in mail.items()}, zone_hash()
    assert set(play("renew").changed.values()) == {0}
    assert set(play("enable", *types("rsa", "ecdsa"), "-e", json.dumps(
        {"dane_hook_resolvers": [stage.about["resolver"]["ipv4"]]})).changed.values()) == {0}
    assert ({short: (host.untouched(), served(host)) for short, host in mail.items()}, zone_hash()) == before


def test_a_sender_that_knows_rsa_only_delivers(stage, senders, windows):
    senders(RSA_ONLY)
    since = time.time()
    for host in stage.lab.names:
        stage.wait_for(lambda h=host: stage.lab.delivering(h, since), 90, f"verified delivery to {host} by every sender")
    windows["rolled"] = [time.time()]
    time.sleep(BEFORE)


def test_both_are_rolled_by_one_rekey(play, mail, published):
    """The option that would take one away is not what a rekey goes by."""
    before = {short: served(host) for short, host in mail.items()}
    said = " ".join(play("rekey", *types("ecdsa")).output.split())
    assert "A rekey keeps what is served; run renew.yml afterwards" in said
    for short, host in mail.items():
        after = served(host)
        assert not {one.spki for one in after} & {one.spki for one in before[short]}
        assert published(host.host.name) == of(*after)
        ledger = host.ledger()
        assert ledger["operation"] is None
        assert {one.spki for one in before[short]} <= set(ledger["retired"])
        assert not {one.spki for one in after} & set(ledger["retired"])
        assert host.run("grep", "-rc", "reuse_key = True", "/etc/letsencrypt/renewal").text.count(":1\n") == 4
    time.sleep(AFTER)


@pytest.mark.parametrize("renewed", BOTH)
def test_certbot_renews_one_of_the_two(mail, renewed):
    """The hook puts the new chain beside the other one as it is."""
    for host in mail.values():
        before = dict(zip(BOTH, served(host)))
        name = f"{host.host.name}-rsa-2" if renewed == "rsa" else f"{host.host.name}-2"
        said = host.renew("--cert-name", name)
        assert said.code == 0
        assert f"postfix serves the renewed certificate of key {before[renewed].spki[:16]}" in " ".join(said.text.split())
        after = dict(zip(BOTH, served(host)))
        for algorithm in BOTH:
            assert after[algorithm].spki == before[algorithm].spki
            assert (after[algorithm].serial != before[algorithm].serial) == (algorithm == renewed)


def test_the_daily_look_catches_up_with_both(mail):
    host = mail["mx1"]
    before = served(host)
    assert host.renew("--no-directory-hooks").code == 0
    assert served(host) == before
    said = host.gate("look")
    assert said.code == 0 and said.text.count("serves the renewed certificate") == 2
    assert all(new.serial != old.serial and new.spki == old.spki for new, old in zip(served(host), before))
    assert host.gate("check").code == 0


def test_an_rsa_key_changed_by_hand_is_not_served(mail, lab):
    """And the ECDSA key goes on being renewed beside it."""
    host = mail["mx2"]
    before = served(host)
    name = f"{host.host.name}-rsa-2"
    said = host.certbot("certonly", "--standalone", "--server", lab["acme"]["directory"], "--cert-name", name, "--key-type",
                        "rsa", "--domain", host.host.name, "--force-renewal", "--new-key")
    assert f"Cannot renew: no lineage has key {before[1].spki[:16]}" in " ".join(said.text.split())
    assert served(host) == before
    assert host.renew("--cert-name", f"{host.host.name}-2").code == 0
    after = served(host)
    assert after[0].serial != before[0].serial and after[1] == before[1]
    assert host.gate("look").code == 1, "somebody has to hear of it"


def test_senders_take_any_key_again(stage, senders, windows):
    windows["rolled"].append(time.time())
    senders(ANY_KEY)
    since = time.time()
    for host in stage.lab.names:
        stage.wait_for(lambda h=host: stage.lab.delivering(h, since), 90, f"verified delivery to {host} by every sender")
    windows["removed"] = [time.time()]
    time.sleep(BEFORE)


def test_rsa_is_removed_with_a_warning(play, mail, published, windows, story):
    before = {short: served(host) for short, host in mail.items()}
    said = " ".join(play("renew", *types("ecdsa")).output.split())
    for short, host in mail.items():
        assert f"WARNING: {host.host.name} serves ecdsa and rsa, and dane_key_types names ecdsa only" in said
        ecdsa, rsa = served(host)
        assert rsa is None and ecdsa.spki == before[short][0].spki
        assert published(host.host.name) == of(ecdsa)
        assert before[short][1].spki in host.ledger()["retired"]
        assert host.run("grep", "-c", "BEGIN .*PRIVATE KEY", CHAIN).text == "1\n"
    story["removed"] = {short: f"3 1 1 {rsa.spki}" for short, (_ecdsa, rsa) in before.items()}
    assert set(play("renew").changed.values()) == {0}
    time.sleep(AFTER)
    windows["removed"].append(time.time())


def test_the_record_outlived_the_chain(stage, mail, story):
    """No server let it go while somebody was presented an RSA chain."""
    stage.stop_watching()
    seen = sightings.read(stage.rsa_file)
    for short, host in mail.items():
        last = max(look.after for endpoint in seen.endpoints(short) for look in seen.chains[endpoint] if look.value)
        for source in seen.sources(f"_25._tcp.{host.host.name}."):
            looks = [look for look in seen.rrsets[source] if look.value]
            has = [look.after for look in looks if story["removed"][short] in look.value.records]
            assert max(has) > last + 7, "dane_linger is 8 s here, and the witness looks twice a second"
            assert max(has) < looks[-1].after


@pytest.mark.parametrize("rsa", [False, True], ids=["ecdsa", "rsa"])
@pytest.mark.parametrize("name", ["added", "rolled", "removed"])
def test_no_delivery_failed_and_no_cache_could_have_seen_a_mismatch(stage, windows, name, rsa):
    if rsa and name == "removed":
        pytest.skip("what goes away is judged by the test before: it is no outage")
    start, end = windows[name]
    verdict = stage.judge(start, expect_new_keys=name == "rolled", extra_records=name != "removed", end=end,
                          suffix=f"-{name}{'-rsa' if rsa else ''}", rsa=rsa)
    assert (verdict["outcome"], verdict["reasons"], verdict["void"]) == ("PASS", [], [])
    assert (verdict["failed"], verdict["exposure"]) == (0, 0.0)
    assert verdict["verified"] > 50
    # Rolled: the rekey, a renewal of this key alone, and then the look on mx1; on mx2 one more of ECDSA, by hand.
    assert sorted(switch["host"] for switch in verdict["switches"]) == (
        [] if name != "rolled" else ["mx1"] * 3 + ["mx2"] * (2 if rsa else 3))
