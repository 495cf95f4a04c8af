"""The Gradio page and its API."""

import base64
import html
import io
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.data_classes import ImageData
from PIL import Image
from starlette.applications import Starlette
from starlette.middleware import Middleware

from refinenet_jax import visualize
from refinenet_jax.errors import UsageError
from refinenet_jax.inference.segmenter import Segmenter
from refinenet_jax.inference.serve import results
from refinenet_jax.inference.serve.guard import KEPT_SECONDS, Guard

_SCALES = (0.5, 0.75, 1.0, 1.25, 1.5)
_MOST_SETTINGS = 8  # combinations of scales and mirroring whose compiled programs are kept
_WEBCAMS, _WEBCAM_SECONDS = 4, 300  # streams at one time, and how long one may last
_FONTS = {"font": ["system-ui", "sans-serif"], "font_mono": ["ui-monospace", "monospace"]}  # the browser's own


def create_app(
    segmenter: Segmenter,
    limits: results.Limits,
    name: str,
    folder: Path,
    host: str = "127.0.0.1",
    allowed_hosts: Sequence[str] = (),
) -> Starlette:
    """Creates the ASGI application.

    Args:
      segmenter: the network.
      limits: limits of requests.
      name: displayed name of the network.
      folder: folder for uploads and results, GRADIO_TEMP_DIR; it is removed when the server stops.
      host: name or address of the server.
      allowed_hosts: further names that browsers or proxies may use.
    """

    @asynccontextmanager
    async def lifespan(app: Starlette):
        yield
        shutil.rmtree(folder, ignore_errors=True)

    guard = Middleware(Guard, host=host, allowed_hosts=allowed_hosts, limits=limits, folder=folder)
    page = Page(segmenter, limits, folder).build(name)
    page.queue(max_size=limits.waiting, api_open=False)
    page.has_launched = True  # otherwise Gradio does not check that paths in requests are uploads
    return gr.mount_gradio_app(
        Starlette(middleware=[guard], lifespan=lifespan),
        page,
        path="/",
        max_file_size=round(limits.upload_megabytes * 1e6),
        show_error=False,
        footer_links=["api"],
        run_history=False,
        enable_monitoring=False,
        mcp_server=False,
        ssr_mode=False,
        pwa=False,
        theme=gr.themes.Default(**_FONTS),
    )


