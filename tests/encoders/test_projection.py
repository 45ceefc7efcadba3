"""Fewer channels: the components, the file, and an encoder that has one."""

from pathlib import Path

import numpy as np
import pytest

from memefly import encoders
from memefly.encoders import EncoderConfig, projection
from memefly.encoders.config import fitted_on
from memefly.errors import EncoderError


def fitted(channels: int, D: int = 32, pictures: int = 40, encoder: str = "e" * 64, rank: int = 5):
    """On features that have `rank` directions, in channels whose scales differ by orders of magnitude."""
    rng = np.random.default_rng(0)
    mixing, scale = rng.standard_normal((rank, D)), 10.0 ** rng.uniform(-2, 2, D)
    fitting, all_ = projection.Fitting(D), []
    for _ in range(pictures):
        one = ((rng.standard_normal((3, 3, rank)) @ mixing + 3) * scale).astype(np.float16)
        fitting.add(one)
        all_.append(one)
    return fitting.solve(channels, encoder), np.stack(all_)


def test_components_are_those_of_the_correlation():
    found, features = fitted(5)
    x = features.reshape(-1, 32).astype(np.float64)
    np.testing.assert_allclose(found.mean, x.mean(0), rtol=1e-5)
    np.testing.assert_allclose(found.std, x.std(0), rtol=1e-5)
    # By another way: the singular values of what is standardised.
    z = (x - x.mean(0)) / x.std(0)
    _, values, axes = np.linalg.svd(z, full_matrices=False)
    np.testing.assert_allclose(np.abs(np.sum(axes[:5].T * found.components, axis=0)), 1, atol=1e-4)
    assert found.kept == pytest.approx((values[:5] ** 2).sum() / (values**2).sum()) and found.kept > 0.999
    assert fitted(2)[0].kept < 0.9 and found.pictures == 40
    np.testing.assert_allclose(found.components.T @ found.components, np.eye(5), atol=1e-5)


def test_a_graph_projects_as_it_should():
    found, features = fitted(4)
    z = np.clip((features[:3].astype(np.float32) - found.mean) / found.std, -10, 10)
    np.testing.assert_allclose(found(features[:3].astype(np.float32)).numpy(), z @ found.components, atol=1e-4)


@pytest.mark.parametrize("channels", [0, 33])
def test_so_many_there_are_not(channels):
    with pytest.raises(EncoderError, match=f"expected channels from 1 to 32, got {channels}"):
        fitted(channels)


def test_a_file_is_read_as_it_was_written(tmp_path):
    found, _ = fitted(4)
    projection.write(tmp_path / "p.npz", found)
    again = projection.read(tmp_path / "p.npz")
    assert (again.kept, again.pictures, again.encoder) == (found.kept, 40, "e" * 64)
    assert again.components.tobytes() == found.components.tobytes() and again.mean.tobytes() == found.mean.tobytes()


@pytest.mark.parametrize("damage", ["cut", "flip", "other", "nothing", "shapes", "numbers"])
def test_what_is_none_is_told(tmp_path, damage):
    found, path = fitted(4)[0], tmp_path / "p.npz"
    projection.write(path, found)
    content = bytearray(path.read_bytes())
    if damage == "cut":
        path.write_bytes(content[: len(content) // 2])
    elif damage == "flip":
        content[len(content) // 2] ^= 255
        path.write_bytes(content)
    elif damage == "other":
        np.savez(path, x=1)
    elif damage == "nothing":
        path.unlink()
    else:
        mean = found.mean[:-1] if damage == "shapes" else np.full_like(found.mean, np.nan)
        told = {"form": "memefly projection 1", "kept": 1.0, "pictures": 1, "encoder": "e"}
        np.savez(path, mean=mean, std=found.std, components=found.components, **told)
    with pytest.raises(EncoderError, match=r"encoder\.projection: .*p\.npz.* Expected a file that `memefly project`"):
        projection.read(path)


class TestOfAnEncoder:
    @pytest.fixture(scope="class")
    def config(self, small_encoder, tmp_path_factory):
        path = tmp_path_factory.mktemp("projection") / "fewer.npz"
        projection.write(path, fitted(6, encoder=fitted_on(EncoderConfig(weights=str(small_encoder))))[0])
        return EncoderConfig(weights=str(small_encoder), precision="float32", projection=str(path))

    def test_its_features_are_projected_and_rounded(self, config):
        rng = np.random.default_rng(0)
        pictures = rng.uniform(-1, 1, (2, 64, 64, 3)).astype(np.float32)
        encoder = encoders.load(config)
        raw = encoders.load(config.model_copy(update={"projection": None})).encode(pictures).numpy()
        assert encoder.feature_shape == (8, 8, 6) and encoder.name == "encoder.h5+fewer"
        expected = encoder.projection(raw.astype(np.float32)).numpy()
        features = encoder.encode(pictures).numpy()
        np.testing.assert_allclose(features, expected, rtol=4e-3, atol=1e-2 * np.abs(expected).max())
        # Bulk encoding, what is exported and what is tuned say the same.
        np.testing.assert_allclose(encoder.graph(pictures).numpy(), features, rtol=2e-3, atol=2e-3)
        in_eight = encoders.load(config.model_copy(update={"storage": "uint8"}))
        for found in (in_eight.encode(pictures).numpy(), in_eight.graph(pictures).numpy()):
            assert all(len(np.unique(found[0, :, :, c])) <= 256 for c in range(6))
            step = np.ptp(features.astype(np.float32), axis=(1, 2), keepdims=True) / 255
            assert (np.abs(found.astype(np.float32) - features) <= step + 1e-2).all()
        np.testing.assert_array_equal(
            in_eight.trainable_features(pictures).numpy(), in_eight.features(pictures).numpy().astype(np.float32)
        )

    def test_everything_about_it_has_another_digest(self, config, tmp_path):
        again = tmp_path / "again.npz"
        again.write_bytes(Path(config.projection).read_bytes())
        bare = config.model_copy(update={"projection": None})
        variants = [bare, config, *(one.model_copy(update={"storage": "uint8"}) for one in (bare, config))]
        assert len({encoders.digest(one) for one in variants}) == 4
        assert encoders.digest(config.model_copy(update={"projection": str(again)})) == encoders.digest(config)
        assert len({fitted_on(one) for one in variants}) == 1

    def test_it_is_not_taken_for_another_encoder(self, config, tmp_path):
        projection.write(tmp_path / "p.npz", fitted(6, encoder="f" * 64)[0])
        with pytest.raises(
            EncoderError, match=r"p\.npz was fitted on another encoder, of 32 channels, than encoder\.h5"
        ):
            encoders.load(config.model_copy(update={"projection": str(tmp_path / "p.npz")}))

    def test_one_that_is_not_there_is_told_before_anything_is_loaded(self, config):
        with pytest.raises(EncoderError, match=r"encoder\.projection is '/nowhere\.npz', which cannot be read"):
            encoders.digest(config.model_copy(update={"projection": "/nowhere.npz"}))
