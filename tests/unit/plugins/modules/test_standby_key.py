# Copyright (c) 2026 the mailops.dane authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import os
import subprocess
from unittest import mock

import pki
import pytest
import yaml
from ansible.module_utils import basic
from ansible_collections.mailops.dane.plugins.module_utils import _chain, _standby_key
from ansible_collections.mailops.dane.plugins.modules import standby_key

try:
    from ansible.module_utils.testing import patch_module_args as module_arguments
except ImportError:
    # ansible-core 2.18
    def module_arguments(arguments):
        return mock.patch.object(basic, "_ANSIBLE_ARGS", json.dumps({"ANSIBLE_MODULE_ARGS": arguments}).encode())

OPERATOR = pki.issue("operator", kind="rsa", usage=("key_encipherment",), extended=None)


@pytest.fixture
def secrets(monkeypatch):
    """The private keys that the module makes (list of bytes, PEM)."""
    found, encrypt = [], _standby_key.encrypt
    monkeypatch.setattr(_standby_key, "encrypt", lambda content, to: found.append(content) or encrypt(content, to))
    return found


@pytest.fixture
def run(tmp_path, capsys, secrets):
    """A function that runs the module and returns its result; no word of it may be of a private key."""
    (tmp_path / "remote_tmp").mkdir()

    def run_module(check=False, **options):
        arguments = {
            "directory": str(tmp_path / "standby"), "name": "mx1.example.test", "algorithms": ["ecdsa"],
            "recipients": [OPERATOR.pem], "_ansible_check_mode": check, "_ansible_diff": True, "_ansible_verbosity": 3,
            "_ansible_remote_tmp": str(tmp_path / "remote_tmp"), **options}
        with module_arguments(arguments), pytest.raises(SystemExit):
            standby_key.main()
        out, err = capsys.readouterr()
        assert "PRIVATE KEY" not in out + err
        for secret in secrets:
            assert secret.splitlines()[2].decode() not in out + err
        return json.loads(out)
    return run_module


def files(tmp_path):
    return sorted(os.listdir(tmp_path / "standby")) if (tmp_path / "standby").exists() else None


def test_a_key_is_made_once(run, tmp_path, secrets):
    first = run()
    (key,) = first["kept"]
    assert first["changed"] is True and first["made"] == [key["path"]] and first["missing"] == first["removed"] == []
    assert key["spki"] == _chain.spki_digest(_chain.public_key_of(secrets[0]))
    assert f"3 1 1 {key['spki']}" in key["chain"]["matches"]
    again = run(recipients=[])
    assert again["changed"] is False and again["kept"] == [key] and again["made"] == []
    assert files(tmp_path) == [os.path.basename(key["path"])] and len(secrets) == 1


def test_check_mode_and_a_mere_look_write_nothing(run, tmp_path):
    checked = run(check=True, algorithms=["ecdsa", "rsa"])
    assert (checked["changed"], checked["kept"], checked["missing"]) == (True, [], ["ecdsa", "rsa"])
    looked = run(make=False)
    assert (looked["changed"], looked["kept"], looked["missing"]) == (False, [], ["ecdsa"])
    assert files(tmp_path) is None


def test_a_used_key_makes_room_for_another(run, tmp_path):
    (old,) = run()["kept"]
    looked = run(make=False, used=[old["spki"]])
    assert (looked["changed"], looked["kept"], looked["removed"]) == (False, [], [])
    checked = run(check=True, used=[old["spki"]])
    assert (checked["changed"], checked["kept"], checked["removed"]) == (True, [], [old["path"]])
    assert files(tmp_path) == [os.path.basename(old["path"])]
    changed = run(used=[old["spki"]])
    (new,) = changed["kept"]
    assert changed["changed"] is True and changed["removed"] == [old["path"]] and new["spki"] != old["spki"]
    assert files(tmp_path) == [os.path.basename(new["path"])]


def test_when_the_next_cannot_be_made_the_old_file_stays(run, tmp_path):
    (old,) = run()["kept"]
    expired = pki.issue("operator", kind="rsa", start=-9 * pki.DAY, end=-pki.DAY, usage=None, extended=None)
    failed = run(used=[old["spki"]], recipients=[expired.pem])
    assert failed["failed"] is True and "it has expired" in failed["msg"]
    assert files(tmp_path) == [os.path.basename(old["path"])]


def test_the_order_is_that_of_the_algorithms(run):
    """Whichever of them was there before."""
    run(algorithms=["ecdsa"])
    assert [key["algorithm"] for key in run(algorithms=["rsa", "ecdsa"])["kept"]] == ["rsa", "ecdsa"]
    assert [key["algorithm"] for key in run(algorithms=["ecdsa", "rsa"])["kept"]] == ["ecdsa", "rsa"]


@pytest.mark.parametrize("options, said", [
    ({"recipients": []}, "Cannot make a standby key: recipients is empty"),
    ({"recipients": ["operator"]}, "Cannot use 'recipients' as recipient: found no certificate"),
    ({"name": "../mx1"}, "Cannot name a file after '../mx1': expected letters"),
    ({"name": ""}, "Cannot name a file after ''"),
    ({"name": "x" * 300}, "Cannot name a file after"),
    ({"algorithms": ["ed25519"]}, "value of algorithms must be one or more of: ecdsa, rsa"),
])
def test_refusals(run, tmp_path, options, said):
    # With -vvv ansible-core 2.18 adds the traceback of what was caught, whatever it was.
    failed = run(_ansible_verbosity=0, **options)
    assert failed["failed"] is True and said in failed["msg"] and "exception" not in failed
    assert files(tmp_path) is None


def test_a_name_of_dots_stays_in_the_directory(run, tmp_path):
    assert run(name="..")["failed"] is True
    assert run(name="_..")["kept"][0]["path"].startswith(f"{tmp_path}/standby/_..-ecdsa-")


def test_without_its_library(run, monkeypatch):
    monkeypatch.setattr(_chain, "HAS_CRYPTOGRAPHY", False)
    assert "cryptography >= 3.3" in run()["msg"]


def test_with_one_that_is_too_old(run, monkeypatch):
    monkeypatch.setattr(_chain, "CRYPTOGRAPHY_VERSION", "3.2.1")
    assert run()["msg"] == "cryptography is too old: found 3.2.1, expected 3.3 or newer"


def test_what_is_returned_and_taken_is_documented(run):
    result, documented = run(), yaml.safe_load(standby_key.RETURN)
    assert set(result) - {"invocation", "changed"} == set(documented)
    assert set(result["kept"][0]) == set(documented["kept"]["contains"]) == set(documented["kept"]["sample"][0])
    assert set(result["kept"][0]["chain"]) == set(documented["kept"]["sample"][0]["chain"])
    options = yaml.safe_load(standby_key.DOCUMENTATION)["options"]
    with mock.patch.object(standby_key, "AnsibleModule", side_effect=StopIteration) as made:
        with pytest.raises(StopIteration):
            standby_key.main()
    specification = made.call_args.kwargs["argument_spec"]
    parts = ("type", "default", "elements", "required", "choices")
    assert {name: [option.get(part) for part in parts] for name, option in options.items()} == {
        name: [option.get(part) for part in parts] for name, option in specification.items()}


def test_the_file_is_one_for_openssl(run):
    (key,) = run()["kept"]
    said = subprocess.run(["openssl", "cms", "-cmsout", "-noout", "-inform", "PEM", "-in", key["path"]], check=False)
    assert said.returncode == 0
