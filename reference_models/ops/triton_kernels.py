"""Triton kernels of `upfirdn2d` and `filtered_lrelu`, forward and (as the adjoint operation) backward.

`upfirdn2d`: one program makes one tile of one channel and visits only taps that meet a real sample, never an
inserted zero. A 1-D filter takes two launches, one an axis.

`sandwich` (filters of one dimension): resample, leaky ReLU, resample in one launch, so that the picture of
the high rate never leaves the chip. Within a tile a 1-D filter is a banded matrix, and resampling is a
product with it from the left and from the right. With a second input it multiplies by the derivative of the
leaky ReLU at that input instead: the backward pass, and its own backward pass. The products are three TF32
products each, which keep float32's accuracy to about 1e-6; it takes a GPU with TF32 (NVIDIA, compute
capability 8.0 or more).

Sums are float32 (float64 for float64 inputs, which take `upfirdn2d` alone). Triton is imported by this module
alone, and this module only when a CUDA tensor asks for it (or, for tests, where ``TRITON_INTERPRET=1`` runs
kernels on the CPU). It translates by itself; only to link its launcher it calls the host's C compiler once.
Where that is missing, `usable` says so and the plain path does the work.
"""

# Triton reads these functions as its own language, which has no types for Python's checkers.
# mypy: disable-error-code="no-untyped-def,untyped-decorator,import-untyped,import-not-found,no-any-return"
# ruff: noqa: ANN001, ANN202

import functools
import warnings

import torch
import triton
import triton.language as tl

from reference_models.ops.resampling import Resample
from reference_models.ops.upfirdn2d import reference

TILE = 32
# The sides of a tile at the high rate that are tried, and the fewest results worth a tile.
_MIDDLES = (64, 128)
_LEAST = 4


