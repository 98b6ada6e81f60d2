import io

import numpy as np
import pytest
from PIL import Image

from vecaf.data import decoding
from vecaf.errors import DataError

GRADIENT = np.linspace(0, 255, 24 * 20).reshape(24, 20).astype(np.uint8)


def rgb():
    return np.stack([GRADIENT, GRADIENT[::-1], GRADIENT[:, ::-1]], axis=2)


def test_rgb_is_exact(tmp_path):
    Image.fromarray(rgb()).save(tmp_path / "a.png")
    assert np.array_equal(decoding.decode(tmp_path / "a.png"), rgb())


@pytest.mark.parametrize("mode", ["L", "LA", "RGBA", "1", "P", "CMYK"])
def test_other_modes_become_rgb(tmp_path, mode):
    file = tmp_path / ("a.jpg" if mode == "CMYK" else "a.png")
    Image.fromarray(rgb()).convert(mode).save(file, **({"quality": 95} if mode == "CMYK" else {}))
    pixels = decoding.decode(file)
    assert pixels.shape == (24, 20, 3)
    assert pixels.dtype == np.uint8
    expected = np.asarray(Image.fromarray(rgb()).convert(mode).convert("RGB")).astype(int)
    assert np.abs(pixels - expected).mean() < (6 if mode == "CMYK" else 0.01)


def test_palette_with_transparency_as_bytes(tmp_path):
    image = Image.fromarray(rgb()).convert("P")
    image.save(tmp_path / "a.png", transparency=bytes([0] * 128 + [255] * 128))
    pixels, opaque = decoding.decode(tmp_path / "a.png"), np.asarray(image) >= 128
    assert np.array_equal(pixels[opaque], np.asarray(image.convert("RGB"))[opaque])
    assert (pixels[~opaque] == 255).all()
    assert 0 < opaque.mean() < 1


def test_transparency_is_laid_on_white(tmp_path):
    alpha = np.where(np.arange(20) < 10, 0, 255).astype(np.uint8)[None].repeat(24, axis=0)
    Image.fromarray(np.dstack([rgb(), alpha])).save(tmp_path / "a.png")
    pixels = decoding.decode(tmp_path / "a.png")
    assert (pixels[:, :10] == 255).all()
    assert np.array_equal(pixels[:, 10:], rgb()[:, 10:])


def test_sixteen_bits_keep_the_upper_eight(tmp_path):
    wide = GRADIENT.astype(np.uint16) * 257
    Image.fromarray(wide).save(tmp_path / "a.png")
    assert np.array_equal(decoding.decode(tmp_path / "a.png")[..., 1], GRADIENT)


def jpeg(**options):
    file = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 80, 3), dtype=np.uint8)).save(
        file, "JPEG", **options
    )
    return file.getvalue()


@pytest.mark.parametrize("read", [decoding.decode, decoding.check])
@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "the file is empty"),
        (b"plain text", "not an image that can be decoded"),
        (jpeg()[:-2000], "cannot be decoded"),
        (jpeg(progressive=True)[:-2000], "cannot be decoded"),
        (None, "the file is missing"),
    ],
)
def test_damage_is_told_by_file_and_reason(tmp_path, read, content, said):
    file = tmp_path / "a.jpg"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(DataError, match=said) as error:
        read(file)
    assert str(file) in str(error.value)


def test_checking_accepts_what_decoding_reads(tmp_path):
    (tmp_path / "a.jpg").write_bytes(jpeg())
    decoding.check(tmp_path / "a.jpg")
    assert decoding.decode(tmp_path / "a.jpg").shape == (64, 80, 3)


def test_bytes_are_decoded_like_their_file_and_called_by_their_name(tmp_path):
    Image.fromarray(rgb()).save(tmp_path / "a.jpg")
    data = (tmp_path / "a.jpg").read_bytes()
    assert np.array_equal(decoding.decode_bytes(data, "image id 3"), decoding.decode(tmp_path / "a.jpg"))
    for broken in (data[:200], b"", b"no image"):
        with pytest.raises(DataError, match=r"^image id 3: "):
            decoding.decode_bytes(broken, "image id 3")


def test_the_size_is_read_without_the_pixels(tmp_path):
    Image.fromarray(rgb()).save(tmp_path / "a.jpg")
    whole = (tmp_path / "a.jpg").read_bytes()
    (tmp_path / "a.jpg").write_bytes(whole[:-20])  # its pixels are cut off
    assert decoding.size(tmp_path / "a.jpg") == (24, 20)
    with pytest.raises(DataError, match=r"b\.jpg: the file is missing"):
        decoding.size(tmp_path / "b.jpg")
