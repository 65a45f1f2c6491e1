# Copyright (c) 2026 the mailops.dane authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import grp
import hashlib
import json
import os
import pwd
import ssl
import stat
import threading
import time
from unittest import mock

import pki
import pytest
import yaml
from ansible.module_utils import basic
from ansible_collections.mailops.dane.plugins.module_utils import _chain
from ansible_collections.mailops.dane.plugins.modules import chain_assemble

try:
    from ansible.module_utils.testing import patch_module_args as module_arguments
except ImportError:
    # ansible-core 2.18
    def module_arguments(arguments):
        return mock.patch.object(basic, "_ANSIBLE_ARGS", json.dumps({"ANSIBLE_MODULE_ARGS": arguments}).encode())

ROOT = pki.root()
INTERMEDIATE = pki.intermediate(ROOT)
LEAF = pki.leaf(INTERMEDIATE)
NEXT = pki.leaf(INTERMEDIATE, private=pki.key("next"))
AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")


@pytest.fixture
def site(tmp_path):
    """A directory as certbot would leave it: key, fullchain, and the authority's files."""
    (tmp_path / "key.pem").write_text(LEAF.key_pem)
    (tmp_path / "fullchain.pem").write_text(LEAF.pem + INTERMEDIATE.pem)
    (tmp_path / "leaf.pem").write_text(LEAF.pem)
    (tmp_path / "root.pem").write_text(ROOT.pem)
    (tmp_path / "remote_tmp").mkdir()
    return tmp_path


@pytest.fixture
def run(site, capsys):
    """A function that runs the module and returns its result; it must not show the key, whatever happens."""
    def run_module(check=False, **options):
        arguments = {
            "privatekey_path": str(site / "key.pem"), "certificate_path": str(site / "fullchain.pem"),
            "base_domains": [pki.NAME], "_ansible_check_mode": check, "_ansible_diff": True,
            "_ansible_remote_tmp": str(site / "remote_tmp"), **options}
        arguments = {name: value for name, value in arguments.items() if value is not None}
        warnings = []
        with module_arguments(arguments), pytest.raises(SystemExit), mock.patch.object(
                basic.AnsibleModule, "warn", lambda module, text: warnings.append(text)):
            chain_assemble.main()
        out, err = capsys.readouterr()
        for secret in (LEAF.key_pem, NEXT.key_pem):
            assert secret.splitlines()[1] not in out + err
        return {**json.loads(out), "warned": warnings}
    return run_module


def digest(issued):
    return hashlib.sha256(pki.spki(issued.key)).hexdigest()


def failure(result):
    assert result["failed"] is True and "exception" not in result
    return result["msg"]


# -------------------------------------------------------------------------------------------------------------- results


def test_a_chain_is_checked_and_returned_without_a_file(run, site):
    before = sorted(os.listdir(site))
    result = run(combinations=["DANE-EE SPKI SHA2-256", "2 1 1", "3 0 2", "2 0 0"])
    assert result["changed"] is False and "dest" not in result and "diff" not in result
    assert result["spki"] == digest(LEAF)
    assert result["certificates"] == [
        {"depth": 0, "subject": "CN=mx1.example.test", "issuer": "CN=Intermediate", "not_after": pki.NOW + 90 * pki.DAY,
         "spki": digest(LEAF), "records": {
             "3 1 1": f"3 1 1 {digest(LEAF)}", "3 0 2": f"3 0 2 {hashlib.sha512(LEAF.der).hexdigest()}"}},
        {"depth": 1, "subject": "CN=Intermediate", "issuer": "CN=Root", "not_after": pki.NOW + 1000 * pki.DAY,
         "spki": digest(INTERMEDIATE), "records": {
             "2 1 1": f"2 1 1 {digest(INTERMEDIATE)}", "2 0 0": f"2 0 0 {INTERMEDIATE.der.hex()}"}},
    ]
    assert result["chain"]["spki"] == digest(LEAF)
    assert f"3 1 1 {digest(LEAF)}" in result["chain"]["matches"]
    assert f"2 1 1 {digest(INTERMEDIATE)}" in result["chain"]["matches"]
    assert sorted(os.listdir(site)) == before


