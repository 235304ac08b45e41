"""A simulated CT scanner: one noisy acquisition, reconstructed with several kernels.

The image that goes in is a real soft-kernel CT, so its anatomy has been seen through the soft kernel already. With `T`
a kernel's transfer function in the slice plane and `n` the quantum noise of the acquisition, the same for all kernels:

    soft  = image                   + T_soft  * n
    sharp = image * T_sharp/T_soft  + T_sharp * n      power of n ~ |f| / dose (the ramp of filtered backprojection)

Noise beyond the Nyquist frequency of the pixel grid is folded back, as on a real scanner: in a sharp image it doubles
the noise power near Nyquist. Left out: noise that depends on the object (denser paths, streaks, little of it in the air
around the body), noise correlated along z other than by averaging slices, the aliasing of the anatomy, and what vendors
do adaptively.

Two things make any window of a volume give the numbers of the whole: noise is a hash of (seed, global voxel position),
and every filter has `RADIUS` taps a side, so that only voxels with all their neighbours are returned:

    |<- RADIUS ->|<--- returned --->|<- RADIUS ->|       in the first two axes; the third, z, is slice by slice

Sources: noise power of filtered backprojection, Riederer, Pelc and Chesler, Phys Med Biol 23 (1978) 446; the mixing
function, Steele, Lea and Flood, Fast splittable pseudorandom number generators, OOPSLA 2014.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

RADIUS = 12  # voxels; up to 0.9 Nyquist the taps then keep to the wanted transfer function within 3 %
HU_RANGE = (-1024, 3071)  # 12 bits
_CHUNK = 1 << 22  # voxels filtered at once, to bound the memory
_STEP = 0x9E3779B97F4A7C15  # of splitmix64: the golden ratio, odd
_GRID = 128  # frequencies a side on which a transfer function is sampled; much finer than the taps need


@dataclass(frozen=True)
class Kernel:
    """A reconstruction kernel: roll-off times edge enhancement times cut-off, each radial, 1 at frequency 0.

    Args:
        half: frequency in cycles/mm at which the roll-off alone is 0.5.
        order: steepness of the roll-off; 2 is a Gaussian.
        edge: gain of the edge enhancement; 0 for none.
        position: frequency in cycles/mm where the edge enhancement peaks.
        cutoff: frequency in cycles/mm from which nothing passes; the last fifth before it is tapered.
    """

    half: float
    order: float = 2.0
    edge: float = 0.0
    position: float = 0.5
    cutoff: float = 1.5

    def transfer(self, frequency: Tensor) -> Tensor:
        """Return the gain at each radial `frequency` in cycles/mm, same shape; 1 at 0."""
        bump = (frequency / self.position) ** 3
        enhance = 1 + self.edge * bump * torch.exp(1 - bump)
        rolloff = torch.exp(-math.log(2) * (frequency / self.half) ** self.order)
        taper = ((frequency / self.cutoff - 0.8) / 0.2).clamp(0, 1)
        return enhance * rolloff * (1 + torch.cos(math.pi * taper)) / 2

    @staticmethod
    def random(generator: torch.Generator | None = None) -> Kernel:
        """Draw a sharp kernel, from milder than B60f to beyond B80f and GE LUNG, with the calibrated `SHARP` amid them.

        Uniform: half 0.55..1.15, position 0.3..0.7, cutoff 1.0..1.8 cycles/mm. Log-uniform: order 2..8.
        Edge 1.5 u^2 with u uniform: mostly mild, at times strong.
        """
        half, order, edge, position, cutoff = torch.rand(5, generator=generator, dtype=torch.float64).tolist()
        return Kernel(
            half=0.55 + 0.6 * half,
            order=2 * 4**order,
            edge=1.5 * edge**2,
            position=0.3 + 0.4 * position,
            cutoff=1.0 + 0.8 * cutoff,
        )


# Fitted by docs/figures/calibrate_scanner.py to one real pair, B40f and B70f of the same acquisition, 0.65 mm pixels:
# the transfer ratio from the cross spectrum, the noise power from flat soft tissue. That pair gave nothing else.
SOFT = Kernel(half=0.396, order=1.99)
SHARP = Kernel(half=0.827, order=6.64, edge=0.360, position=0.489)
NOISE_POWER = 1302.0  # HU^2 mm^2 per cycle/mm, before the kernel, at dose 100: about 11 HU soft and 42 HU sharp
FLOOR = 0.05  # below this transfer the soft image holds nothing to sharpen: the ratio divides by no less


def ratio(kernel: Kernel, seen: Kernel, frequency: Tensor) -> Tensor:
    """Return the gain that turns an image `seen` through one kernel into another's, bounded where `seen` vanishes."""
    below = seen.transfer(frequency)
    return kernel.transfer(frequency) / (below**8 + FLOOR**8) ** (1 / 8) * (1 + FLOOR**8) ** (1 / 8)


