"""The torchvision networks that Espalier answers for: one of every family with rules of its own."""

NAMES = (
    "resnet18",
    "resnet50",
    "vgg16",
    "mobilenet_v2",
    "mobilenet_v3_small",
    "squeezenet1_1",
    "densenet121",
    "efficientnet_b0",
    "shufflenet_v2_x0_5",
    "googlenet",
    "convnext_tiny",
    "regnet_y_400mf",
)