def test_what_is_returned_is_documented(run, site):
    documented = yaml.safe_load(chain_assemble.RETURN)
    result = run(dest=str(site / "dest.pem"))
    # What Ansible adds by itself to every result with a dest.
    of_files = {"uid", "gid", "owner", "group", "mode", "size", "state", "secontext"}
    assert set(result) - {"invocation", "changed", "diff", "warned"} - of_files == set(documented)
    assert set(result["chain"]) == set(documented["chain"]["contains"])
    assert set(result["certificates"][0]) == set(documented["certificates"]["contains"])


def test_options_are_documented():
    documented = yaml.safe_load(chain_assemble.DOCUMENTATION)["options"]
    with mock.patch.object(chain_assemble, "AnsibleModule", side_effect=StopIteration) as made:
        with pytest.raises(StopIteration):
            chain_assemble.main()
    specification = made.call_args.kwargs["argument_spec"]
    assert set(documented) == set(specification)
    for name, option in specification.items():
        assert {key: documented[name].get(key) for key in ("type", "default", "elements")} == {
            key: option.get(key) for key in ("type", "default", "elements")}
        assert documented[name].get("required", False) == option.get("required", False)


def test_issuers_from_files_and_directories(run, site):
    heap = site / "heap"
    heap.mkdir()
    (heap / "a.crt").write_text(pki.root("Stranger").pem)
    (heap / "b.pem").write_text("text\n" + INTERMEDIATE.pem)
    (heap / "notes.txt").write_text("-----BEGIN CERTIFICATE-----")
    (heap / "sub.pem").mkdir()
    result = run(
        certificate_path=str(site / "leaf.pem"), issuers=[str(site / "root.pem"), str(heap)], include_root=True)
    assert [one["subject"] for one in result["certificates"]] == ["CN=mx1.example.test", "CN=Intermediate", "CN=Root"]
    assert result["warned"] == []


def test_a_broken_file_in_a_directory_is_skipped_with_a_warning(run, site):
    heap = site / "heap"
    heap.mkdir()
    (heap / "a.pem").write_text("-----BEGIN CERTIFICATE-----")
    (heap / "b.pem").write_text(INTERMEDIATE.pem)
    result = run(certificate_path=str(site / "leaf.pem"), issuers=[str(heap)])
    assert len(result["certificates"]) == 2
    assert result["warned"] == [
        f"'{heap}/a.pem' is skipped: Cannot read '{heap}/a.pem': the CERTIFICATE that begins in line 1 is truncated: "
        "it has no end"]


def test_a_combination_without_a_certificate_to_be_about(run, site):
    made = pki.leaf()
    (site / "leaf.pem").write_text(made.pem)
    result = run(certificate_path=str(site / "leaf.pem"), combinations=["3 1 1", "2 1 1"])
    assert result["warned"] == ["There is no 2 1 1 record: the chain has no issuer, only the certificate itself"]


# ----------------------------------------------------------------------------------------------- several key algorithms


@pytest.fixture(name="further")
def fixture_further(site):
    """``further(kind, ...)``: the files of another key with its certificate, as an entry of the option."""
    def made(kind="rsa", issuer=INTERMEDIATE, **options):
        issued = pki.leaf(issuer, private=pki.key("further " + kind, kind), **options)
        (site / f"{kind}.key").write_text(issued.key_pem)
        (site / f"{kind}.crt").write_text(issued.pem)
        return issued, {"privatekey_path": str(site / f"{kind}.key"), "certificate_path": str(site / f"{kind}.crt"),
                        "issuers": [str(site / "fullchain.pem")]}
    return made


