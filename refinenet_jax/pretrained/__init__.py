"""The network that comes with the package: rf_lw_mbv2, trained on real hands; see model_card.md."""

from pathlib import Path

PATH = Path(__file__).with_name("pretrained.safetensors")  # a file for `Segmenter.from_checkpoint`
