"""Small backbones of keras-hub that see images: how each is built, with random weights and no download.

Sizes are as small as the class allows while every kind of block in it occurs.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

Build = Callable[[], Any]


def hub(name: str, **config: Any) -> Any:
    """An object of keras_hub.models, or of keras_hub.layers where there is none of that name."""
    models, layers = (importlib.import_module(f"keras_hub.{part}") for part in ("models", "layers"))
    return getattr(models if hasattr(models, name) else layers, name)(**config)


def inner(module: str, name: str, **config: Any) -> Any:
    """An object that keras-hub does not export."""
    return getattr(importlib.import_module(f"keras_hub.src.models.{module}"), name)(**config)


# -- made of convolutions

IMAGE = (64, 64, 3)


def resnet(shape: Any = IMAGE, **changes: Any) -> Any:
    config = {
        "input_conv_filters": [64],
        "input_conv_kernel_sizes": [7],
        "stackwise_num_filters": [64, 24, 32, 48],  # the first must be 64
        "stackwise_num_blocks": [2, 2, 2, 2],
        "stackwise_num_strides": [1, 2, 2, 2],
        "block_type": "basic_block",
        "image_shape": shape,
    }
    return hub("ResNetBackbone", **{**config, **changes})


def resnet_vd() -> Any:
    return resnet(
        input_conv_filters=[8, 8, 16], input_conv_kernel_sizes=[3, 3, 3], stackwise_num_filters=[64, 16, 24, 24],
        block_type="bottleneck_block_vd",
    )  # fmt: skip


def cspnet(kind: str, stage: str | None = None, **changes: Any) -> Build:
    config = {
        "stem_filters": 16, "stem_kernel_size": 3, "stem_strides": 2, "stackwise_depth": [1, 2, 2],
        "stackwise_strides": [1, 2, 2], "stackwise_num_filters": [16, 32, 48], "block_type": kind,
        "stage_type": stage, "image_shape": IMAGE, "stem_padding": "same",
    }  # fmt: skip
    if kind != "bottleneck_block":
        config |= {"bottle_ratio": (0.5, 1.0, 1.0), "block_ratio": (1.0, 0.5, 0.5), "expand_ratio": (2.0, 1.0, 1.0)}
        config |= {"down_growth": True}
    return lambda: hub("CSPNetBackbone", **{**config, **changes})


def densenet() -> Any:
    return hub("DenseNetBackbone", stackwise_num_repeats=[3, 4, 3], growth_rate=12, image_shape=IMAGE)


def efficientnet(**changes: Any) -> Any:
    config = {
        "stackwise_kernel_sizes": [3, 3, 5], "stackwise_num_repeats": [2, 2, 2],
        "stackwise_input_filters": [16, 16, 24], "stackwise_output_filters": [16, 24, 40],
        "stackwise_expansion_ratios": [1, 4, 6], "stackwise_squeeze_and_excite_ratios": [0.0, 0.25, 0.25],
        "stackwise_strides": [1, 2, 2], "stackwise_block_types": ["fused", "unfused", "unfused"],
        "width_coefficient": 1.0, "depth_coefficient": 1.0, "input_shape": IMAGE, "num_features": 96,
    }  # fmt: skip
    return hub("EfficientNetBackbone", **{**config, **changes})


def mobilenet(**changes: Any) -> Any:
    config = {
        "stackwise_expansion": [[40, 56], [64, 96]], "stackwise_num_blocks": [2, 2],
        "stackwise_num_filters": [[16, 16], [24, 24]], "stackwise_kernel_size": [[3, 3], [5, 5]],
        "stackwise_num_strides": [[2, 1], [2, 1]], "stackwise_se_ratio": [[None, None], [0.25, 0.25]],
        "stackwise_activation": [["relu", "relu"], ["hard_swish", "hard_swish"]],
        "stackwise_padding": [[1, 1], [2, 2]], "output_num_filters": 96, "depthwise_filters": 16,
        "depthwise_stride": 1, "depthwise_residual": True, "last_layer_filter": 128, "squeeze_and_excite": 0.5,
        "input_num_filters": 16, "image_shape": IMAGE,
    }  # fmt: skip
    return hub("MobileNetBackbone", **{**config, **changes})


def _mobilenetv5(blocks: list[list[str]], **changes: Any) -> Any:
    def each(*values: Any) -> list[list[Any]]:
        return [[value] * len(stage) for value, stage in zip(values, blocks, strict=True)]

    config = {
        "stackwise_block_types": blocks, "stackwise_num_blocks": [len(stage) for stage in blocks],
        "stackwise_num_filters": each(16, 24, 32), "stackwise_strides": [[2, *[1] * (len(s) - 1)] for s in blocks],
        "stackwise_act_layers": each("relu", "relu", "relu"), "stackwise_exp_ratios": each(4.0, 4.0, 3.0),
        "stackwise_se_ratios": each(0.0, 0.0, 0.0),  # others cannot be built in keras-hub 0.32
        "stackwise_dw_kernel_sizes": each(0, 5, 5),
        "stackwise_dw_start_kernel_sizes": each(0, 3, 0), "stackwise_dw_end_kernel_sizes": each(0, 0, 0),
        "stackwise_exp_kernel_sizes": each(3, 0, 0), "stackwise_pw_kernel_sizes": each(1, 0, 0),
        "stackwise_num_heads": each(0, 0, 2), "stackwise_key_dims": each(0, 0, 8),
        "stackwise_value_dims": each(0, 0, 8), "stackwise_kv_strides": each(0, 0, 1),
        "stackwise_use_cpe": each(False, False, False), "use_msfa": False, "num_features": 48, "image_shape": IMAGE,
    }  # fmt: skip
    return hub("MobileNetV5Backbone", **{**config, **changes})


def mobilenetv5() -> Any:
    return _mobilenetv5([["er", "er"], ["uir", "uir"], ["uir", "uir"]])


def mobilenetv5_attention() -> Any:
    return _mobilenetv5(
        [["er", "er"], ["uir", "uir"], ["mqa", "uir"]], use_msfa=True, msfa_output_resolution=4
    )  # fmt: skip


def hgnet(**changes: Any) -> Any:
    config = {
        "depths": [1, 2, 1], "embedding_size": 16, "hidden_sizes": [32, 48, 64], "stem_channels": [3, 12, 16],
        "hidden_act": "relu", "use_learnable_affine_block": True,
        "stackwise_stage_filters": [(16, 12, 32, 1, 3, 3), (32, 16, 48, 2, 3, 3), (48, 24, 64, 1, 3, 5)],
        "apply_downsample": [False, True, True], "use_lightweight_conv_block": [False, False, True],
        "image_shape": IMAGE,
    }  # fmt: skip
    return hub("HGNetV2Backbone", **{**config, **changes})


def vgg() -> Any:
    return hub("VGGBackbone", stackwise_num_repeats=[1, 2, 2], stackwise_num_filters=[16, 24, 32], image_shape=IMAGE)


def xception() -> Any:
    return hub(
        "XceptionBackbone", stackwise_conv_filters=[[16, 24], [24, 32], [48, 48]],
        stackwise_pooling=[True, True, False], image_shape=IMAGE,
    )  # fmt: skip


def deeplab(low_level: str | None = "P2") -> Any:
    return hub(
        "DeepLabV3Backbone", image_encoder=resnet(), low_level_feature_key=low_level, spatial_pyramid_pooling_key="P4",
        upsampling_size=4, dilation_rates=[2, 4, 6], projection_filters=12, image_shape=IMAGE,
    )  # fmt: skip


def retinanet(**changes: Any) -> Any:
    config = {
        "image_encoder": resnet(), "min_level": 3, "max_level": 6, "use_p5": False, "use_fpn_batch_norm": True,
        "image_shape": IMAGE,
    }  # fmt: skip
    return hub("RetinaNetBackbone", **{**config, **changes})


def basnet() -> Any:
    return hub(
        "BASNetBackbone", image_encoder=resnet(shape=(None, None, 3)), num_classes=1, image_shape=(32, 32, 3),
        projection_filters=64,
    )  # fmt: skip


def vae() -> Any:
    return inner(
        "vae.vae_backbone", "VAEBackbone", encoder_num_filters=[32, 32, 32, 32], encoder_num_blocks=[1, 1, 1, 1],
        decoder_num_filters=[32, 32, 32, 32], decoder_num_blocks=[1, 1, 1, 1], sampler_method="mode",
    )  # fmt: skip


# -- with attention

_VIT = {"num_layers": 2, "num_heads": 2, "hidden_dim": 16, "intermediate_dim": 32}


def deit() -> Any:
    return hub("DeiTBackbone", image_shape=IMAGE, patch_size=16, **_VIT)


def vit() -> Any:
    return hub(
        "ViTBackbone", image_shape=IMAGE, patch_size=16, num_layers=2, num_heads=2, hidden_dim=16, mlp_dim=32
    )  # fmt: skip


def dinov2(**changes: Any) -> Any:
    config = {"patch_size": 16, "image_shape": IMAGE, "position_embedding_shape": IMAGE, **_VIT}
    return hub("DINOV2Backbone", **{**config, **changes})


def dinov3() -> Any:
    return hub("DINOV3Backbone", patch_size=16, image_shape=IMAGE, **_VIT)


def swin() -> Any:
    return hub(
        "SwinTransformerBackbone", image_shape=IMAGE, embed_dim=16, depths=[2, 2], num_heads=[2, 4], window_size=4
    )  # fmt: skip


def mit() -> Any:
    return hub(
        "MiTBackbone", image_shape=IMAGE, num_layers=2, hidden_dims=[16, 24], layerwise_depths=[2, 2],
        layerwise_num_heads=[1, 2], layerwise_sr_ratios=[4, 1], layerwise_patch_sizes=[7, 3],
        layerwise_strides=[4, 2], max_drop_path_rate=0.1,
    )  # fmt: skip


def segformer() -> Any:
    return hub("SegFormerBackbone", image_encoder=mit(), projection_filters=16)


def vit_det() -> Any:
    return hub(
        "ViTDetBackbone", image_shape=IMAGE, patch_size=16, hidden_size=16, num_layers=2, intermediate_dim=32,
        num_heads=2, global_attention_layer_indices=[1], num_output_channels=8, window_size=2,
    )  # fmt: skip


def depth_anything() -> Any:
    return hub(
        "DepthAnythingBackbone", image_encoder=dinov2(num_layers=4, patch_size=8), reassemble_factors=[4, 2, 1, 0.5],
        neck_hidden_dims=[8, 12, 16, 16], fusion_hidden_dim=12, head_hidden_dim=8, head_in_index=-1,
        feature_keys=["stage1", "stage2", "stage3", "stage4"],
    )  # fmt: skip


def dfine() -> Any:
    encoder = hgnet(
        depths=[1, 1, 1, 1], hidden_sizes=[32, 48, 64, 96], out_features=["stage3", "stage4"],
        stackwise_stage_filters=[
            (16, 12, 32, 1, 3, 3), (32, 16, 48, 1, 3, 3), (48, 24, 64, 1, 3, 5), (64, 24, 96, 1, 3, 5),
        ],
        apply_downsample=[False, True, True, True], use_lightweight_conv_block=[False, False, True, True],
    )  # fmt: skip
    return hub(
        "DFineBackbone", backbone=encoder, decoder_in_channels=[16, 16], encoder_hidden_dim=16, num_denoising=0,
        num_labels=4, hidden_dim=16, learn_initial_query=False, num_queries=10, anchor_image_size=(64, 64),
        feat_strides=[16, 32], num_feature_levels=2, encoder_in_channels=[64, 96], encode_proj_layers=[1],
        num_attention_heads=2, encoder_ffn_dim=32, num_encoder_layers=1, hidden_expansion=0.5, depth_multiplier=0.5,
        eval_idx=-1, num_decoder_layers=2, decoder_attention_heads=2, decoder_ffn_dim=32, decoder_n_points=[2, 2],
        lqe_hidden_dim=8, num_lqe_layers=2, out_features=["stage3", "stage4"], image_shape=IMAGE, seed=0,
    )  # fmt: skip


def sam() -> Any:
    return hub(
        "SAMBackbone",
        image_encoder=vit_det(),
        prompt_encoder=hub(
            "SAMPromptEncoder", hidden_size=8, image_embedding_size=(4, 4), input_image_size=(64, 64),
            mask_in_channels=8,
        ),
        mask_decoder=hub(
            "SAMMaskDecoder", num_layers=2, hidden_size=8, intermediate_dim=16, num_heads=2, embedding_dim=8,
            num_multimask_outputs=3, iou_head_depth=3, iou_head_hidden_dim=8,
        ),
    )  # fmt: skip


def sam3() -> Any:
    common = {"hidden_dim": 16, "intermediate_dim": 32, "num_heads": 2}
    return hub(
        "SAM3PromptableConceptBackbone",
        vision_encoder=hub(
            "SAM3VisionEncoder", image_shape=(56, 56, 3), patch_size=14, num_layers=2, fpn_hidden_dim=16,
            fpn_scale_factors=[4.0, 2.0, 1.0, 0.5], pretrain_image_shape=(28, 28, 3), window_size=2,
            global_attn_indexes=[1], **common,
        ),
        text_encoder=hub("SAM3TextEncoder", vocabulary_size=32, embedding_dim=16, num_layers=2, **common),
        geometry_encoder=hub("SAM3GeometryEncoder", num_layers=1, roi_size=3, **common),
        detr_encoder=hub("SAM3DetrEncoder", num_layers=1, **common),
        detr_decoder=hub(
            "SAM3DetrDecoder", image_shape=(56, 56, 3), patch_size=14, num_layers=1, num_queries=5, **common
        ),
        mask_decoder=hub("SAM3MaskDecoder", num_upsampling_stages=3, hidden_dim=16, num_heads=2),
    )  # fmt: skip


def video_prism() -> Any:
    return hub(
        "VideoPrismBackbone", num_frames=2, patch_size=16, hidden_dim=16, intermediate_dim=32, num_heads=2,
        num_spatial_layers=2, num_temporal_layers=1, num_auxiliary_layers=0, image_shape=(32, 32, 3),
    )  # fmt: skip
