# Copyright (c) 2026 the mailops.dane authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""``dane-csr``: a program takes the place of certbot; directories, links and processes are real."""

from __future__ import annotations

import ast
import json
import os
import re
import stat

import pki
import pytest
from ansible_collections.mailops.dane.plugins.module_utils import _csr

NAME = "mx1.example.test"
DAY = 86400
ROOT = pki.root("Root of requests")
ISSUER, OTHER_ISSUER = pki.intermediate(ROOT, "Issuer of requests"), pki.intermediate(ROOT, "Another of requests")
# It keeps what it was asked, and writes what lies in its own directory to where it was asked to.
CERTBOT = r"""#!/bin/sh
cd '{}'
printf '%s\n' "$@" "environment: $TOKEN" > asked
echo called >> calls
if [ -s busy ]; then sed -i 1d busy; echo 'Another instance of Certbot is already running.'; exit 1; fi
while [ $# -gt 0 ]; do
    case "$1" in
        --csr) cp "$2" request ;;
        --cert-path) cp cert.pem "$2" ;;
        --chain-path) cp chain.pem "$2" ;;
        --fullchain-path) cat cert.pem chain.pem > "$2" ;;
    esac
    shift
done
echo 'some words'
exit $(cat status)
"""
GATE = """#!/bin/sh
echo "$RENEWED_LINEAGE $*" >> '{0}/served'
exit $(cat '{0}/gate-status')
"""


def leaf(key, issuer=ISSUER, **more):
    return pki.leaf(issuer, **{"names": (NAME,), "private": pki.key(key), **more})


class Host:
    """A mail host with certbot, a gate, and no certificate yet."""

    def __init__(self, directory):
        self.directory, self.certbot = directory / "csr", directory / "certbot"
        for made in (self.directory, self.certbot, self.directory / "next"):
            made.mkdir()
        for name, text in (("certbot.sh", CERTBOT), ("gate.sh", GATE)):
            (directory / name).write_text(text.format(self.certbot))
            (directory / name).chmod(0o755)
        self.ends_with(certbot=0, gate=0)
        self.config = directory / "csr.json"
        self.unit = {
            "directory": str(self.directory), "lineages": [NAME, NAME + "-2"], "environment": {"TOKEN": "of a provider"},
            "certbot": [str(directory / "certbot.sh"), "certonly", "--standalone"],
            "gate": [str(directory / "gate.sh"), "renew"]}

    def ends_with(self, certbot=0, gate=0):
        (self.certbot / "status").write_text(str(certbot))
        (self.certbot / "gate-status").write_text(str(gate))

    def issues(self, certificate, chain_pem=ISSUER.pem):
        """What certbot is about to obtain."""
        (self.certbot / "cert.pem").write_text(certificate if isinstance(certificate, str) else certificate.pem)
        (self.certbot / "chain.pem").write_text(chain_pem)
        return certificate

    def next(self, key, name=NAME):
        """A key and its request, as the role makes them."""
        folder = self.directory / "next" / name
        folder.mkdir()
        (folder / "privkey.pem").write_text(pki.key_pem(pki.key(key)))
        (folder / "request.pem").write_text(f"the request for key {key}\n")
        os.utime(folder / "privkey.pem", (1000000000, 1000000000))

    def enabled(self, key="A", name=NAME, **more):
        """The host with a certificate for a key."""
        self.next(key, name)
        self.issues(leaf(key, **more))
        _csr.obtain_next(self.unit, name)

    def live(self, part, name=NAME):
        return (self.directory / "live" / name / part).read_text()

    def all(self):
        """Everything below the directory but the lock: {path: content or link}."""
        return {str(path): os.readlink(path) if path.is_symlink() else path.read_bytes()
                for path in sorted(self.directory.rglob("*")) if (path.is_symlink() or path.is_file()) and path.name != ".lock"}

    def calls(self):
        path = self.certbot / "calls"
        return len(path.read_text().splitlines()) if path.exists() else 0

    def served(self):
        path = self.certbot / "served"
        return path.read_text().splitlines() if path.exists() else []


@pytest.fixture(name="host")
def fixture_host(tmp_path, monkeypatch):
    monkeypatch.setattr(_csr, "BUSY_SECONDS", 0)
    return Host(tmp_path)


@pytest.fixture(name="run")
def fixture_run(host, capfd):
    """``run("renew")``: the command: (exit status, what it said). No word of it is of a key."""

    def run(*arguments):
        host.config.write_text(json.dumps(host.unit))
        code = _csr.main(["--config", str(host.config), *arguments])
        said = "".join(capfd.readouterr())
        for key in ("A", "B"):
            assert not any(line in said for line in pki.key_pem(pki.key(key)).splitlines() if len(line) > 20)
        assert "Traceback" not in said
        return code, said

    return run


