"""Every ImageNet network of `keras.applications`, as data: what it takes, its weights file, what is published about it.

Where the columns come from:

- files and digests: `keras/src/applications/*.py` of Keras 3.15 (a test compares each of them with what Keras itself
  asks for); MobileNet's and MobileNetV2's files have no published digest;
- parameters: counted on the networks without their classifier;
- ImageNet top-1: https://keras.io/api/applications/ (validation images, single crop), MobileNetV3's from the table in
  its Keras module;
- licences of the weights: the "License" notes that the Keras documentation had for each model
  (keras-team/keras, docs/templates/applications.md; keras-applications for ResNetV2). For EfficientNet, EfficientNetV2,
  MobileNetV3 and ConvNeXt there is no such note (tensorflow/models#13579 asks, without an answer). For these the
  licence is given as not stated, with the licence of the repository whose checkpoints were converted.
"""

from typing import NamedTuple

STORAGE = "https://storage.googleapis.com/tensorflow/keras-applications"
IMAGENET = "ImageNet-1k"
IMAGENET_21K = "ImageNet-21k, then ImageNet-1k"
UNSTATED_APACHE = "not stated (code Apache-2.0)"
UNSTATED_MIT = "not stated (code MIT)"


class Network(NamedTuple):
    """One network and its weights without the classifier."""

    name: str
    constructor: str
    """Name in `keras.applications`."""
    image_size: int
    parameters: int
    imagenet_top1: float
    """Percent."""
    remote_file: str
    """Where the weights lie below the family's `url`."""
    digest: str | None
    """MD5 or SHA-256 of the file, told apart by their length; `None` where Keras has none."""
    local_file: str | None = None
    """Name in Keras's cache, where that is another."""
    dataset: str = IMAGENET

    @property
    def file_name(self) -> str:
        return self.remote_file.rsplit("/", 1)[-1] if self.local_file is None else self.local_file

    @property
    def md5(self) -> str | None:
        return self.digest if self.digest is not None and len(self.digest) == 32 else None

    @property
    def sha256(self) -> str | None:
        return self.digest if self.digest is not None and len(self.digest) == 64 else None


class Family(NamedTuple):
    """What the networks of one paper share."""

    reference: str
    """The paper."""
    normalisation: str
    """One of `NORMALISATIONS` in `normalisation.py`."""
    min_image_size: int
    """The smallest that Keras accepts."""
    licence: str
    networks: tuple[Network, ...]
    url: str = STORAGE
    is_incomplete: bool = False
    """Whether Keras finishes the normalisation inside only when it loads the ImageNet weights by itself."""