def test_both_algorithms_in_one_file(run, site, further):
    rsa, entry = further()
    result = run(further=[entry], dest=str(site / "dest.pem"), combinations=["3 1 1", "2 1 1"])
    assert (site / "dest.pem").read_text() == (
        LEAF.key_pem + LEAF.pem + INTERMEDIATE.pem + rsa.key_pem + rsa.pem + INTERMEDIATE.pem)
    assert [one["algorithm"] for one in result["chains"]] == ["ecdsa", "rsa"]
    assert result["chain"] == result["chains"][0] and result["spki"] == digest(LEAF)
    assert [(one["depth"], one["spki"]) for one in result["certificates"]] == [
        (0, digest(LEAF)), (1, digest(INTERMEDIATE)), (0, digest(rsa)), (1, digest(INTERMEDIATE))]
    assert result["diff"]["after"]["key"] == [digest(LEAF), digest(rsa)]
    assert rsa.key_pem.splitlines()[1] not in json.dumps(result)
    assert run(further=[entry], dest=str(site / "dest.pem"))["changed"] is False
    again = run(dest=str(site / "dest.pem"))
    assert again["changed"] and again["diff"]["before"]["key"] == [digest(LEAF), digest(rsa)]
    assert again["diff"]["after"]["key"] == digest(LEAF)


@pytest.mark.parametrize("kind, options, words", [
    ("ecdsa", {}, "are both ecdsa, expected keys of different algorithms"),
    ("p384", {}, "are both ecdsa"),
    ("rsa", {"start": -9 * pki.DAY, "end": -pki.DAY}, "expire"),
    ("rsa", {"names": ["other.example.test"]}, "mx1.example.test"),
    ("rsa", {"issuer": pki.root("Stranger")}, "missing"),
])
def test_when_one_of_them_cannot_be_used_nothing_is_written(run, site, further, kind, options, words):
    _issued, entry = further(kind, **options)
    dest = site / "dest.pem"
    dest.write_text("old")
    assert words in failure(run(further=[entry], dest=str(dest)))
    assert dest.read_text() == "old"


def test_each_key_has_to_be_that_of_its_certificate(run, further):
    _issued, entry = further()
    assert "do not belong together" in failure(run(further=[{**entry, "privatekey_path": str(entry["certificate_path"])
                                                            .replace("rsa.crt", "key.pem")}]))


# ------------------------------------------------------------------------------------------------------------- the file


def test_the_file_holds_key_leaf_and_issuers_in_order(run, site):
    dest = site / "dest.pem"
    result = run(dest=str(dest), certificate_path=str(site / "leaf.pem"), include_root=True,
                 issuers=[str(site / "root.pem"), str(site / "fullchain.pem")])
    assert result["changed"] is True and result["dest"] == str(dest)
    assert dest.read_text() == LEAF.key_pem + LEAF.pem + INTERMEDIATE.pem + ROOT.pem
    assert stat.S_IMODE(dest.stat().st_mode) == 0o600
    assert result["diff"]["before"] == {}
    assert result["diff"]["after"] == {"key": digest(LEAF), "certificates": [
        {"subject": one.x509.subject.rfc4514_string(), "not_after": one_end, "spki": digest(one)}
        for one, one_end in ((LEAF, pki.NOW + 90 * pki.DAY), (INTERMEDIATE, pki.NOW + 1000 * pki.DAY),
                             (ROOT, pki.NOW + 3650 * pki.DAY))]}
    # The library that daemons load it with takes it.
    ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(dest)


def test_a_second_run_changes_nothing(run, site):
    dest = site / "dest.pem"
    run(dest=str(dest))
    known = (dest.stat().st_ino, dest.stat().st_mtime_ns)
    result = run(dest=str(dest))
    assert result["changed"] is False
    assert (dest.stat().st_ino, dest.stat().st_mtime_ns) == known
    assert result["diff"]["before"] == result["diff"]["after"]