# ------------------------------------------------------------------------------------------------------------- obtain


def test_a_certificate_for_a_request_becomes_a_lineage(host, run):
    host.next("A")
    made = host.issues(leaf("A"))
    code, said = run("obtain", NAME)
    assert (code, said) == (0, f"{NAME}: obtained\n")
    assert host.live("privkey.pem") == pki.key_pem(pki.key("A")) and host.live("cert.pem") == made.pem
    assert host.live("chain.pem") == ISSUER.pem and host.live("fullchain.pem") == made.pem + ISSUER.pem
    assert (host.certbot / "request").read_text() == host.live("request.pem") == "the request for key A\n"
    assert not (host.directory / "next" / NAME).exists()
    asked = (host.certbot / "asked").read_text().splitlines()
    assert asked[:3] == ["certonly", "--standalone", "--csr"] and asked[-1] == "environment: of a provider"
    link = host.directory / "live" / NAME
    assert os.readlink(link).startswith(f"../versions/{NAME}/2")
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in link.iterdir()}
    assert set(modes) == {*_csr.MADE, *_csr.OBTAINED} and {modes[part] for part in _csr.MADE} == {0o600}
    assert stat.S_IMODE(link.resolve().stat().st_mode) == 0o700
    # By it the roles know a key that this operation has made.
    assert (link / "privkey.pem").stat().st_mtime == 1000000000
    assert host.served() == []


def test_another_key_replaces_a_lineage_as_a_whole(host, run):
    host.enabled("A")
    host.next("B")
    host.issues(leaf("B", OTHER_ISSUER), OTHER_ISSUER.pem)
    assert run("obtain", NAME)[0] == 0
    assert host.live("privkey.pem") == pki.key_pem(pki.key("B")) and host.live("chain.pem") == OTHER_ISSUER.pem
    assert host.live("request.pem") == "the request for key B\n"


@pytest.mark.parametrize(("certificate", "chain_pem", "word"), [
    (leaf("B"), ISSUER.pem, "do not belong together"),
    (leaf("A"), OTHER_ISSUER.pem, "Cannot complete the chain"),
    (leaf("A", start=-9 * DAY, end=-DAY), ISSUER.pem, "Cannot"),
    ("", ISSUER.pem, "found no certificate in it"),
    (leaf("A").pem[:300], ISSUER.pem, "Cannot"),
    (leaf("A"), "", "found no certificate in it"),
])
def test_what_cannot_be_used_changes_nothing(host, run, certificate, chain_pem, word):
    host.enabled("A")
    host.issues(certificate, chain_pem)
    before = host.all()
    code, said = run("renew", "--force")
    assert code == 1 and word in said and host.all() == before and host.served() == []
    host.next("A", NAME + "-2")
    before = host.all()
    code, said = run("obtain", NAME + "-2")
    assert code == 1 and word in said and host.all() == before
    assert not list((host.directory / "versions").glob("*/.*"))


def test_a_certbot_that_fails_changes_nothing_and_is_quoted(host, run):
    host.next("A")
    host.ends_with(certbot=3)
    host.issues(leaf("A"))
    before = host.all()
    code, said = run("obtain", NAME)
    assert code == 1 and host.all() == before and not (host.directory / "live" / NAME).is_symlink()
    assert f"dane-csr: Cannot obtain a certificate for '{NAME}': certbot ended with 3, and nothing" in said
    assert "It said: some words" in said


def test_no_certbot_at_all(host, run):
    host.next("A")
    host.unit["certbot"] = ["/nowhere/certbot"]
    code, said = run("obtain", NAME)
    assert code == 1 and "No such file" in said and "nothing that is served has changed" in said


def test_another_certbot_is_waited_for(host, run):
    host.next("A")
    host.issues(leaf("A"))
    (host.certbot / "busy").write_text("1\n2\n3\n")
    assert run("obtain", NAME)[0] == 0
    assert host.calls() == 4


def test_but_not_for_ever(host, run):
    host.next("A")
    (host.certbot / "busy").write_text("1\n" * 99)
    code, said = run("obtain", NAME)
    assert code == 1 and "Another instance" in said and host.calls() == _csr.BUSY_TRIES


@pytest.mark.parametrize("name", ["somebody.else", "../../etc", ""])
def test_only_lineages_of_this_host_are_obtained(host, run, name):
    code, said = run("obtain", name)
    assert code == 1 and f"expected one of {NAME}" in said and not host.calls()


