"""MovieLens: order of places, checksums, splits. No test touches a network."""

from __future__ import annotations

import gzip
import hashlib
import shutil
import zipfile

import pooch
import pytest
import requests
import torch

from overt.problems import DataUnavailableError, fetch, movielens, movielens_100k
from overt.problems.fetch import MOVIELENS_100K, DataFile


class Publisher:
    """Stands for the network: counts the calls and does as told."""

    def __init__(self, content=None, error=None):
        self.content, self.error, self.calls = content, error, 0

    def __call__(self, url, output_file, pooch_object):
        self.calls += 1
        if self.error is not None:
            raise self.error
        with open(output_file, "wb") as stream:  # noqa: PTH123
            stream.write(self.content)


@pytest.fixture(autouse=True)
def places(tmp_path, monkeypatch):
    """An empty cache, no OVERT_DATA, and a publisher that cannot be reached unless a test puts one there."""
    monkeypatch.delenv("OVERT_DATA", raising=False)
    monkeypatch.setattr(pooch, "os_cache", lambda name: tmp_path / "cache" / name)

    def use(publisher):
        monkeypatch.setattr(pooch, "HTTPDownloader", lambda **options: publisher)
        return publisher

    use(Publisher(error=requests.exceptions.ConnectionError("Name or service not known")))
    return use


@pytest.fixture
def zipped(tmp_path):
    """A small archive with the members of the real one."""
    path = tmp_path / "made" / "ml-100k.zip"
    path.parent.mkdir()
    with zipfile.ZipFile(path, "w") as opened:
        lines = [f"{u}\t{i}\t{1 + (u * i) % 5}\t0\n" for u in range(1, 11) for i in range(1, 11)]
        opened.writestr("ml-100k/u.data", "".join(lines))
        for split in range(1, 6):
            test = lines[20 * (split - 1) : 20 * split]
            opened.writestr(f"ml-100k/u{split}.test", "".join(test))
            opened.writestr(f"ml-100k/u{split}.base", "".join(x for x in lines if x not in test))
    return path


def file_of(path, *others):
    return DataFile(
        path.name, "https://example.org/x.zip", hashlib.sha256(path.read_bytes()).hexdigest(), others
    )


def test_folder_comes_first(zipped, places, monkeypatch):
    publisher = places(Publisher(b"other"))
    monkeypatch.setenv("OVERT_DATA", str(zipped.parent))
    assert fetch.fetch(file_of(zipped)) == zipped
    assert publisher.calls == 0


def test_other_archives_of_the_same_content_are_accepted_locally(zipped, monkeypatch):
    monkeypatch.setenv("OVERT_DATA", str(zipped.parent))
    own = hashlib.sha256(zipped.read_bytes()).hexdigest()
    assert fetch.fetch(DataFile(zipped.name, "https://example.org", "0" * 64, (own,))) == zipped


def test_download_is_checked_and_cached(zipped, places, tmp_path):
    publisher = places(Publisher(zipped.read_bytes()))
    first = fetch.fetch(file_of(zipped))
    assert first == tmp_path / "cache" / "overt" / zipped.name
    assert first.read_bytes() == zipped.read_bytes()
    places(Publisher(error=AssertionError("the cache was not used")))
    assert fetch.fetch(file_of(zipped)) == first
    assert publisher.calls == 1


def test_a_damaged_cache_is_fetched_again(zipped, places, tmp_path):
    cached = tmp_path / "cache" / "overt" / zipped.name
    cached.parent.mkdir(parents=True)
    cached.write_bytes(b"half a file")
    publisher = places(Publisher(zipped.read_bytes()))
    assert fetch.fetch(file_of(zipped)).read_bytes() == zipped.read_bytes()
    assert publisher.calls == 1


def test_a_wrong_download_is_refused_and_not_kept(zipped, places, tmp_path):
    places(Publisher(b"<html>moved</html>"))
    with pytest.raises(DataUnavailableError, match=r"https://example.org/x.zip .*hash.*does not match"):
        fetch.fetch(file_of(zipped))
    assert not list((tmp_path / "cache").rglob("*.zip"))


def test_a_wrong_file_in_the_folder_is_an_error_never_replaced(zipped, places, monkeypatch):
    publisher = places(Publisher(zipped.read_bytes()))
    expected = file_of(zipped)
    zipped.write_bytes(b"the user's own file")
    monkeypatch.setenv("OVERT_DATA", str(zipped.parent))
    with pytest.raises(ValueError, match=r"OVERT_DATA\) has SHA-256 [0-9a-f]{64}, expected [0-9a-f]{64}"):
        fetch.fetch(expected)
    assert publisher.calls == 0
    assert zipped.read_bytes() == b"the user's own file"


def test_an_unreadable_file_in_the_folder_is_said(tmp_path, monkeypatch):
    (tmp_path / "x.gz").write_bytes(gzip.compress(bytes(9999))[:-9])
    monkeypatch.setenv("OVERT_DATA", str(tmp_path))
    with pytest.raises(ValueError, match="cannot be read: OSError: it is no whole gzip file"):
        fetch.fetch(DataFile("x.gz", "https://example.org/x.gz", "0" * 64, unpacked=True))


@pytest.mark.parametrize(
    "error",
    [
        requests.exceptions.ConnectionError("Name or service not known"),
        requests.exceptions.HTTPError("503"),
        requests.exceptions.Timeout("timed out"),
        PermissionError("cache is read-only"),
    ],
)
def test_without_any_place_both_ways_out_are_named(error, places, monkeypatch, tmp_path):
    places(Publisher(error=error))
    monkeypatch.setenv("OVERT_DATA", str(tmp_path))  # a folder without the file
    with pytest.raises(DataUnavailableError) as raised:
        movielens_100k()
    message = str(raised.value)
    assert "OVERT_DATA" in message
    assert MOVIELENS_100K.url in message
    assert str(error) in message
    assert "\n" not in message


