"""Reads the frames of a video file of any length, upright and with their times."""

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain
from pathlib import Path

import av
import numpy as np

from refinenet_jax.data.examples import DataError
from refinenet_jax.data.images import MAX_PIXELS
from refinenet_jax.data.reading import read_ahead

# Keeps FFmpeg from opening other files or addresses named in a file, such as a playlist called .mp4.
_OPTIONS = {
    "protocol_whitelist": "file",
    "format_whitelist": "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,mpegvideo,h264,hevc,nut,ogg,flv,asf,mxf,gif,"
    "dv,ivf,m4v,mjpeg,obu,rm,yuv4mpegpipe",
}
_MATRICES = (1, 4, 5, 6, 7, 9)  # of YUV, as FFmpeg's AVColorSpace; its scaler uses the same numbers
_BT709, _BT601, _HD_HEIGHT = 1, 5, 720  # players assume these two for files that name none
_MOST_FAULTS = 1000  # consecutive faults after which the rest of a video is skipped


@dataclass(frozen=True)
class VideoFormat:
    """Format of the frames of a video, which its results have as well.

    Attributes:
      size: (h, w) of the upright frames.
      time_base: unit of times in seconds.
      rate: mean frames per second.
      aspect: width of a pixel divided by its height, upright.
      matrix: YUV matrix as FFmpeg's AVColorSpace; if the file names none, what players assume for the size.
    """

    size: tuple[int, int]
    time_base: Fraction
    rate: Fraction
    aspect: Fraction = Fraction(1)
    matrix: int = _BT601


@dataclass(frozen=True, eq=False)
class Frame:
    """A video frame.

    Attributes:
      index: number of the frame from 0, counting frames that can be decoded.
      pts: time in units of the format's `time_base` from the start of the file; strictly increasing.
      image: uint8 [h, w, 3] RGB, upright.
    """

    index: int
    pts: int
    image: np.ndarray


class VideoReader:
    """An open video file; a context manager.

    Attributes:
      path: path of the file.
      about: file status (size and modification time).
      format: size, time base, rate, pixel aspect and colors of the upright frames.
      length: expected number of frames; 0 if unknown.
      faults: number of damaged packets and frames so far.
    """

    def __init__(self, path: str | Path):
        """Opens the file and decodes the first frame.

        Raises:
          DataError: the file does not exist, has no video or no frame that can be decoded, or its frames have too many pixels.
        """
        self.path = Path(path)
        self.faults = 0
        self._container = open_video(self.path)
        try:
            self.about = self.path.stat()
            self._begin()
        except OSError as error:
            self._container.close()
            raise _unreadable(
                f"{self.path} cannot be read ({error.strerror or error}). Check its permissions."
            ) from error
        except BaseException:
            self._container.close()
            raise

    def __enter__(self) -> "VideoReader":
        return self

    def __exit__(self, *_: object) -> None:
        self._container.close()

    def _begin(self) -> None:
        streams = [s for s in self._container.streams.video if not s.disposition & av.stream.Disposition.attached_pic]
        if not streams:
            raise _unreadable(
                f"{self.path} has no video{', only sound' if self._container.streams.audio else ''}. Give a video."
            )
        self._stream = streams[0]
        self._stream.thread_type = "AUTO"
        context = self._stream.codec_context
        if context is None:
            raise _unreadable(f"{self.path} has a codec unknown to FFmpeg. Convert it to H.264.")
        self._check_pixels(context.width, context.height)
        self._decoded = self._decode()
        first = next(self._decoded, None)
        if first is None:
            raise _unreadable(f"{self.path} has no frame that can be decoded; it is damaged. Replace it.")
        turned = _turn(first)
        rate = self._stream.average_rate or self._stream.guessed_rate or Fraction(25)
        length = self._stream.frames
        if not length and self._container.duration:
            length = round(self._container.duration / av.time_base * rate)
        self.length = max(length, 0)
        size = (first.width, first.height) if turned[0] else (first.height, first.width)
        aspect = self._stream.sample_aspect_ratio or Fraction(1)
        assumed = _BT709 if min(size) >= _HD_HEIGHT else _BT601
        matrix = first.colorspace if first.colorspace in _MATRICES else assumed
        self.format = VideoFormat(size, self._stream.time_base, rate, 1 / aspect if turned[0] else aspect, matrix)
        self._decoded = chain([first], self._decoded)

    @property
    def start(self) -> Fraction:
        """Time stamp of the beginning in seconds: 0 in most files, but not in streams."""
        return Fraction(self._container.start_time or 0, av.time_base)

    def frames(self, first: int = 0, seconds: float | None = None) -> Iterator[Frame]:
        """Yields the frames, once. Those before number `first` are decoded too, so that the others do not depend on it.

        Args:
          first: number of the first frame to yield.
          seconds: time after the first frame at which to stop.
        """
        return read_ahead(self._to_frame, self._timed(first, seconds), window=4)

    def _timed(self, first: int, seconds: float | None) -> Iterator[tuple[int, int, av.VideoFrame]]:
        time_base = self.format.time_base
        origin = round(self.start / time_base)
        step = max(round(1 / (self.format.rate * time_base)), 1)
        until = None if seconds is None else Fraction(seconds).limit_denominator(1_000_000)
        last = begin = None
        for index, frame in enumerate(self._decoded):
            pts = None if frame.pts is None else frame.pts - origin
            if last is None:
                pts = begin = max(pts or 0, 0)
            elif pts is None or pts <= last:  # missing or repeated
                pts = last + step
            last = pts
            if until is not None and (pts - begin) * time_base >= until:
                return
            if index >= first:
                yield index, pts, frame

    def _to_frame(self, timed: tuple[int, int, av.VideoFrame]) -> Frame:
        index, pts, frame = timed
        transposed, mirror_x, mirror_y = _turn(frame)
        height, width = self.format.size[::-1] if transposed else self.format.size
        matrix = frame.colorspace if frame.colorspace in _MATRICES else self.format.matrix
        image = frame.reformat(width, height, "rgb24", src_colorspace=matrix).to_ndarray()
        if transposed:
            image = image.swapaxes(0, 1)
        return Frame(index, pts, np.ascontiguousarray(image[:: 1 - 2 * mirror_y, :: 1 - 2 * mirror_x]))

    def _decode(self) -> Iterator[av.VideoFrame]:
        """Yields all frames that can be decoded; damaged packets are skipped and counted."""
        packets = self._container.demux(self._stream)
        in_a_row = 0
        while in_a_row < _MOST_FAULTS:
            try:
                packet = next(packets, None)
                if packet is None:
                    return
            except av.FFmpegError:
                self.faults += 1
                return
            try:
                frames = packet.decode()
                in_a_row = 0
            except av.FFmpegError:
                self.faults += 1
                in_a_row += 1
                continue
            for frame in frames:
                self._check_pixels(frame.width, frame.height)
                self.faults += frame.is_corrupt
                yield frame

    def _check_pixels(self, width: int, height: int) -> None:
        if width * height > MAX_PIXELS:
            raise _unreadable(
                f"{self.path} has frames of {width} x {height} pixels, more than {MAX_PIXELS:,}. Make it smaller."
            )


