# Copyright (c) 2026 the mailops.dane authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What clients without DANE make of a chain: real certificates, the real openssl."""

from __future__ import annotations

import subprocess

import pki
import pytest
from ansible_collections.mailops.dane.plugins.module_utils import _chain, _pkix
from ansible_collections.mailops.dane.plugins.module_utils._errors import ChainError

NAME = pki.NAME
ROOT, STRANGER = pki.root("Root of the web"), pki.root("Root of nobody")
ISSUER = pki.intermediate(ROOT, "Issuer of the web")


def chain(*issued):
    return _chain.load_certificates("".join(one.pem for one in issued), "a file")


GOOD = chain(pki.leaf(ISSUER), ISSUER)
WITHOUT_ISSUER = GOOD[:1]
PRIVATE = chain(pki.leaf(STRANGER), STRANGER)


@pytest.fixture(name="store")
def the_store(tmp_path):
    path = tmp_path / "roots.pem"
    path.write_text(ROOT.pem)
    return str(path)


@pytest.fixture(name="objection")
def the_objection(store):
    def ask(mode, new, served=(), now=pki.NOW, names=(NAME,)):
        return _pkix.objection(mode, new, list(names), list(served), store, now)
    return ask


def test_a_chain_to_a_root_that_is_trusted(store):
    assert _pkix.problem(GOOD, NAME, store) == ""


def test_the_root_may_be_in_the_chain(store):
    assert _pkix.problem(GOOD + chain(ROOT), NAME, store) == ""


@pytest.mark.parametrize(("certificates", "says"), [
    (WITHOUT_ISSUER, "unable to get local issuer certificate (depth 0)"),
    (chain(pki.leaf(STRANGER), STRANGER), "self-signed certificate in certificate chain (depth 1)"),
    (chain(pki.leaf()), "self-signed certificate (depth 0)"),
    (chain(pki.leaf(pki.intermediate(ROOT, "Old", end=-1)), pki.intermediate(ROOT, "Old", end=-1)),
     "certificate has expired (depth 1)"),
    (chain(pki.leaf(ISSUER, end=-1), ISSUER), "certificate has expired (depth 0)"),
    (chain(pki.leaf(ISSUER, extended=[pki.CLIENT_AUTH]), ISSUER), "(depth 0)"),
    (chain(pki.leaf(ISSUER, names=["mx2.example.test"]), ISSUER), "ostname mismatch (depth 0)"),
], ids=["no-issuer", "other-root", "self-signed", "old-issuer", "expired", "purpose", "name"])
def test_what_a_client_refuses(certificates, says, store):
    # OpenSSL 1.1.1 says "self signed".
    assert says in _pkix.problem(certificates, NAME, store).replace("self signed", "self-signed")


def test_roots_in_a_directory(tmp_path):
    (tmp_path / "root.pem").write_text(ROOT.pem)
    assert "(depth" in _pkix.problem(GOOD, NAME, str(tmp_path))
    subprocess.run(["openssl", "rehash", str(tmp_path)], check=True)
    assert _pkix.problem(GOOD, NAME, str(tmp_path)) == ""
    assert "(depth" in _pkix.problem(PRIVATE, NAME, str(tmp_path))


def test_the_roots_that_are_named_are_the_only_ones(tmp_path, store, monkeypatch):
    """Those of the system, which the variables of OpenSSL stand for here, count only where none are named."""
    other = tmp_path / "system.pem"
    other.write_text(STRANGER.pem)
    monkeypatch.setenv("SSL_CERT_FILE", str(other))
    assert _pkix.problem(PRIVATE, NAME) == "" and _pkix.problem(GOOD, NAME)
    assert _pkix.problem(PRIVATE, NAME, store) and _pkix.problem(GOOD, NAME, store) == ""


def test_a_trust_store_that_is_not_there():
    assert "'/nowhere' does not exist" in _pkix.problem(GOOD, NAME, "/nowhere")


