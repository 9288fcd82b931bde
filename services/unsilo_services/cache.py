"""What a worker keeps in RocksDB on local disk. It may be deleted at any time: the truth of it is on a topic."""

import logging
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

from rocksdict import AccessType, Options, Rdict

from .errors import UnsiloError

log = logging.getLogger(__name__)

_NOT_THE_CACHES_FAULT = ("No space left", "Permission denied", "Read-only", "Too many open files", "Input/output error")


class CacheUnusable(UnsiloError):
    """The worker ends. Nothing is lost: all that a cache holds is on a topic."""


class Cache:
    """A folder with a RocksDB in raw mode, made anew where what lies there cannot be read."""

    def __init__(self, folder: Path, options: Options, kept: timedelta = timedelta.max) -> None:
        """Entries may be forgotten after `kept`. CacheUnusable where the folder, and not what it holds, is at fault."""
        self._folder = folder
        self._options = options
        self._options.create_if_missing(True)
        self._options.set_max_open_files(64)
        self._kept = kept
        try:
            self._store = self._opened()
        except Exception as error:  # the library has no kind of its own; whoever holds the slot is alone in the folder
            if any(sign in str(error) for sign in _NOT_THE_CACHES_FAULT):
                raise self._unusable(error) from error
            log.warning("the cache in %s cannot be opened and is made anew: %s", folder, error)
            shutil.rmtree(folder, ignore_errors=True)
            try:
                self._store = self._opened()
            except Exception as again:
                raise self._unusable(again) from again

    @contextmanager
    def store(self) -> Iterator[Rdict]:
        """The store, to be read and written; CacheUnusable if that fails."""
        try:
            yield self._store
        except Exception as error:
            raise self._unusable(error) from error

    def close(self) -> None:
        """Closes it, also where it could not be used."""
        try:
            self._store.close()
        except Exception as error:  # it was told already, and what is in it is on the topic too
            log.warning("the cache in %s could not be closed in order: %s", self._folder, error)

    def _opened(self) -> Rdict:
        self._folder.parent.mkdir(parents=True, exist_ok=True)
        if self._kept == timedelta.max:
            return Rdict(str(self._folder), self._options)
        return Rdict(str(self._folder), self._options, access_type=AccessType.with_ttl(int(self._kept.total_seconds())))

    def _unusable(self, error: Exception) -> CacheUnusable:
        return CacheUnusable(
            f"the cache in {self._folder} cannot be used: make room there, or have UNSILO_DATA name another",
            repr(error),
        )
