"""Small videos of every kind that FFmpeg can make here, to be predicted."""

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np


def pictures(count: int, size: tuple[int, int] = (48, 64), seed: int = 0) -> list[np.ndarray]:
    """A red square that moves over a dark gray ground, uint8 [h, w, 3] each."""
    ground = np.repeat(np.linspace(50 + seed, 90, size[1]).astype(np.uint8)[None, :, None], size[0], 0).repeat(3, 2)
    found = []
    for i in range(count):
        image = ground.copy()
        left, top = 3 * i % (size[1] - 16), 2 * i % (size[0] - 16)
        image[top : top + 16, left : left + 16] = (220, 60, 40)
        found.append(image)
    return found


def write(
    path: Path,
    images: Sequence[np.ndarray],
    *,
    pts: Sequence[int] | None = None,
    time_base: Fraction = Fraction(1, 25),
    rate: Fraction | int = 25,
    codec: str = "libx264",
    pixels: str = "yuv420p",
    turned: int = 0,
    mirrored: bool = False,
    sound: str = "",
    options: dict[str, str] | None = None,
) -> Path:
    """Writes a video; its container goes by the ending of `path`.

    Args:
      path: of the file.
      images: uint8 [h, w, 3].
      pts: times in units of time_base; 0, 1, ... by default.
      time_base: in seconds.
      rate: frames per second, as the header says.
      codec: of the pictures.
      pixels: their pixel format.
      turned: degrees counter-clockwise by which players turn it.
      mirrored: whether players mirror it.
      sound: codec of a sine tone as long as the pictures; '' for none.
      options: of the codec.
    """
    pts = range(len(images)) if pts is None else pts
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate, options=options or {})
        stream.height, stream.width = images[0].shape[:2]
        stream.pix_fmt = pixels
        stream.codec_context.time_base = time_base
        if turned or mirrored:
            stream.set_display_rotation(turned, hflip=mirrored)
        tone = container.add_stream(sound, rate=48000) if sound else None
        for image, time in zip(images, pts, strict=True):
            frame = av.VideoFrame.from_ndarray(image, "rgb24").reformat(format=pixels)
            frame.pts, frame.time_base = time, time_base
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
        if tone:
            seconds = float((pts[-1] + 1) * time_base)
            wave = (8000 * np.sin(np.arange(int(48000 * seconds)) * 0.06)).astype(np.int16)[None]
            frame = av.AudioFrame.from_ndarray(wave, format="s16", layout="mono")
            frame.sample_rate, frame.pts, frame.time_base = 48000, 0, Fraction(1, 48000)
            for part in av.AudioResampler(tone.format, tone.layout, tone.rate).resample(frame):
                container.mux(tone.encode(part))
            container.mux(tone.encode(None))
    return path


def times(path: Path) -> list[Fraction]:
    """Times of all frames, in seconds."""
    with av.open(str(path)) as container:
        return [frame.pts * frame.time_base for frame in container.decode(video=0)]


def frames(path: Path, pixels: str = "rgb24") -> list[np.ndarray]:
    """All frames, as they are stored."""
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format=pixels) for frame in container.decode(video=0)]


def sound_packets(path: Path) -> list[tuple[bytes, float]]:
    """Packets of the first sound track, and their times in seconds."""
    with av.open(str(path)) as container:
        stream = container.streams.audio[0]
        return [(bytes(p), round(float(p.pts * p.time_base), 4)) for p in container.demux(stream) if p.dts is not None]
