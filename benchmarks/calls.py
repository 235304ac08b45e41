"""Other ways to call a cascade's networks and to move tiles to a device and back, to measure what each would gain.

None of them is a setting of the bundle. All of them also run on a CPU, without what only a GPU has (streams, recorded
graphs, pinned memory), so that their results, but not their speed, can be compared there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from time import perf_counter
from typing import Any
from unittest import mock

import torch
from torch import Tensor

from bundle.cascade import CascadeInferer, generators, inferer, rows
from bundle.cascade import cascade as cascades
from bundle.cascade.inferer import TileGenerator
from bundle.cascade.scratch import write_tile
from bundle.geometry import Tile
from bundle.runtime import prefetch

#: A call of a network: maps input and scale to the output.
Call = Callable[[Tensor, int], Tensor]


class Clock:
    """Measure the seconds of a device within blocks: on a GPU by events in its queue, elsewhere by the clock."""

    def __init__(self, device: torch.device) -> None:
        self.on_gpu = device.type == "cuda"
        self._events: list[tuple[Any, Any]] = []
        self._seconds = 0.0

    @contextmanager
    def __call__(self) -> Iterator[None]:
        """Time a block."""
        if not self.on_gpu:
            start = perf_counter()
            yield
            self._seconds += perf_counter() - start
            return
        pair = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        pair[0].record()
        yield
        pair[1].record()
        self._events.append(pair)

    def seconds(self) -> float:
        """Return the seconds since the last call."""
        if self.on_gpu:
            torch.cuda.synchronize()
        total = self._seconds + sum(begin.elapsed_time(end) for begin, end in self._events) / 1000
        self._events, self._seconds = [], 0.0
        return total


class Called:
    """A cascade whose networks are called in another way.

    Args:
        cascade: the `bundle.cascade.Cascade`.
        call: function that computes a tile of a scale; null for the cascade's own way.
    """

    def __init__(self, cascade: Any, call: Call | None = None) -> None:
        self.cascade, self.call = cascade, cascade if call is None else call
        self.clock = Clock(next(cascade.parameters()).device)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.cascade, name)

    def __call__(self, inputs: Tensor, scale: int) -> Tensor:
        """Compute and time a tile."""
        with self.clock():
            return self.call(inputs, scale)


class CalledInferer(CascadeInferer):
    """Translate by a `Called`; tiles are planned with the cascade itself."""

    def plan(self, cascade: Any, *args: Any, **kwargs: Any) -> Any:
        """Return what `CascadeInferer.plan` returns."""
        return super().plan(cascade.cascade, *args, **kwargs)


class Graphed:
    """A CUDA graph for each scale and shape: its kernels are recorded once and launched by a single call.

    Without a GPU nothing is recorded, and the network computes into the same tensors each time.

    Args:
        cascade: the `bundle.cascade.Cascade`.
        half: whether it computes in bfloat16.
    """

    def __init__(self, cascade: Any, half: bool) -> None:
        self.cascade, self.half = cascade, half
        self._graphs: dict[tuple[int, ...], tuple[Tensor, Callable[[], object], Tensor]] = {}
        #: Memory pool for intermediate results, which all graphs can share.
        self._pool = torch.cuda.graph_pool_handle() if next(cascade.parameters()).device.type == "cuda" else None

    def __call__(self, inputs: Tensor, scale: int) -> Tensor:
        """Compute a tile; the result is a copy, because the graph's own tensor is overwritten."""
        key = (scale, *inputs.shape)
        if key not in self._graphs:
            self._graphs[key] = self._recorded(inputs, scale)
        held, again, made = self._graphs[key]
        held.copy_(inputs)
        again()
        return made.clone()

    def _computed(self, inputs: Tensor, scale: int) -> Tensor:
        # Weights cast outside the graph would be freed before it is replayed.
        with torch.autocast(inputs.device.type, torch.bfloat16, enabled=self.half, cache_enabled=False):
            return self.cascade(inputs, scale)

    def _recorded(self, inputs: Tensor, scale: int) -> tuple[Tensor, Callable[[], object], Tensor]:
        held = inputs.clone()
        if inputs.device.type != "cuda":
            made = self._computed(held, scale)
            return held, lambda: made.copy_(self._computed(held, scale)), made
        aside, current = torch.cuda.Stream(), torch.cuda.current_stream()
        aside.wait_stream(current)
        with torch.cuda.stream(aside):  # do not record what libraries do on the first call
            self._computed(held, scale)
        current.wait_stream(aside)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=self._pool, capture_error_mode="thread_local"):
            made = self._computed(held, scale)
        return held, graph.replay, made


