"""What KerasHub's own files do not say about its presets, with the sources; read by make_table.py."""

from autotl_kerashub.families import MEDSIGLIP_LICENCE

IMAGE_SIZES = {
    # pretrained_cfg["input_size"] of the timm checkpoints: timm/models/{efficientnet,cspnet}.py
    "efficientnet_b1_ra4_e3600_r240_imagenet": 240,
    "efficientnet_b2_ra_imagenet": 256,
    "efficientnet_b3_ra2_imagenet": 288,
    "efficientnet_b4_ra2_imagenet": 320,
    "efficientnet_b5_sw_imagenet": 416,
    "efficientnet_b5_sw_ft_imagenet": 448,
    "efficientnet_em_ra2_imagenet": 240,
    "efficientnet_el_ra_imagenet": 300,
    "efficientnet2_rw_s_ra2_imagenet": 288,
    "efficientnet2_rw_m_agc_imagenet": 320,
    "csp_darknet_53_ra_imagenet": 256,
    "csp_resnext_50_ra_imagenet": 256,
    "csp_resnet_50_ra_imagenet": 256,
    "darknet_53_imagenet": 256,
    "xception_41_imagenet": 299,  # keras.applications
}
NORMALISATIONS = {
    # mean and std of the timm checkpoints: timm/models/{efficientnet,mobilenetv3,resnetv2}.py
    "efficientnet_b0_ra4_e3600_r224_imagenet": "half",
    "efficientnet_b1_ra4_e3600_r240_imagenet": "half",
    "mobilenet_v3_large_100_imagenet_21k": "unit",
    "resnet_v2_50_imagenet": "half",
    "resnet_v2_101_imagenet": "half",
    # README of facebookresearch/dinov3
    "dinov3_vit_large_sat493m": "satellite",
    "dinov3_vit_7b_sat493m": "satellite",
}
LICENCES = {
    "medsiglip_900m_448": MEDSIGLIP_LICENCE,
    "mobilenet_v3_large_100_imagenet_21k": "MIT",  # https://github.com/Alibaba-MIIL/ImageNet21K
}
DATASETS = {  # the first pattern that a preset's name contains
    "imagenet21k": "ImageNet-21k",
    "imagenet_21k": "ImageNet-21k",
    "in22k_in1k": "ImageNet-22k, then ImageNet-1k",
    "b5_sw_ft": "ImageNet-12k, then ImageNet-1k",
    "b5_sw_imagenet": "ImageNet-12k",
    "sat493m": "SAT-493M",
    "medsiglip": "WebLI and medical images",
    "ade20k": "ImageNet-1k, then ADE20K",
    "cityscapes": "ImageNet-1k, then Cityscapes",
}
REFERENCES = {
    "siglip2": "https://arxiv.org/abs/2502.14786",
    "medsiglip": "https://arxiv.org/abs/2507.05201",
    "resnet_v2": "https://arxiv.org/abs/1603.05027",
    "resnet_vd": "https://arxiv.org/abs/1812.01187",
    "efficientnet2": "https://arxiv.org/abs/2104.00298",
    "darknet_53_imagenet": "https://arxiv.org/abs/1804.02767",
    "dinov2_with_registers": "https://arxiv.org/abs/2309.16588",
}
COUNTS = {  # what the published numbers of a family may count
    "siglip": ("towers",),
    "dinov3": ("rounded",),
    "efficientnet": ("timm",),
    "cspnet": ("timm",),
    "mit": ("classifier",),
    "resnet": ("backbone", "classifier"),
}
TEXT = {  # SigLIP's text encoders: width, layers, heads, hidden (https://arxiv.org/abs/2303.15343)
    "base": (768, 12, 12, 3072),
    "large": (1024, 24, 16, 4096),
    "so400m": (1152, 27, 16, 4304),
    "giant_opt": (1152, 27, 16, 4304),
}