class Page:
    """The tabs, and the functions of the API."""

    def __init__(self, segmenter: Segmenter, limits: results.Limits, folder: Path):
        self._segmenter, self._limits, self._folder = segmenter, limits, folder
        self._with_settings = lru_cache(_MOST_SETTINGS)(
            lambda scales, flip: replace(segmenter, scales=scales, flip=flip)
        )

    def build(self, name: str) -> gr.Blocks:
        """Builds the page and the endpoints of the API."""
        network = self._segmenter
        with gr.Blocks(
            title="Hand segmentation", analytics_enabled=False, delete_cache=(KEPT_SECONDS // 10, KEPT_SECONDS)
        ) as page:
            gr.Markdown(f"## Hand segmentation\nNetwork: {name}. Pictures and clips are deleted after an hour.")
            with gr.Accordion("Settings", open=False):
                scales = gr.CheckboxGroup(
                    sorted({*_SCALES, *network.scales}), value=list(network.scales), label="Scales, averaged"
                )
                mirror = gr.Checkbox(network.flip, label="Average over the mirrored picture too")
            with gr.Tab("Picture"):
                self._picture_tab(scales, mirror)
            with gr.Tab("Clip"):
                self._clip_tab(scales, mirror)
            with gr.Tab("Webcam"):
                self._webcam_tab(scales, mirror)
        for block in page.blocks.values():
            block.async_move_resource_to_block_cache = _without_download(block.async_move_resource_to_block_cache)
        return page

    def _picture_tab(self, scales: gr.CheckboxGroup, mirror: gr.Checkbox) -> None:
        with gr.Row():
            with gr.Column():
                picture = gr.Image(type="filepath", sources=["upload", "clipboard"], label="Picture", buttons=[])
                # The uploaded file: Gradio would decode and convert it before its size is checked.
                picture.preprocess = lambda payload: payload and payload.path
                button = gr.Button("Find hands", variant="primary")
            with gr.Column():
                views = []
                for view in ("Overlay", "Mask", "Cut-out"):
                    with gr.Tab(view):
                        views.append(gr.Image(show_label=False, buttons=["download", "fullscreen"], alt_text=view))
                legend, figures = self._figures()
        gr.on(
            [picture.input, button.click],
            self.picture,
            [picture, scales, mirror],
            [*views, figures],
            api_name="picture",
        )
        figures.change(_legend, figures, legend, queue=False, api_visibility="private")

    def _clip_tab(self, scales: gr.CheckboxGroup, mirror: gr.Checkbox) -> None:
        with gr.Row():
            with gr.Column():
                clip = gr.Video(sources=["upload"], label="Clip", buttons=[])
                with gr.Row():
                    button = gr.Button("Find hands", variant="primary")
                    stop = gr.Button("Stop")
            with gr.Column():
                overlay = gr.Video(label="Overlay", buttons=["download"])
                files = gr.Files(label="Overlay, masks and table of frames")
                legend, figures = self._figures()
        work = button.click(
            self.clip,
            [clip, scales, mirror],
            [overlay, files, figures],
            show_progress="minimal",
            api_name="clip",
        )
        stop.click(lambda: {}, None, figures, cancels=work, queue=False, api_visibility="private")
        figures.change(_legend, figures, legend, queue=False, api_visibility="private")

    def _webcam_tab(self, scales: gr.CheckboxGroup, mirror: gr.Checkbox) -> None:
        with gr.Row():
            with gr.Column():
                # Mirrored, left hands would be classified as right ones.
                options = gr.WebcamOptions(mirror=False)
                webcam = gr.Image(sources=["webcam"], streaming=True, webcam_options=options, label="Webcam")
                webcam.preprocess = lambda payload: payload and payload.url  # data:image/jpeg;base64,...
                view = gr.Radio(["Overlay", "Mask", "Cut-out"], value="Overlay", label="View")
            with gr.Column():
                shown = gr.Image(label="Hands", buttons=["download", "fullscreen"])
                shown.postprocess = lambda url: url and ImageData(url=url)  # no file for every frame
                gr.HTML(_legend({"classes": self._classes()}))
        webcam.stream(
            self.frame,
            [webcam, view, scales, mirror],
            shown,
            stream_every=0.2,
            time_limit=_WEBCAM_SECONDS,
            concurrency_limit=_WEBCAMS,
            show_progress="hidden",
            api_visibility="private",
        )

    def _figures(self) -> tuple[gr.HTML, gr.JSON]:
        legend = gr.HTML(_legend({"classes": self._classes()}))
        with gr.Accordion("Figures", open=False):
            figures = gr.JSON(show_label=False)
        return legend, figures

    def _classes(self) -> list[dict[str, Any]]:
        return [{"name": name, "color": results.color(i)} for i, name in enumerate(self._segmenter.class_names) if i]

    def _network(self, scales: Sequence[float], mirror: bool) -> Segmenter:
        """Returns the network with these settings; with its own settings, the network itself, which is compiled."""
        if not scales:
            raise UsageError("No scale is chosen. Choose at least one.")
        stored = self._segmenter
        if set(scales) != set(stored.scales):
            return self._with_settings(tuple(sorted(set(scales))), mirror)
        return stored if mirror == stored.flip else self._with_settings(stored.scales, mirror)

    def picture(self, picture: str | None, scales: list[float], mirror: bool) -> list[Any]:
        """Finds hands in a picture.

        Args:
          picture: PNG, JPEG, WebP, GIF, BMP or TIFF.
          scales: test scales, whose probabilities are averaged.
          mirror: whether to average over the mirrored picture too.

        Returns:
          overlay: the picture with the classes tinted and outlined, JPEG.
          mask: PNG with a palette; its values are class ids.
          cutout: the picture without its background, PNG.
          figures: size, pixels of each class, and the 100 largest regions.
        """
        if picture is None:
            return [None] * 4
        with _reported():
            result = self._network(scales, mirror)(results.read_picture(Path(picture).read_bytes(), self._limits))
            return [*results.write_views(result, self._folder), results.figures(result)]

    def clip(self, clip: str | None, scales: list[float], mirror: bool) -> Iterator[list[Any]]:
        """Finds hands in a clip; while it works, only the figures are given, with the number of frames so far.

        Args:
          clip: a video file.
          scales: test scales, whose probabilities are averaged.
          mirror: whether to average over the mirrored frames too.

        Returns:
          overlay: video with the classes tinted and outlined, with the clip's own times and sound.
          files: the same video, a lossless video of class ids, and a table of frames (CSV).
          figures: frames so far (`frames`), and how many there should be (`of`).
        """
        with _reported():
            if clip is None:
                raise UsageError("There is no clip. Choose a file first.")
            network = self._network(scales, mirror)
            for progress, files in results.predict_clip(network, Path(clip), self._folder, self._limits):
                yield [files[0] if files else gr.skip(), files or gr.skip(), progress]

    def frame(self, address: str | None, view: str, scales: list[float], mirror: bool) -> str | None:
        """Returns a view of a webcam's frame; both are data URLs."""
        if address is None:
            return None
        with _reported():
            encoded = base64.b64decode(address.partition(",")[2])
            result = self._network(scales, mirror)(results.read_picture(encoded, self._limits))
        views: dict[str, Callable] = {
            "Overlay": lambda: Image.fromarray(result.overlay()),
            "Mask": lambda: visualize.colored_mask(result.mask),
            "Cut-out": lambda: Image.fromarray(result.cutout()),
        }
        buffer = io.BytesIO()
        views[view]().save(buffer, "PNG", compress_level=1)
        return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"


@contextmanager
def _reported() -> Iterator[None]:
    """Shows a UsageError as a message on the page, without a traceback in the terminal."""
    try:
        yield
    except UsageError as error:
        raise gr.Error(str(error), print_exception=False) from error


def _without_download(move: Callable) -> Callable:
    """Refuses web addresses in requests, which Gradio would download."""

    async def move_file(path: str | Path | None) -> str | None:
        if path is not None and "://" in str(path):
            raise gr.Error("Web addresses are not accepted. Upload the file.", print_exception=False)
        return await move(path)

    return move_file


def _legend(figures: dict[str, Any] | None) -> str:
    """Returns HTML with the colors of the classes and their shares of a picture, or the progress of a clip."""
    figures = figures or {}
    lines = []
    if "of" in figures:
        of = figures["of"]
        value = f"value='{figures['frames']}' max='{of}'" if of else ""
        lines.append(f"<progress {value} style='width: 100%'></progress> {figures['frames']} of {of or '?'} frames")
    for entry in figures.get("classes", ()):
        share = f" {entry['share']:.1%}" if "share" in entry else ""
        swatch = f"<span style='background: {entry['color']}; padding: 0 .6em; border-radius: 3px'></span>"
        lines.append(f"<span style='white-space: nowrap'>{swatch} {html.escape(entry['name'])}{share}</span>")
    return "<div style='display: flex; flex-wrap: wrap; gap: .3em 1.5em'>" + "\n".join(lines) + "</div>"