def test_another_key_replaces_the_file_and_leaves_nothing_behind(run, site):
    dest = site / "tls" / "dest.pem"
    dest.parent.mkdir()
    run(dest=str(dest))
    (site / "key.pem").write_text(NEXT.key_pem)
    (site / "fullchain.pem").write_text(NEXT.pem + INTERMEDIATE.pem)
    result = run(dest=str(dest))
    assert result["changed"] is True
    assert (result["diff"]["before"]["key"], result["diff"]["after"]["key"]) == (digest(LEAF), digest(NEXT))
    assert dest.read_text().startswith(NEXT.key_pem)
    assert os.listdir(dest.parent) == ["dest.pem"]


@pytest.mark.parametrize("exists", [False, True])
def test_check_mode_tells_and_writes_nothing(run, site, exists):
    dest = site / "dest.pem"
    if exists:
        dest.write_text("something else")
        dest.chmod(0o644)
    result = run(check=True, dest=str(dest))
    assert result["changed"] is True
    assert result["diff"]["after"]["key"] == digest(LEAF)
    assert dest.exists() == exists
    if exists:
        assert dest.read_text() == "something else" and stat.S_IMODE(dest.stat().st_mode) == 0o644
        assert result["diff"]["before"]["certificates"] == "not readable"


def test_check_mode_of_what_is_there(run, site):
    run(dest=str(site / "dest.pem"))
    assert run(check=True, dest=str(site / "dest.pem"))["changed"] is False
    assert run(check=True, dest=str(site / "dest.pem"), mode="0640")["changed"] is True


def test_a_mode_too_wide_is_mended_without_another_file(run, site):
    dest = site / "dest.pem"
    run(dest=str(dest))
    dest.chmod(0o644)
    inode = dest.stat().st_ino
    assert run(dest=str(dest))["changed"] is True
    assert (stat.S_IMODE(dest.stat().st_mode), dest.stat().st_ino) == (0o600, inode)


@AS_ROOT
def test_owner_group_and_mode(run, site):
    dest = site / "dest.pem"
    run(dest=str(dest), owner="nobody", group="daemon", mode="0640")
    found = dest.stat()
    assert (pwd.getpwuid(found.st_uid).pw_name, grp.getgrgid(found.st_gid).gr_name) == ("nobody", "daemon")
    assert stat.S_IMODE(found.st_mode) == 0o640
    # An owner that nobody speaks of stays.
    (site / "key.pem").write_text(NEXT.key_pem)
    (site / "fullchain.pem").write_text(NEXT.pem + INTERMEDIATE.pem)
    run(dest=str(dest))
    assert pwd.getpwuid(dest.stat().st_uid).pw_name == "nobody"
    assert stat.S_IMODE(dest.stat().st_mode) == 0o600


@pytest.mark.parametrize("before", [None, 0o666])
def test_the_key_is_never_to_be_seen_with_a_wider_mode(run, site, before):
    """Somebody looks at all files in the directory all the time, whatever umask and old file say."""
    dest = site / "tls" / "dest.pem"
    dest.parent.mkdir()
    seen, looks, stop = set(), [], threading.Event()

    def watch():
        while not stop.is_set():
            looks.append(1)
            for entry in os.scandir(dest.parent):
                try:
                    seen.add((stat.S_IMODE(entry.stat().st_mode), entry.stat().st_size > 20, entry.name == "dest.pem"))
                except FileNotFoundError:
                    pass

    if before:
        dest.write_text("not a key")
        dest.chmod(before)
    # What a change of mode after the rename would do shows in the calls, even if the watcher is too slow.
    modes = []
    real = os.rename

    def rename(source, target, **options):
        modes.append(stat.S_IMODE(os.stat(source).st_mode))
        real(source, target, **options)

    real_chmod = os.chmod

    def chmod(path, mode, **options):
        modes.append(mode & 0o777)
        real_chmod(path, mode, **options)

    watcher = threading.Thread(target=watch)
    watcher.start()
    umask = os.umask(0)
    try:
        with mock.patch("os.rename", rename), mock.patch("os.chmod", chmod):
            run(dest=str(dest))
    finally:
        os.umask(umask)
        stop.set()
        watcher.join()
    assert looks and modes and set(modes) == {0o600}
    assert {mode for mode, has_key, _name in seen if has_key} <= {0o600}