def test_an_openssl_that_is_not_there(store, monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    assert "openssl cannot be asked" in _pkix.problem(GOOD, NAME, store)


def test_a_full_disk(store, monkeypatch):
    def full(**_options):
        raise OSError(28, "No space left on device")
    monkeypatch.setattr(_pkix.tempfile, "TemporaryDirectory", full)
    assert "No space left on device" in _pkix.problem(GOOD, NAME, store)


@pytest.mark.parametrize("mode", ["auto", "warn", "require", "off"])
def test_nothing_is_wrong_with_a_good_chain(objection, mode):
    assert objection(mode, GOOD, GOOD) == ""


def test_a_chain_that_is_worse_is_refused(objection):
    with pytest.raises(ChainError, match="would refuse the chain for mx1.example.test: .*, and they accept the one") as caught:
        objection("auto", WITHOUT_ISSUER, GOOD)
    assert list(caught.value.fields["pkix"]) == [NAME]
    assert "dane_trust_store" in caught.value.message and "'a file'" in caught.value.message


@pytest.mark.parametrize("served", [(), PRIVATE, WITHOUT_ISSUER], ids=["nothing", "private", "incomplete"])
def test_a_chain_that_is_no_worse_passes(objection, served):
    assert objection("auto", PRIVATE, served) == ""


def test_a_certificate_that_signed_itself_was_accepted_by_nobody_else(objection, store):
    """Debian's snakeoil lies in the trust store of its own host."""
    own = pki.leaf()
    with open(store, "a", encoding="ascii") as stream:
        stream.write(own.pem)
    assert _pkix.problem(chain(own), NAME, store) == ""
    assert objection("auto", PRIVATE, chain(own)) == ""


def test_each_name_counts_for_itself(objection):
    """A name that was not accepted before need not be now; one that was has to be."""
    two = chain(pki.leaf(ISSUER, names=[NAME, "mx2.example.test"]), ISSUER)
    names = (NAME, "mx2.example.test")
    assert objection("auto", GOOD, GOOD, names=names) == ""
    with pytest.raises(ChainError, match="for mx2.example.test: ") as caught:
        objection("auto", GOOD, two, names=names)
    assert list(caught.value.fields["pkix"]) == ["mx2.example.test"]


@pytest.mark.parametrize(("end", "left", "refused"), [
    (89, 7.1, True), (89, 6.9, False), (5, 1.1, True), (5, 0.9, False),
])
def test_in_the_last_days_of_the_old_certificate_it_is_a_warning(objection, end, left, refused):
    """Six days of life (one has passed) have a last day, ninety a last week."""
    served = chain(pki.leaf(ISSUER, end=end * pki.DAY), ISSUER)
    now = pki.NOW + (end - left) * pki.DAY
    if refused:
        with pytest.raises(ChainError):
            objection("auto", WITHOUT_ISSUER, served, now)
    else:
        assert "would refuse the chain" in objection("auto", WITHOUT_ISSUER, served, now)


def test_warn_only_warns(objection):
    assert "for mx1.example.test: unable to get" in objection("warn", WITHOUT_ISSUER, GOOD)
    assert "would refuse" in objection("warn", PRIVATE, PRIVATE)


def test_require_requires(objection):
    with pytest.raises(ChainError) as caught:
        objection("require", PRIVATE, PRIVATE)
    assert "they accept the one" not in caught.value.message


def test_off_does_not_ask():
    def never(*_arguments):
        raise AssertionError
    assert _pkix.objection("off", PRIVATE, [NAME], GOOD, "", pki.NOW, verify=never) == ""


# ------------------------------------------------------------------------------------------------- roots for the served chain


def test_the_root_of_a_chain_is_found_in_a_file_and_in_a_directory(tmp_path, store):
    (tmp_path / "a.crt").write_text(STRANGER.pem)
    (tmp_path / "b.pem").write_text("-----BEGIN CERTIFICATE-----")
    (tmp_path / "c.pem").write_text(ISSUER.pem + ROOT.pem)
    (tmp_path / "d.pem").mkdir()
    assert _pkix.roots(GOOD, store) == _pkix.roots(GOOD, str(tmp_path)) == chain(ROOT)
    assert _pkix.roots(PRIVATE, str(tmp_path)) == chain(STRANGER)
    assert _pkix.roots(WITHOUT_ISSUER, str(tmp_path)) == []


def test_the_roots_of_the_system(tmp_path, monkeypatch, store):
    monkeypatch.setattr(_pkix, "SYSTEM", store)
    assert _pkix.roots(GOOD) == chain(ROOT)


def test_roots_that_are_not_there():
    with pytest.raises(ChainError, match="trusted roots in '/nowhere': No such file.*dane_trust_store"):
        _pkix.roots(GOOD, "/nowhere")