def noise_power(kernel: Kernel, spacing: Sequence[float], size: int = _GRID) -> tuple[Tensor, Tensor]:
    """Return the noise power at dose 100, HU^2 mm^2, on an FFT's grid, and what folds onto it, `(size, size)` each."""

    def power(fold: tuple[int, int]) -> Tensor:
        frequency = _frequencies(spacing, fold, size)
        return NOISE_POWER * frequency * kernel.transfer(frequency) ** 2

    turns = [(i, j) for i in (-1, 0, 1) for j in (-1, 0, 1)]
    folded = sum((power(turn) for turn in turns if turn != (0, 0)), torch.zeros(size, size, dtype=torch.float64))
    return power((0, 0)), folded


def reach(spatial_dims: int, slice_thickness: int = 1) -> tuple[int, ...]:
    """Return the voxels that `acquire` takes away at each side, per axis."""
    return (RADIUS, RADIUS, slice_thickness // 2)[:spatial_dims]


def acquire(
    image: Tensor,
    spacing: Sequence[float],
    kernels: Sequence[Kernel] = (SOFT, SHARP),
    dose: float = 100.0,
    seed: int | Sequence[int] = 0,
    origin: Sequence[int] | None = None,
    seen: Kernel = SOFT,
    slice_thickness: int = 1,
    digital: bool = True,
) -> list[Tensor]:
    """Return one image per kernel, all of one acquisition, in HU; the same numbers for any window of a volume.

    Args:
        image: `(*spatial)` or `(B, 1, *spatial)` in HU, spatial (x, y) or (x, y, z); `reach` voxels a side are margin.
        spacing: voxel size in mm, per spatial axis.
        kernels: what to reconstruct with.
        dose: mAs-like: noise ~ 1 / sqrt(dose). 100 is the calibration pair, in 8 mm slices; thinner slices of such a
            scan have 100 * thickness / 8. `math.inf` adds no noise to what the image holds.
        seed: of the noise; one for each item of the batch, or one number, of which item b takes `seed + b`.
        origin: global index of the image's first voxel, per spatial axis; default zeros.
        seen: the kernel that the image was reconstructed with.
        slice_thickness: odd number of slices to average along z, for the anatomy and the noise.
        digital: round, and clip to the scanner's 12 bits (-1024..3071).

    Returns:
        For each kernel the float32 image less its margin: `(X - 2 reach_x, ...)`, leading axes as they came.

    Raises:
        ValueError: for spacing, origin, seed or image of the wrong size, or dose or thickness out of range.
    """
    batched, dims = image.ndim > 3, image.ndim - 2 if image.ndim > 3 else image.ndim
    items = image.shape[0] if batched else 1
    origin = (0,) * dims if origin is None else tuple(origin)
    seeds = torch.as_tensor(seed).flatten().tolist()
    seeds = [seeds[0] + item for item in range(items)] if len(seeds) == 1 else seeds
    spacing = tuple(float(s) for s in spacing)
    _check(image, spacing, dose, seeds, origin, slice_thickness, batched, dims)

    volume = image.reshape(items, *image.shape[-dims:], *(1,) * (3 - dims)).to(torch.float64)
    nx, ny, nz = volume.shape[1:]
    device, corner = image.device, (*origin, 0)[:3]
    anatomy = [_spectrum(_anatomy_taps(k, seen, spacing[:2]), (nx, ny), device) for k in kernels]
    noises = [[_spectrum(t, (nx, ny), device) for t in _noise_taps(k, spacing[:2])] for k in kernels]
    level = math.sqrt(100.0 / dose)
    out: list[list[Tensor]] = [[] for _ in kernels]
    step = max(1, _CHUNK // (nx * ny))
    for item in range(items):
        for z in range(0, nz, step):
            slices = volume[item, ..., z : z + step].movedim(-1, 0)
            image_f = torch.fft.rfft2(slices)
            if level:
                fields = white_noise(seeds[item], (corner[0], corner[1], corner[2] + z), (nx, ny, len(slices)), device)
                noise_f = [torch.fft.rfft2(field.movedim(-1, 0)) * level for field in fields]
            for k, parts in enumerate(out):
                result = image_f * anatomy[k]
                if level:
                    result = result + noise_f[0] * noises[k][0] + noise_f[1] * noises[k][1]
                # The wrap of the circular convolution stays within the margin, which goes.
                whole = torch.fft.irfft2(result, s=(nx, ny))
                parts.append(whole[:, RADIUS:-RADIUS, RADIUS:-RADIUS])
    results = []
    for parts in out:
        result = torch.cat(parts).reshape(items, nz, nx - 2 * RADIUS, ny - 2 * RADIUS)
        result = result.unfold(1, slice_thickness, 1).mean(-1).movedim(1, -1)
        if digital:
            result = result.round().clamp(*HU_RANGE)
        result = result if dims == 3 else result[..., 0]
        results.append((result.unsqueeze(1) if batched else result[0]).to(torch.float32).contiguous())
    return results


def white_noise(
    seed: int, origin: Sequence[int], shape: Sequence[int], device: torch.device | str = "cpu"
) -> tuple[Tensor, Tensor]:
    """Return two independent standard normal fields, `shape`, float64, each voxel by its global position alone."""
    state = _mix(torch.tensor(seed, dtype=torch.int64, device=device) + _signed(_STEP))
    for first, size in zip(origin, shape, strict=True):
        position = torch.arange(first, first + size, dtype=torch.int64, device=device)
        state = _mix(state.unsqueeze(-1) + (position + 1) * _signed(_STEP))
    radius = torch.sqrt(-2 * torch.log((_shift(state, 32).double() + 0.5) / 2**32))
    angle = (state & 0xFFFFFFFF).double() * (2 * math.pi / 2**32)
    return radius * torch.cos(angle), radius * torch.sin(angle)


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
    """Raise a ValueError that tells name, value, rule and way out."""
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
    need = tuple(2 * r + 1 for r in reach(dims, slice_thickness))
    if any(size < n for size, n in zip(image.shape[-dims:], need, strict=True)):
        raise ValueError(f"image of {tuple(image.shape[-dims:])} is below {need}, its margin and one voxel; pad it.")


def _signed(number: int) -> int:
    """Read 64 bits as torch's signed integer."""
    return number - (1 << 64) if number >= 1 << 63 else number


def _shift(state: Tensor, bits: int) -> Tensor:
    """Shift right as an unsigned number; torch's int64 would drag the sign along."""
    return (state >> bits) & ((1 << (64 - bits)) - 1)


def _mix(state: Tensor) -> Tensor:
    """Scramble 64 bits: the finaliser of splitmix64."""
    state = (state ^ _shift(state, 30)) * _signed(0xBF58476D1CE4E5B9)
    state = (state ^ _shift(state, 27)) * _signed(0x94D049BB133111EB)
    return state ^ _shift(state, 31)


def _frequencies(spacing: Sequence[float], fold: tuple[int, int] = (0, 0), size: int = _GRID) -> Tensor:
    """Return the radial frequency in cycles/mm on the grid of an FFT, or of what folds onto it, `(size, size)`."""
    fx, fy = (torch.fft.fftfreq(size, s, dtype=torch.float64) + turn / s for s, turn in zip(spacing, fold, strict=True))
    return torch.hypot(fx[:, None], fy[None, :])


def _taps(gain: Tensor, mean: float | None = None) -> Tensor:
    """Return the `(2 RADIUS + 1)` squared taps of a transfer function on the grid, tapered at the rim."""
    size = 2 * RADIUS + 1
    taps = torch.fft.fftshift(torch.fft.ifft2(gain).real)[_GRID // 2 - RADIUS :, _GRID // 2 - RADIUS :][:size, :size]
    steps = torch.arange(-RADIUS, RADIUS + 1, dtype=torch.float64)
    distance = torch.hypot(steps[:, None], steps[None, :]) / (RADIUS + 1)
    taper = torch.cos(math.pi / 2 * ((distance - 0.5) / 0.5).clamp(0, 1)) ** 2
    taps = taps * taper
    if mean is not None:  # what truncation took from the mean comes back, smoothly
        taps = taps + (mean - taps.sum()) * taper / taper.sum()
    return taps


@lru_cache(maxsize=64)
def _anatomy_taps(kernel: Kernel, seen: Kernel, spacing: tuple[float, float]) -> Tensor:
    """Return the taps that turn the image as `seen` into the kernel's; a delta where both are the same."""
    gain = torch.ones(_GRID, _GRID, dtype=torch.float64)
    return _taps(gain if kernel == seen else ratio(kernel, seen, _frequencies(spacing)), mean=1.0)


@lru_cache(maxsize=64)
def _noise_taps(kernel: Kernel, spacing: tuple[float, float]) -> tuple[Tensor, Tensor]:
    """Return the taps for white noise at dose 100: of the frequencies up to Nyquist, and of those folded onto them."""
    base, folded = (_taps((power / math.prod(spacing)).sqrt()) for power in noise_power(kernel, spacing))
    return base, folded


def _spectrum(taps: Tensor, shape: tuple[int, int], device: torch.device) -> Tensor:
    """Return the spectrum of centred taps on an image of `shape`, for rfft2."""
    padded = torch.zeros(shape, dtype=torch.float64)
    padded[: taps.shape[0], : taps.shape[1]] = taps
    return torch.fft.rfft2(padded.roll((-RADIUS, -RADIUS), (0, 1))).to(device)
