"""Format counts, sizes and times for people."""

import time


def counted(number: int, noun: str) -> str:
    """A number of things: `1 track`, `1,200 tracks`."""
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


def often(number: int) -> str:
    """How many times: `once`, `3 times`."""
    return "once" if number == 1 else f"{number:,} times"


def byte_size(count: float) -> str:
    """Bytes in kB, MB or GB (powers of 1000), to about two digits: `5 kB`, `1.2 MB`, `16 GB`."""
    for unit, scale in (("GB", 1e9), ("MB", 1e6)):
        if count >= 0.9995 * scale:
            value = count / scale
            return f"{value:,.0f} {unit}" if value >= 9.95 else f"{value:.1f} {unit}"
    return f"{count / 1e3:.0f} kB"


def duration(seconds: float) -> str:
    """Seconds in s, min or h, to four digits: `45 s`, `30.5 min`, `10 h`."""
    for unit, scale in (("h", 3600), ("min", 60)):
        if seconds >= scale:
            return f"{seconds / scale:.4g} {unit}"
    return f"{seconds:.4g} s"


def utc(seconds: float) -> str:
    """A time, in seconds since 1970, as `2026-12-01 09:30 UTC`."""
    return time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(seconds))
