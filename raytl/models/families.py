"""The stages of the families that are known by name, each written as the forward pass of its class runs.

A stage ends where the resolution falls, as in the papers' own tables; transformers, whose blocks are alike, are cut
into an embedding and four groups of blocks, so that the price list of a ViT is as long as that of a ResNet.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from raytl.models.plan import Plan, Stage, Tap, even_groups, run_step

BLOCK_GROUPS = 4  # chosen: a ViT then has five stages, like a ResNet


def timm_tail(net: nn.Module, x: Tensor) -> Tensor:
    """Every timm model's own way from its last map to the vector in front of its classifier."""
    result = net.forward_head(x, pre_logits=True)  # type: ignore[operator]
    assert isinstance(result, Tensor)
    return result.flatten(1)


def mean_tail(net: nn.Module, x: Tensor) -> Tensor:
    """Global average over the map, for torchvision models that do nothing else before their classifier."""
    return x.mean((2, 3))


def classifier_tail(net: nn.Module, x: Tensor) -> Tensor:
    """Global average, then torchvision's `classifier`, whose last layer has been taken out."""
    return run_step(net, "classifier", x.mean((2, 3)))


def alexnet_tail(net: nn.Module, x: Tensor) -> Tensor:
    """AlexNet's 6x6 average, then its two wide layers."""
    return run_step(net, "classifier", run_step(net, "avgpool", x).flatten(1))


def _stage(name: str, *steps: str, also: tuple[str, ...] = ()) -> Stage:
    return Stage(name, (*steps, *also), tuple(steps))


def _children(net: nn.Module, path: str) -> list[str]:
    return [f"{path}.{name}" for name, _ in net.get_submodule(path).named_children()]


def _resnet(net: nn.Module) -> Plan:
    stem = _stage("stem", "conv1", "bn1", "act1", "maxpool")
    return Plan((stem, *(_stage(f"layer{i}", f"layer{i}") for i in range(1, 5))), timm_tail)


def _efficientnet(net: nn.Module) -> Plan:
    blocks = _children(net, "blocks")
    middle = [_stage(name, name) for name in blocks[:-1]]
    last = _stage(blocks[-1], blocks[-1], "conv_head", "bn2")
    return Plan((_stage("stem", "conv_stem", "bn1"), *middle, last), timm_tail)


def _mobilenetv3(net: nn.Module) -> Plan:
    blocks = [_stage(name, name) for name in _children(net, "blocks")]
    tail = ("conv_head", "norm_head", "act2")
    return Plan((_stage("stem", "conv_stem", "bn1"), *blocks), timm_tail, tail_modules=tail)


def _embed(net: nn.Module, x: Tensor) -> Tensor:
    result = net._pos_embed(x)  # type: ignore[operator]  # timm's name for adding tokens and positions
    assert isinstance(result, Tensor)
    return result


def _vision_transformer(net: nn.Module) -> Plan:
    loose = ("cls_token", "dist_token", "reg_token", "pos_embed", "pos_drop")
    modules = ("patch_embed", "patch_drop", "norm_pre")
    embed = Stage("embed", (*loose, *modules), ("patch_embed", _embed, "patch_drop", "norm_pre"))
    groups = even_groups(_children(net, "blocks"), BLOCK_GROUPS)
    middle = [_stage(_span(group), *group) for group in groups[:-1]]
    last = _stage(_span(groups[-1]), *groups[-1], "norm")
    tail = ("attn_pool", "fc_norm")
    prefix = int(net.num_prefix_tokens)  # type: ignore[arg-type]
    return Plan((embed, *middle, last), timm_tail, tail, layout="tokens", prefix_tokens=prefix)


def _span(names: list[str]) -> str:
    """`blocks.0-2` for `blocks.0`, `blocks.1`, `blocks.2`."""
    first, last = names[0], names[-1].rpartition(".")[2]
    return first if len(names) == 1 else f"{first}-{last}"


def _convnext(net: nn.Module) -> Plan:
    names = _children(net, "stages")
    middle = [_stage(name, name) for name in names[:-1]]
    return Plan(
        (_stage("stem", "stem"), *middle, _stage(names[-1], names[-1], "norm_pre")), timm_tail, tail_modules=("head",)
    )


def _swin(net: nn.Module) -> Plan:
    names = _children(net, "layers")
    middle = [_stage(name, name) for name in names[:-1]]
    stem = _stage("embed", "patch_embed", also=("absolute_pos_embed",))
    last = _stage(names[-1], names[-1], "norm")
    return Plan((stem, *middle, last), timm_tail, layout="map_channels_last")


def _vgg(net: nn.Module) -> Plan:
    stages = _cut_sequential(net, "features")
    return Plan(tuple(stages), timm_tail, wide=Stage("wide", ("pre_logits",)))


def _densenet(net: nn.Module) -> Plan:
    names = _children(net, "features")
    first = next(i for i, name in enumerate(names) if name.startswith("features.denseblock"))
    stages = [_stage("stem", *names[:first])]
    group: list[str] = []
    for name in names[first:]:
        if name.startswith("features.denseblock") and group:
            stages.append(_stage(group[0].removeprefix("features."), *group))
            group = []
        group.append(name)
    return Plan((*stages, _stage(group[0].removeprefix("features."), *group)), timm_tail)


