"""Attributes of people in own data, such as sex, age group or skin tone: columns of the manifest with few categories.

No model sees them; the evaluation scores each category by itself. The column `attribute` is an attribute of that name,
`attribute:NAME` one called NAME; there may be several.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from avfusion.corpora.layout import RawTrack

COLUMN = "attribute"
MOST_CATEGORIES = 20  # more are names or numbers, not categories
LONGEST_CATEGORY = 60  # characters
NOT_GIVEN = "(not given)"
Attributes = tuple[tuple[str, str], ...]


def attribute_columns(columns: Sequence[str]) -> dict[str, str]:
    """The manifest's columns of attributes, in their order, and the names of these."""
    found = {column: column.removeprefix(f"{COLUMN}:").strip() for column in columns if _is_attribute(column)}
    return {column: name for column, name in found.items() if name}


def _is_attribute(column: str) -> bool:
    return column == COLUMN or column.startswith(f"{COLUMN}:")


def category_fault(category: str) -> str:
    """Why a cell cannot be a category; "" if it can."""
    if category.isprintable() and len(category) <= LONGEST_CATEGORY and category != NOT_GIVEN:
        return ""
    return f"must be a category of at most {LONGEST_CATEGORY} printable characters, or blank"


def too_many_categories(rows: Sequence[Attributes]) -> Iterator[tuple[str, str]]:
    """Each attribute with more categories than are meant, and what is wrong."""
    for name, counts in _categories(rows).items():
        if (found := len(counts.keys() - {""})) > MOST_CATEGORIES:
            some = ", ".join(sorted(counts.keys() - {""})[:3])
            yield name, f"{found} categories ({some} …): must be at most {MOST_CATEGORIES}: group them, say by ranges"


def describe_attributes(tracks: Sequence[RawTrack]) -> dict[str, tuple[str, str]]:
    """By attribute the numbers of tracks of each category, in words, and what is odd about them ("" for nothing)."""
    found = {}
    for name, counts in _categories([track.attributes for track in tracks]).items():
        given = {category: count for category, count in sorted(counts.items()) if category}
        words = [f"{category}: {count:,}" for category, count in given.items()]
        words += [f"{NOT_GIVEN}: {counts['']:,}"] if counts[""] else []
        odd = "" if len(given) > 1 else f"{'one category' if given else 'no category'}: there is nothing to compare"
        found[name] = (f"tracks: {', '.join(words)}", odd)
    return found


def _categories(rows: Sequence[Attributes]) -> Mapping[str, Counter[str]]:
    """Tracks by category, by attribute."""
    counts: dict[str, Counter[str]] = {}
    for attributes in rows:
        for name, category in attributes:
            counts.setdefault(name, Counter())[category] += 1
    return counts
