"""Keep MONAI Label's datastore from reading, changing or removing anything outside its folder, even through links."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from monailabel.datastore.local import LocalDatastore

from apps.label.studies import check_inside


class FencedDatastore(LocalDatastore):
    """Datastore of a folder, used by all routes; links that lead outside raise `OutsideError`."""

    def get_image_uri(self, image_id: str) -> str:
        """Return the path of an image; an empty string if there is no image of that name."""
        return self._checked(super().get_image_uri(image_id))

    def get_label_uri(self, label_id: str, label_tag: str) -> str:
        """Return the path of a label; an empty string if there is no label of that name."""
        return self._checked(super().get_label_uri(label_id, label_tag))

    def datalist(self, full_path: bool = True) -> list[dict[str, Any]]:
        """Return the pairs of image and label to train on."""
        check_inside((path for pair in super().datalist() for path in pair.values()), self._datastore_path)
        return super().datalist(full_path)

    def add_image(self, image_id: str, image_filename: str, image_info: dict[str, Any]) -> str:
        """Store an image and return its name."""
        name, end = self._to_id(Path(image_filename).name)
        check_inside([Path(self._datastore.image_path()) / f"{image_id or name}{end}"], self._datastore_path)
        return super().add_image(image_id, image_filename, image_info)

    def remove_image(self, image_id: str) -> None:
        """Remove an image and its labels."""
        self.get_image_uri(image_id)
        super().remove_image(image_id)

    def save_label(self, image_id: str, label_filename: str, label_tag: str, label_info: dict[str, Any]) -> str:
        """Store a label of an image and return its name."""
        end = self._to_id(Path(label_filename).name)[1]
        check_inside([Path(self._datastore.label_path(label_tag)) / f"{image_id}{end}"], self._datastore_path)
        return super().save_label(image_id, label_filename, label_tag, label_info)

    def check_all(self) -> None:
        """Check all stored images and labels before another process reads them."""
        for image in self.list_images():
            self.get_image_uri(image)
        self.datalist()

    def _checked(self, uri: str) -> str:
        check_inside([uri] if uri else [], self._datastore_path)
        return uri
