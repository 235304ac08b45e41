"""What may be relied on. Tests feed these with cases."""

from collections.abc import Iterable, Sequence

import torch
from monai.data import MetaTensor
from monai.networks.nets import UNet
from torch import Tensor, nn

from bundle.cascade import Cascade, CascadeInferer, ResNetGenerator, Sketch
from bundle.geometry import Tile

#: Of the largest value of the result, float32.
TOLERANCE = 1e-5


def assert_covers_once(plan: Iterable[Tile], shape: Sequence[int]) -> None:
    """Every voxel is written once, and read where it is written."""
    seen = torch.zeros(tuple(shape), dtype=torch.int64)
    for tile in plan:
        seen[tile.write] += 1
        for read, (before, behind), keep, write, size in zip(
            tile.read, tile.pad, tile.keep, tile.write, shape, strict=True
        ):
            assert 0 <= read.start <= write.start < write.stop <= read.stop <= size
            assert (before == 0 or read.start == 0) and (behind == 0 or read.stop == size)
            assert keep.stop - keep.start == write.stop - write.start
    assert (seen == 1).all()


def assert_tiled_equals_whole(
    cascade: nn.Module, image: Tensor, spacing: Sequence[float], inferer: CascadeInferer
) -> None:
    """The inferer gives the numbers of the specification."""
    with torch.no_grad():
        whole = cascade(image, spacing=list(spacing))
    tiled = inferer(with_spacing(image, spacing), cascade)
    assert tiled.shape == whole.shape == image.shape
    assert (tiled - whole).abs().max() <= TOLERANCE * max(1.0, float(whole.abs().max()))


def with_spacing(image: Tensor, spacing: Sequence[float]) -> MetaTensor:
    return MetaTensor(image, affine=torch.diag(torch.tensor([*spacing, 1.0], dtype=torch.float64)))


def tiny_cascade(
    spatial_dims: int,
    conditioning: str = "image",
    fine: Sequence[nn.Module] | None = None,
    kernel_size: int = 3,
    base: str | None = None,
) -> Cascade:
    """Three scales of random weights that make numbers of order one, in eval mode."""
    conditions = 3 if conditioning == "image" else 2
    cascade = Cascade(
        spatial_dims,
        UNet(spatial_dims, 2 if conditioning in ("anchored", "image") else 1, 1, (4, 8), (2,), norm=None),  # type: ignore[arg-type]
        fine
        or [ResNetGenerator(spatial_dims, conditions, channels=4, blocks=1, kernel_size=kernel_size) for _ in "12"],
        Sketch(spatial_dims, low=0.02, high=0.05, steps=1),
        conditioning,
        base,
    )
    for weight in cascade.parameters():
        if weight.ndim > 1:
            nn.init.kaiming_normal_(weight, nonlinearity="relu")
    return cascade.eval()


def image(shape: Sequence[int]) -> Tensor:
    """Smooth blobs with noise, `(1, 1, *shape)`, about -1 to 1: there are edges to sketch."""
    axes = [torch.linspace(0, 7, size) for size in shape]
    waves = sum(torch.sin(grid + i) for i, grid in enumerate(torch.meshgrid(*axes, indexing="ij")))
    return (torch.sign(torch.as_tensor(waves)) * 0.5 + 0.1 * torch.randn(tuple(shape)))[None, None]
