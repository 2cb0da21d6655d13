"""Counts and sizes in words."""

from avfusion.runtime.quantities import byte_size, counted, duration, often


def test_one_thing_is_singular():
    assert [counted(n, "track") for n in (0, 1, 2, 2700000)] == ["0 tracks", "1 track", "2 tracks", "2,700,000 tracks"]


def test_one_time_is_once():
    assert [often(n) for n in (1, 2, 1200)] == ["once", "2 times", "1,200 times"]


def test_sizes_have_two_digits_or_so():
    sizes = [byte_size(n) for n in (0, 4_600, 999_400, 999_600, 1.24e6, 9.96e6, 999.4e6, 1.2e9, 15.6e9, 5.53e12)]
    assert sizes == ["0 kB", "5 kB", "999 kB", "1.0 MB", "1.2 MB", "10 MB", "999 MB", "1.2 GB", "16 GB", "5,530 GB"]


def test_durations_have_a_unit_that_fits():
    assert [duration(s) for s in (0.5, 45, 60, 1830, 1801.8, 36000)] == [
        "0.5 s", "45 s", "1 min", "30.5 min", "30.03 min", "10 h",
    ]  # fmt: skip
