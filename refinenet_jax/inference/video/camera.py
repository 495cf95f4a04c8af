"""Reads frames of a camera or a network stream with OpenCV, with the times at which they were taken."""

import re
import time
from collections.abc import Callable, Iterator
from fractions import Fraction

import cv2
from cv2.utils import logging

from refinenet_jax.errors import UsageError
from refinenet_jax.inference.video.reader import Frame, VideoFormat

_WAIT = 15_000  # timeout of a stream, milliseconds
_TIME_BASE = Fraction(1, 90_000)  # seconds


class Camera:
    """An open camera; a context manager.

    Attributes:
      format: size of the frames, unit of their times, and frames per second as reported by the camera, or 30 if it reports
        none.
    """

    def __init__(self, source: str):
        """Opens the camera.

        Args:
          source: number of the camera, device such as /dev/video0, or address such as rtsp://host/stream.

        Raises:
          UsageError: the camera does not exist, is in use, or returns no picture.
        """
        self._source = re.sub("//[^/]*@", "//", source)  # without the password
        self._capture = _open(source)
        success, picture = self._capture.read()
        if not success:
            self._capture.release()
            raise UsageError(
                f"Camera {self._source} returns no pictures: it is not connected, in use by another program, or you lack "
                "permission. "
                + (
                    "Check the address, name and password with a player such as ffplay or VLC."
                    if "://" in source
                    else "On Linux, cameras are /dev/video*, for members of the group video."
                )
            )
        rate = self._capture.get(cv2.CAP_PROP_FPS)
        rate = Fraction(round(rate * 1000), 1000) if 1 <= rate <= 1000 else Fraction(30)
        self.format = VideoFormat(picture.shape[:2], _TIME_BASE, rate)

    def __enter__(self) -> "Camera":
        return self

    def __exit__(self, *_: object) -> None:
        self._capture.release()

    def frames(self, seconds: float | None, stop: Callable[[], bool]) -> Iterator[Frame]:
        """Yields frames until `seconds` after the first one, `stop()` is true, or the camera is unplugged."""
        begin = time.monotonic()
        last = -1
        index = 0
        while not stop():
            success, picture = self._capture.read()
            passed = time.monotonic() - begin
            if not success or (seconds is not None and passed >= seconds):
                return
            if picture.shape[:2] != self.format.size:
                raise UsageError(f"Camera {self._source} changed the size of its pictures. Start again.")
            last = max(round(passed / _TIME_BASE), last + 1)
            yield Frame(index, last, cv2.cvtColor(picture, cv2.COLOR_BGR2RGB))
            index += 1


def _open(source: str) -> cv2.VideoCapture:
    level = logging.getLogLevel()
    logging.setLogLevel(logging.LOG_LEVEL_SILENT)  # it logs every backend that it tries
    try:
        if "://" in source:
            limits = [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, _WAIT, cv2.CAP_PROP_READ_TIMEOUT_MSEC, _WAIT]
            return cv2.VideoCapture(source, cv2.CAP_FFMPEG, limits)
        return cv2.VideoCapture(int(source)) if source.isdecimal() else cv2.VideoCapture(source, cv2.CAP_V4L2)
    finally:
        logging.setLogLevel(level)
