# Copyright (c) 2026 the mailops.dane authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Since when a key is known: real certificates in certbot's layout."""

from __future__ import annotations

import os

import pki
import pytest
from ansible_collections.mailops.dane.plugins.module_utils import _age, _chain
from ansible_collections.mailops.dane.plugins.module_utils._errors import LedgerError

DAY = 86400
ISSUER = pki.root("Root of the ages")


def leaf(days, key="A"):
    """A certificate for a key, issued so many days ago."""
    return pki.leaf(ISSUER, private=pki.key(key), start=-days * DAY, end=90 * DAY)


def since(days):
    """What is expected of a first certificate that is so many days old (epoch seconds)."""
    return int(pki.NOW) - days * DAY


class Host:
    """A chain file and a lineage, in a directory."""

    def __init__(self, root):
        self.state, self.chain_file = root / "state", root / "chain.pem"
        self.archive, self.live = root / "archive" / "mx", root / "live" / "mx"
        for made in (self.archive, self.live):
            made.mkdir(parents=True)
        self.versions = 0

    def serve(self, certificate):
        self.chain_file.write_text(certificate.key_pem + certificate.pem + ISSUER.pem)
        return self

    def issue(self, *certificates):
        """What certbot does: a new number in the archive, and the link on it."""
        for certificate in certificates:
            self.versions += 1
            (self.archive / f"cert{self.versions}.pem").write_text(certificate.pem)
            (self.archive / f"privkey{self.versions}.pem").write_text(certificate.key_pem)
            (self.live / "cert.pem").unlink(missing_ok=True)
            (self.live / "cert.pem").symlink_to(f"../../archive/mx/cert{self.versions}.pem")
        return self

    def since(self, **more):
        return _age.known_since(str(self.state), str(self.chain_file), [str(self.live), str(self.live) + "-2"], **more)


@pytest.fixture(name="host")
def fixture_host(tmp_path):
    """A host without anything yet."""
    return Host(tmp_path)


def test_without_a_chain_file_nothing_is_known(host):
    assert host.since() is None and not host.state.exists()


def test_a_chain_file_without_a_certificate_says_nothing(host):
    host.chain_file.write_text("no certificate\n")
    assert host.since() is None
    host.chain_file.write_bytes(b"\xff\xfe")
    assert host.since() is None


def test_a_hand_made_key_is_as_old_as_its_certificate(host):
    assert host.serve(leaf(400)).since() == since(400)


def test_the_first_certificate_of_the_key_counts_and_not_the_last(host):
    assert host.issue(leaf(300), leaf(200), leaf(10)).serve(leaf(10)).since() == since(300)


def test_certificates_of_other_keys_do_not_count(host):
    assert host.issue(leaf(900, "old"), leaf(300), leaf(10)).serve(leaf(10)).since() == since(300)


def test_what_certbot_removes_from_its_archive_is_still_known(host):
    """certbot 5 keeps the last five certificates beside the one in use: a key would become younger with each renewal."""
    host.issue(leaf(300), leaf(200)).serve(leaf(200))
    assert host.since() == since(300)
    (host.archive / "cert1.pem").unlink()
    host.issue(leaf(1)).serve(leaf(1))
    assert host.since() == since(300)
    assert host.since(write=False) == since(300)


def test_only_a_certificate_is_kept_once_and_readable(host):
    host.issue(leaf(300)).serve(leaf(200)).since()
    kept = _age.first_certificate(str(host.state), _chain.spki_digest(pki.spki(pki.key("A"))))
    with open(kept, encoding="utf-8") as stream:
        text = stream.read()
    assert "PRIVATE" not in text and text.count("BEGIN CERTIFICATE") == 1
    assert os.stat(kept).st_mode & 0o777 == 0o644
    before = os.stat(kept).st_mtime_ns, os.stat(kept).st_ino
    assert host.since() == since(300) and (os.stat(kept).st_mtime_ns, os.stat(kept).st_ino) == before


