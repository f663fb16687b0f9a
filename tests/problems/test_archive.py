"""Archives that are not trusted: only named members, bounded size, errors that name member and line."""

from __future__ import annotations

import struct
import zipfile

import pytest
import torch

from overt.problems.movielens import parse_ratings, read_member


@pytest.fixture
def archive(tmp_path):
    def write(content=b"1\t2\t3\t4\n", member="folder/u1.base", **options):
        path = tmp_path / "ratings.zip"
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as opened:
            opened.writestr(member, content, **options)
        return path

    return write


def test_reads_one_member_and_writes_nothing(archive, tmp_path):
    path = archive()
    assert read_member(path, "folder/u1.base", limit=8) == "1\t2\t3\t4\n"
    assert [p.name for p in tmp_path.iterdir()] == ["ratings.zip"]


def test_missing_member(archive):
    with pytest.raises(ValueError, match=r"ratings.zip: there is no member folder/u2.base"):
        read_member(archive(), "folder/u2.base", limit=100)


def test_a_bomb_is_refused_before_it_unpacks(archive):
    path = archive(b"0" * 20_000_000)
    assert path.stat().st_size < 50_000
    with pytest.raises(ValueError, match=r"u1.base claims 20000000 bytes, more than the 1000 allowed"):
        read_member(path, "folder/u1.base", limit=1000)


def test_a_bomb_that_lies_about_its_size_is_refused(archive):
    path = archive(b"0" * 20_000_000)
    raw = path.read_bytes()
    assert raw.count(struct.pack("<I", 20_000_000)) == 2  # in the local header and in the directory
    path.write_bytes(raw.replace(struct.pack("<I", 20_000_000), struct.pack("<I", 900)))
    with pytest.raises(ValueError, match=r"u1\.base cannot be read|u1\.base unpacks to more"):
        read_member(path, "folder/u1.base", limit=1000)


@pytest.mark.parametrize("damage", ["truncated", "flipped", "not a zip", "empty"])
def test_damage_is_one_clear_error(archive, damage):
    path = archive(bytes(range(48, 58)) * 500)
    raw = bytearray(path.read_bytes())
    if damage == "truncated":
        raw = raw[: len(raw) // 2]
    elif damage == "flipped":
        raw[50] ^= 0xFF
    elif damage == "not a zip":
        raw = bytearray(b"<html>404</html>")
    else:
        raw = bytearray()
    path.write_bytes(bytes(raw))
    with pytest.raises(ValueError, match=r"ratings.zip: folder/u1.base cannot be read"):
        read_member(path, "folder/u1.base", limit=10_000)


def test_encrypted_and_unknown_compression_are_refused(archive):
    path = archive()
    raw = bytearray(path.read_bytes())
    directory = raw.index(b"PK\x01\x02")
    for offset in (6, directory + 8):
        raw[offset] |= 1  # the flag of encryption
    path.write_bytes(bytes(raw))
    with pytest.raises(ValueError, match="cannot be read"):
        read_member(path, "folder/u1.base", limit=100)
    path = archive()
    raw = bytearray(path.read_bytes())
    directory = raw.index(b"PK\x01\x02")
    for offset in (8, directory + 10):
        raw[offset : offset + 2] = struct.pack("<H", 97)
    path.write_bytes(bytes(raw))
    with pytest.raises(ValueError, match="cannot be read"):
        read_member(path, "folder/u1.base", limit=100)


def test_no_text(archive):
    with pytest.raises(ValueError, match=r"not plain text \(byte 4\)"):
        read_member(archive(b"1\t2\t\xff"), "folder/u1.base", limit=100)


def test_parse():
    users, items, ratings = parse_ratings("1\t2\t3\t881250949\n3 1  4.5 0\r\n", where="x", shape=(3, 2))
    assert users.tolist() == [0, 2]
    assert items.tolist() == [1, 0]
    assert ratings.tolist() == [3.0, 4.5]
    assert ratings.dtype == torch.float64


@pytest.mark.parametrize(
    "line",
    [
        "1 2 3",
        "1 2 3 4 5",
        "",
        "a 2 3 4",
        "1 2 good 4",
        "0 2 3 4",
        "4 2 3 4",
        "1 3 3 4",
        "1 2 6 4",
        "1 2 nan 4",
    ],
)
def test_a_bad_line_is_named(line):
    with pytest.raises(ValueError, match=r"^zip: u1.base, line 2: .*the line is"):
        parse_ratings(f"1 1 1 1\n{line}\n1 1 1 1", where="zip: u1.base", shape=(3, 2))


def test_a_long_line_is_cut_in_the_message():
    with pytest.raises(ValueError, match="line 1") as raised:
        parse_ratings("9" * 3000, where="x", shape=(3, 2))
    assert len(str(raised.value)) < 300


def test_a_huge_number_is_an_error_of_that_line():
    with pytest.raises(ValueError, match="line 1"):
        parse_ratings(f"{'9' * 5000} 1 1 1", where="x", shape=(3, 2))


def test_an_empty_member_is_an_error():
    with pytest.raises(ValueError, match="holds no rating"):
        parse_ratings("", where="x", shape=(3, 2))
