"""Stages for timm models of no known family: timm's own parameter groups, checked against the order they run in."""

from __future__ import annotations

import torch
from timm.models._manipulate import group_with_matcher  # public only for parameters, and buffers are needed too
from torch import Tensor, nn

from raytl.errors import ConfigError
from raytl.models.families import BLOCK_GROUPS, timm_tail
from raytl.models.plan import Layout, Plan, Stage, even_groups

MOST_STAGES = 8  # chosen: more groups than this are blocks, and are put together


def group_plan(name: str, net: nn.Module, image_size: int) -> Plan:
    """Reads stages off `net`, a timm model on the meta device, by timm's `group_matcher` and one traced pass.

    The stages own their parameters but have no steps: such a backbone runs as a whole only.

    Raises:
        ConfigError: where timm names no groups, or the groups do not run in their order.
    """
    if not hasattr(net, "group_matcher") or not hasattr(net, "forward_features"):
        raise ConfigError(
            f"{name}: timm gives no order for its layers, so it has no freeze depth; use another backbone"
        )
    order, tail, last_map = _trace(name, net, image_size)
    groups = _groups(name, net, tail)
    stage_of = {parameter: index for index, group in enumerate(groups) for parameter in group}
    _check_order(name, order, stage_of)
    owned = _owned(net, stage_of, len(groups))
    learns = {parameter for parameter, _ in net.named_parameters()}
    stages = tuple(Stage(_name(index, modules, learns), tuple(modules)) for index, modules in enumerate(owned))
    layout = _layout(name, net, last_map)
    prefix = int(getattr(net, "num_prefix_tokens", 0)) if layout == "tokens" else 0
    return Plan(stages, timm_tail, tail, layout=layout, prefix_tokens=prefix)


def _trace(name: str, net: nn.Module, image_size: int) -> tuple[list[str], tuple[str, ...], Tensor]:
    """Modules with parameters in the order they first run, the children that run after the last map, and that map."""
    ran: list[str] = []
    hooks = [
        module.register_forward_pre_hook(lambda _module, _inputs, path=path: ran.append(path))
        for path, module in net.named_modules()
        if path
    ]
    net.eval()
    try:
        with torch.no_grad():
            last_map = net.forward_features(torch.zeros(1, 3, image_size, image_size, device="meta"))  # type: ignore[operator]
            seen = len(ran)
            if isinstance(last_map, Tensor):
                net.forward_head(last_map, pre_logits=True)  # type: ignore[operator]
    except (RuntimeError, ValueError, AssertionError, AttributeError, NotImplementedError, TypeError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ConfigError(f"{name}: cannot be run at image_size={image_size}: {reason}") from error
    finally:
        for hook in hooks:
            hook.remove()
    if not isinstance(last_map, Tensor):
        raise ConfigError(f"{name}: gives several maps at once, which no head here can read; use another backbone")
    body = {path.partition(".")[0] for path in ran[:seen]}
    tail = dict.fromkeys(path.partition(".")[0] for path in ran[seen:])
    own = {
        path for path, module in net.named_modules() if next(iter(module.parameters(recurse=False)), None) is not None
    }
    return (
        [path for path in dict.fromkeys(ran[:seen]) if path in own],
        tuple(t for t in tail if t not in body),
        last_map,
    )


def _groups(name: str, net: nn.Module, tail: tuple[str, ...]) -> list[list[str]]:
    """Names of parameters and buffers in timm's coarse groups, put together into `MOST_STAGES` at most."""
    named = [*net.named_parameters(), *net.named_buffers()]
    body = [(path, value) for path, value in named if path.partition(".")[0] not in tail]
    try:
        grouped = group_with_matcher(iter(body), net.group_matcher(coarse=True))  # type: ignore[operator]
    except (AssertionError, NotImplementedError) as error:
        raise ConfigError(f"{name}: timm groups its layers in no coarse way ({error}); use another backbone") from error
    groups = [list(names) for _, names in sorted(grouped.items())]
    if len(groups) <= MOST_STAGES:
        return groups
    indices = [str(index) for index in range(1, len(groups))]
    merged = [[path for i in part for path in groups[int(i)]] for part in even_groups(indices, BLOCK_GROUPS)]
    return [groups[0], *merged]


def _check_order(name: str, order: list[str], stage_of: dict[str, int]) -> None:
    reached, before = 0, ""
    for path in order:
        stages = [stage for parameter, stage in stage_of.items() if parameter.rpartition(".")[0] == path]
        if stages and min(stages) < reached:
            raise ConfigError(
                f"{name}: its layers do not run in the order of timm's groups ({path!r} after {before!r}), "
                "so it has no freeze depth; use another backbone"
            )
        reached, before = max([reached, *stages]), path


def _owned(net: nn.Module, stage_of: dict[str, int], count: int) -> list[list[str]]:
    """For each stage the largest modules that lie wholly in it, and loose parameters."""
    owned: list[list[str]] = [[] for _ in range(count)]

    def visit(prefix: str, module: nn.Module) -> None:
        stages = {stage for name, stage in stage_of.items() if name.startswith(f"{prefix}.")} if prefix else {-1, -2}
        if len(stages) == 1:
            owned[stages.pop()].append(prefix)
        elif stages:
            start = f"{prefix}." if prefix else ""
            loose = [*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)]
            for name, _ in loose:
                owned[stage_of[start + name]].append(start + name)
            for name, child in module.named_children():
                visit(start + name, child)

    visit("", net)
    return owned


def _name(index: int, modules: list[str], learns: set[str]) -> str:
    """`embed`, `stages.1`, or `blocks.0-2` after the first and the last module with parameters."""
    if index == 0:
        return "embed"
    named = [path for path in modules if any(name == path or name.startswith(f"{path}.") for name in learns)]
    first, last = named[0], named[-1]
    head, _, number = last.rpartition(".")
    return first if len(named) == 1 else f"{first}-{number if first.startswith(f'{head}.') else last}"


def _layout(name: str, net: nn.Module, last_map: Tensor) -> Layout:
    channels = int(getattr(net, "num_features", 0))
    shape = tuple(last_map.shape)
    if len(shape) == 3 and shape[2] == channels:
        return "tokens"
    if len(shape) == 4 and channels in (shape[1], shape[3]):
        return "map" if shape[1] == channels else "map_channels_last"
    raise ConfigError(f"{name}: its last map has the shape {shape}, which no head here can read; use another backbone")
