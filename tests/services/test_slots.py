"""Which worker of a machine a process is, and where it may write."""

from pathlib import Path

import pytest
from unsilo_services.slots import DataUnusable, Slot


def test_workers_of_one_service_get_numbers_of_their_own_and_a_free_one_is_taken_again(tmp_path: Path) -> None:
    first, second = (Slot(tmp_path, "normalizer", "here", "hub") for _ in range(2))
    assert (first.name, second.name) == ("here-0", "here-1")
    assert first.cache != second.cache
    first._lock.close()  # as the system does when its process ends
    third = Slot(tmp_path, "normalizer", "here", "hub")
    assert third.name == "here-0"
    for slot in (second, third):
        slot._lock.close()


@pytest.mark.parametrize("below", ["a-file", "a-file/data"])
def test_a_folder_that_cannot_be_written_is_named_with_what_to_do(tmp_path: Path, below: str) -> None:
    (tmp_path / "a-file").write_text("")
    with pytest.raises(DataUnusable) as caught:
        Slot(tmp_path / below, "normalizer", "here", "hub")
    assert str(tmp_path) in caught.value.operator
    assert "UNSILO_DATA" in caught.value.operator
