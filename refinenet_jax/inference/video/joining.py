"""Joins video segments and the sound of a source into one file; packets are copied, nothing is decoded."""

import heapq
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, nullcontext, suppress
from fractions import Fraction
from pathlib import Path

import av

from refinenet_jax.inference.video.reader import ffmpeg_path, open_video, sound_tracks
from refinenet_jax.progress import say

# Bit-exact: without random numbers and dates, so that equal videos give equal files.
_MP4 = {"movie_timescale": "90000", "movflags": "faststart", "fflags": "+bitexact"}
_MATROSKA = {"fflags": "+bitexact"}

_VIDEO = -1

Timed = tuple[Fraction, int, av.Packet]


def sound_codecs(source: Path) -> list[str]:
    """Returns the codecs of a file's audio tracks."""
    with open_video(source) as container:
        return [track.codec_context.name for track in sound_tracks(container)]


def join(
    parts: Sequence[Path],
    target: Path,
    *,
    source: Path | None = None,
    start: Fraction = Fraction(0),
    until: Fraction | None = None,
) -> int:
    """Joins consecutive video segments of the same coding.

    Args:
      parts: segments with one video stream each, with consecutive time stamps.
      target: file to write; its ending determines the format.
      source: file whose audio tracks are copied; None for no sound.
      start: time in the source, in seconds, that is 0 in the target.
      until: time in the target, in seconds, at which sound ends; None for all sound.

    Returns:
      The number of frames in the target.

    Raises:
      av.FFmpegError: a file cannot be read or written.
    """
    with ExitStack() as stack:
        options = _MP4 if target.suffix == ".mp4" else _MATROSKA
        out = stack.enter_context(av.open(ffmpeg_path(target), "w", container_options=options))
        with av.open(ffmpeg_path(parts[0])) as first:
            video = out.add_stream_from_template(first.streams.video[0])
        container = stack.enter_context(open_video(source)) if source else None
        tracks = {}
        for track in sound_tracks(container) if container else ():
            try:
                tracks[track.index] = out.add_stream_from_template(track)
                tracks[track.index].metadata.update(track.metadata)
            except ValueError:
                say(
                    f"{source}: skipped sound of the codec {track.codec_context.name}, which {target.suffix} does not support"
                )
        sound = _sound(container, tracks, start, until) if tracks else iter(())
        count = 0
        for _, track, packet in heapq.merge(_pictures(parts, video), sound, key=lambda timed: timed[:2]):
            with suppress(av.ArgumentError) if track != _VIDEO else nullcontext():  # damaged sound
                out.mux(packet)
            count += track == _VIDEO
    return count


def _pictures(parts: Sequence[Path], video: av.VideoStream) -> Iterator[Timed]:
    for part in parts:
        with av.open(ffmpeg_path(part)) as container:
            for packet in container.demux(container.streams.video[0]):
                if packet.pts is not None:
                    packet.dts = packet.pts  # segments have no B-frames
                    time = packet.pts * packet.time_base
                    packet.stream = video
                    yield time, _VIDEO, packet


def _sound(
    container: av.container.InputContainer, tracks: dict[int, av.AudioStream], start: Fraction, until: Fraction | None
) -> Iterator[Timed]:
    last: dict[int, int] = {}
    packets = container.demux(*(container.streams[index] for index in tracks))
    while True:
        try:
            packet = next(packets, None)
        except av.FFmpegError:  # a truncated file: its sound ends here
            return
        if packet is None:
            return
        if packet.dts is None:
            continue
        track, shift = packet.stream_index, round(start / packet.time_base)
        packet.pts = (packet.dts if packet.pts is None else packet.pts) - shift
        packet.dts -= shift
        time = packet.dts * packet.time_base
        if (until is not None and time > until) or packet.dts <= last.get(track, packet.dts - 1):
            continue  # too late, or repeated
        last[track] = packet.dts
        packet.stream = tracks[track]
        yield time, track, packet
