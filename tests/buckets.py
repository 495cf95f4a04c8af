"""A stand-in for Google Cloud Storage: gs://NAME is a local folder, whose files cannot be appended to."""

from pathlib import Path

import pytest
from etils.epath import backend, gpath
from fsspec.implementations.dirfs import DirFileSystem
from fsspec.implementations.local import LocalFileSystem
from orbax.checkpoint._src.path import gcs_utils


class Bucket(DirFileSystem):
    """What etils and Orbax see as gs://."""

    protocol = ("gs", "gcs")

    def open(self, path, mode="rb", **options):
        if "a" in mode:
            raise NotImplementedError("object stores cannot append")
        return super().open(path, mode, **options)


def use(patch: pytest.MonkeyPatch, folder: Path) -> None:
    """Makes gs:// mean `folder`: for etils, as without TensorFlow, and for the arrays that Orbax writes with TensorStore."""
    bucket = Bucket(path=str(folder), fs=LocalFileSystem(auto_mkdir=True))
    patch.setattr(gpath, "_is_tf_installed", lambda: False)
    patch.setattr(type(backend.fsspec_backend), "_get_filesystem", lambda self, name: bucket)
    patch.setattr(gcs_utils, "is_hierarchical_namespace_enabled", lambda path: False)
    arrays = {"driver": "file"}
    patch.setattr(
        gcs_utils, "get_kvstore_for_gcs", lambda path: arrays | {"path": f"{folder}{path.removeprefix('gs:/')}"}
    )
