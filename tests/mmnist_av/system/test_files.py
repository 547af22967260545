"""Files are written whole or not at all, and compared with their recorded sizes and hashes."""

import errno
import hashlib
import os
from pathlib import Path

import pytest

from mmnist_av.system.errors import InputError
from mmnist_av.system.files import (
    CHANGED,
    MISSING,
    changed_files,
    parse_json,
    sha256,
    sole_writer,
    written_once,
    written_whole,
)


def write(path, text="new"):
    with written_whole(path) as part:
        part.write_text(text)


def test_a_file_is_replaced_when_the_new_one_is_whole(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("old")
    with pytest.raises(UnicodeEncodeError):
        write(path, "half \udcff")
    assert path.read_text() == "old"
    write(path)
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


def test_a_name_that_is_too_long_is_said_of_the_file_not_of_its_part(tmp_path):
    path = tmp_path / ("a" * 250)
    with pytest.raises(OSError, match="File name too long") as error, written_whole(path) as part:
        part.write_text("")
    assert error.value.filename == str(path)


@pytest.mark.parametrize("block", [written_whole, written_once, sole_writer])
def test_a_full_disk_is_named_by_what_is_written(tmp_path, block):
    def fill(number, *file):
        with block(tmp_path / "a"):
            raise OSError(number, os.strerror(number), *file)

    for number, file in [(errno.ENOSPC, str(tmp_path / "a")), (errno.ENOTCONN, None)]:
        with pytest.raises(OSError, match=r"left|connected") as error:
            fill(number)
        assert error.value.filename == file
    with pytest.raises(OSError, match="left") as error:
        fill(errno.ENOSPC, "elsewhere")
    assert error.value.filename == "elsewhere"


@pytest.mark.parametrize("exists", [True, False])
def test_the_file_that_a_link_leads_to_is_written(tmp_path, exists):
    (tmp_path / "elsewhere").mkdir()
    file, link = tmp_path / "elsewhere" / "a.csv", tmp_path / "link.csv"
    if exists:
        file.write_text("old")
    link.symlink_to(file)
    write(link)
    assert link.is_symlink()
    assert file.read_text() == "new"
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["a.csv", "elsewhere", "link.csv"]


def test_a_folder_and_a_pipe_are_not_replaced_by_a_file(tmp_path):
    folder, pipe, link, loop = (tmp_path / name for name in ("folder", "pipe", "link", "loop"))
    folder.mkdir()
    os.mkfifo(pipe)
    link.symlink_to(pipe)
    loop.symlink_to(loop)
    for path in (folder, pipe, link, loop, Path("/"), Path()):
        with pytest.raises(InputError, match="is no file that can be written: name another one"):
            write(path)
    assert folder.is_dir()
    assert pipe.is_fifo()
    assert sorted(tmp_path.iterdir()) == [folder, link, loop, pipe]


def test_json_is_read_or_a_value_error():
    assert parse_json('{"a": [1, 2.5, null]}') == parse_json(b'{"a": [1, 2.5, null]}') == {"a": [1, 2.5, None]}
    for text in ("", "{", b"\xff", "[" * 100_000, '{"a":' * 100_000):
        with pytest.raises(ValueError, match=r"."):
            parse_json(text)


def test_differences_name_missing_cut_and_changed_files(tmp_path):
    for name in ("whole", "cut", "changed", "unsized"):
        (tmp_path / name).write_bytes(name.encode() * 3)
    names = ("whole", "cut", "changed")
    files = {name: {"bytes": 3 * len(name), "sha256": sha256(tmp_path / name)} for name in names}
    files |= {"gone": files["whole"], "unsized": {"sha256": sha256(tmp_path / "unsized")}}
    (tmp_path / "cut").write_bytes(b"cu")
    (tmp_path / "changed").write_bytes(b"CHANGED" * 3)
    (tmp_path / "unsized").write_bytes(b"more")
    advanced = []
    found = changed_files(tmp_path, files, advanced.append)
    assert found == {"cut": "has 2 bytes, not 9", "changed": CHANGED, "gone": MISSING, "unsized": CHANGED}
    assert sum(advanced) == 15 + 9 + 21 + 15 + 4
    assert changed_files(tmp_path, {"whole": files["whole"]}) == {}


def test_comparing_a_large_file_advances_part_by_part(tmp_path, monkeypatch):
    monkeypatch.setattr("mmnist_av.system.files._CHUNK", 4)
    (tmp_path / "large").write_bytes(b"0123456789")
    advanced = []
    assert sha256(tmp_path / "large", advanced.append) == hashlib.sha256(b"0123456789").hexdigest()
    assert advanced == [4, 4, 2]
