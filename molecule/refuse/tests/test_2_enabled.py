# Copyright (c) 2026 the mailops.dane authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Faults and bad input on hosts under DANE; at the end a rekey in spite of them."""

from __future__ import annotations

import json
import pathlib
import time

import pytest
import scene
import snapshot
import zone
from words import option

PLAYBOOKS = pathlib.Path(__file__).resolve().parents[1] / "playbooks"
LINEAGE = "/etc/letsencrypt/live/mx1.example.test"
LEDGER = "/var/lib/mailops-dane/ledger.json"

NEW_KEY = f"""
set -e
openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 > "$(readlink -f {LINEAGE}/privkey.pem)"
"""
OTHER_ISSUER = f"""
set -e
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 -subj "/CN=Somebody Else" \\
    -keyout /dev/null > "$(readlink -f {LINEAGE}/chain.pem)"
"""
LINK_TO_NOWHERE = f"""
rm "$(readlink -f {LINEAGE}/cert.pem)"
"""
EXPIRED = f"""
python3 - <<'END'
import datetime
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

LINEAGE = "{LINEAGE}"
key = serialization.load_pem_private_key(open(LINEAGE + "/privkey.pem", "rb").read(), None)
issuer, now = ec.generate_private_key(ec.SECP256R1()), datetime.datetime.utcnow()


def certificate(name, of, ca, until):
    built = x509.CertificateBuilder(
        x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "Short-lived CA")]),
        x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)]), of.public_key(), x509.random_serial_number(),
        now - datetime.timedelta(days=90), until)
    built = built.add_extension(x509.BasicConstraints(ca, None), True)
    built = built.add_extension(x509.SubjectAlternativeName([x509.DNSName("mx1.example.test")]), False)
    return built.sign(issuer, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


open(LINEAGE + "/cert.pem", "wb").write(
    certificate("mx1.example.test", key, False, now - datetime.timedelta(days=1)))
open(LINEAGE + "/chain.pem", "wb").write(
    certificate("Short-lived CA", issuer, True, now + datetime.timedelta(days=90)))
END
"""


THEIRS = "live/www.example.test/privkey.pem live/www.example.test/cert.pem renewal/www.example.test.conf"
FOREIGN = """
set -e
cd /etc/letsencrypt
cp -rL live/mx1.example.test live/www.example.test
sed -e '/reuse_key/d' -e s/mx1.example.test/www.example.test/ renewal/mx1.example.test.conf > renewal/www.example.test.conf
"""


@pytest.fixture
def broken():
    """``broken(script)``: do this on mx1 and undo it after the test."""
    directories = "/etc/letsencrypt /etc/postfix"
    snapshot.execute("mx1", f"tar -cpf /root/before.tar {directories} 2>/dev/null")
    yield lambda script: snapshot.execute("mx1", script)
    snapshot.execute("mx1", f"rm -rf {directories}; tar -xpf /root/before.tar -C / && rm /root/before.tar; postfix reload")


@pytest.fixture(scope="module", autouse=True)
def enabled(play, clear):
    """Both hosts are under DANE."""
    clear(play("enable"))


@pytest.mark.parametrize(("script", "says"), [
    (NEW_KEY, ["privkey.pem", "cert.pem", "do not belong together"]),
    (OTHER_ISSUER, ["issuer"]),
    (EXPIRED, ["expired"]),
    (LINK_TO_NOWHERE, [f"mx1.example.test: certbot's lineage mx1.example.test is damaged: {LINEAGE}/cert.pem is",
                       "certbot update_symlinks"]),
], ids=["another-key", "incomplete-chain", "expired", "link-to-nowhere"])
def test_lineage(refused, broken, script, says):
    broken(script)
    refused("enable", says=says)


@pytest.mark.parametrize(("script", "says"), [
    ("postconf -e smtpd_tls_chain_files=/etc/ssl/private/ssl-cert-snakeoil.key",
     ["main.cf has smtpd_tls_chain_files = /etc/ssl/private/ssl-cert-snakeoil.key"]),
    ("postconf -P smtp/inet/smtpd_tls_cert_file=/etc/ssl/certs/ssl-cert-snakeoil.pem",
     ["master.cf has -o smtp/inet/smtpd_tls_cert_file = /etc/ssl/certs/ssl-cert-snakeoil.pem"]),
    ("postconf -e tls_server_sni_maps=hash:/etc/postfix/sni", ["main.cf has tls_server_sni_maps = hash:/etc/postfix/sni"]),
], ids=["main.cf", "master.cf", "sni-maps"])
def test_settings_of_somebody_else(refused, broken, script, says):
    broken(script)
    refused("rekey", says=["mx1.example.test: ", *says])


