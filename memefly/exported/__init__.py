"""The exported model: a SavedModel from picture bytes to captions, its smaller forms, and the same things read back.

    >>> captioner.export(captioner, folder, manifest)
    >>> model = loading.load(folder)
    >>> model.caption([picture.data])            # [[Caption("a cat on a mat", -0.41), …]]

Signatures (B pictures, K captions each, T tokens, h x w positions):

- `serving_default`: image_bytes string (B,) to caption string (B,), score float32 (B,), captions string (B, K),
  scores float32 (B, K), best first (by score; by rank where there are candidates), and error string (B,), empty but for
  bytes that the graph cannot decode: these get empty captions with scores below -1e6, and the other pictures of the
  batch theirs;
- `decode`: as `serving_default`, and with it every knob of decoding as a value a picture, (B,) or (1,) for all of them:
  beam, groups, diversity, max_length, min_length, length_penalty, block_ngram, temperature, top_k, top_p, min_p,
  typical_p, seed, boxes, candidates, mmi, repetition, difference; and `prefix`, string, what captions begin with (a
  line break at its end is one between text boxes; words that the vocabulary lacks are told as they were written). Those
  left out have the values in `memefly.json`, which are the signature's defaults too, and no prefix. (TensorFlow Serving
  fills defaults in from 2.14 on; where it batches requests, clients have to send all of them, one a picture, since what
  it puts together must have one length.) K is the largest `beam`; places beyond a picture's own hold "" and a score
  below -1e6;
- `explain`: image_bytes string (B,) to tokens string (B, T), alphas float32 (B, T, h, w) of the best caption; no tokens
  and zeros where there is no picture;
- `look`: as `explain`, of the caption that comes beside each picture: image_bytes and caption, both string (B,);
- `evaluate`: as `serving_default`, but its input is called `image`, after the feature of the Examples. Where
  `decoding.judged` asks for more captions than one, it gives caption string (B,) and drawn string (B, judged) alone:
  with as many seeds, the configured one first.

Beside `saved_model.pb`: the vocabulary among the assets, warm-up requests where TensorFlow Serving looks for them
(`assets.extra/tf_serving_warmup_requests`, a TFRecord of PredictionLog), and `memefly.json`, which says what the model
is: configuration, digests, metrics, commit.
"""