def test_an_older_one_that_turns_up_takes_its_place(host):
    host.serve(leaf(10)).since()
    host.issue(leaf(300)).since()
    (host.archive / "cert1.pem").unlink()
    assert host.since() == since(300)


def test_in_check_mode_nothing_is_kept(host):
    assert host.serve(leaf(10)).since(write=False) == since(10) and not host.state.exists()


def test_a_key_that_took_the_place_of_another_counts_from_when_it_was_found_there(host):
    """A standby's certificate is as old as the rekey before."""
    host.issue(leaf(300)).serve(leaf(300)).since()
    host.issue(leaf(290, "B"))
    first, later = since(0) + 7.9, since(-400)
    assert host.serve(leaf(290, "B")).since(clock=lambda: first) == since(0) + 7
    assert host.issue(leaf(1, "B")).serve(leaf(1, "B")).since(clock=lambda: later) == since(0) + 7
    assert host.since(clock=lambda: later, write=False) == since(0) + 7
    os.unlink(_age.first_certificate(str(host.state), _chain.spki_digest(pki.spki(pki.key("B")))))
    assert host.since(clock=lambda: later) == since(0) + 7
    assert host.serve(leaf(20)).since(clock=lambda: later) == since(300)


def test_in_check_mode_a_key_that_took_the_place_of_another_is_not_noted(host):
    host.serve(leaf(300)).since()
    assert host.serve(leaf(290, "B")).since(clock=lambda: since(0), write=False) == since(0)
    assert host.since(clock=lambda: since(-5)) == since(-5)


def test_a_clock_that_was_ahead_makes_no_key_young_for_ever(host):
    host.serve(leaf(300)).since()
    host.serve(leaf(290, "B")).since(clock=lambda: since(-900))
    assert host.since(clock=lambda: since(-2)) == since(-2)


@pytest.mark.parametrize("spoilt", [b"", b"soon\n", b"\xff"])
def test_a_stamp_that_cannot_be_read_says_nothing(host, spoilt):
    host.serve(leaf(300)).since()
    host.serve(leaf(290, "B")).since(clock=lambda: since(0))
    stamp, = (host.state / "first").glob("*.served")
    assert os.stat(stamp).st_mode & 0o777 == 0o644
    stamp.write_bytes(spoilt)
    assert host.since() == since(290)


def test_the_keys_of_the_lineages(host):
    assert _age.keys_of([str(host.live)]) == []
    host.issue(leaf(300, "old"), leaf(300), leaf(10))
    assert _age.keys_of([str(host.live), str(host.live) + "-2"]) == [_chain.spki_digest(pki.spki(pki.key("A")))]


@pytest.mark.parametrize("spoilt", ["", "garbage", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"])
def test_files_that_cannot_be_read_say_nothing(host, spoilt):
    host.issue(leaf(300), leaf(200)).serve(leaf(200))
    (host.archive / "cert1.pem").write_text(spoilt)
    assert host.since() == since(200)
    kept = _age.first_certificate(str(host.state), _chain.spki_digest(pki.spki(pki.key("A"))))
    with open(kept, "w", encoding="utf-8") as stream:
        stream.write(spoilt)
    assert host.since() == since(200)


def test_a_certificate_of_another_key_in_the_place_of_the_kept_one_does_not_count(host):
    host.serve(leaf(10)).since()
    kept = _age.first_certificate(str(host.state), _chain.spki_digest(pki.spki(pki.key("A"))))
    with open(kept, "w", encoding="utf-8") as stream:
        stream.write(leaf(900, "B").pem)
    assert host.since() == since(10)


def test_a_name_with_the_letters_of_a_pattern_is_a_name(tmp_path):
    host = Host(tmp_path / "[ab]*")
    host.issue(leaf(300)).serve(leaf(10))
    assert host.since() == since(300)


def test_what_cannot_be_kept_is_said(host):
    host.state.write_text("a file where the directory should be")
    with pytest.raises(LedgerError, match="Cannot write .*first"):
        host.serve(leaf(10)).since()
