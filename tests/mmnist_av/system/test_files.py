"""Files are compared with their recorded sizes and hashes."""

import hashlib

from mmnist_av.system.files import CHANGED, MISSING, changed_files, sha256


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