# fmt: off
FAMILIES = (
    Family("https://arxiv.org/abs/1409.1556", "caffe", 32, "CC-BY-4.0", (
        Network("vgg16", "VGG16", 224, 14_714_688, 71.3,
                "vgg16/vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5", "6d6bbae143d832006294945121d1f1fc"),
        Network("vgg19", "VGG19", 224, 20_024_384, 71.3,
                "vgg19/vgg19_weights_tf_dim_ordering_tf_kernels_notop.h5", "253f8cb515780f3b799900260a226db6"),
    )),
    Family("https://arxiv.org/abs/1512.03385", "caffe", 32, "MIT", (
        Network("resnet50", "ResNet50", 224, 23_587_712, 74.9,
                "resnet/resnet50_weights_tf_dim_ordering_tf_kernels_notop.h5", "4d473c1dd8becc155b73f8504c6f6626"),
        Network("resnet101", "ResNet101", 224, 42_658_176, 76.4,
                "resnet/resnet101_weights_tf_dim_ordering_tf_kernels_notop.h5", "88cf7a10940856eca736dc7b7e228a21"),
        Network("resnet152", "ResNet152", 224, 58_370_944, 76.6,
                "resnet/resnet152_weights_tf_dim_ordering_tf_kernels_notop.h5", "ee4c566cf9a93f14d82f913c2dc6dd0c"),
    )),
    Family("https://arxiv.org/abs/1603.05027", "symmetric", 32, "BSD-3-Clause", (
        Network("resnet50-v2", "ResNet50V2", 224, 23_564_800, 76.0,
                "resnet/resnet50v2_weights_tf_dim_ordering_tf_kernels_notop.h5", "fac2f116257151a9d068a22e544a4917"),
        Network("resnet101-v2", "ResNet101V2", 224, 42_626_560, 77.2,
                "resnet/resnet101v2_weights_tf_dim_ordering_tf_kernels_notop.h5", "c0ed64b8031c3730f411d2eb4eea35b5"),
        Network("resnet152-v2", "ResNet152V2", 224, 58_331_648, 78.0,
                "resnet/resnet152v2_weights_tf_dim_ordering_tf_kernels_notop.h5", "ed17cf2e0169df9d443503ef94b23b33"),
    )),
    Family("https://arxiv.org/abs/1512.00567", "symmetric", 75, "Apache-2.0", (
        Network("inception-v3", "InceptionV3", 299, 21_802_784, 77.9,
                "inception_v3/inception_v3_weights_tf_dim_ordering_tf_kernels_notop.h5",
                "bcbd6486424b2319ff4ef7d526e38f63"),
    )),
    Family("https://arxiv.org/abs/1602.07261", "symmetric", 75, "Apache-2.0", (
        Network("inception-resnet-v2", "InceptionResNetV2", 299, 54_336_736, 80.3,
                "inception_resnet_v2/inception_resnet_v2_weights_tf_dim_ordering_tf_kernels_notop.h5",
                "d19885ff4a710c122648d3b5c3b684e4"),
    )),
    Family("https://arxiv.org/abs/1610.02357", "symmetric", 71, "MIT", (
        Network("xception", "Xception", 299, 20_861_480, 79.0,
                "xception/xception_weights_tf_dim_ordering_tf_kernels_notop.h5", "b0042744bf5b25fce3cb969f33bebb97"),
    )),
    Family("https://arxiv.org/abs/1704.04861", "symmetric", 32, "Apache-2.0", (
        Network("mobilenet", "MobileNet", 224, 3_228_864, 70.4, "mobilenet/mobilenet_1_0_224_tf_no_top.h5", None),
    )),
    Family("https://arxiv.org/abs/1801.04381", "symmetric", 32, "Apache-2.0", (
        Network("mobilenet-v2", "MobileNetV2", 224, 2_257_984, 71.3,
                "mobilenet_v2/mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_224_no_top.h5", None),
    )),
    Family("https://arxiv.org/abs/1905.02244", "inside", 32, UNSTATED_APACHE, (
        Network("mobilenet-v3-small", "MobileNetV3Small", 224, 939_120, 68.1,
                "mobilenet_v3/weights_mobilenet_v3_small_224_1.0_float_no_top_v2.h5",
                "d3e8ec802a04aa4fc771ee12a9a9b836"),
        Network("mobilenet-v3-large", "MobileNetV3Large", 224, 2_996_352, 75.6,
                "mobilenet_v3/weights_mobilenet_v3_large_224_1.0_float_no_top_v2.h5",
                "07fb09a5933dd0c8eaafa16978110389"),
    )),
    Family("https://arxiv.org/abs/1608.06993", "torch", 32, "BSD-3-Clause", (
        Network("densenet121", "DenseNet121", 224, 7_037_504, 75.0,
                "densenet/densenet121_weights_tf_dim_ordering_tf_kernels_notop.h5", "30ee3e1110167f948a6b9946edeeb738"),
        Network("densenet169", "DenseNet169", 224, 12_642_880, 76.2,
                "densenet/densenet169_weights_tf_dim_ordering_tf_kernels_notop.h5", "b8c4d4c20dd625c148057b9ff1c1176b"),
        Network("densenet201", "DenseNet201", 224, 18_321_984, 77.3,
                "densenet/densenet201_weights_tf_dim_ordering_tf_kernels_notop.h5", "c13680b51ded0fb44dff2d8f86ac8bb1"),
    )),
    Family("https://arxiv.org/abs/1707.07012", "symmetric", 32, "Apache-2.0", (
        Network("nasnet-mobile", "NASNetMobile", 224, 4_269_716, 74.4,
                "nasnet/NASNet-mobile-no-top.h5", "1ed92395b5b598bdda52abe5c0dbfd63", "nasnet_mobile_no_top.h5"),
        Network("nasnet-large", "NASNetLarge", 331, 84_916_818, 82.5,
                "nasnet/NASNet-large-no-top.h5", "d81d89dc07e6e56530c4e77faddd61b5", "nasnet_large_no_top.h5"),
    )),
    Family("https://arxiv.org/abs/1905.11946", "inside", 32, UNSTATED_APACHE, (
        Network("efficientnet-b0", "EfficientNetB0", 224, 4_049_571, 77.1,
                "efficientnetb0_notop.h5", "50bc09e76180e00e4465e1a485ddc09d"),
        Network("efficientnet-b1", "EfficientNetB1", 240, 6_575_239, 79.1,
                "efficientnetb1_notop.h5", "74c4e6b3e1f6a1eea24c589628592432"),
        Network("efficientnet-b2", "EfficientNetB2", 260, 7_768_569, 80.1,
                "efficientnetb2_notop.h5", "111f8e2ac8aa800a7a99e3239f7bfb39"),
        Network("efficientnet-b3", "EfficientNetB3", 300, 10_783_535, 81.6,
                "efficientnetb3_notop.h5", "af6d107764bb5b1abb91932881670226"),
        Network("efficientnet-b4", "EfficientNetB4", 380, 17_673_823, 82.9,
                "efficientnetb4_notop.h5", "ebc24e6d6c33eaebbd558eafbeedf1ba"),
        Network("efficientnet-b5", "EfficientNetB5", 456, 28_513_527, 83.6,
                "efficientnetb5_notop.h5", "38879255a25d3c92d5e44e04ae6cec6f"),
        Network("efficientnet-b6", "EfficientNetB6", 528, 40_960_143, 84.0,
                "efficientnetb6_notop.h5", "9ecce42647a20130c1f39a5d4cb75743"),
        Network("efficientnet-b7", "EfficientNetB7", 600, 64_097_687, 84.3,
                "efficientnetb7_notop.h5", "cbcfe4450ddf6f3ad90b1b398090fe4a"),
    ), "https://storage.googleapis.com/keras-applications", is_incomplete=True),
    Family("https://arxiv.org/abs/2104.00298", "inside", 32, UNSTATED_APACHE, (
        Network("efficientnet-v2-b0", "EfficientNetV2B0", 224, 5_919_312, 78.7,
                "efficientnet_v2/efficientnetv2-b0_notop.h5", "893217f2bb855e2983157299931e43ff"),
        Network("efficientnet-v2-b1", "EfficientNetV2B1", 240, 6_931_124, 79.8,
                "efficientnet_v2/efficientnetv2-b1_notop.h5", "0e80663031ca32d657f9caa404b6ec37"),
        Network("efficientnet-v2-b2", "EfficientNetV2B2", 260, 8_769_374, 80.5,
                "efficientnet_v2/efficientnetv2-b2_notop.h5", "1dfe2e7a5d45b6632553a8961ea609eb"),
        Network("efficientnet-v2-b3", "EfficientNetV2B3", 300, 12_930_622, 82.0,
                "efficientnet_v2/efficientnetv2-b3_notop.h5", "f6abf7b5849ac99a89b50dd3fd532856"),
        Network("efficientnet-v2-s", "EfficientNetV2S", 384, 20_331_360, 83.9,
                "efficientnet_v2/efficientnetv2-s_notop.h5", "af0682fb74e8c54910f2d4393339c070"),
        Network("efficientnet-v2-m", "EfficientNetV2M", 480, 53_150_388, 85.3,
                "efficientnet_v2/efficientnetv2-m_notop.h5", "1b8dc055df72dde80d614482840fe342"),
        Network("efficientnet-v2-l", "EfficientNetV2L", 480, 117_746_848, 85.7,
                "efficientnet_v2/efficientnetv2-l_notop.h5", "b0b66b5c863aef5b46e8608fe1711615"),
    )),
    Family("https://arxiv.org/abs/2201.03545", "inside", 32, UNSTATED_MIT, (
        Network("convnext-tiny", "ConvNeXtTiny", 224, 27_820_128, 81.3, "convnext/convnext_tiny_notop.h5",
                "d547c096cabd03329d7be5562c5e14798aa39ed24b474157cef5e85ab9e49ef1"),
        Network("convnext-small", "ConvNeXtSmall", 224, 49_454_688, 82.3, "convnext/convnext_small_notop.h5",
                "6fc8009faa2f00c1c1dfce59feea9b0745eb260a7dd11bee65c8e20843da6eab"),
        Network("convnext-base", "ConvNeXtBase", 224, 87_566_464, 85.3, "convnext/convnext_base_notop.h5",
                "40a20c5548a5e9202f69735ecc06c990e6b7c9d2de39f0361e27baeb24cb7c45", dataset=IMAGENET_21K),
        Network("convnext-large", "ConvNeXtLarge", 224, 196_230_336, 86.3, "convnext/convnext_large_notop.h5",
                "96f02b6f0753d4f543261bc9d09bed650f24dd6bc02ddde3066135b63d23a1cd", dataset=IMAGENET_21K),
        Network("convnext-xlarge", "ConvNeXtXLarge", 224, 348_147_968, 86.7, "convnext/convnext_xlarge_notop.h5",
                "de3f8a54174130e0cecdc71583354753d557fcf1f4487331558e2a16ba0cfe05", dataset=IMAGENET_21K),
    )),
)
# fmt: on
