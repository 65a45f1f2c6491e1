# Copyright (c) 2026 the mailops.dane authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import os
import pathlib
import tempfile
from unittest import mock

import pytest
from ansible.module_utils import basic
from ansible_collections.mailops.dane.plugins.modules import gate_files

try:
    from ansible.module_utils.testing import patch_module_args as module_arguments
except ImportError:
    # ansible-core 2.18
    def module_arguments(arguments):
        return mock.patch.object(basic, "_ANSIBLE_ARGS", json.dumps({"ANSIBLE_MODULE_ARGS": arguments}).encode())


@pytest.fixture(name="place")
def fixture_place(tmp_path):
    (tmp_path / "remote_tmp").mkdir()
    return tmp_path


@pytest.fixture(name="run")
def fixture_run(place, capsys):
    def run(files, executables=(), check=False):
        arguments = {"files": files, "executables": list(executables), "_ansible_check_mode": check,
                     "_ansible_diff": True, "_ansible_remote_tmp": str(place / "remote_tmp")}
        with module_arguments(arguments), pytest.raises(SystemExit):
            gate_files.main()
        return json.loads(capsys.readouterr().out)
    return run


def mode(path):
    return os.stat(path).st_mode & 0o7777


def leftovers(place):
    return list(place.rglob(".gate-*"))


def test_files_with_their_directories_and_modes(place, run):
    files = {f"{place}/lib/gate/one.py": "# ä\n", f"{place}/sbin/gate": "#!/bin/sh\n"}
    before = os.umask(0o077)
    try:
        result = run(files, [f"{place}/sbin/gate"])
    finally:
        os.umask(before)
    assert result["changed"] and result["changed_files"] == list(files)
    assert {path: pathlib.Path(path).read_text(encoding="utf-8") for path in files} == files
    assert [mode(path) for path in files] == [0o644, 0o755]
    assert mode(place / "lib") == mode(place / "lib" / "gate") == 0o755
    assert not leftovers(place)
    again = run(files, [f"{place}/sbin/gate"])
    assert (again["changed"], again["changed_files"], again["diff"]) == (False, [], [])


def test_only_what_differs_is_written(place, run):
    run({f"{place}/one": "1\n", f"{place}/two": "2\n", f"{place}/three": "3\n"})
    os.chmod(place / "three", 0o600)
    untouched = os.stat(place / "one").st_ino
    result = run({f"{place}/one": "1\n", f"{place}/two": "two\n", f"{place}/three": "3\n"})
    assert result["changed_files"] == [f"{place}/two", f"{place}/three"]
    assert os.stat(place / "one").st_ino == untouched and mode(place / "three") == 0o644
    assert [(one["before"], one["after"]) for one in result["diff"]] == [("2\n", "two\n")]


def test_check_mode_says_the_same_and_writes_nothing(place, run):
    run({f"{place}/one": "1\n", f"{place}/two": "2\n"})
    os.chmod(place / "two", 0o600)
    files = {f"{place}/one": "one\n", f"{place}/two": "2\n", f"{place}/lib/three": "3\n"}
    result = run(files, check=True)
    assert result["changed_files"] == list(files) and len(result["diff"]) == 2
    assert (place / "one").read_text() == "1\n" and mode(place / "two") == 0o600 and not (place / "lib").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_a_file_of_somebody_else_becomes_ours(place, run):
    run({f"{place}/one": "1\n"})
    os.chown(place / "one", 12345, 12345)
    assert run({f"{place}/one": "1\n"})["changed_files"] == [f"{place}/one"]
    assert (os.stat(place / "one").st_uid, os.stat(place / "one").st_gid) == (os.geteuid(), os.getegid())


def test_no_file_is_replaced_before_all_are_written(place, run, monkeypatch):
    """What stands in the way of the second leaves the first as it is."""
    (place / "one").write_text("1\n")
    staged = [tempfile.mkstemp(prefix=".gate-", dir=place), OSError(28, "No space left on device")]
    monkeypatch.setattr(gate_files.tempfile, "mkstemp", mock.Mock(side_effect=staged))
    result = run({f"{place}/one": "one\n", f"{place}/two": "2\n"})
    assert result["msg"] == f"Cannot install '{place}/two': No space left on device; nothing was changed"
    assert (place / "one").read_text() == "1\n" and not leftovers(place)


def test_what_cannot_be_read_is_named(place, run):
    (place / "wall").write_text("")
    assert run({f"{place}/wall/two": "2\n"})["msg"] == f"Cannot read '{place}/wall/two': Not a directory"


def test_a_full_disk_leaves_everything_as_it_was(place, run, monkeypatch):
    (place / "one").write_text("1\n")
    monkeypatch.setattr(gate_files.os, "fsync", mock.Mock(side_effect=OSError(28, "No space left on device")))
    result = run({f"{place}/one": "one\n"})
    assert result["msg"] == f"Cannot install '{place}/one': No space left on device; nothing was changed"
    assert (place / "one").read_text() == "1\n" and not leftovers(place)


@pytest.mark.parametrize("files, executables, says", [
    ({"etc/one": "1"}, [], "Cannot install 'etc/one': expected an absolute path"),
    ({"/etc": "1"}, [], "Cannot install '/etc': expected an absolute path that is no directory"),
    ({"/nowhere/one": {"a": 1}}, [], "Cannot install '/nowhere/one': expected text, found dict"),
    ({"/nowhere/one": "1"}, ["/nowhere/two"], "Cannot use executables: /nowhere/two is not among files"),
])
def test_bad_options(run, files, executables, says):
    result = run(files, executables)
    assert result["failed"] and result["msg"].startswith(says)
    assert not os.path.exists("/nowhere")