@triton.jit
def _resample_tile(
    x_ptr, f_ptr, y_ptr, gain,
    height, width, out_h, out_w, tiles_x, tiles_y,
    lo_x, lo_y, shift_x, shift_y,
    UP_X: tl.constexpr, UP_Y: tl.constexpr, DOWN_X: tl.constexpr, DOWN_Y: tl.constexpr,
    TAPS_X: tl.constexpr, TAPS_Y: tl.constexpr, FLIP: tl.constexpr,
    VISITS_X: tl.constexpr, VISITS_Y: tl.constexpr,
    TILE_X: tl.constexpr, TILE_Y: tl.constexpr, SUM: tl.constexpr,
):  # fmt: skip
    program = tl.program_id(0)
    tile_x = program % tiles_x
    tile_y = (program // tiles_x) % tiles_y
    plane = (program // (tiles_x * tiles_y)).to(tl.int64)
    out_y = tile_y * TILE_Y + tl.arange(0, TILE_Y)
    out_x = tile_x * TILE_X + tl.arange(0, TILE_X)
    # Where each result's window starts in the upsampled picture, and the first real sample at or after it.
    # Division rounds towards zero, so the numerators are shifted to be positive.
    start_y = out_y * DOWN_Y - lo_y
    start_x = out_x * DOWN_X - lo_x
    in_y = (start_y + shift_y * UP_Y + UP_Y - 1) // UP_Y - shift_y
    in_x = (start_x + shift_x * UP_X + UP_X - 1) // UP_X - shift_x
    tap_y = in_y * UP_Y - start_y
    tap_x = in_x * UP_X - start_x
    x_ptr += plane * height * width
    total = tl.zeros((TILE_Y, TILE_X), dtype=SUM)
    for j in range(VISITS_Y):
        y = in_y + j
        t_y = tap_y + j * UP_Y
        ok_y = (y >= 0) & (y < height) & (t_y < TAPS_Y)
        f_y = t_y if FLIP else TAPS_Y - 1 - t_y
        for k in range(VISITS_X):
            x = in_x + k
            t_x = tap_x + k * UP_X
            ok_x = (x >= 0) & (x < width) & (t_x < TAPS_X)
            f_x = t_x if FLIP else TAPS_X - 1 - t_x
            ok = ok_y[:, None] & ok_x[None, :]
            values = tl.load(x_ptr + y[:, None] * width + x[None, :], mask=ok, other=0.0)
            taps = tl.load(f_ptr + f_y[:, None] * TAPS_X + f_x[None, :], mask=ok, other=0.0)
            total += values.to(SUM) * taps.to(SUM)
    y_ptr += plane * out_h * out_w
    inside = (out_y < out_h)[:, None] & (out_x < out_w)[None, :]
    result = (total * gain).to(y_ptr.dtype.element_ty)
    tl.store(y_ptr + out_y[:, None] * out_w + out_x[None, :], result, mask=inside)


@triton.jit
def _band(f_ptr, middle, source, lo, UP: tl.constexpr, TAPS: tl.constexpr, FLIP: tl.constexpr):
    # Entry (m, i): the tap by which sample i counts for position m of the upsampled, filtered picture.
    tap = source[None, :] * UP - (middle[:, None] - lo)
    index = tap if FLIP else TAPS - 1 - tap
    return tl.load(f_ptr + index, mask=(tap >= 0) & (tap < TAPS), other=0.0)


@triton.jit
def _load_tile(ptr, rows, columns, height, width):
    ok = ((rows >= 0) & (rows < height))[:, None] & ((columns >= 0) & (columns < width))[None, :]
    return tl.load(ptr + rows[:, None] * width + columns[None, :], mask=ok, other=0.0).to(tl.float32)


@triton.jit
def _sandwich_tile(
    x_ptr, fx_ptr, x_gain, x_h, x_w, x_lo_x, x_lo_y, x_shift_x, x_shift_y,
    r_ptr, fr_ptr, r_gain, r_h, r_w, r_lo_x, r_lo_y, r_shift_x, r_shift_y,
    y_ptr, fy_ptr, y_gain, y_h, y_w, y_lo_x, y_lo_y,
    mid_h, mid_w, tiles_x, tiles_y, num_planes, gain, slope, clamp,
    X_UP: tl.constexpr, X_TAPS: tl.constexpr, X_FLIP: tl.constexpr, X_SIDE: tl.constexpr,
    R_UP: tl.constexpr, R_TAPS: tl.constexpr, R_FLIP: tl.constexpr, R_SIDE: tl.constexpr,
    Y_DOWN: tl.constexpr, Y_TAPS: tl.constexpr, Y_FLIP: tl.constexpr, Y_SIDE: tl.constexpr,
    STEP: tl.constexpr, MIDDLE: tl.constexpr, PLANES: tl.constexpr,
    REFERENCE: tl.constexpr, CLAMP: tl.constexpr,
):  # fmt: skip
    program = tl.program_id(0)
    tile_x = program % tiles_x
    tile_y = (program // tiles_x) % tiles_y
    first_plane = (program // (tiles_x * tiles_y)) * PLANES
    step = tl.arange(0, Y_SIDE)
    out_y = tile_y * STEP + step
    out_x = tile_x * STEP + step
    mid_y0 = tile_y * STEP * Y_DOWN - y_lo_y
    mid_x0 = tile_x * STEP * Y_DOWN - y_lo_x
    mid_y = mid_y0 + tl.arange(0, MIDDLE)
    mid_x = mid_x0 + tl.arange(0, MIDDLE)
    mid_inside = ((mid_y >= 0) & (mid_y < mid_h))[:, None] & ((mid_x >= 0) & (mid_x < mid_w))[None, :]
    # The banded matrices depend on the tile alone; all its planes share them.
    x_y = (mid_y0 - x_lo_y + x_shift_y * X_UP) // X_UP - x_shift_y + tl.arange(0, X_SIDE)
    x_x = (mid_x0 - x_lo_x + x_shift_x * X_UP) // X_UP - x_shift_x + tl.arange(0, X_SIDE)
    up_y = _band(fx_ptr, mid_y, x_y, x_lo_y, X_UP, X_TAPS, X_FLIP)
    up_x = tl.trans(_band(fx_ptr, mid_x, x_x, x_lo_x, X_UP, X_TAPS, X_FLIP))
    down_y = _band(fy_ptr, out_y * Y_DOWN, mid_y, y_lo_y, 1, Y_TAPS, Y_FLIP)
    down_x = tl.trans(_band(fy_ptr, out_x * Y_DOWN, mid_x, y_lo_x, 1, Y_TAPS, Y_FLIP))
    if REFERENCE:
        r_y = (mid_y0 - r_lo_y + r_shift_y * R_UP) // R_UP - r_shift_y + tl.arange(0, R_SIDE)
        r_x = (mid_x0 - r_lo_x + r_shift_x * R_UP) // R_UP - r_shift_x + tl.arange(0, R_SIDE)
        ref_y = _band(fr_ptr, mid_y, r_y, r_lo_y, R_UP, R_TAPS, R_FLIP)
        ref_x = tl.trans(_band(fr_ptr, mid_x, r_x, r_lo_x, R_UP, R_TAPS, R_FLIP))
    out_inside = ((step < STEP) & (out_y < y_h))[:, None] & ((step < STEP) & (out_x < y_w))[None, :]
    for index in range(PLANES):
        plane = (first_plane + index).to(tl.int64)
        if plane < num_planes:
            tile = _load_tile(x_ptr + plane * x_h * x_w, x_y, x_x, x_h, x_w)
            value = tl.dot(up_y, tile, input_precision="tf32x3")
            value = tl.dot(value, up_x, input_precision="tf32x3") * x_gain
            if REFERENCE:
                tile = _load_tile(r_ptr + plane * r_h * r_w, r_y, r_x, r_h, r_w)
                at = tl.dot(ref_y, tile, input_precision="tf32x3")
                at = tl.dot(at, ref_x, input_precision="tf32x3") * r_gain
                factor = tl.where(at > 0, gain, gain * slope)
                value = value * factor
                if CLAMP:
                    value = tl.where(tl.abs(at * factor) > clamp, 0.0, value)
            else:
                value = value * tl.where(value > 0, gain, gain * slope)
                if CLAMP:  # by comparisons, which let NaN pass
                    value = tl.where(value > clamp, clamp, value)
                    value = tl.where(value < -clamp, -clamp, value)
            value = tl.where(mid_inside, value, 0.0)
            value = tl.dot(down_y, value, input_precision="tf32x3")
            value = tl.dot(value, down_x, input_precision="tf32x3") * y_gain
            target = y_ptr + plane * y_h * y_w + out_y[:, None] * y_w + out_x[None, :]
            tl.store(target, value.to(y_ptr.dtype.element_ty), mask=out_inside)


def upfirdn2d(x: torch.Tensor, spec: Resample) -> torch.Tensor:
    """`reference_models.ops.upfirdn2d.reference`, without a graph for autograd."""
    if spec.f is None:
        f = torch.ones((1, 1), device=x.device)
    else:
        f = spec.f.to(x.device)
    if f.ndim == 2:
        return _launch(x, f.contiguous(), spec)
    root = spec.gain**0.5
    sides = spec.pads
    along_x = Resample(None, (spec.up[0], 1), (spec.down[0], 1), (*sides[:2], 0, 0), spec.flip, root)
    along_y = Resample(None, (1, spec.up[1]), (1, spec.down[1]), (0, 0, *sides[2:]), spec.flip, root)
    return _launch(_launch(x, f[None, :].contiguous(), along_x), f[:, None].contiguous(), along_y)


def _launch(x: torch.Tensor, f: torch.Tensor, spec: Resample) -> torch.Tensor:
    n, c, height, width = x.shape
    spec = spec._replace(f=f)
    out_h, out_w = spec.out_size(height, width)
    x = x.contiguous()
    y = x.new_empty((n, c, out_h, out_w))
    tile_x = min(TILE, triton.next_power_of_2(out_w))
    tile_y = min(TILE, triton.next_power_of_2(out_h))
    tiles = triton.cdiv(out_w, tile_x), triton.cdiv(out_h, tile_y)
    taps_x, taps_y = spec.taps
    if y.numel():
        with _on(x):
            _resample_tile[(tiles[0] * tiles[1] * n * c,)](
                x, f, y, spec.gain, height, width, out_h, out_w, *tiles, spec.pads[0], spec.pads[2],
                _shift(spec.pads[0], spec.up[0]), _shift(spec.pads[2], spec.up[1]),
                UP_X=spec.up[0], UP_Y=spec.up[1], DOWN_X=spec.down[0], DOWN_Y=spec.down[1],
                TAPS_X=taps_x, TAPS_Y=taps_y, FLIP=spec.flip,
                VISITS_X=-(-taps_x // spec.up[0]), VISITS_Y=-(-taps_y // spec.up[1]),
                TILE_X=tile_x, TILE_Y=tile_y, SUM=tl.float64 if x.dtype == torch.float64 else tl.float32,
            )  # fmt: skip
    return y


def _shift(lo: int, up: int) -> int:
    # Whole samples that make every start of a window positive.
    return max(lo, 0) // up + 1


def fits(x: torch.Tensor, first: Resample, ref: Resample | None, last: Resample) -> bool:
    """Whether `sandwich` can do this: short filters of one dimension, equal factors along both axes."""
    parts = [part for part in (first, ref, last) if part is not None]
    plain = all(part.f is None or part.f.ndim == 1 for part in parts)
    square = all(part.up[0] == part.up[1] and part.down[0] == part.down[1] for part in parts)
    rising = last.up == (1, 1) and all(part.down == (1, 1) for part in parts if part is not last)
    able = plain and square and rising and x.dtype != torch.float64 and _middle(last) is not None
    return able and (interpreted() or _has_tf32(x.device))


@functools.cache
def _has_tf32(device: torch.device) -> bool:
    return torch.version.hip is None and torch.cuda.get_device_capability(device) >= (8, 0)


def _middle(last: Resample) -> tuple[int, int] | None:
    # Side of a tile at the high rate, and the results it yields along an axis.
    for side in _MIDDLES:
        step = (side - last.taps[0]) // last.down[0] + 1
        if side >= last.taps[0] and step >= _LEAST:
            return side, step
    return None


def sandwich(
    x: torch.Tensor,
    at: torch.Tensor | None,
    first: Resample,
    ref: Resample | None,
    last: Resample,
    gain: float,
    slope: float,
    clamp: float | None,
) -> torch.Tensor:
    """Resample by ``first``, leaky ReLU (or its derivative at ``ref`` of ``at``), resample by ``last``."""
    chosen = _middle(last)
    assert chosen is not None
    middle, step = chosen
    mid_h, mid_w = first.out_size(x.shape[2], x.shape[3])
    out_h, out_w = last.out_size(mid_h, mid_w)
    x = x.contiguous()
    at = x if at is None else at.contiguous()
    other = first if ref is None else ref
    y = x.new_empty((*x.shape[:2], out_h, out_w))
    planes = 8 if x.shape[0] * x.shape[1] >= 64 else 1
    tiles = triton.cdiv(out_w, step), triton.cdiv(out_h, step)
    blocks = triton.cdiv(x.shape[0] * x.shape[1], planes)

    def taps(spec: Resample) -> torch.Tensor:
        f = torch.ones(1) if spec.f is None else spec.f
        return f.to(device=x.device, dtype=torch.float32).contiguous()

    def source(picture: torch.Tensor, spec: Resample) -> tuple[object, ...]:
        # Starts of windows go down to -lo of the last stage on top of this one's.
        back = [max(lo, 0) + max(more, 0) for lo, more in zip(spec.pads[::2], last.pads[::2], strict=True)]
        shifts = [_shift(lo, spec.up[0]) for lo in back]
        size = picture.shape[2:]
        return (picture, taps(spec), spec.gain, *size, spec.pads[0], spec.pads[2], *shifts)

    def side(spec: Resample) -> int:
        return _side(-(-(middle - 1 + spec.taps[0]) // spec.up[0]) + 1)

    if y.numel():
        with _on(x):
            _sandwich_tile[(tiles[0] * tiles[1] * blocks,)](
                *source(x, first), *source(at, other),
                y, taps(last), last.gain, out_h, out_w, last.pads[0], last.pads[2],
                mid_h, mid_w, *tiles, x.shape[0] * x.shape[1], gain, slope, 0.0 if clamp is None else clamp,
                X_UP=first.up[0], X_TAPS=first.taps[0], X_FLIP=first.flip, X_SIDE=side(first),
                R_UP=other.up[0], R_TAPS=other.taps[0], R_FLIP=other.flip, R_SIDE=side(other),
                Y_DOWN=last.down[0], Y_TAPS=last.taps[0], Y_FLIP=last.flip, Y_SIDE=_side(step),
                STEP=step, MIDDLE=middle, PLANES=planes, REFERENCE=ref is not None, CLAMP=clamp is not None,
            )  # fmt: skip
    return y


def _side(least: int) -> int:
    # Matrix products want powers of two, 16 or more.
    return max(16, triton.next_power_of_2(least))


def _on(x: torch.Tensor) -> torch.cuda.device:
    # Triton launches on the current device, which need not be the tensor's. -1 leaves it as it is.
    return torch.cuda.device(x.device.index if x.is_cuda else -1)


def interpreted() -> bool:
    """Whether kernels run in Triton's interpreter, on the CPU: for tests."""
    return bool(triton.knobs.runtime.interpret)


@functools.cache
def usable(device: torch.device) -> bool:
    """Whether kernels run on ``device`` and compute what they should; tried once on a small picture.

    Where they do not, a `RuntimeWarning` says why, and the plain path does the work: the same values, later.
    """
    if device.type == "cpu":
        return interpreted()
    try:
        x = torch.linspace(-1, 1, 2 * 9 * 9, device=device).reshape(1, 2, 9, 9)
        f = torch.tensor([0.1, 0.4, 0.3, 0.2], device=device)
        up = Resample(f, (2, 2), (1, 1), (3, 2, 3, 2), False, 4.0)
        down = Resample(f, (1, 1), (2, 2))
        middle = reference(x, up)
        off = (upfirdn2d(x, up) - middle).abs().max()
        want = reference(torch.nn.functional.leaky_relu(middle, 0.2), down)
        if fits(x, up, None, down):
            off = max(off, (sandwich(x, None, up, None, down, 1.0, 0.2, None) - want).abs().max())
        problem = None if float(off) < 1e-3 else f"results are off by {float(off):.1e}"
    except Exception as error:  # whatever a driver, a compiler or a linker can throw
        problem = f"{type(error).__name__}: {error}".split("\n")[0]
    if problem is not None:
        warnings.warn(
            f"Triton kernels do not work on {device} ({problem}); operations take the plain path there, "
            "which gives the same values more slowly. Triton needs a C compiler on the host to "
            "link its launcher; installing one (gcc or clang) brings the kernels",
            RuntimeWarning,
            stacklevel=2,
        )
    return problem is None
