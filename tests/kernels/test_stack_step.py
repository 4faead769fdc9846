"""One native step of a stack equals the block as written, in float64, for any sizes, rows and threads."""

import itertools
import math

import pytest
import torch
import torch.nn.functional as F

from chartscan.kernels import native
from chartscan.kernels.native.stack import BlockStack, BlockWeights, StackStates

pytestmark = pytest.mark.skipif(not native.available(), reason=str(native.why_not()))


SIZES = {"width": 24, "channels": 40, "states": 16, "taps": 4, "rank": 3}


@pytest.fixture(params=native.builds(), autouse=True)
def every_build(request):
    with native.build(request.param):
        yield


@pytest.fixture
def threads():
    """Sets the number of threads, and sets it back."""
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


def stack_weights(width, channels, states, taps, rank, blocks=2, seed=0):
    """Weights as large as in training, float32."""
    g = torch.Generator().manual_seed(seed)

    def normal(*shape, scale=1.0):
        return scale * torch.randn(*shape, generator=g)

    def linear(outs, inputs):
        return normal(outs, inputs, scale=1 / math.sqrt(inputs))

    return [
        BlockWeights(
            norm=1 + normal(width, scale=0.1),
            in_proj=linear(2 * channels, width),
            conv_weight=linear(channels, taps),
            conv_bias=normal(channels, scale=0.1),
            x_proj=linear(rank + 2 * states, channels),
            dt_proj=linear(channels, rank),
            dt_bias=normal(channels) - 4,  # steps of about 0.02
            A_log=torch.arange(1.0, states + 1).log() + normal(channels, states, scale=0.1),
            D=1 + normal(channels, scale=0.1),
            out_proj=linear(width, channels),
        )
        for _ in range(blocks)
    ]


def first_states(weights, rows, dtype=torch.float32, seed=2):
    g = torch.Generator().manual_seed(seed)
    channels, taps = weights[0].conv_weight.shape

    def normal(*shape):
        return torch.randn(*shape, generator=g).to(dtype)

    windows = [normal(rows, taps - 1, channels) for _ in weights]
    return StackStates(windows, [normal(rows, *w.A_log.shape) for w in weights])


def events(rows, width, count, seed=1):
    return torch.randn(count, rows, width, generator=torch.Generator().manual_seed(seed))


def expected_block(w, x, window, h):
    """Gu and Dao 2023, arXiv:2312.00752, figure 3 and algorithm 2, in the type of its arguments."""
    normed = x / torch.sqrt((x * x).mean(1, keepdim=True) + 1e-5) * w.norm
    inputs, z = (normed @ w.in_proj.T).chunk(2, dim=1)
    window = torch.cat([window, inputs.unsqueeze(1)], 1)
    u = F.silu((window * w.conv_weight.T).sum(1) + w.conv_bias)
    n = h.shape[2]
    low, B, C = (u @ w.x_proj.T).split([w.dt_proj.shape[1], n, n], dim=1)
    dt = F.softplus(low @ w.dt_proj.T + w.dt_bias)
    h = torch.exp(dt.unsqueeze(2) * -torch.exp(w.A_log)) * h + (dt * u).unsqueeze(2) * B.unsqueeze(1)
    y = ((h * C.unsqueeze(1)).sum(2) + w.D * u) * F.silu(z)
    return x + y @ w.out_proj.T, window[:, 1:], h


def expected_step(weights, x, states):
    windows, scans = [], []
    for w, window, scan in zip(weights, *states, strict=True):
        x, window, scan = expected_block(w, x, window, scan)
        windows.append(window)
        scans.append(scan)
    return x, StackStates(windows, scans)


def doubled(weights):
    return [BlockWeights._make(t.double() for t in w) for w in weights]


def largest_relative_error(found, expected):
    if expected.numel() == 0:
        return 0.0
    return ((found.double() - expected).abs().max() / expected.abs().max()).item()


def flat(x, states):
    return [x, *states.windows, *states.scans]


def equal(a, b):
    return all(torch.equal(s, t) for s, t in zip(flat(*a), flat(*b), strict=True))


def assert_follows_the_written_block(sizes, rows, count=100):
    weights = stack_weights(**sizes)
    stack, exact = BlockStack(weights), doubled(weights)
    states, expected_states = first_states(weights, rows), first_states(weights, rows, torch.float64)
    for x in events(rows, sizes["width"], count):
        found, states = stack.step(x, states)
        expected, expected_states = expected_step(exact, x.double(), expected_states)
        assert largest_relative_error(found, expected) < 1e-5
    for a, b in zip(flat(found, states), flat(expected, expected_states), strict=True):
        assert largest_relative_error(a, b) < 1e-5