def test_the_old_file_stays_when_writing_fails(run, site):
    dest = site / "tls" / "dest.pem"
    dest.parent.mkdir()
    dest.write_text("old")
    with mock.patch("os.fsync", side_effect=OSError(28, "No space left on device")):
        assert failure(run(dest=str(dest))) == f"Cannot write '{dest}': No space left on device"
    assert dest.read_text() == "old"
    assert os.listdir(dest.parent) == ["dest.pem"]


# ------------------------------------------------------------------------------------------------------------- failures


def test_what_is_missing_or_of_the_wrong_kind(run, site):
    def told(**options):
        return failure(run(**options)).replace(str(site), "")

    (site / "empty.pem").write_text("")
    (site / "link.pem").symlink_to(site / "root.pem")
    assert told(privatekey_path=str(site / "none.pem")) == "Cannot read '/none.pem': No such file or directory"
    assert told(privatekey_path=str(site / "leaf.pem")) == "Cannot use '/leaf.pem': found no private key in it"
    assert told(certificate_path=str(site / "key.pem")) == "Cannot use '/key.pem': found no certificate in it"
    assert told(issuers=[str(site / "none.pem")]) == "Cannot read '/none.pem': No such file or directory"
    assert told(issuers=[str(site / "key.pem")]) == (
        "Cannot use '/key.pem' as issuers: found no certificate in PEM form in it")
    assert told(certificate_path=str(site / "empty.pem")) == (
        "Cannot read '/empty.pem': found neither a certificate nor a private key in PEM form")
    assert told(dest=str(site / "none" / "dest.pem")) == (
        "Cannot write '/none/dest.pem': its directory does not exist; make it first")
    assert told(dest=str(site / "remote_tmp")) == (
        "Cannot write '/remote_tmp': it is a directory, expected a file or nothing")
    assert told(dest=str(site / "link.pem")) == (
        "Cannot write '/link.pem': it is a symbolic link, expected a file or nothing")
    assert told(base_domains=[]) == "Cannot check names: base_domains is empty, expected at least one name"
    assert told(valid_for=-1) == "Cannot use valid_for=-1: it must not be negative"
    assert told(combinations=["1 1 1"]) == (
        "Cannot compute '1 1 1': usages 0 and 1 (PKIX) are not for SMTP (RFC 7672 section 3.1.3), expected 2 or 3")
    assert told(combinations=["3 1"]).startswith("Cannot read parameter combination '3 1': ")


def test_a_chain_at_fault_is_not_written_and_its_facts_are_returned(run, site):
    dest = site / "dest.pem"
    (site / "key.pem").write_text(NEXT.key_pem)
    result = run(dest=str(dest))
    assert failure(result).startswith("Cannot use certificate 'CN=mx1.example.test' from ")
    assert (result["expected"], result["found"]) == (digest(LEAF), digest(NEXT))
    (site / "key.pem").write_text(LEAF.key_pem)
    result = run(dest=str(dest), base_domains=["mx2.example.test"])
    assert "the name 'mx2.example.test' is missing: found mx1.example.test" in failure(result)
    assert result["found"] == [pki.NAME]
    result = run(dest=str(dest), certificate_path=str(site / "leaf.pem"))
    assert "the issuer 'CN=Intermediate' of 'CN=mx1.example.test' is missing among 0" in failure(result)
    result = run(dest=str(dest), include_root=True)
    assert "the issuer 'CN=Root' of 'CN=Intermediate' is missing among 1" in failure(result)
    days = int((pki.NOW + 90 * pki.DAY - time.time()) / pki.DAY) + 1
    result = run(dest=str(dest), valid_for=days * pki.DAY)
    assert "it expires at " in failure(result)
    assert not dest.exists()


