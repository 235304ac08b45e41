"""Simulate a CT scanner: one noisy acquisition, reconstructed with several kernels.

The input is a real soft-kernel CT, so the soft kernel has already been applied to its anatomy. With `T` the transfer
function of a kernel in the slice plane and `n` the quantum noise of the acquisition, the same for all kernels:

    soft  = image                   + T_soft  * n
    sharp = image * T_sharp/T_soft  + T_sharp * n      power of n ~ |f| / dose (the ramp of filtered backprojection)

Noise beyond the Nyquist frequency of the pixel grid is aliased, as on a real scanner; in a sharp image this doubles the
noise power near Nyquist. Not simulated: correlation of the noise along z other than by averaging slices, aliasing of
the anatomy, and vendors' adaptive filters.

Any window of a volume gives the same numbers as the whole volume: noise is a hash of (seed, global voxel position), and
every filter has bounded reach (`bundle.scanner.filters`).

Object-dependent noise is simulated in projections (`bundle.scanner.projections`) and passed to `acquire`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

import torch
from bundle.geometry import white_noise
from bundle.scanner.filters import RADIUS, fast, filter_taps, spectrum
from bundle.scanner.kernel import GRID, SHARP, SOFT, Kernel, frequencies, noise_power, ratio
from torch import Tensor

HU_RANGE = (-1024, 3071)  # 12 bits
_AT_ONCE = 1 << 22  # most voxels filtered at once, to bound the memory


def acquisition_margin(spatial_dims: int, slice_thickness: int = 1) -> tuple[int, ...]:
    """Return the number of voxels per axis that `acquire` removes on each side."""
    return (RADIUS, RADIUS, slice_thickness // 2)[:spatial_dims]


def acquire(
    image: Tensor,
    spacing: Sequence[float],
    kernels: Sequence[Kernel] = (SOFT, SHARP),
    dose: float = 100.0,
    seed: int | Sequence[int] | torch.Generator = 0,
    origin: Sequence[int] | None = None,
    image_kernel: Kernel = SOFT,
    slice_thickness: int = 1,
    quantize: bool = True,
    noise: Tensor | None = None,
) -> list[Tensor]:
    """Return one image per kernel, all of one acquisition, in HU; the numbers are the same for any window of a volume.

    Args:
        image: `(*spatial)` or `(B, 1, *spatial)` in HU, spatial (x, y) or (x, y, z), including a margin of
            `acquisition_margin` voxels on each side.
        spacing: voxel spacing in mm, per spatial axis.
        kernels: the kernels to reconstruct with.
        dose: dose in mAs-like units: noise ~ 1 / sqrt(dose). 100 is that of the calibration pair with its 8 mm slices;
            thinner slices of such a scan have 100 * thickness / 8. `math.inf` adds no noise.
        seed: seed of the noise; one per item of the batch, or one number, with `seed + b` for item b. A generator draws
            the noise three times as fast, sequentially rather than by position and in single precision: for training
            patches, whose windows need not agree with each other.
        origin: global index of the image's first voxel, per spatial axis; default zeros.
        image_kernel: the kernel with which the image was reconstructed.
        slice_thickness: odd number of slices to average along z, of both anatomy and noise.
        quantize: whether to round and to clip to the scanner's 12 bits (-1024..3071).
        noise: noise before the kernel at dose 100, of the image's shape (`bundle.scanner.projection_noise`), instead of
            noise that is equally strong everywhere; seed and origin then have no effect.

    Returns:
        For each kernel, the float32 image without its margin: `(X - 2 margin_x, ...)`, leading axes as in the input.

    Raises:
        ValueError: If spacing, origin, seed, image or noise has the wrong size, or dose or thickness is out of range.
    """
    batched, dims = image.ndim > 3, image.ndim - 2 if image.ndim > 3 else image.ndim
    items = image.shape[0] if batched else 1
    origin = (0,) * dims if origin is None else tuple(origin)
    generator = seed if isinstance(seed, torch.Generator) else None
    seeds = [0] if generator else torch.as_tensor(seed).flatten().tolist()
    seeds = [seeds[0] + item for item in range(items)] if len(seeds) == 1 else seeds
    precision = torch.float64 if generator is None and noise is None else torch.float32
    spacing = tuple(float(s) for s in spacing)
    _check(image, spacing, dose, seeds, origin, slice_thickness, batched, dims)

    if noise is not None and noise.shape != image.shape:
        raise ValueError(
            f"noise has shape {tuple(noise.shape)}, not the image's {tuple(image.shape)}; make one for it."
        )
    volume = image.reshape(items, *image.shape[-dims:], *(1,) * (3 - dims)).to(precision)
    given = None if noise is None else noise.reshape(volume.shape).to(precision)
    nx, ny, nz = volume.shape[1:]
    device, corner, size = image.device, (*origin, 0)[:3], fast(nx, ny)
    anatomy = [spectrum(_anatomy_taps(k, image_kernel, spacing[:2]).to(precision), size, device) for k in kernels]
    noise_taps = _noise_taps if noise is None else _given_taps
    noises = [[spectrum(t.to(precision), size, device) for t in noise_taps(k, spacing[:2])] for k in kernels]
    level = math.sqrt(100.0 / dose)
    out: list[list[Tensor]] = [[] for _ in kernels]
    step = max(1, _AT_ONCE // (nx * ny))
    for item in range(items):
        for z in range(0, nz, step):
            slices = volume[item, ..., z : z + step].movedim(-1, 0)
            image_f = torch.fft.rfft2(slices, s=size)
            if level:
                fields: Sequence[Tensor]
                if given is not None:
                    fields = (given[item, ..., z : z + step],)
                elif generator:
                    fields = torch.randn((2, nx, ny, len(slices)), generator=generator, device=device).unbind()
                else:
                    at = (corner[0], corner[1], corner[2] + z)
                    fields = white_noise(seeds[item], at, (nx, ny, len(slices)), device)
                noise_f = [torch.fft.rfft2(field.movedim(-1, 0), s=size) * level for field in fields]
            for k, parts in enumerate(out):
                result = image_f * anatomy[k]
                if level:
                    for field, taps in zip(noise_f, noises[k], strict=True):
                        result = result + field * taps
                # The wrap-around of the circular convolution stays within the margin, which is removed.
                whole = torch.fft.irfft2(result, s=size)
                parts.append(whole[:, RADIUS : nx - RADIUS, RADIUS : ny - RADIUS])
    results = []
    for parts in out:
        result = torch.cat(parts).reshape(items, nz, nx - 2 * RADIUS, ny - 2 * RADIUS)
        result = result.unfold(1, slice_thickness, 1).mean(-1).movedim(1, -1)
        if quantize:
            result = result.round().clamp(*HU_RANGE)
        result = result if dims == 3 else result[..., 0]
        results.append((result.unsqueeze(1) if batched else result[0]).to(torch.float32).contiguous())
    return results


def _check(
    image: Tensor,
    spacing: Sequence[float],
    dose: float,
    seeds: Sequence[int],
    origin: Sequence[int],
    slice_thickness: int,
    batched: bool,
    dims: int,
) -> None:
    """Check the arguments of `acquire`; raise a ValueError with name, value, rule and remedy."""
    if dims not in (2, 3) or (batched and image.shape[1] != 1):
        shape = tuple(image.shape)
        raise ValueError(f"image has shape {shape}, not (x, y), (x, y, z) or (B, 1, *spatial); reshape it.")
    if len(spacing) != dims or not all(0 < s < math.inf for s in spacing):
        raise ValueError(f"spacing {spacing} does not hold {dims} positive mm, one per spatial axis; give all of them.")
    if len(origin) != dims:
        raise ValueError(f"origin {origin} does not hold {dims} indices, one per spatial axis; give all of them.")
    if len(seeds) != (image.shape[0] if batched else 1):
        raise ValueError(
            f"seed holds {len(seeds)} numbers for {image.shape[0] if batched else 1} images; give one or each."
        )
    if not dose > 0:
        raise ValueError(f"dose {dose} is not above 0; take 100 for a usual scan or math.inf for no noise.")
    if slice_thickness < 1 or slice_thickness % 2 == 0:
        raise ValueError(
            f"slice_thickness {slice_thickness} is not an odd number of slices; take {slice_thickness | 1}."
        )
    if dims == 2 and slice_thickness > 1:
        raise ValueError(f"slice_thickness {slice_thickness} needs a third axis; take 1 for a 2D image.")
    need = tuple(2 * r + 1 for r in acquisition_margin(dims, slice_thickness))
    if any(size < n for size, n in zip(image.shape[-dims:], need, strict=True)):
        raise ValueError(f"image of {tuple(image.shape[-dims:])} is below {need}, its margin and one voxel; pad it.")


@lru_cache(maxsize=64)
def _anatomy_taps(kernel: Kernel, image_kernel: Kernel, spacing: tuple[float, float]) -> Tensor:
    """Return the taps that turn the image's kernel into another kernel; a delta if both are the same."""
    gain = torch.ones(GRID, GRID, dtype=torch.float64)
    return filter_taps(gain if kernel == image_kernel else ratio(kernel, image_kernel, frequencies(spacing)), mean=1.0)


@lru_cache(maxsize=64)
def _noise_taps(kernel: Kernel, spacing: tuple[float, float]) -> tuple[Tensor, Tensor]:
    """Return the taps for white noise at dose 100, for frequencies up to Nyquist and for those aliased onto them."""
    base, folded = (filter_taps((power / math.prod(spacing)).sqrt()) for power in noise_power(kernel, spacing))
    return base, folded


@lru_cache(maxsize=64)
def _given_taps(kernel: Kernel, spacing: tuple[float, float]) -> tuple[Tensor]:
    """Return the taps of the kernel alone, for noise that already has its spectrum."""
    return (filter_taps(kernel.transfer(frequencies(spacing)), mean=1.0),)
