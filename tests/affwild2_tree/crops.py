"""Crop folders: two of them to be merged, one inside itself, and crops of every wrong kind."""

import shutil
from pathlib import Path

import cv2

MAIN, LATER = "cropped_aligned", "cropped_aligned_new_50_vids"
NESTED = f"{LATER}/{LATER}"  # as an archive unpacked into a folder of its own name
MERGED, MOVED, SPARSE, BENT = "video92", "video83", "100-29-1080x1920", "video33"
DETECTED = ("video27", "video49_left", "video49_right")
"""Tracks that come without crops."""


def place_crops(root: Path, work: Path, withheld: Path, frames: dict[str, int]) -> dict[str, int]:
    """Move the filmed crops from `work`/<track> to where the corpus has them; those of DETECTED to `withheld`.

    Returns how many crops each track has, files that are no crops left out.
    """
    counts = {}
    for track, count in frames.items():
        if track in DETECTED:
            shutil.move(work / track, withheld / track)
            continue
        target = root / (LATER if track == MOVED else MAIN) / track
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(work / track, target)
        if track == SPARSE:
            for file in _numbered(target):
                if int(file.stem) % 3:
                    file.unlink()
        elif track == MERGED:
            _divide(target, root / NESTED / track)
        elif track == BENT:
            _bend(target, count)
        counts[track] = len({file.stem for folder in root.rglob(track) for file in _numbered(folder)})
    _litter(root)
    return counts


def _divide(first: Path, second: Path) -> None:
    """The last third goes to the second folder, which has the crop before it as well, but not the same."""
    files = _numbered(first)
    second.mkdir(parents=True)
    start = 2 * len(files) // 3
    for file in files[start:]:
        shutil.move(file, second / file.name)
    shutil.copyfile(second / files[start].name, second / files[start - 1].name)


def _bend(folder: Path, frames: int) -> None:
    """The first crops: of another size, grey, 16 bits, emptied by a bad copy, cut; two beyond the end; and no crops."""
    files = _numbered(folder)[:6]
    picture = cv2.imread(str(files[0]))
    cv2.imwrite(str(files[0]), cv2.resize(picture, (224, 224)))
    cv2.imwrite(str(files[1]), cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY))
    files[2].unlink()
    cv2.imwrite(str(files[2].with_suffix(".png")), picture.astype("uint16") * 257)
    files[3].write_bytes(bytes(files[3].stat().st_size))
    files[4].write_bytes(files[4].read_bytes()[:900])
    files[5].unlink()
    for number in (frames + 1, frames + 40):
        cv2.imwrite(str(folder / f"{number:05d}.jpg"), picture)
    for name in ("best.jpg", "00001 (copy).jpg", "Thumbs.db", ".DS_Store", "__MACOSX/._00001.jpg"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(b"\0\5\x16\7")


def _litter(root: Path) -> None:
    """What operating systems leave, and the crops of a track that nobody annotated."""
    for name in (".DS_Store", "__MACOSX/video55/._00001.jpg", "stranger/00001.jpg", "expr-only/00001.jpg"):
        path = root / MAIN / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"\0\5\x16\7")


def _numbered(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.stem.isdigit())
