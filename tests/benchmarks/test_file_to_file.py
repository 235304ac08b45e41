"""Each source is translated in memory and on disk, and compared with the networks in memory."""

import pytest

from benchmarks import file_to_file


@pytest.mark.bench
@pytest.mark.slow
def test_a_row_for_each_source_and_way(tmp_path, capsys):
    small = {"tile_size": 16, "check_input": "off", "network_def#fine#blocks": [1, 1, 1], "handlers": []}
    small["inference#0#job"] = None  # whose weights it does not have
    file_to_file.main(side=24, sources=["volume.nii.gz", "series"], folder=str(tmp_path), **small)
    *lines, last = capsys.readouterr().out.splitlines()
    head, _, *table = [line for line in lines if line.startswith("|")]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table]
    assert [row[:2] for row in rows] == [
        ["volume.nii.gz", "in memory"],
        ["volume.nii.gz", "on disk"],
        ["series", "in memory"],
        ["series", "on disk"],
    ]
    assert "times the networks" in head and last.startswith("networks alone, in memory: ")
    for *_, seconds, before, cascade, after, _, ratio in rows:
        assert float(ratio) > 1 and abs(float(seconds) - float(before) - float(cascade) - float(after)) < 0.2
    assert not list(tmp_path.iterdir())