def open_video(path: Path) -> av.container.InputContainer:
    """Opens a video file so that FFmpeg opens no other files named in it.

    Raises:
      DataError: the file does not exist, or is not a video.
    """
    try:
        if not path.is_file():
            raise _unreadable(
                f"{path} {'is not a regular file' if path.exists() else 'does not exist'}. Give a video file."
            )
        if not path.stat().st_size:
            raise _unreadable(f"{path} is empty (0 bytes). Replace it.")
        return av.open(ffmpeg_path(path), options=_OPTIONS, metadata_errors="replace")
    except DataError:
        raise
    except (av.FFmpegError, OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise _unreadable(
            f"{path} cannot be opened as a video ({reason}). It is damaged, truncated or not a video: replace it."
        ) from error


def is_video(path: Path) -> bool:
    """Returns whether FFmpeg finds a video stream in a file, whatever its ending."""
    try:
        with open_video(path) as container:
            return bool(container.streams.video)
    except DataError:
        return False


def ffmpeg_path(path: Path) -> str:
    """Returns a path for FFmpeg, which interprets the part before a colon as a protocol."""
    return f"file:{path.absolute()}"


def sound_tracks(container: av.container.InputContainer) -> list[av.AudioStream]:
    """Returns the audio tracks whose codec FFmpeg knows."""
    return [track for track in container.streams.audio if track.codec_context]


def _turn(frame: av.VideoFrame) -> tuple[bool, bool, bool]:
    """Returns whether to transpose a frame, and then whether to reverse its columns and rows, to make it upright.

    The display matrix maps a stored point (x, y) to (a x + c y, b x + d y).
    """
    matrix = frame.side_data.get("DISPLAYMATRIX")
    if matrix is None:
        return False, False, False
    a, b, _, c, d, *_ = np.frombuffer(bytes(matrix), np.int32)
    if abs(int(b)) > abs(int(a)):
        return True, bool(c < 0), bool(b < 0)
    return False, bool(a < 0), bool(d < 0)


def _unreadable(message: str) -> DataError:
    return DataError(message, "undecodable")