def compiled(backend: str) -> Callable[[Any, bool], Call]:
    """Return a function that compiles a cascade by `torch.compile`, for each scale and shape.

    Args:
        backend: ``"inductor"`` generates kernels; ``"eager"`` only traces the code.
    """

    def make(cascade: Any, half: bool) -> Call:  # noqa: ARG001
        import torch._dynamo.config as settings

        settings.recompile_limit = 64
        return torch.compile(cascade, dynamic=False, backend=backend)

    return make


class Unpinned(TileGenerator):
    """Read tiles into pageable memory, from which copies to a GPU have to be staged."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._plain = TileGenerator(*args)
        self._plain.device = torch.device("cpu")

    def read(self, tile: Tile) -> Tensor:
        """Read a tile's input."""
        return self._plain.read(tile)


class Overlapped(TileGenerator):
    """Copy each tile to a GPU from the reading thread, in a separate stream, while another tile is computed."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._queue = torch.cuda.Stream() if self.device.type == "cuda" else None

    def read(self, tile: Tile) -> Tensor:
        """Read a tile's input; with a GPU it is copied there."""
        inputs = super().read(tile)
        if self._queue is None:
            return inputs
        with torch.cuda.stream(self._queue):
            there = inputs.to(self.device, non_blocking=True)
        there.record_stream(torch.cuda.default_stream(self.device))
        self._queue.synchronize()  # only this thread waits
        return there

    def __call__(self, tile: Tile, inputs: Tensor) -> Tensor:
        """Compute a tile and record an event when it is finished."""
        made = super().__call__(tile, inputs)
        if made.device.type == "cuda":
            made.ready = torch.cuda.Event()  # type: ignore[attr-defined]
            made.ready.record()  # type: ignore[attr-defined]
        return made


def write_overlapped(out: Any, tile: Tile, voxels: Tensor) -> None:
    """Write a tile, which is fetched as soon as it is finished, without waiting for the next one."""
    ready = getattr(voxels, "ready", None)
    if ready is not None and out.device.type == "cpu":
        queue = torch.cuda.Stream()
        queue.wait_event(ready)
        with torch.cuda.stream(queue):
            here = torch.empty(voxels.shape, dtype=voxels.dtype, pin_memory=True).copy_(voxels, non_blocking=True)
        voxels.record_stream(queue)
        queue.synchronize()
        voxels = here
    write_tile(out, tile, voxels)


@contextmanager
def unpinned() -> Iterator[None]:
    """Do not pin tiles within the block."""
    with mock.patch.object(inferer, "TileGenerator", Unpinned):
        yield


@contextmanager
def overlapped() -> Iterator[None]:
    """Copy tiles while others are computed, within the block."""
    with (
        mock.patch.object(inferer, "TileGenerator", Overlapped),
        mock.patch.object(rows, "write_tile", write_overlapped),
    ):
        yield


@contextmanager
def channels_first() -> Iterator[None]:
    """Give networks images in PyTorch's default memory layout within the block."""
    with ExitStack() as stack:
        for module in (cascades, generators):
            stack.enter_context(mock.patch.object(module, "channels_last", torch.Tensor.contiguous))
        yield


@contextmanager
def trying_kernels() -> Iterator[None]:
    """Let cuDNN try its kernels for each shape and keep the fastest, within the block."""
    with torch.backends.cudnn.flags(enabled=True, benchmark=True):
        yield


@contextmanager
def no_tensor_cores() -> Iterator[None]:
    """Compute float32 in full precision, not as TF32, within the block."""
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        yield


@contextmanager
def one_thread() -> Iterator[None]:
    """Do not read or write while a tile is computed within the block, so that nothing disturbs recording a graph."""
    with mock.patch.object(rows, "prefetch", lambda *given: prefetch(given[0], given[1], given[2], given[3], False)):
        yield