@pytest.fixture
def pinned():
    """An RRset that nobody manages pins the key that mx1 serves (its owner name)."""
    owner = "_25._tcp.alias.example.test."
    spki = json.loads(snapshot.execute("mx1", "dane-gate status --json"))["published"]["_25._tcp.mx1.example.test."][0]
    message = zone.update("example.test")
    message.add(owner, 5, "TLSA", spki)
    zone.send(message)
    signed_with(owner, True)
    yield owner
    message = zone.update("example.test")
    message.delete(owner, "TLSA")
    zone.send(message)
    signed_with(owner, False)


def signed_with(owner, there):
    """Wait until the zone that is served has TLSA records there, or none: the primary signs what it has accepted later."""
    deadline = time.monotonic() + 30
    while (f"{owner} TLSA" in snapshot.zone_content()) != there:
        assert time.monotonic() < deadline, f"{owner} is not {'there' if there else 'gone'} after 30 s"
        time.sleep(0.2)


def test_a_record_elsewhere_that_pins_the_key(refused, pinned):
    elsewhere = option(dane_other_names=["alias.example.test"])
    refused("rekey", *elsewhere, says=[
        f"mx1.example.test: {pinned} has 3 1 1 ", "will match nothing after a rekey", "Add alias.example.test to dane_names"])


def test_a_record_elsewhere_that_is_ignored(play, clear, untouched, pinned):
    """The same rekey at the operator's word: it comes to where a real one would make a key."""
    before = untouched()
    waived = option(
        dane_other_names=["alias.example.test"],
        dane_ignore_names=[{"name": "alias.example.test", "until": "2999-12-31", "reason": "no MX record leads there"}])
    said = clear(play("rekey", "--check", *waived, limit="mx1.example.test"))
    assert "_25._tcp.mx1.example.test. 10 IN TLSA 3 1 1 <key to be made on mx1.example.test>" in said
    assert pinned not in said
    assert untouched() == before


def test_enable_only_tells_of_a_record_elsewhere(play, clear, pinned):
    played = play("enable", *option(dane_other_names=["alias.example.test"]), limit="mx1.example.test")
    assert f"mx1.example.test: this will stop a rekey: {pinned} has 3 1 1 " in clear(played)


def test_wrong_secret(refused, lab):
    refused("rekey", *option(dane_tsig={**lab["tsig"], "secret": "d3Jvbmc="}), says=["_25._tcp.mx1.example.test.", "BADSIG"])


def test_updates_refused(refused, lab):
    refused("rekey", *option(dane_tsig=lab["tsig_refused"]), says=["_25._tcp.mx1.example.test.", "REFUSED", "refused."])


def test_acme_server_down(refused):
    scene.lab("exec", "acme", "systemctl", "stop", "pebble@1")
    try:
        refused("rekey", says=["mx1.example.test: certbot", "acme.example.test:14000"])
    finally:
        scene.lab("exec", "acme", "systemctl", "start", "pebble@1")


# Pebble has forgotten the accounts, as no ACME server does.
FORGET = "rm -rf /etc/letsencrypt/accounts"


def test_lost_ledger(play, clear, refused, records):
    """The host's memory is gone: rekey says what to do, enable takes in what is there, and nothing is lost."""
    snapshot.execute("mx1", f"{FORGET}; truncate -s 100 {LEDGER}")
    refused("rekey", says=["mx1.example.test: no record at _25._tcp.mx1.example.test. is known", "run enable.yml first"])
    before = records()
    played = play("enable", limit="mx1.example.test")
    clear(played)
    assert records() == before
    assert json.loads(snapshot.execute("mx1", f"cat {LEDGER}"))["published"]


OLD_LINEAGE = """
REQUESTS_CA_BUNDLE=/etc/ssl/lab/pebble-ca.pem certbot certonly -qn --standalone --agree-tos -m hostmaster@example.test \\
    --server https://acme.example.test:14000/dir --key-type ecdsa -d mx1.example.test --cert-name mx1.example.test-2 >&2
openssl pkey -in /etc/letsencrypt/live/mx1.example.test-2/privkey.pem -pubout -outform DER | sha256sum
"""


