"""Requests that TensorFlow Serving replays before it calls a model ready, and so does `memefly serve`.

>>> write_warmup(folder, warmup_pictures())
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from memefly.exported.manifest import MODEL_NAME
from memefly.storage import Place

WARMUP = Path("assets.extra") / "tf_serving_warmup_requests"
# Of what serves a model: deploy/tf-serving/batching_parameters.txt and `memefly serve`. Eight brought nothing under
# load (`benchmarks.serving`), and would take half as long again to warm up.
LARGEST_BATCH = 4
WARMUP_BATCHES = range(1, LARGEST_BATCH + 1)


def warmup_pictures() -> list[bytes]:
    """One grey picture in each format that comes most: JPEG and PNG."""
    pictures = []
    for format in ("JPEG", "PNG"):
        out = io.BytesIO()
        Image.new("RGB", (256, 256), (127, 127, 127)).save(out, format=format)
        pictures.append(out.getvalue())
    return pictures


def write_warmup(folder: Path, pictures: Sequence[bytes]) -> None:
    """Requests that TensorFlow Serving replays before it calls the model ready, for several batch sizes."""
    import tensorflow as tf
    from tensorflow_serving.apis import predict_pb2, prediction_log_pb2

    (folder / WARMUP).parent.mkdir(exist_ok=True)
    with tf.io.TFRecordWriter(str(folder / WARMUP)) as writer:
        for size in WARMUP_BATCHES:
            request = predict_pb2.PredictRequest()
            request.model_spec.name = MODEL_NAME
            request.model_spec.signature_name = "serving_default"
            batch = [pictures[i % len(pictures)] for i in range(size)]
            request.inputs["image_bytes"].CopyFrom(tf.make_tensor_proto(batch, dtype=tf.string))
            log = prediction_log_pb2.PredictLog(request=request)
            writer.write(prediction_log_pb2.PredictionLog(predict_log=log).SerializeToString())


def read_warmup(folder: Place) -> list[list[bytes]]:
    """The pictures of each warm-up request; none where there are none."""
    import tensorflow as tf
    from tensorflow_serving.apis import prediction_log_pb2

    if not (folder / WARMUP).is_file():
        return []
    records = tf.data.TFRecordDataset(str(folder / WARMUP)).as_numpy_iterator()
    requests = (prediction_log_pb2.PredictionLog.FromString(r).predict_log.request for r in records)
    return [list(tf.make_ndarray(request.inputs["image_bytes"])) for request in requests]
