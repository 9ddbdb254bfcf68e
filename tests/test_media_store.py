"""The store of recordings and transcripts: whole files or none, in a folder or elsewhere."""

from pathlib import Path

import pytest

from aftercall.media_store import MediaStore, MediaStoreError


@pytest.fixture(params=["folder", "file", "memory"])
def root(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A folder by its path and by a URL, and a store that cannot rename."""
    name = tmp_path.name
    return {
        "folder": str(tmp_path / "media"),
        "file": f"file://{tmp_path}/media",
        "memory": f"memory://{name}",
    }[request.param]


def test_what_is_put_in_comes_out_from_where_one_wants(root: str) -> None:
    path = MediaStore(root).put(1_234_567, "recording", b"0123456789")
    with MediaStore(root).open(path) as file:
        assert file.read() == b"0123456789"
        file.seek(4)
        assert file.read(2) == b"45"


def test_the_same_again_is_the_same_file_and_another_content_is_another(root: str) -> None:
    store = MediaStore(root)
    path = store.put(1, "recording", b"old")
    assert store.put(1, "recording", b"old") == path
    other = store.put(1, "recording", b"new")
    # Whoever knows the first still gets the first, whole.
    for each, body in ((path, b"old"), (other, b"new")):
        with store.open(each) as file:
            assert file.read() == body
    files, place = store._open()
    assert len(files.find(place)) == 2


def test_a_recording_and_a_transcript_of_one_call_are_two_files(root: str) -> None:
    store = MediaStore(root)
    assert store.put(1, "recording", b"a") != store.put(1, "transcript", b"b")


def test_what_is_not_there_is_an_error_of_the_store(root: str) -> None:
    with pytest.raises(MediaStoreError, match="cannot be read"):
        MediaStore(root).open("001/1-recording")


def test_a_store_that_works_is_checked_and_left_empty(root: str) -> None:
    store = MediaStore(root)
    store.check()
    files, place = store._open()
    assert files.find(place) == []


def test_a_store_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    (tmp_path / "media").write_text("in the way")
    store = MediaStore(str(tmp_path / "media"))
    with pytest.raises(MediaStoreError, match="cannot be written"):
        store.check()
    with pytest.raises(MediaStoreError, match="cannot be written"):
        store.put(1, "recording", b"a")


@pytest.mark.parametrize(
    ("root", "says"),
    [
        ("s3://key:hunter2@bucket/folder", r"install aftercall\[s3\]"),
        ("nonsense://hunter2", "no folder and no URL"),
    ],
)
def test_a_store_that_is_none_is_named_without_its_secrets(root: str, says: str) -> None:
    store = MediaStore(root)
    with pytest.raises(MediaStoreError, match=says) as caught:
        store.check()
    assert "hunter2" not in f"{caught.value}{store!r}"
