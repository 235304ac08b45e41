"""Laws of the simulated CT scanner, in 2D and 3D."""

import math

import pytest
import torch

from bundle.geometry import white_noise
from bundle.scanner import HU_RANGE, NOISE_POWER, SHARP, SOFT, Kernel, acquire, acquisition_margin, noise_power, ratio

DIMS = pytest.mark.parametrize("spatial_dims", [2, 3])
SPACING = (0.6, 0.7, 1.25)
SHAPE = (61, 58, 7)


def anatomy(spatial_dims: int, seed: int = 0) -> torch.Tensor:
    """Return HU with edges and texture, `SHAPE`."""
    generator = torch.Generator().manual_seed(seed)
    image = torch.randn(SHAPE[:spatial_dims], generator=generator) * 100 - 500
    image[20:40, 10:30] += 600
    return image


def water(shape: tuple[int, ...]) -> torch.Tensor:
    """Return 0 HU, `shape` after the margin is gone."""
    return torch.zeros([size + 2 * r for size, r in zip(shape, acquisition_margin(len(shape)), strict=True)])


def spectrum(slices: torch.Tensor, spacing: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the windowed spectra of square slices `(x, y, z)` in HU mm, and their radial frequency in cycles/mm."""
    size = slices.shape[0]
    window = torch.hann_window(size).outer(torch.hann_window(size))
    f = torch.fft.fftfreq(size, spacing)
    spectra = torch.fft.fft2(slices.movedim(-1, 0) * window) * spacing / window.square().sum().sqrt()
    return spectra, torch.hypot(f[:, None], f[None, :])


@DIMS
@pytest.mark.parametrize("slice_thickness", [1, 3])
def test_window_equals_whole(spatial_dims, slice_thickness):
    if spatial_dims == 2 and slice_thickness > 1:
        pytest.skip("no z to average along")
    image, first, size = anatomy(spatial_dims), (11, 3, 1), (37, 41, 5)
    cut = tuple(slice(a, a + n) for a, n in zip(first, size, strict=True))[:spatial_dims]
    margin = acquisition_margin(spatial_dims, slice_thickness)
    kept = tuple(slice(a, a + n - 2 * r) for a, n, r in zip(first, size, margin, strict=False))
    common = {"spacing": SPACING[:spatial_dims], "seed": 3, "slice_thickness": slice_thickness, "quantize": False}
    origin = (-5, 100, 7)[:spatial_dims]
    whole = acquire(image, origin=origin, **common)
    window = acquire(image[cut], origin=[o + a for o, a in zip(origin, first, strict=False)], **common)
    for one, other in zip(whole, window, strict=True):
        assert (one[kept] - other).abs().max() < 1e-3


@DIMS
def test_noise_is_the_seed_s(spatial_dims):
    image, spacing = anatomy(spatial_dims), SPACING[:spatial_dims]
    one, again, other = (acquire(image, spacing, seed=seed)[1] for seed in (1, 1, 2))
    assert torch.equal(one, again)
    assert (one - other).abs().mean() > 10


@DIMS
def test_batch_item_equals_image(spatial_dims):
    images, spacing = [anatomy(spatial_dims, seed) for seed in (0, 1)], SPACING[:spatial_dims]
    batch = torch.stack(images)[:, None]
    alone = [acquire(image, spacing, seed=7 + item) for item, image in enumerate(images)]
    for seed in (7, (7, 8)):
        for kernel, result in enumerate(acquire(batch, spacing, seed=seed)):
            assert result.shape[:2] == (2, 1) and result.dtype == torch.float32
            assert all(torch.equal(result[item, 0], alone[item][kernel]) for item in (0, 1))


def test_slice_equals_image():
    image = anatomy(3)
    in_3d, in_2d = acquire(image, SPACING, origin=(0, 0, 0)), acquire(image[..., 0], SPACING[:2])
    assert all(torch.equal(a[..., 0], b) for a, b in zip(in_3d, in_2d, strict=True))


def test_white_noise_is_white_and_normal():
    fields = torch.stack(white_noise(0, (-40, -40, -3), (80, 80, 20)))
    assert abs(fields.mean()) < 0.01 and abs(fields.std() - 1) < 0.01 and fields.abs().max() < 6
    assert abs((fields[0] * fields[1]).mean()) < 0.01
    for axis in (1, 2, 3):
        assert abs((fields * fields.roll(1, axis)).mean()) < 0.01


@pytest.mark.parametrize("kernel", [SOFT, SHARP, Kernel(0.9, 4, 1.0, 0.45, 1.2)])
def test_noise_power_is_ramp_times_squared_transfer(kernel):
    spacing = 0.4  # so fine that next to nothing folds
    noise = acquire(water((96, 96, 48)), (spacing,) * 3, [kernel], quantize=False)[0]
    spectra, f = spectrum(noise, spacing)
    power = spectra.abs().square().mean(0)
    for low in torch.arange(0.1, 0.85, 0.05):
        ring = (f >= low) & (f < low + 0.05)
        expected = float((NOISE_POWER * f * kernel.transfer(f) ** 2)[ring].mean())
        if expected > 2:  # below, the window leaks and the taps are short
            assert float(power[ring].mean()) == pytest.approx(expected, rel=0.1)


def test_noise_beyond_nyquist_folds_back():
    noise = acquire(water((64, 64, 64)), (0.8,) * 3, [SHARP], quantize=False)[0]
    power = spectrum(noise, 0.8)[0].abs().square().mean(0)
    base, folded = noise_power(SHARP, (0.8, 0.8), 64)
    near = (32, slice(0, 5))  # Nyquist on one axis, where the frequency and its mirror image are alike
    assert float(folded[near].mean()) == pytest.approx(float(base[near].mean()), rel=0.05)
    assert float(power[near].mean()) == pytest.approx(float(2 * base[near].mean()), rel=0.15)


def test_both_kernels_see_the_same_noise():
    soft, sharp = acquire(water((96, 96, 24)), (0.5,) * 3, quantize=False)
    (a, f), (b, _) = spectrum(soft, 0.5), spectrum(sharp, 0.5)
    band = (f > 0.2) & (f < 0.7)
    cross = (b * a.conj())[:, band].sum(0).abs() ** 2
    assert (cross / (a[:, band].abs().square().sum(0) * b[:, band].abs().square().sum(0))).mean() > 0.95


@pytest.mark.parametrize("spacing", [0.5, 0.65, 1.0])
def test_anatomy_passes_by_the_ratio(spacing):
    size, kernel = 80, SHARP
    for cycles in (4, 12, 24, 32):
        f = cycles / (size * spacing)
        wave = 100 * torch.cos(2 * math.pi * cycles * torch.arange(size) / size)
        sharp = acquire(wave[:, None].expand(size, 40), (spacing,) * 2, [kernel], dose=math.inf, quantize=False)[0]
        gain = ratio(kernel, SOFT, torch.tensor(f))
        assert torch.allclose(sharp, (gain * wave)[12:-12, None].expand_as(sharp), atol=4 * max(1, float(gain)))


@DIMS
def test_flat_region_keeps_its_mean(spatial_dims):
    generator = torch.Generator().manual_seed(0)
    for kernel in (SOFT, SHARP, *(Kernel.random(generator) for _ in range(5))):
        assert kernel.transfer(torch.tensor(0.0)) == 1
        flat = torch.full((60, 60, 3)[:spatial_dims], 55.0)
        clean = acquire(flat, SPACING[:spatial_dims], [kernel], dose=math.inf, quantize=False)[0]
        assert torch.allclose(clean, torch.full_like(clean, 55.0), atol=1e-3)
        noisy = acquire(flat, SPACING[:spatial_dims], [kernel], quantize=False)[0]
        assert abs(noisy.mean() - 55) < 2


@DIMS
def test_clean_soft_image_is_the_image(spatial_dims):
    image = anatomy(spatial_dims).round()
    inner = tuple(slice(r, n - r) for r, n in zip(acquisition_margin(spatial_dims), image.shape, strict=True))
    assert torch.equal(acquire(image, SPACING[:spatial_dims], [SOFT], dose=math.inf)[0], image[inner])


@DIMS
def test_sharp_is_noisier_and_dose_quietens(spatial_dims):
    flat = water((80, 80, 4)[:spatial_dims])
    spread = {
        dose: [k.std() for k in acquire(flat, SPACING[:spatial_dims], dose=dose, quantize=False)] for dose in (25, 100)
    }
    assert spread[100][1] > 2.5 * spread[100][0]
    for low, usual in zip(spread[25], spread[100], strict=True):
        assert float(low / usual) == pytest.approx(2, rel=1e-3)


def test_thick_slices_are_quieter():
    thin, thick = (acquire(water((64, 64, 30)), SPACING, [SHARP], slice_thickness=n, quantize=False)[0] for n in (1, 3))
    assert thick.shape[-1] == thin.shape[-1] - 2
    assert float(thick.std() / thin.std()) == pytest.approx(1 / math.sqrt(3), rel=0.05)


@DIMS
def test_values_never_wrap(spatial_dims):
    image = anatomy(spatial_dims) * 30
    for result in acquire(image, SPACING[:spatial_dims], dose=1):
        assert result.min() == HU_RANGE[0] and result.max() == HU_RANGE[1]
        assert torch.equal(result.to(torch.int16).to(torch.float32), result)
    assert acquire(image, SPACING[:spatial_dims], dose=1, quantize=False)[1].max() > HU_RANGE[1]


def test_ratio_is_bounded_for_any_kernel():
    generator, f = torch.Generator().manual_seed(0), torch.linspace(0, 3, 300)
    for kernel in (SHARP, *(Kernel.random(generator) for _ in range(200))):
        gain = ratio(kernel, SOFT, f)
        assert gain.isfinite().all() and gain.min() >= 0 and gain.max() < 60
    assert Kernel.random(torch.Generator().manual_seed(5)) == Kernel.random(torch.Generator().manual_seed(5))


@pytest.mark.parametrize(
    "change, told",
    [
        ({"image": torch.zeros(24, 40, 3)}, r"image of \(24, 40, 3\).*\(25, 25, 1\).*pad"),
        ({"image": torch.zeros(40)}, "image has shape"),
        ({"image": torch.zeros(2, 3, 40, 40)}, "image has shape"),
        ({"spacing": (1.0, 1.0)}, "spacing .*3"),
        ({"spacing": (1.0, 0.0, 1.0)}, "spacing .*positive"),
        ({"dose": 0}, "dose 0 .*above 0"),
        ({"dose": float("nan")}, "dose nan"),
        ({"origin": (0, 0)}, "origin .*3"),
        ({"seed": (1, 2)}, "seed holds 2"),
        ({"slice_thickness": 2}, "slice_thickness 2 .*take 3"),
        ({"slice_thickness": 5}, "image of"),
    ],
)
def test_bad_input_is_told(change, told):
    with pytest.raises(ValueError, match=told):
        acquire(**{"image": torch.zeros(40, 40, 3), "spacing": (1.0, 1.0, 1.0), **change})


def test_thickness_needs_z():
    with pytest.raises(ValueError, match="third axis"):
        acquire(torch.zeros(40, 40), (1.0, 1.0), slice_thickness=3)
