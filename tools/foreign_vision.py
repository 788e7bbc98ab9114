"""The small networks of kimm and keras-hub that `tools/zoo.py --foreign` cuts, by name.

A name is the class of the package, and what distinguishes two networks of one class.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Any

import foreign_backbones as small
from foreign_backbones import Build, hub, inner


@dataclass(frozen=True)
class Foreign:
    """A network of another package.

    Attributes:
        package: "kimm" or "keras-hub".
        build: makes it.
        attention: whether it contains attention, or another product between tensors that mixes channels.
        open_size: for sizes of its inputs that it leaves open, as the number of words; None: several are tried.
    """

    package: str
    build: Build
    attention: bool = False
    open_size: int | None = None


# -- kimm: the smallest of each family

_KIMM = {  # VGG's classifier is a convolution over 7x7 of 224/32 places
    "ConvMixer736D32": 64, "ConvNeXtAtto": 64, "DenseNet121": 64, "EfficientNetB0": 64, "EfficientNetLiteB0": 64,
    "EfficientNetV2B0": 64, "TinyNetE": 64, "GhostNetW050": 64, "GhostNetV2W100": 64, "GhostNetV3W050": 64,
    "HGNetTiny": 64, "HGNetV2B0": 64, "InceptionNeXtTiny": 64, "InceptionV3": 96, "LCNet035": 64,
    "MobileNetV2W050": 64, "MobileNetV3W050Small": 64, "MobileNetV3W100SmallMinimal": 64, "MobileOneS0": 64,
    "MobileOneS1": 64, "MobileViTXXS": 64, "MobileViTV2W050": 64, "RegNetX002": 64, "RegNetY002": 64, "RepVGGA0": 64,
    "ResNet18": 64, "ResNet50": 64, "VGG11": 224, "VisionTransformerTiny16": 64, "Xception": 96,
}  # fmt: skip
_KIMM_ATTENTION = {"MobileViTXXS", "MobileViTV2W050", "VisionTransformerTiny16"}


def _kimm(name: str, side: int) -> Build:
    def build() -> Any:
        models = importlib.import_module("kimm").models
        return getattr(models, name)(
            input_shape=(side, side, 3), weights=None, classes=10, classifier_activation="linear"
        )

    return build


# -- keras-hub: tasks


def headed(backbone: Build) -> Build:
    """A backbone as it is used, with pooling and a Dense layer behind each map: no cut may change what it returns."""

    def build() -> Any:
        import keras

        body = backbone()
        maps = keras.tree.flatten(body(body.input))
        return keras.Model(body.input, [keras.layers.Dense(10)(keras.layers.GlobalAveragePooling2D()(x)) for x in maps])

    return build


def classifier(name: str, backbone: Build, **config: Any) -> Build:
    return lambda: hub(name, backbone=backbone(), num_classes=10, preprocessor=None, **config)


def _retinanet_detector() -> Any:
    anchors = hub(
        "AnchorGenerator", bounding_box_format="xyxy", min_level=3, max_level=6, num_scales=3,
        aspect_ratios=[0.5, 1.0, 2.0], anchor_size=4.0,
    )  # fmt: skip
    encoder = inner(
        "retinanet.retinanet_label_encoder", "RetinaNetLabelEncoder", anchor_generator=anchors,
        bounding_box_format="xyxy",
    )  # fmt: skip
    return hub(
        "RetinaNetObjectDetector", backbone=small.retinanet(), num_classes=4, preprocessor=None,
        anchor_generator=anchors, label_encoder=encoder, bounding_box_format="xyxy",
    )  # fmt: skip


_CONVOLUTIONAL: dict[str, Build] = {
    "ResNetBackbone": small.resnet,
    "ResNetBackbone, pre-activation": lambda: small.resnet(block_type="bottleneck_block", use_pre_activation=True),
    "ResNetBackbone, vd": small.resnet_vd,
    "CSPNetBackbone, dark": small.cspnet("dark_block", "csp"),
    "CSPNetBackbone, edge": small.cspnet("edge_block", "cs3", activation="silu"),
    "CSPNetBackbone, bottleneck": small.cspnet("bottleneck_block", "dark", cross_linear=True),
    "DenseNetBackbone": small.densenet,
    "EfficientNetBackbone": small.efficientnet,
    "EfficientNetBackbone, cba": lambda: small.efficientnet(stackwise_block_types=["cba", "fused", "unfused"]),
    "MobileNetBackbone": small.mobilenet,
    "MobileNetV5Backbone": small.mobilenetv5,
    "HGNetV2Backbone": small.hgnet,
    "VGGBackbone": small.vgg,
    "XceptionBackbone": small.xception,
    "DeepLabV3Backbone": small.deeplab,
    "RetinaNetBackbone": small.retinanet,
    "BASNetBackbone": small.basnet,
    "CSPNetImageClassifier": classifier("CSPNetImageClassifier", small.cspnet("dark_block", "csp")),
    "DenseNetImageClassifier": classifier("DenseNetImageClassifier", small.densenet),
    "EfficientNetImageClassifier": classifier("EfficientNetImageClassifier", small.efficientnet),
    "HGNetV2ImageClassifier": classifier("HGNetV2ImageClassifier", small.hgnet, head_filters=64),
    "MobileNetImageClassifier": classifier("MobileNetImageClassifier", small.mobilenet),
    "MobileNetV5ImageClassifier": classifier("MobileNetV5ImageClassifier", small.mobilenetv5),
    "ResNetImageClassifier": classifier("ResNetImageClassifier", small.resnet),
    "VGGImageClassifier": classifier("VGGImageClassifier", small.vgg),
    "XceptionImageClassifier": classifier("XceptionImageClassifier", small.xception),
    "BASNetImageSegmenter": lambda: hub("BASNetImageSegmenter", backbone=small.basnet(), preprocessor=None),
    "DeepLabV3ImageSegmenter": classifier("DeepLabV3ImageSegmenter", small.deeplab),
    "RetinaNetObjectDetector": _retinanet_detector,
}
_ATTENTIVE: dict[str, Build] = {
    "DeiTBackbone": small.deit,
    "ViTBackbone": small.vit,
    "DINOV2Backbone": small.dinov2,
    "DINOV2Backbone, gated": lambda: small.dinov2(use_swiglu_ffn=True, num_register_tokens=2),
    "DINOV3Backbone": small.dinov3,
    "SwinTransformerBackbone": small.swin,
    "MiTBackbone": small.mit,
    "SegFormerBackbone": small.segformer,
    "ViTDetBackbone": small.vit_det,
    "DepthAnythingBackbone": small.depth_anything,
    "DFineBackbone": small.dfine,
    "MobileNetV5Backbone, attention": small.mobilenetv5_attention,
    "VAEBackbone": small.vae,
    "SAMBackbone": small.sam,
    "SAM3PromptableConceptBackbone": small.sam3,
    "VideoPrismBackbone": small.video_prism,
    "DeiTImageClassifier": classifier("DeiTImageClassifier", small.deit),
    "MiTImageClassifier": classifier("MiTImageClassifier", small.mit),
    "SwinTransformerImageClassifier": classifier("SwinTransformerImageClassifier", small.swin),
    "ViTImageClassifier": classifier("ViTImageClassifier", small.vit),
    "SegFormerImageSegmenter": classifier("SegFormerImageSegmenter", small.segformer),
    "SAMImageSegmenter": lambda: hub("SAMImageSegmenter", backbone=small.sam(), preprocessor=None),
    "SAM3PromptableConceptImageSegmenter": lambda: hub(
        "SAM3PromptableConceptImageSegmenter", backbone=small.sam3(), preprocessor=None
    ),
    "DFineObjectDetector": lambda: hub("DFineObjectDetector", backbone=small.dfine(), num_classes=4, preprocessor=None),
    "DepthAnythingDepthEstimator": lambda: hub(
        "DepthAnythingDepthEstimator",
        backbone=small.depth_anything(),
        depth_estimation_type="relative",
        preprocessor=None,
    ),
}

VISION: dict[str, Foreign] = {
    **{name: Foreign("kimm", _kimm(name, side), name in _KIMM_ATTENTION) for name, side in _KIMM.items()},
    **{
        name: Foreign("keras-hub", headed(build) if "Backbone" in name and "BASNet" not in name else build)
        for name, build in _CONVOLUTIONAL.items()
    },
    **{
        name: Foreign("keras-hub", build, attention=True, open_size=4 if name.startswith("SAM") else None)
        for name, build in _ATTENTIVE.items()
    },
}
