"""Overlays as operators change them: another image, more components, an overlay of one's own."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

import yaml
from tests.manifests.rendered import OVERLAYS, REPOSITORY, Manifests, render

DIGEST = f"sha256:{'a1' * 32}"
REGISTRY = "localhost:5000/team/spincycle"

IMAGES: dict[str, dict[str, str]] = {
    "spincycle:2.0.0": {"newTag": "2.0.0"},
    "spincycle:V2.0_RC.1": {"newTag": "V2.0_RC.1"},
    f"{REGISTRY}:0.1.0": {"newName": REGISTRY},
    f"{REGISTRY}:2.0.0": {"newName": REGISTRY, "newTag": "2.0.0"},
    f"spincycle@{DIGEST}": {"digest": DIGEST},
    f"{REGISTRY}@{DIGEST}": {"newName": REGISTRY, "digest": DIGEST},
    f"{REGISTRY}:2.0.0@{DIGEST}": {"newName": REGISTRY, "newTag": "2.0.0", "digest": DIGEST},
}
"""Images, and the settings of `images` in a kustomization that name them."""

COMPONENTS = tuple(sorted(path.name for path in (REPOSITORY / "k8s/components").iterdir()))

Place = Literal["in its own file", "in an overlay on top", "below an overlay with components"]
OWN: Place = "in its own file"
ON_TOP: Place = "in an overlay on top"
BELOW: Place = "below an overlay with components"
OWN_OR_ON_TOP = (OWN, ON_TOP)


@dataclass(frozen=True)
class Variant:
    """An overlay of the repository, changed in one place.

    Attributes:
        overlay: name of the overlay.
        place: kustomization that has the change: the overlay's own, one on top of it, or the
            overlay's own with all components added by one on top of it.
        image: key of IMAGES; empty if the image stays.
        components: names of the components that the changed kustomization adds, in order.
    """

    overlay: str
    place: Place
    image: str = ""
    components: tuple[str, ...] = ()

    def __str__(self) -> str:
        changes = ", ".join((*([self.image] if self.image else []), *self.components))
        return f"{self.overlay}: {changes} {self.place}"


WITH_IMAGES = tuple(
    Variant(overlay, place, image)
    for overlay, places in (
        *((overlay, OWN_OR_ON_TOP) for overlay in OVERLAYS),
        ("prod", (BELOW,)),
    )
    for place in places
    for image in IMAGES
)
"""Every overlay with every image, in its own file and on top, and `prod` below another one."""


@cache
def rendered_variant(variant: Variant) -> Manifests:
    """Return the manifests of a variant, rendered from a copy of the repository's."""
    with tempfile.TemporaryDirectory() as directory:
        root = shutil.copytree(REPOSITORY / "k8s", Path(directory, "k8s"))
        return render(write(variant, root))


def write(variant: Variant, k8s: Path) -> Path:
    """Change a copy of the directory `k8s` and return the directory of the variant."""
    own = k8s / "overlays" / variant.overlay
    on_top = k8s / "overlays" / "on-top"
    if variant.place != OWN:
        on_top.mkdir()
        _save(on_top, {"resources": [f"../{variant.overlay}"]})
    changed = on_top if variant.place == ON_TOP else own
    if variant.image:
        write_image(changed, variant.image)
    kustomization = _load(changed)
    _add_components(kustomization, variant.components)
    _save(changed, kustomization)
    if variant.place == BELOW:
        kustomization = _load(on_top)
        _add_components(kustomization, _missing(variant.overlay))
        _save(on_top, kustomization)
    return own if variant.place == OWN else on_top


def write_image(directory: Path, image: str) -> None:
    """Name one of IMAGES in the kustomization of a directory."""
    kustomization = _load(directory)
    kustomization["images"] = [{"name": "spincycle", **IMAGES[image]}]
    _save(directory, kustomization)


def present_components(directory: Path) -> set[str]:
    """Names of the components that a kustomization and the ones below it add."""
    kustomization = _load(directory)
    found = {Path(path).name for path in kustomization.get("components", ())}
    below = [directory / path for path in kustomization["resources"]]
    return found.union(*(present_components(path) for path in below if path.is_dir()))


def _missing(overlay: str) -> tuple[str, ...]:
    present = present_components(REPOSITORY / "k8s/overlays" / overlay)
    return tuple(name for name in COMPONENTS if name not in present)


def _add_components(kustomization: dict[str, Any], names: tuple[str, ...]) -> None:
    added = [f"../../components/{name}" for name in names]
    kustomization["components"] = [*kustomization.get("components", ()), *added]


def _load(directory: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((directory / "kustomization.yaml").read_text())
    return loaded


def _save(directory: Path, kustomization: dict[str, Any]) -> None:
    (directory / "kustomization.yaml").write_text(yaml.safe_dump(kustomization))


WITH_COMPONENTS = tuple(
    Variant(overlay, place, components=order)
    for overlay in OVERLAYS
    for order in sorted({_missing(overlay), _missing(overlay)[::-1]})
    for place in OWN_OR_ON_TOP
)
"""Every overlay with the components that it lacks, in two orders, in its own file and on top."""
