"""Small files of weights that ask for much are refused before anything is allocated for them."""

import io
import pickle
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from avfusion.backbones.pretrained import start_backbone
from avfusion.backbones.tsav import load_tsav
from avfusion.data.features import read_features
from avfusion.experiments.differences import disturbed_differences
from avfusion.experiments.robustness.disturbed_files import restamp
from avfusion.fusion.files import load_fusion
from avfusion.runtime.errors import AVFusionError
from avfusion.runtime.stamps import UNSTAMPED
from avfusion.runtime.tensor_files import MOST_INDEX_BYTES
from avfusion.training.checkpoints import CHECKPOINT, load_checkpoint

LONG_S = 30  # on a busy machine; on an idle one each takes less than a second


def put_safetensors(path: Path, header: bytes, claimed: int | None = None) -> None:
    path.write_bytes((len(header) if claimed is None else claimed).to_bytes(8, "little") + header)


def many_names(path: Path) -> None:
    entry = '"%07d":{"dtype":"F32","shape":[0],"data_offsets":[0,0]}'
    names = ",".join(entry % number for number in range(MOST_INDEX_BYTES // 60))
    put_safetensors(path, f"{{{names}}}".encode() + b" " * 1_000_000)


HEADERS: dict[str, tuple[Callable[[Path], None], str]] = {
    "names": (many_names, "its header has 11 MB: at most 10 MB are read"),
    "longer than the file": (lambda path: put_safetensors(path, b"{}", 100_000_000), "its header claims 100 MB"),
    "longer than any file": (lambda path: put_safetensors(path, b"{}", (1 << 64) - 1), "its header claims"),
}
DOORS: dict[str, Callable[[Path], object]] = {
    "model": lambda path: load_fusion(path.parent),
    "backbone": lambda path: start_backbone("narrow_resnet", stream="audio", weights=str(path)),
    "features": read_features,
    "disturbed": lambda path: disturbed_differences(path, path),
    "restamped": lambda path: restamp(path, path.with_name("out"), UNSTAMPED),
}


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("kind", HEADERS)
def test_long_headers(kind: str, door: str, tmp_path: Path, trained_models: Path) -> None:
    make, words = HEADERS[kind]
    (tmp_path / "config.json").write_bytes((trained_models / "fusion" / "config.json").read_bytes())
    make(tmp_path / "model.safetensors")
    started = time.monotonic()
    with pytest.raises(Exception, match=words) as caught:
        DOORS[door](tmp_path / "model.safetensors")
    assert time.monotonic() - started < LONG_S
    if door in ("model", "backbone", "features"):
        assert isinstance(caught.value, AVFusionError)
        assert "model.safetensors" in str(caught.value)
        assert "\n" not in str(caught.value)


def packed(path: Path) -> None:
    """A checkpoint whose tensor of zeros is packed a thousandfold."""
    torch.save({"fingerprint": "f", "numbers": torch.zeros(5_000_000)}, whole := io.BytesIO())
    with zipfile.ZipFile(whole) as old, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as new:
        for part in old.namelist():
            new.writestr(part, old.read(part))


def overlapping(path: Path) -> None:
    """A hundred names of one part."""
    torch.save({"fingerprint": "f", "numbers": torch.zeros(1000)}, path)
    with zipfile.ZipFile(path, "a") as archive:
        part = next(one for one in archive.infolist() if one.filename.endswith("data/0"))
        archive.filelist += [part] * 100
        archive.writestr("last", b"")


def many_parts(path: Path) -> None:
    """A list of parts with long names."""
    with zipfile.ZipFile(path, "w") as archive:
        for number in range(200):
            archive.writestr(f"{number}" + "/x" * 30_000, b"")


def long_pickle(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", b"\x80\x02" + b"}0" * (MOST_INDEX_BYTES // 2) + b"}.")
        archive.writestr("archive/version", b"3\n")


def bytes_of_nothing(path: Path) -> None:
    """62 bytes that make 100 GB."""
    path.write_bytes(
        pickle.dumps({}, 2)[:2] + b"cbuiltins\nbytearray\n\x8a\x05" + (10**11).to_bytes(5, "little") + b"\x85R."
    )


def numbers_of_nothing(path: Path) -> None:
    torch.save({"stem.weight": torch.zeros(1).expand(10**9, 10**3)}, path)


CHECKPOINTS: dict[str, tuple[Callable[[Path], None], str]] = {
    "packed": (packed, "it would unpack to 20 MB, the file has "),
    "overlapping": (overlapping, "it would unpack to "),
    "many parts": (many_parts, "its list of parts has 12 MB: at most 10 MB are read"),
    "long pickle": (long_pickle, "its pickle has 10 MB: at most 10 MB are read"),
    "bytes of nothing": (bytes_of_nothing, "(it asks for more than .* of memory|more memory than a file of its size)"),
}


@pytest.mark.parametrize("kind", CHECKPOINTS)
def test_checkpoints_that_grow(kind: str, tmp_path: Path) -> None:
    make, words = CHECKPOINTS[kind]
    path = tmp_path / CHECKPOINT
    make(path)
    started = time.monotonic()
    for door in (load_tsav, lambda path: load_checkpoint(path.parent, "f")):
        with pytest.raises(AVFusionError, match=rf"{CHECKPOINT}.*{words}") as caught:
            door(path)
        assert "\n" not in str(caught.value)
    assert time.monotonic() - started < LONG_S


def test_tensors_of_more_numbers_than_the_file_has(tmp_path: Path) -> None:
    numbers_of_nothing(tmp_path / "model.pt")
    with pytest.raises(AVFusionError, match=r"model\.pt holds fewer numbers than it claims in stem\.weight"):
        load_tsav(tmp_path / "model.pt")


def test_names_in_messages_are_cut_and_in_one_line(tmp_path: Path) -> None:
    torch.save({"a\nb" + "x" * 100_000: torch.zeros(1)}, tmp_path / "model.pt")
    with pytest.raises(AVFusionError, match=r"unexpected a\\nbx+…") as caught:
        load_tsav(tmp_path / "model.pt")
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 3000