def test_obtain_without_key_and_request(host, run):
    before = host.all()
    code, said = run("obtain", NAME)
    assert code == 1 and "privkey.pem" in said and host.all() == before


# -------------------------------------------------------------------------------------------------------------- renew


def test_a_renewal_keeps_key_and_request_and_goes_to_the_gate(host, run):
    host.enabled("A", end=20 * DAY, start=-70 * DAY)
    renewed = host.issues(leaf("A", OTHER_ISSUER), OTHER_ISSUER.pem)
    code, said = run("renew")
    assert code == 0 and f"{NAME}: renewed with the same key\n" in said
    assert host.live("cert.pem") == renewed.pem and host.live("chain.pem") == OTHER_ISSUER.pem
    assert host.live("fullchain.pem") == renewed.pem + OTHER_ISSUER.pem
    assert host.live("privkey.pem") == pki.key_pem(pki.key("A")) and host.live("request.pem") == "the request for key A\n"
    assert (host.directory / "live" / NAME / "privkey.pem").stat().st_mtime == 1000000000
    assert (host.certbot / "request").read_text() == "the request for key A\n"
    assert host.served() == [f"{host.directory}/live/{NAME} renew"]


@pytest.mark.parametrize(("left", "due"), [(31, False), (29, True), (-1, True)])
def test_when_a_third_of_its_life_is_left(host, run, left, due):
    host.enabled("A")
    ends = leaf("A", start=(left - 90) * DAY, end=left * DAY)
    (host.directory / "live" / NAME / "cert.pem").write_text(ends.pem)
    before = host.all()
    code, said = run("renew")
    assert code == 0 and host.calls() == 1 + due and bool(host.served()) is due
    if not due:
        assert said.splitlines()[-1] == f"{NAME}: 31.0 days left, nothing to do" and host.all() == before


def test_whatever_is_left(host, run):
    host.enabled("A")
    assert run("renew", "--force")[0] == 0 and host.calls() == 2


def test_what_cannot_be_read_is_obtained_again(host, run):
    host.enabled("A")
    (host.directory / "live" / NAME / "cert.pem").write_text("cut sh")
    renewed = host.issues(leaf("A"))
    assert run("renew")[0] == 0 and host.live("cert.pem") == renewed.pem


def test_both_lineages_are_renewed_and_one_that_fails_does_not_keep_the_other_back(host, run):
    """Also the next key of a rekey that waits."""
    host.enabled("B")
    host.enabled("A", NAME + "-2")
    renewed = host.issues(leaf("A"))
    code, said = run("renew", "--force")
    assert code == 1 and "do not belong together" in said and f"{NAME}-2: renewed" in said
    assert host.live("cert.pem", NAME + "-2") == renewed.pem
    assert host.served() == [f"{host.directory}/live/{NAME}-2 renew"]


def test_a_gate_that_refuses_fails_the_unit(host, run):
    host.enabled("A")
    host.ends_with(gate=1)
    code, said = run("renew", "--force")
    assert code == 1 and "renewed with the same key" in said


def test_a_host_without_a_gate_renews_all_the_same(host, run):
    host.enabled("A")
    host.unit["gate"] = []
    assert run("renew", "--force")[0] == 0 and host.served() == []


def test_no_lineage_at_all_is_said(host, run):
    code, said = run("renew")
    assert code == 1 and "there is no lineage below" in said and "enable.yml" in said


def test_a_lineage_whose_version_is_gone_is_said(host, run):
    host.enabled("A")
    link = host.directory / "live" / NAME
    link.resolve().rename(host.directory / "elsewhere")
    code, said = run("renew")
    assert code == 1 and NAME in said and link.is_symlink()


def kept(host):
    """The certificates of the versions that are there, oldest first."""
    return [(path / "cert.pem").read_text() for path in sorted((host.directory / "versions" / NAME).iterdir())]


def test_the_one_before_is_kept_and_what_may_still_be_served(host, run, monkeypatch):
    """Of what was obtained the day before, three months later."""
    host.enabled("A", end=90 * DAY)
    certificates = []
    for end in (120, 91, 92):
        certificates.append(host.issues(leaf("A", end=end * DAY)).pem)
        assert run("renew", "--force")[0] == 0
    monkeypatch.setattr(_csr.time, "time", lambda: pki.NOW + 95 * DAY)
    certificates.append(host.issues(leaf("A", start=90 * DAY, end=180 * DAY)).pem)
    assert run("renew")[0] == 0
    assert kept(host) == [certificates[number] for number in (0, 2, 3)]
    assert host.live("cert.pem") == certificates[-1]


