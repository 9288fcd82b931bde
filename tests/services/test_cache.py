"""What a worker keeps on local disk: made anew where it cannot be read, left alone where the disk is at fault."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from rocksdict import Options
from unsilo_services import cache
from unsilo_services.cache import Cache, CacheUnusable
from unsilo_services.flows.table import Changes

_REMEDY = "make room there, or have UNSILO_DATA name another"


def opened(folder: Path) -> Cache:
    return Cache(folder, Options(raw_mode=True))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A cache in which something stands."""
    kept = opened(tmp_path / "cache")
    with kept.store() as store:
        store[b"ticket"] = b"open"
    kept.close()
    return tmp_path / "cache"


def no_room(*anything: Any, **more: Any) -> None:
    raise Exception("IO error: No space left on device")  # the library has no kind of its own


def test_a_cache_is_there_again_after_a_restart(folder: Path) -> None:
    with opened(folder).store() as store:
        assert store.get(b"ticket") == b"open"


def test_a_damaged_cache_is_made_anew(folder: Path) -> None:
    (folder / "CURRENT").write_text("nothing of the kind\n")
    with opened(folder).store() as store:
        assert store.get(b"ticket") is None


def test_a_cache_on_a_full_disk_is_kept_for_when_there_is_room_again(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as full:
        full.setattr(cache, "Rdict", no_room)
        with pytest.raises(CacheUnusable, match=f"{folder}.*{_REMEDY}"):
            opened(folder)
    with opened(folder).store() as store:
        assert store.get(b"ticket") == b"open"


def test_a_cache_that_cannot_be_written_says_where_and_what_to_do(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = opened(folder)
    monkeypatch.setattr(kept, "_store", SimpleNamespace(write=no_room, close=no_room))
    with pytest.raises(CacheUnusable, match=f"{folder}.*{_REMEDY}"):
        Changes(kept).write()
    kept.close()