@pytest.mark.parametrize("states", [1, 3, 8, 16, 17, 64])
@pytest.mark.parametrize("taps", [1, 2, 4])
def test_a_hundred_events_equal_the_written_block_in_float64(states, taps):
    assert_follows_the_written_block(SIZES | {"states": states, "taps": taps}, rows=2)


@pytest.mark.parametrize("rows", [1, 2, 3, 5, 7, 64])
@pytest.mark.parametrize("rank", [1, 3])
def test_any_number_of_rows_equals_the_written_block(rows, rank):
    assert_follows_the_written_block(SIZES | {"rank": rank}, rows, count=20)


@pytest.mark.parametrize(("width", "channels"), [(1, 1), (5, 3), (16, 32), (24, 40), (64, 128), (130, 70)])
def test_any_width_equals_the_written_block(width, channels):
    assert_follows_the_written_block(SIZES | {"width": width, "channels": channels}, rows=3, count=20)


def test_extreme_step_sizes_equal_the_written_block():
    weights = stack_weights(**SIZES)
    for w in weights:
        w.dt_bias.copy_(torch.linspace(-20, 20, len(w.dt_bias)))
    states = first_states(weights, 3)
    x = events(3, SIZES["width"], 1)[0]
    exact = StackStates([t.double() for t in states.windows], [t.double() for t in states.scans])
    found, expected = BlockStack(weights).step(x, states), expected_step(doubled(weights), x.double(), exact)
    for a, b in zip(flat(*found), flat(*expected), strict=True):
        assert largest_relative_error(a, b) < 1e-5


def test_a_row_does_not_depend_on_the_others():
    weights = stack_weights(**SIZES)
    stack, states, x = BlockStack(weights), first_states(weights, 70), events(70, SIZES["width"], 1)[0]
    together = stack.step(x, states)
    for rows in ([0], [69], [31, 32], [5, 6, 7], list(range(40, 45)), list(range(3, 67))):
        some = StackStates([t[rows] for t in states.windows], [t[rows] for t in states.scans])
        y, after = together[0][rows], together[1]
        assert equal(
            stack.step(x[rows], some), (y, StackStates(*([t[rows] for t in kind] for kind in after)))
        )


@pytest.mark.parametrize("rows", [1, 2, 5, 64, 129])
@pytest.mark.parametrize("width", [24, 256])
def test_threads_change_nothing(rows, width, threads):
    weights = stack_weights(**(SIZES | {"width": width, "channels": 2 * width}))
    stack, states, x = BlockStack(weights), first_states(weights, rows), events(rows, width, 1)[0]
    found = []
    for count in (1, 2, 3):
        threads(count)
        found.append(stack.step(x, states))
    assert equal(found[0], found[1])
    assert equal(found[0], found[2])


def test_arguments_stay_as_they_are():
    weights = stack_weights(**SIZES)
    x, states = events(3, SIZES["width"], 1)[0], first_states(weights, 3)
    before = [t.clone() for t in (*flat(x, states), *itertools.chain(*weights))]
    BlockStack(weights).step(x, states)
    after = (*flat(x, states), *itertools.chain(*weights))
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))


def test_no_rows_give_no_rows():
    weights = stack_weights(**SIZES)
    y, states = BlockStack(weights).step(torch.zeros(0, SIZES["width"]), first_states(weights, 0))
    assert y.shape == (0, SIZES["width"])
    assert states.scans[1].shape == (0, SIZES["channels"], SIZES["states"])


def changed_by(change):
    """What the stack gives after `change(weights)`, and what one built afterwards gives."""
    weights = [BlockWeights._make(torch.nn.Parameter(t) for t in w) for w in stack_weights(**SIZES)]
    x, states = events(3, SIZES["width"], 1)[0], first_states(weights, 3)
    stack = BlockStack(weights)
    with torch.no_grad():
        before = stack.step(x, states)
        change(weights)
        after = stack.step(x, states)
        assert not equal(before, after)
        return after, BlockStack(weights).step(x, states)


@pytest.mark.parametrize("fused", [False, True])
def test_a_step_after_the_optimiser_has_its_weights(fused):
    def change(weights):
        parameters = list(itertools.chain(*weights))
        for p in parameters:
            p.grad = torch.ones_like(p)
        torch.optim.AdamW(parameters, lr=0.01, fused=fused).step()

    assert equal(*changed_by(change))