def test_what_the_gate_refused_stays_beside_those_that_came_after_it(host, run):
    host.enabled("A")
    certificates = [host.live("cert.pem")]
    for _time in range(4):
        certificates.append(host.issues(leaf("A")).pem)
        assert run("renew", "--force")[0] == 0
    assert kept(host) == certificates


def test_copies_of_another_key_and_what_cannot_be_read_go(host, run):
    host.enabled("B")
    host.next("A")
    for _time in range(3):
        host.issues(leaf("A"))
        assert run(*(["obtain", NAME] if not _time else ["renew", "--force"]))[0] == 0
    versions = sorted((host.directory / "versions" / NAME).iterdir())
    assert {(path / "privkey.pem").read_text() for path in versions} == {pki.key_pem(pki.key("A"))} and len(versions) == 3
    (versions[0] / "cert.pem").write_text("cut sh")
    host.issues(leaf("A"))
    assert run("renew", "--force")[0] == 0 and sorted((host.directory / "versions" / NAME).iterdir())[:2] == versions[1:]


def test_what_a_killed_run_left_goes_at_the_next(host, run):
    host.enabled("A")
    left = host.directory / "versions" / NAME / ".tmp123"
    left.mkdir()
    (left / "privkey.pem").write_text("half")
    (left / "cert.pem").write_text(leaf("A").pem)
    os.symlink("nowhere", host.directory / "live" / f".{NAME}.new")
    assert run("renew", "--force")[0] == 0
    assert not left.exists() and sorted(os.listdir(host.directory / "live")) == [NAME]


def test_at_every_moment_the_files_of_a_lineage_belong_together(host, run, monkeypatch):
    """Killed at any call that changes a directory, what is live is whole: the old or the new."""
    host.enabled("A")
    seen = set()

    class Killed(BaseException):
        pass

    for target in ("mkdtemp", "rename", "symlink", "replace"):
        module = _csr.tempfile if target == "mkdtemp" else _csr.os

        def killed(*_arguments, **_options):
            raise Killed
        with monkeypatch.context() as patched:
            patched.setattr(module, target, killed)
            host.issues(leaf("A", OTHER_ISSUER), OTHER_ISSUER.pem)
            with pytest.raises(Killed):
                run("renew", "--force")
        assert host.live("fullchain.pem") == host.live("cert.pem") + host.live("chain.pem")
        seen.add(host.live("chain.pem"))
    assert seen == {ISSUER.pem}
    assert run("renew", "--force")[0] == 0 and host.live("chain.pem") == OTHER_ISSUER.pem


def test_a_full_disk(host, run, monkeypatch):
    host.enabled("A")
    before = host.all()

    def full(*_arguments, **_options):
        raise OSError(28, "No space left on device")
    monkeypatch.setattr(_csr.shutil, "copy2", full)
    code, said = run("renew", "--force")
    assert code == 1 and "No space left on device" in said and host.all() == before


# ------------------------------------------------------------------------------------------------- configuration, copies


@pytest.mark.parametrize("change", [
    *({part: None} for part in _csr.WANTED), {"lineages": ["../x"]}, {"lineages": [""]}, {"lineages": [".x"]},
    {"lineages": [7]}, {"certbot": []}, {"certbot": [7]}, {"directory": "relative"}, {"environment": {"A": 7}},
    {"gate": [None]}, {"certbot": ["a\0b"]},
])
def test_a_configuration_that_was_edited(host, run, change):
    host.enabled("A")
    host.unit.update(change)
    code, said = run("renew", "--force")
    assert code == 1 and f"Cannot use '{host.config}'" in said and "run enable.yml again" in said and host.calls() == 1


@pytest.mark.parametrize("text", ["", "{", "[]", "7", "\x00", "[" * 100000])
def test_a_configuration_that_is_none(host, text, capsys):
    host.config.write_text(text)
    assert _csr.main(["--config", str(host.config), "renew"]) == 1
    assert str(host.config) in capsys.readouterr().err
    assert _csr.main(["--config", str(host.directory / "none"), "renew"]) == 1
    assert "the certbot role of mailops.dane writes it" in capsys.readouterr().err


def test_the_role_installs_what_the_command_imports(collection_root):
    tasks = (collection_root / "roles" / "certbot" / "tasks" / "csr.yml").read_text(encoding="utf-8")
    installed = set(re.search(r"\n    _dane_modules: \[([^\]]+)\]", tasks).group(1).replace(",", " ").split())
    wanted, waiting = {"__init__"}, {"_csr"}
    while waiting:
        module = waiting.pop()
        wanted.add(module)
        tree = ast.parse((collection_root / "plugins" / "module_utils" / f"{module}.py").read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and node.level:
                waiting |= ({node.module} if node.module else {alias.name for alias in node.names}) - wanted
    assert installed == wanted