def test_a_misnamed_folder_is_said(monkeypatch, tmp_path):
    monkeypatch.setenv("OVERT_DATA", str(tmp_path / "nowhere"))
    with pytest.raises(DataUnavailableError, match=r"OVERT_DATA names .*nowhere.*not a folder"):
        movielens_100k()


@pytest.fixture
def small(zipped, monkeypatch):
    monkeypatch.setattr(movielens, "fetch", lambda file: zipped)
    return zipped


@pytest.mark.parametrize("split", ["u1", "u3", "u5"])
def test_published_splits(small, split):
    problem = movielens_100k(split)
    number = int(split[1])
    assert problem.shape == (943, 1682)
    assert (problem.n_observed, problem.heldout[2].numel()) == (80, 20)
    assert set(problem.heldout[0].tolist()) == {2 * number - 2, 2 * number - 1}
    assert problem.truth is None
    rows, cols, values = problem.heldout
    assert values.tolist() == [
        1 + ((u + 1) * (i + 1)) % 5 for u, i in zip(rows.tolist(), cols.tolist(), strict=True)
    ]
    W = torch.full((943, 1682), 3.0, dtype=torch.float64)
    assert problem.error(W) == pytest.approx(float((values - 3).square().mean().sqrt()))


def test_random_split_is_seeded_and_a_partition(small):
    one, two, other = (movielens_100k("random", seed=s, test_share=0.3) for s in (0, 0, 1))
    assert (one.n_observed, one.heldout[0].numel()) == (70, 30)
    assert torch.equal(one.flat, two.flat)
    assert not torch.equal(one.flat, other.flat)
    heldout = one.heldout[0] * 1682 + one.heldout[1]
    assert torch.cat([one.flat, heldout]).unique().numel() == 100
    single = movielens_100k("random", seed=0, test_share=0.3, dtype=torch.float32)
    assert torch.equal(single.flat, one.flat)
    assert single.y.dtype == single.heldout[2].dtype == torch.float32


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"split": "u6"}, ValueError, "split must be 'u1', 'u2'"),
        ({"split": "../u1"}, ValueError, "split must be"),
        ({"split": "random"}, TypeError, "seed is missing; split='random' needs one"),
        ({"split": "u1", "seed": 3}, ValueError, "seed: the split 'u1' is published"),
        ({"split": "random", "seed": "x"}, TypeError, "seed"),
        ({"split": "random", "seed": 0, "test_share": 0}, ValueError, "test_share"),
        ({"split": "random", "seed": 0, "test_share": 1}, ValueError, "test_share"),
        ({"split": "random", "seed": 0, "test_share": 1e-9}, ValueError, "empty part"),
    ],
)
def test_refusals_name_the_argument(small, arguments, error, message):
    with pytest.raises(error, match=message):
        movielens_100k(**arguments)


def test_a_bad_line_in_the_archive_is_named(tmp_path, monkeypatch):
    path = tmp_path / "ml-100k.zip"
    with zipfile.ZipFile(path, "w") as opened:
        opened.writestr("ml-100k/u1.base", "1\t1\t3\t0\n1\t1683\t3\t0\n")
    monkeypatch.setattr(movielens, "fetch", lambda file: path)
    with pytest.raises(ValueError, match=r"ml-100k/u1.base, line 2: .*out of range"):
        movielens_100k()


@pytest.mark.slow
@pytest.mark.data
def test_the_real_data(data_folder, monkeypatch):
    monkeypatch.setenv("OVERT_DATA", str(data_folder))
    all_tests = []
    for split in ("u1", "u2", "u3", "u4", "u5"):
        problem = movielens_100k(split)
        assert (problem.n_observed, problem.heldout[0].numel()) == (80_000, 20_000)
        all_tests.append(problem.heldout[0] * 1682 + problem.heldout[1])
        together = torch.cat([problem.flat, all_tests[-1]])
        assert together.unique().numel() == 100_000
    assert torch.cat(all_tests).unique().numel() == 100_000  # the five test sets are disjoint
    random = movielens_100k("random", seed=0)
    assert (random.n_observed, random.heldout[0].numel()) == (80_000, 20_000)
    assert random.y.unique().tolist() == [1, 2, 3, 4, 5]
    every = torch.cat([random.y, random.heldout[2]])
    assert float(every.mean()) == pytest.approx(3.52986)


@pytest.mark.slow
@pytest.mark.data
def test_biases_on_the_real_data(data_folder, monkeypatch):
    monkeypatch.setenv("OVERT_DATA", str(data_folder))
    problem = movielens_100k("u1")
    zero = torch.zeros(problem.shape, dtype=torch.float64)
    mean, biases = (problem.center(how)[0].error(zero) for how in ("mean", "biases"))
    assert mean == pytest.approx(1.154, abs=0.001)
    assert biases == pytest.approx(0.955, abs=0.001)


@pytest.mark.data
def test_the_local_copy_has_an_accepted_checksum(data_folder, tmp_path, monkeypatch):
    monkeypatch.setenv("OVERT_DATA", str(data_folder))
    assert fetch.fetch(MOVIELENS_100K).parent == data_folder
    copied = tmp_path / MOVIELENS_100K.name
    shutil.copyfile(data_folder / MOVIELENS_100K.name, copied)
    with copied.open("r+b") as stream:
        stream.seek(1000)
        stream.write(b"\0\0\0\0")
    monkeypatch.setenv("OVERT_DATA", str(tmp_path))
    with pytest.raises(ValueError, match="SHA-256"):
        fetch.fetch(MOVIELENS_100K)