@pytest.mark.parametrize("name", BlockWeights._fields)
def test_every_weight_may_change_behind_autograds_back_or_move(name):
    def change(weights):
        getattr(weights[1], name).data.mul_(1.5)

    def move(weights):
        parameter = getattr(weights[1], name)
        parameter.data = parameter.data * 1.5

    assert equal(*changed_by(change))
    assert equal(*changed_by(move))


def test_it_knows_its_weights():
    weights = stack_weights(**SIZES)
    stack = BlockStack(weights)
    assert stack.holds(weights)
    assert not stack.holds(weights[:1])
    assert not stack.holds([weights[0], weights[1]._replace(D=weights[1].D.clone())])


@pytest.mark.parametrize("name", BlockWeights._fields)
def test_unreadable_weights_are_refused_by_name(name):
    weights = stack_weights(**SIZES)

    def stack_with(change):
        return BlockStack([weights[0], weights[1]._replace(**{name: change(getattr(weights[1], name))})])

    with pytest.raises(TypeError, match=f"{name} is torch.float64"):
        stack_with(torch.Tensor.double)
    with pytest.raises(ValueError, match=f"{name} has the shape"):
        stack_with(lambda t: t[1:])
    with pytest.raises(ValueError, match=f"{name} has the strides"):
        stack_with(lambda t: t.repeat_interleave(2, -1)[..., ::2])
    with pytest.raises(ValueError, match=f"{name} is on meta"):
        stack_with(lambda t: t.to("meta"))


def test_weights_that_become_unreadable_are_refused():
    weights = stack_weights(**(SIZES | {"width": 8, "channels": 8, "states": 8}))
    x, states = events(3, 8, 1)[0], first_states(weights, 3)
    stack = BlockStack(weights)
    weights[0].out_proj.t_()  # same place, same shape
    with pytest.raises(ValueError, match="out_proj has the strides"):
        stack.step(x, states)
    weights[0].out_proj.t_()
    weights[1].norm.data = weights[1].norm.double()
    with pytest.raises(TypeError, match=r"norm is torch\.float64"):
        stack.step(x, states)


REFUSED = [
    ("x", lambda t: t.double(), TypeError, "x is torch.float64"),
    ("x", lambda t: t.unsqueeze(1), ValueError, "x has the shape"),
    ("x", lambda t: t[:, :-1], ValueError, "x has the shape"),
    ("x", lambda t: t[0, 0], ValueError, "x has the shape"),
    ("x", lambda t: t.t().contiguous().t(), ValueError, "x has the strides"),
    ("x", lambda t: t.to("meta"), ValueError, "x is on meta"),
    ("window", lambda t: t.bfloat16(), TypeError, "window is torch.bfloat16"),
    ("window", lambda t: t[:2], ValueError, "window has the shape"),
    ("window", lambda t: torch.cat([t, t], 1)[:, 3:], ValueError, "window has the strides"),
    ("scan", lambda t: t.double(), TypeError, "scan is torch.float64"),
    ("scan", lambda t: t[:, :, 1:], ValueError, "scan has the shape"),
    ("scan", lambda t: t.transpose(1, 2).contiguous().transpose(1, 2), ValueError, "scan has the strides"),
]


@pytest.mark.parametrize(("name", "change", "error", "message"), REFUSED)
def test_unreadable_arguments_are_refused_by_name(name, change, error, message):
    weights = stack_weights(**SIZES)
    stack, (windows, scans) = BlockStack(weights), first_states(weights, 3)
    given = {"x": events(3, SIZES["width"], 1)[0], "window": windows[1], "scan": scans[1]}
    given[name] = change(given[name])
    states = StackStates([windows[0], given["window"]], [scans[0], given["scan"]])
    with pytest.raises(error, match=message):
        stack.step(given["x"], states)


def test_states_of_another_depth_and_empty_stacks_are_refused():
    weights = stack_weights(**SIZES)
    x, (windows, scans) = events(3, SIZES["width"], 1)[0], first_states(weights, 3)
    with pytest.raises(ValueError, match="1 windows and 2 scans for 2 blocks"):
        BlockStack(weights).step(x, StackStates(windows[:1], scans))
    with pytest.raises(ValueError, match="at least one block"):
        BlockStack([])


def test_a_step_that_autograd_would_record_is_refused():
    weights = stack_weights(**SIZES)
    x, states = events(3, SIZES["width"], 1)[0], first_states(weights, 3)
    with pytest.raises(RuntimeError, match="no gradients"):
        BlockStack(weights).step(x.requires_grad_(), states)
    with torch.no_grad():
        BlockStack(weights).step(x, states)