def _regnet(net: nn.Module) -> Plan:
    middle = (_stage(f"s{i}", f"s{i}") for i in range(1, 4))
    return Plan((_stage("stem", "stem"), *middle, _stage("s4", "s4", "final_conv")), timm_tail)


def _inception_v3(net: nn.Module) -> Plan:
    stem = ("Conv2d_1a_3x3", "Conv2d_2a_3x3", "Conv2d_2b_3x3", "Pool1", "Conv2d_3b_1x1", "Conv2d_4a_3x3", "Pool2")
    mixed = (("5", "bcd"), ("6", "abcde"), ("7", "abc"))
    stages = (_stage(f"mixed{n}", *(f"Mixed_{n}{letter}" for letter in letters)) for n, letters in mixed)
    return Plan((_stage("stem", *stem), *stages), timm_tail, taps=(Tap("Mixed_6e", "AuxLogits", "fc"),))


def _googlenet(net: nn.Module) -> Plan:
    stages = (
        _stage("stem", "conv1", "maxpool1", "conv2", "conv3", "maxpool2"),
        _stage("inception3", "inception3a", "inception3b", "maxpool3"),
        _stage("inception4", *(f"inception4{letter}" for letter in "abcde"), "maxpool4"),
        _stage("inception5", "inception5a", "inception5b"),
    )
    return Plan(stages, mean_tail, taps=(Tap("inception4a", "aux1", "fc2"), Tap("inception4d", "aux2", "fc2")))


def _squeezenet(net: nn.Module) -> Plan:
    return Plan(tuple(_cut_sequential(net, "features")), mean_tail)


def _alexnet(net: nn.Module) -> Plan:
    return Plan(tuple(_cut_sequential(net, "features")), alexnet_tail, wide=Stage("wide", ("classifier",)))


def _torchvision_mobile(net: nn.Module) -> Plan:
    return Plan(tuple(_cut_sequential(net, "features")), classifier_tail, tail_modules=("classifier",))


def _mnasnet(net: nn.Module) -> Plan:
    return Plan(tuple(_cut_sequential(net, "layers")), mean_tail)


def _shufflenet(net: nn.Module) -> Plan:
    stages = (
        _stage("stem", "conv1", "maxpool"),
        _stage("stage2", "stage2"),
        _stage("stage3", "stage3"),
        _stage("stage4", "stage4", "conv5"),
    )
    return Plan(stages, mean_tail)


def _plain_cnn(net: nn.Module) -> Plan:
    return Plan(tuple(_stage(name, name) for name, _ in net.named_children()), mean_tail)


def _cut_sequential(net: nn.Module, path: str) -> list[Stage]:
    """A plain sequence of layers, cut where the resolution falls; what has no parameters closes a stage."""
    groups: list[list[str]] = [[]]
    for name in _children(net, path):
        module = net.get_submodule(name)
        opens = _shrinks(module) and any(True for _ in module.parameters())
        if opens and any(any(True for _ in net.get_submodule(n).parameters()) for n in groups[-1]):
            groups.append([])
        groups[-1].append(name)
        if _shrinks(module) and not opens:
            groups.append([])
    stages = [group for group in groups if any(any(True for _ in net.get_submodule(n).parameters()) for n in group)]
    leftover = [name for group in groups if group not in stages for name in group]
    stages[-1] = stages[-1] + leftover
    return [_stage(_span(group), *group) for group in stages]


def _shrinks(module: nn.Module) -> bool:
    kinds = (nn.Conv2d, nn.MaxPool2d, nn.AvgPool2d)
    strides = [part.stride for part in module.modules() if isinstance(part, kinds)]
    return any((stride if isinstance(stride, int) else stride[0]) > 1 for stride in strides)


FAMILIES: dict[tuple[str, str], Callable[[nn.Module], Plan]] = {
    ("timm", "ResNet"): _resnet,
    ("timm", "EfficientNet"): _efficientnet,
    ("timm", "MobileNetV3"): _mobilenetv3,
    ("timm", "VisionTransformer"): _vision_transformer,
    ("timm", "VisionTransformerDistilled"): _vision_transformer,
    ("timm", "ConvNeXt"): _convnext,
    ("timm", "SwinTransformer"): _swin,
    ("timm", "SwinTransformerV2"): _swin,
    ("timm", "VGG"): _vgg,
    ("timm", "DenseNet"): _densenet,
    ("timm", "RegNet"): _regnet,
    ("timm", "InceptionV3"): _inception_v3,
    ("torchvision", "GoogLeNet"): _googlenet,
    ("torchvision", "SqueezeNet"): _squeezenet,
    ("torchvision", "AlexNet"): _alexnet,
    ("torchvision", "MobileNetV2"): _torchvision_mobile,
    ("torchvision", "MobileNetV3"): _torchvision_mobile,
    ("torchvision", "EfficientNet"): _torchvision_mobile,
    ("torchvision", "MNASNet"): _mnasnet,
    ("torchvision", "ShuffleNetV2"): _shufflenet,
    ("raytl", "PlainCnn"): _plain_cnn,
}
"""(source, class name) -> how its stages are read off the model."""