@pytest.mark.parametrize("life, left, good", [
    (90 * pki.DAY, pki.DAY + 60, True), (90 * pki.DAY, pki.DAY - 60, False), (600, 250, True), (600, 150, False)])
def test_without_valid_for_a_day_or_a_third_of_its_life_has_to_be_left(run, site, life, left, good):
    begun = time.time() - pki.NOW - (life - left)
    made = pki.leaf(INTERMEDIATE, start=begun, end=begun + life)
    (site / "key.pem").write_text(made.key_pem)
    (site / "fullchain.pem").write_text(made.pem + INTERMEDIATE.pem)
    result = run()
    assert ("chain" in result) == good and ("it expires at " in result.get("msg", "")) != good


def test_without_cryptography(run, monkeypatch):
    monkeypatch.setattr(_chain, "HAS_CRYPTOGRAPHY", False)
    monkeypatch.setattr(_chain, "CRYPTOGRAPHY_ERROR", "Traceback: no module")
    result = run()
    assert "Failed to import the required Python library (cryptography >= 3.3)" in result["msg"]


def test_with_a_cryptography_too_old(run, monkeypatch):
    monkeypatch.setattr(_chain, "CRYPTOGRAPHY_VERSION", "2.6.1")
    assert failure(run()) == "cryptography is too old: found 2.6.1, expected 3.3 or newer"


# ---------------------------------------------------------------------------------------- clients that know nothing of DANE


def test_a_chain_that_other_clients_would_refuse(run, site):
    (site / "served.pem").write_text(LEAF.key_pem + LEAF.pem + INTERMEDIATE.pem)
    other = pki.root("Another root")
    (site / "fullchain.pem").write_text(pki.leaf(other, private=LEAF.key).pem + other.pem)
    asked = {"dest": str(site / "dest.pem"), "trust_store": str(site / "root.pem"), "served_path": str(site / "served.pem")}
    result = run(pkix="auto", **asked)
    assert "they accept the one that is served" in failure(result) and list(result["pkix"]) == [pki.NAME]
    assert not os.path.exists(site / "dest.pem")
    result = run(pkix="warn", **asked)
    assert "would refuse the chain" in result["warned"][0] and os.path.exists(site / "dest.pem")
    assert not run(**asked)["warned"]
    assert not run(pkix="auto", **{**asked, "served_path": str(site / "none.pem")})["warned"]
    assert not run(pkix="auto", **{**asked, "served_path": str(site / "dest.pem")})["warned"]


def test_the_root_comes_from_the_trust_store(run, site):
    dest = site / "dest.pem"
    result = run(dest=str(dest), include_root=True, trust_store=str(site / "root.pem"))
    assert dest.read_text() == LEAF.key_pem + LEAF.pem + INTERMEDIATE.pem + ROOT.pem
    assert f"2 1 1 {digest(ROOT)}" in result["chain"]["issuer_records"]
    assert f"2 1 1 {digest(INTERMEDIATE)}" not in result["chain"]["issuer_records"]
    assert f"2 1 1 {digest(INTERMEDIATE)}" in run()["chain"]["issuer_records"]


def test_an_authority_that_signs_with_its_root(run, site):
    direct = pki.leaf(ROOT, private=LEAF.key)
    (site / "fullchain.pem").write_text(direct.pem + ROOT.pem)
    dest = site / "dest.pem"
    result = run(dest=str(dest), include_root=True, trust_store=str(site / "root.pem"))
    assert dest.read_text() == LEAF.key_pem + direct.pem + ROOT.pem
    assert f"2 1 1 {digest(ROOT)}" in result["chain"]["issuer_records"]