ANOTHER_CERTBOT = """
cat > /root/another-certbot.py <<'END'
import fcntl, glob, pathlib, time


def at_work():
    found = b""
    for path in glob.glob("/proc/[0-9]*/cmdline"):
        try:
            found += pathlib.Path(path).read_bytes()
        except OSError:
            pass
    # In two parts, or the shell that writes this file would be one.
    return b"cert" + b"only" in found


lock = open("/etc/letsencrypt/.certbot.lock", "a")
fcntl.lockf(lock, fcntl.LOCK_EX)
pathlib.Path("/root/locked").touch()
while not at_work():
    time.sleep(0.02)
while at_work():
    time.sleep(0.02)
pathlib.Path("/root/turned-away").touch()
END
systemd-run --quiet python3 /root/another-certbot.py
until test -e /root/locked; do sleep 0.1; done
"""


@pytest.fixture
def another_certbot():
    """One is at work on mx1, until ours has been turned away once."""
    snapshot.execute("mx1", ANOTHER_CERTBOT)
    yield
    assert "turned-away" in snapshot.execute(
        "mx1", "ls /root; rm -f /root/locked /root/turned-away /root/another-certbot.py")


@pytest.mark.usefixtures("another_certbot")
def test_deployment_without_publication(play, clear, records):
    """The door is shut, and what is served is what was served. The next key is a new one, for which certbot has to be waited.

    There is one already of which the ledger that was lost may have known that it was served once and retired.
    """
    old_key = snapshot.execute("mx1", OLD_LINEAGE).split()[0]
    before, chain = records(), snapshot.execute("mx1", "sha256sum /etc/postfix/dane-chain.pem")
    played = play(PLAYBOOKS / "no-wait.yml", check=False, limit="mx1.example.test")
    said = clear(played)
    assert played.returncode == 2
    assert "Cannot deploy the chain of key" in said
    assert "is still served by" in said and "and does not match the chain of key" in said
    assert (records(), snapshot.execute("mx1", "sha256sum /etc/postfix/dane-chain.pem")) == (before, chain)
    target = json.loads(snapshot.execute("mx1", f"cat {LEDGER}"))["operation"]["target_spki"]
    assert len(target) == len(old_key) and target != old_key


def test_old_look(refused):
    refused(PLAYBOOKS / "old-look.yml", says=[
        "_25._tcp.mx1.example.test.: the last look at its servers is not of the last 60 s"])
    snapshot.execute("mx1", "rm -f /var/lib/mailops-dane/old-look.json*")


@pytest.fixture(name="foreign")
def a_lineage_of_something_else():
    """Of a web server on mx1, with settings that its administrator wants: what may be found of it (digests)."""
    snapshot.execute("mx1", FOREIGN)
    found = snapshot.execute("mx1", f"cd /etc/letsencrypt && sha256sum {THEIRS} && stat -c '%n %a %Y' {THEIRS}")
    assert len(found.splitlines()) == 6
    return found


def test_secondary_down_for_longer_than_the_timeout(play, clear, records, foreign):
    """Nothing but the records changes; and when it is back, the same command completes with the same key. A lineage of
    somebody else on the host is as it was."""
    spki = json.loads(snapshot.execute("mx1", f"cat {LEDGER}"))["operation"]["target_spki"]
    chains = [snapshot.execute(host, "sha256sum /etc/postfix/dane-chain.pem") for host in ("mx1", "mx2")]
    old = {owner: there for owner, there in records().items() if " ns0 " in owner}
    scene.lab("stop", "ns2")
    try:
        played = play("rekey", *option(dane_wait_timeout=10, dane_dns_timeout=1), limit="mx1.example.test", check=False)
    finally:
        scene.lab("start", "ns2")
    said = clear(played)
    assert played.returncode == 2
    assert "Cannot go on: after 1" in said and "What each server said last" in said
    assert "ns2.example.test." in said and "10.99.0.13" in said and "timeout" in said.lower()
    assert [snapshot.execute(host, "sha256sum /etc/postfix/dane-chain.pem") for host in ("mx1", "mx2")] == chains
    assert all(set(there) <= set(records()[owner]) for owner, there in old.items())

    again = play("rekey", limit="mx1.example.test")
    clear(again)
    ledger = json.loads(snapshot.execute("mx1", f"cat {LEDGER}"))
    assert ledger["operation"] is None
    mine = {owner: there for owner, there in records().items() if "mx1" in owner}
    assert set(map(tuple, mine.values())) == {(f"3 1 1 {spki}",)}
    assert snapshot.execute(
        "mx1", f"cd /etc/letsencrypt && sha256sum {THEIRS} && stat -c '%n %a %Y' {THEIRS}") == foreign
