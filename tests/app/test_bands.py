"""Images of many channels: every band arrives where it belongs, scaled and not clipped."""

import io
import re
import struct
import tracemalloc
from contextlib import nullcontext

import numpy as np
import pytest
import tifffile
from PIL import Image

from app import images
from app.errors import TooManyPixels, UndecodableImage, UnsupportedMediaType, WrongChannels
from app.images import Shape
from tests import toys

BANDS = Shape(8, 8, 13)


def tiff(array, **options):
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, array, **{"photometric": "minisblack", "planarconfig": "contig", **options})
    return buffer.getvalue()


def npy(array):
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def numbered(dtype=np.uint8, shape=BANDS):
    """An image of which every band has its own value."""
    return np.broadcast_to(np.arange(shape[2], dtype=dtype) * 10, shape).copy()


@pytest.mark.parametrize("compression", [None, "lzw", "deflate", "zstd"])
@pytest.mark.parametrize("planar", ["contig", "separate"])
def test_a_multi_band_tiff_keeps_its_bands_in_order(planar, compression):
    image = numbered()
    stored = np.moveaxis(image, -1, 0) if planar == "separate" else image

    data = tiff(np.ascontiguousarray(stored), planarconfig=planar, compression=compression)

    np.testing.assert_array_equal(images.decode(data, BANDS), image)


def test_one_page_per_band_and_an_array_written_page_by_page_are_understood():
    image = np.random.default_rng(0).integers(0, 256, BANDS, np.uint8)

    for pages in (np.moveaxis(image, -1, 0), image):
        data = tiff(np.ascontiguousarray(pages), planarconfig=None)
        np.testing.assert_array_equal(images.decode(data, BANDS), image)


def test_a_npy_array_keeps_its_bands_in_order():
    np.testing.assert_array_equal(images.decode(npy(numbered()), BANDS, media_type="application/x-npy"), numbered())
    np.testing.assert_array_equal(images.decode(npy(np.asfortranarray(numbered())), BANDS), numbered())


def test_a_npy_array_serves_models_of_any_number_of_channels():
    assert images.decode(npy(np.full((8, 8), 5, np.uint8)), Shape(8, 8, 1)).shape == (8, 8, 1)
    assert images.decode(npy(np.full((9, 7, 2), 5, np.uint8)), Shape(8, 8, 2)).shape == (8, 8, 2)
    assert images.decode(npy(np.full((8, 8, 200), 5, np.uint8)), Shape(4, 4, 200)).shape == (4, 4, 200)


def test_bands_are_resized_like_any_image():
    image = np.random.default_rng(0).integers(0, 256, (32, 24, 3), np.uint8)
    wide = images.decode(npy(np.concatenate([image, image], -1)), Shape(8, 8, 6))

    np.testing.assert_array_equal(wide[..., :3], images.decode(npy(image), Shape(8, 8, 3)))
    np.testing.assert_array_equal(wide[..., 3:], wide[..., :3])


@pytest.mark.parametrize("make", [tiff, npy])
def test_sixteen_bits_are_scaled_not_clipped(make):
    image = np.full(BANDS, 32896, np.uint16)
    image[..., 0], image[..., 1] = 0, 65535

    pixels = images.decode(make(image), BANDS)

    assert pixels[0, 0, :3].tolist() == [0, 255, 128]


def test_a_value_range_maps_onto_all_of_0_to_255():
    image = np.zeros(BANDS, np.float32)
    image[..., 1], image[..., 2], image[..., 3] = 0.5, 1, 7

    pixels = images.decode(tiff(image), BANDS, value_range=(0, 1))

    assert pixels[0, 0, :4].tolist() == [0, 128, 255, 255]


@pytest.mark.parametrize("pages", [1, 2])
@pytest.mark.parametrize("dtype", [np.uint16, np.int16, np.float32])
def test_a_value_range_holds_for_a_grey_tiff_whatever_pages_follow(dtype, pages):
    image = np.full((6, 8), 1000, dtype)
    image[0, 1], image[1, 0] = 2000, 0
    buffer = io.BytesIO()
    with tifffile.TiffWriter(buffer) as file:
        for page in (image, image[::2, ::2])[:pages]:  # the second is a thumbnail
            file.write(page, photometric="minisblack")

    for channels in (1, 3):
        pixels = images.decode(buffer.getvalue(), Shape(6, 8, channels), value_range=(0, 2000))

        assert pixels[:2, :2].tolist() == [[[128] * channels, [255] * channels], [[0] * channels, [128] * channels]]


@pytest.mark.parametrize(
    ("dtype", "order", "low", "high"), [("i1", "<", -128, 127), ("i1", ">", -128, 127), ("u4", "<", 0, 2**32 - 1)]
)
def test_grey_values_of_types_that_pillow_takes_for_others_are_what_they_are(dtype, order, low, high):
    image = np.linspace(low, high, 52).astype(dtype).reshape(1, 52)
    data = tiff(image, byteorder=order)
    expected = np.rint((image.astype(float) - low) * (255 / (high - low)))

    for channels in (1, 3):
        pixels = images.decode(data, Shape(1, 52, channels), value_range=(low, high))
        np.testing.assert_array_equal(pixels, np.repeat(expected[..., np.newaxis], channels, -1))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_a_grey_tiff_whose_zero_is_white_is_turned_round(dtype):
    image = np.array([[0, 64, 255]], np.uint8)
    values = (image.astype(float) * (257 if dtype is np.uint16 else 1)).astype(dtype)
    value_range = (0, 255) if dtype is np.float32 else None

    pixels = images.decode(tiff(values, photometric="miniswhite"), Shape(1, 3, 1), value_range=value_range)

    assert pixels.ravel().tolist() == [255, 191, 0]


def test_signed_values_of_a_grey_tiff_have_no_range_of_their_own():
    with pytest.raises(UndecodableImage, match="pixels of type int8 have no natural range"):
        images.decode(tiff(np.full((8, 8), -1, np.int8)), Shape(8, 8, 1))


def test_a_stack_of_grey_pages_is_one_image_of_a_model_of_as_many_channels():
    image = np.random.default_rng(0).integers(0, 2000, (8, 8, 3)).astype(np.uint16)
    data = tiff(np.moveaxis(image, -1, 0).copy(), planarconfig=None)

    of_three = images.decode(data, Shape(8, 8, 3), value_range=(0, 2000))
    of_one = images.decode(data, Shape(8, 8, 1), value_range=(0, 2000))

    np.testing.assert_array_equal(of_three, np.rint(image * (255 / 2000)))
    np.testing.assert_array_equal(of_one, of_three[..., :1])


@pytest.mark.parametrize("dtype", ["<u2", ">u2", "<i2", "i1", "<u4", "<i4", "<f4", ">f8"])
def test_values_of_every_type_are_mapped_by_the_same_line(dtype):
    low, high = 10, 61
    numbers = np.random.default_rng(0).integers(-30, 120, (40, 30, 13)).astype(dtype)

    pixels = images.decode(npy(numbers), Shape(40, 30, 13), value_range=(low, high))

    expected = np.rint(np.clip((numbers.astype(float) - low) / (high - low), 0, 1) * 255)
    np.testing.assert_array_equal(pixels, expected)


@pytest.mark.parametrize("dtype", [np.uint16, np.float32])
def test_a_small_file_that_unpacks_to_a_large_image_takes_little_more_than_its_pixels(dtype):
    shape = (2000, 1500, 13)
    data = tiff(np.zeros(shape, dtype), compression="deflate", rowsperstrip=100)
    tracemalloc.start()
    try:
        images.decode(data, BANDS, value_range=(0, 1))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert len(data) < 1e6
    assert peak < np.prod(shape) * (np.dtype(dtype).itemsize + 2)


@pytest.mark.parametrize("dtype", [np.float32, np.int16, np.int32])
def test_values_without_a_natural_range_need_one(dtype):
    with pytest.raises(UndecodableImage, match="no natural range"):
        images.decode(npy(np.ones(BANDS, dtype)), BANDS)


def test_values_that_are_not_finite_are_refused():
    image = np.zeros(BANDS, np.float32)
    image[3, 3, 3] = np.nan

    with pytest.raises(UndecodableImage, match="not finite"):
        images.decode(npy(image), BANDS, value_range=(0, 1))


@pytest.mark.parametrize("make", [tiff, npy])
def test_another_number_of_channels_is_refused(make):
    with pytest.raises(WrongChannels, match=r"has 13 channels, but the model reads 4; send \[height, width, 4\]"):
        images.decode(make(numbered()), Shape(8, 8, 4))


def test_a_planar_tiff_that_pillow_would_read_as_one_band_is_refused():
    data = tiff(np.zeros((4, 8, 8), np.uint16), planarconfig="separate")

    for channels in (1, 3):
        with pytest.raises(WrongChannels, match="4 bands"):
            images.decode(data, Shape(8, 8, channels))
    assert images.decode(data, Shape(8, 8, 4)).shape == (8, 8, 4)


@pytest.mark.parametrize(
    ("dtype", "shape"), [("uint16", BANDS), ("float32", Shape(8, 8, 10)), ("uint8", Shape(8, 8, 8))]
)
def test_a_tiff_of_many_bands_is_not_called_damaged_by_a_colour_model(dtype, shape):
    data = tiff(numbered(dtype, shape))

    for channels in (1, 3):
        with pytest.raises(WrongChannels, match=f"has {shape.channels} bands of {dtype}.*use a model that reads"):
            images.decode(data, Shape(8, 8, channels))
    with pytest.raises(UndecodableImage, match="damaged or incomplete"):
        images.decode(data[:100], Shape(8, 8, 3))


@pytest.mark.parametrize("dtype", ["<u2", ">u2", "<u4"])
def test_every_value_goes_to_the_nearest_of_256(dtype):
    values = np.linspace(0, np.iinfo(dtype).max, 65536).reshape(256, 256, 1).astype(dtype)
    expected = np.rint(values / np.iinfo(dtype).max * 255)

    np.testing.assert_array_equal(images.decode(npy(values), Shape(256, 256, 1)), expected)


def test_sizes_are_checked_before_values_are_read():
    with pytest.raises(TooManyPixels):
        images.decode(npy(numbered()), BANDS, max_pixels=63)
    with pytest.raises(TooManyPixels):
        images.decode(tiff(numbered()), BANDS, max_pixels=63)
    with pytest.raises(TooManyPixels):
        images.decode(tiff(np.moveaxis(numbered(), -1, 0).copy(), planarconfig=None), BANDS, max_pixels=63)


def test_both_pixels_and_values_count():
    few_bands = Shape(8, 8, 3)

    assert images.decode(npy(numbered()), BANDS, max_pixels=208).shape == BANDS  # of 4 channels each
    with pytest.raises(TooManyPixels):
        images.decode(npy(numbered()), BANDS, max_pixels=207)
    with pytest.raises(TooManyPixels):
        images.decode(npy(numbered(shape=few_bands)), few_bands, max_pixels=63)
    wide = Shape(2, 5, 3)
    with pytest.raises(TooManyPixels, match="has 5 × 2 pixels of 3 channels, more than the limit of 9 "):
        images.decode(npy(numbered(shape=wide)), wide, max_pixels=9)


@pytest.mark.parametrize("shape", [(192,), (8, 8, 3, 1), (1, 8, 8, 3), (0, 8, 3)])
def test_an_array_of_another_shape_is_told_what_to_send(shape):
    words = re.escape(f"an array of shape {list(shape)} is not an image; send [height, width, 3]")
    with pytest.raises(UndecodableImage, match=words):
        images.decode(npy(np.zeros(shape, np.uint8)), Shape(8, 8, 3))


def test_a_tiff_waits_for_room_for_all_that_it_may_hold():
    asked = []

    def room(pixels):
        asked.append(pixels)
        return nullcontext()

    images.decode(tiff(numbered()), BANDS, max_pixels=1000, room=room)

    assert asked == [1000]


def test_a_compression_that_only_experts_write_is_refused():
    with pytest.raises(UndecodableImage, match="compression LZMA is not read; save it with LZW or deflate"):
        images.decode(tiff(numbered(), compression="lzma"), BANDS)


def compressed_as(kind, count, value):
    """A TIFF of which the tag Compression is replaced by another, or by one that means nothing."""
    whole = tiff(numbered())
    at = whole.index(struct.pack("<HHI", 259, 3, 1))
    tag = 65000 if value is None else 259
    return whole[:at] + struct.pack("<HHII", tag, kind, count, value or 0) + whole[at + 12 :]


def test_a_tiff_that_does_not_name_its_compression_has_none():
    assert np.array_equal(images.decode(compressed_as(3, 1, None), BANDS), numbered())


@pytest.mark.parametrize("tag", [(3, 300, 8), (2, 1, 16), (3, 1, 60000)])  # many numbers, a character, a number
def test_what_is_no_compression_is_not_repeated(tag):
    with pytest.raises(UndecodableImage, match="TIFF compression of an unknown kind is not read"):
        images.decode(compressed_as(*tag), BANDS)


def test_a_tiff_that_lacks_its_last_bytes_is_refused():
    """Of some, what says how many bits a pixel has comes last; in others, the last pixels do."""
    noise = np.random.default_rng(0).integers(0, 256, (32, 32, 4), np.uint8)
    planar = tiff(np.moveaxis(noise, -1, 0).copy(), planarconfig="separate", compression="lzw", predictor=True)
    for whole in (toys.save(noise, "TIFF", compression="tiff_adobe_deflate"), planar):
        assert images.decode(whole, Shape(32, 32, 4)).shape == (32, 32, 4)
        for missing in range(1, 40):
            with pytest.raises(UndecodableImage, match="incomplete"):
                images.decode(whole[:-missing], Shape(32, 32, 4))


def test_pages_of_another_kind_are_left_out():
    image = numbered()
    buffer = io.BytesIO()
    with tifffile.TiffWriter(buffer) as file:
        for band in range(13):
            file.write(image[..., band], photometric="minisblack", contiguous=False)
        file.write(image[::2, ::2, 0], photometric="minisblack")  # a thumbnail

    np.testing.assert_array_equal(images.decode(buffer.getvalue(), BANDS), image)


@pytest.mark.parametrize("tag", [None, 34412, 65420], ids=["plain", "lsm", "ndpi"])
def test_a_circle_of_pages_is_not_gone_round(tag):
    """150 empty pages, the last of which is followed by the one before it."""
    tags = {256: 8, 257: 8, 258: 8, 259: 8, 262: 1, 273: 8, 277: 1, 278: 8, 279: 64, **({tag: 1} if tag else {})}
    entries = b"".join(struct.pack("<HHII", number, 4, 1, value) for number, value in tags.items())
    begin = 72 + 2 + len(entries) + 4
    circle = b"".join(struct.pack("<HI", 0, begin + 6 * min(index + 1, 148)) for index in range(150))
    data = b"II*\0" + struct.pack("<I64xH", 72, len(tags)) + entries + struct.pack("<I", begin) + circle

    with pytest.raises(WrongChannels, match="has 1 channel, but the model reads 13;"):
        images.decode(data, BANDS)


def test_what_a_description_says_of_the_number_of_pages_is_not_believed():
    """The format of microscopes would reserve memory for all of them."""
    pixels = '<Pixels DimensionOrder="XYCZT" SizeC="1" SizeT="1" SizeX="8" SizeY="8" SizeZ="1000000" Type="uint8">'
    words = f'<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06"><Image>{pixels}</Pixels></Image></OME>'
    image = numbered(shape=Shape(8, 8, 2))
    buffer = io.BytesIO()
    with tifffile.TiffWriter(buffer) as file:
        for band in range(2):
            layout = {"photometric": "minisblack", "contiguous": False, "metadata": None}
            file.write(image[..., band], description=words, **layout)

    np.testing.assert_array_equal(images.decode(buffer.getvalue(), Shape(8, 8, 2)), image)


def test_more_pages_than_an_image_has_rows_are_refused():
    data = tiff(np.zeros((5000, 8, 13), np.uint8), planarconfig=None)

    with pytest.raises(UndecodableImage, match="too many pages; save its bands in one page"):
        images.decode(data, BANDS)


def jpegs(content, bands=13, side=8):
    """A TIFF of which each band is this JPEG."""
    buffer = io.BytesIO()
    with tifffile.TiffWriter(buffer) as file:
        layout = {"photometric": "minisblack", "planarconfig": "separate", "rowsperstrip": side}
        file.write(iter([content] * bands), shape=(bands, side, side), dtype=np.uint8, compression="jpeg", **layout)
    return buffer.getvalue()


@pytest.mark.parametrize("options", [{}, {"tile": (16, 16)}, {"rowsperstrip": 8}])
@pytest.mark.parametrize("planar", ["contig", "separate"])
def test_what_encoders_make_of_jpegs_in_a_tiff_is_read(planar, options):
    shape = Shape(30, 20, 4) if planar == "contig" else Shape(30, 20, 13)
    stored = np.full(shape, 90, np.uint8)
    stored = stored if planar == "contig" else np.moveaxis(stored, -1, 0).copy()

    data = tiff(stored, planarconfig=planar, compression="jpeg", **options)

    np.testing.assert_allclose(images.decode(data, shape, max_pixels=30 * 20 * 4), 90, atol=5)


def test_jpegs_in_a_tiff_that_are_larger_than_it_are_refused():
    """A progressive one of a few hundred bytes would take gigabytes."""
    jpeg = toys.save(Image.new("L", (64, 64)), "JPEG", progressive=True)
    size = jpeg.index(b"\xff\xc2") + 5
    huge = jpeg[:size] + (60_000).to_bytes(2, "big") * 2 + jpeg[size + 4 :]

    assert images.decode(jpegs(jpeg, side=64), BANDS).shape == BANDS
    with pytest.raises(TooManyPixels, match="save it with LZW or deflate"):
        images.decode(jpegs(huge, side=64), BANDS)
    with pytest.raises(TooManyPixels, match="save it with LZW or deflate"):
        images.decode(jpegs(jpeg), BANDS)


def test_jpegs_in_a_tiff_may_not_have_more_scans_than_an_image():
    data = jpegs(toys.scans(Image.new("L", (8, 8)), 50))

    assert images.decode(data, BANDS, max_pixels=13 * 64 * 3).shape == BANDS
    with pytest.raises(TooManyPixels, match="save it with LZW or deflate"):
        images.decode(data, BANDS, max_pixels=13 * 64 * 2)


def test_a_tiff_is_decoded_in_the_thread_that_asks(monkeypatch):
    """There are as many of those as cores, which tifffile may count differently."""
    image = np.random.default_rng(0).integers(0, 256, (256, 256, 13), np.uint8)
    data = tiff(image, compression="deflate", tile=(64, 64))
    monkeypatch.setattr(tifffile.TIFF, "MAXWORKERS", 8)
    monkeypatch.setattr(tifffile.tifffile, "ThreadPoolExecutor", lambda _: pytest.fail("it started threads"))

    assert images.decode(data, BANDS).shape == BANDS


@pytest.mark.parametrize("change", [lambda data: data[:-1], lambda data: data + b"0"])
def test_an_array_of_another_length_than_it_says_is_refused(change):
    with pytest.raises(UndecodableImage, match="fewer or more values than its header says"):
        images.decode(change(npy(numbered())), BANDS)


def test_truth_values_are_black_and_white():
    image = np.random.default_rng(0).integers(0, 2, (8, 8, 2)).astype(bool)

    np.testing.assert_array_equal(images.decode(npy(image), Shape(8, 8, 2)), image * 255)


@pytest.mark.parametrize("dtype", [">u2", "<u2", ">u4"])
def test_the_order_of_bytes_changes_nothing(dtype):
    image = np.random.default_rng(0).integers(0, 65536, BANDS).astype(dtype)

    found = images.decode(npy(image), BANDS, value_range=(0, 65535))

    np.testing.assert_array_equal(found, np.rint(image.astype(float) / 257))


@pytest.mark.parametrize(
    "array",
    [np.zeros((8, 8, 13), dtype=object), np.zeros((8, 8, 13), dtype="U1"), np.zeros((8, 8, 13), complex)],
    ids=["object", "text", "complex"],
)
def test_arrays_that_hold_no_numbers_are_refused(array):
    with pytest.raises(UndecodableImage, match="save it as numbers"):
        images.decode(npy(array), BANDS)


def test_a_npy_file_with_missing_values_is_refused():
    with pytest.raises(UndecodableImage, match="incomplete"):
        images.decode(npy(numbered())[:-1], BANDS)


@pytest.mark.parametrize("shape", [(8,), (8, 8), (1, 8, 8, 13), (0, 8, 13)])
def test_an_array_that_is_no_image_is_refused(shape):
    with pytest.raises((UndecodableImage, WrongChannels)):
        images.decode(npy(np.zeros(shape, np.uint8)), BANDS)


def test_a_declared_array_must_be_one():
    with pytest.raises(UndecodableImage):
        images.decode(b"\x00" * 64, BANDS, media_type="application/x-npy")
    with pytest.raises(UnsupportedMediaType):
        images.decode(b"\x00" * 64, BANDS)


def test_the_real_multi_band_files(data):
    folder = data / "multiband"
    tile = next((folder / "eurosat_ms" / "Forest").glob("*.tif")).read_bytes()
    assert images.decode(tile, Shape(64, 64, 13), value_range=(0, 10_000)).shape == (64, 64, 13)
    eight = (folder / "tiff_8channel_uint8.tif").read_bytes()
    assert images.decode(eight, Shape(32, 32, 8)).shape == (32, 32, 8)
    ten = (folder / "terratorch_10band_float32.tif").read_bytes()
    assert images.decode(ten, Shape(32, 32, 10), value_range=(0, 1)).shape == (32, 32, 10)
    for path in (folder / "small_4band").glob("*.tif"):
        with pytest.raises(WrongChannels):
            images.decode(path.read_bytes(), Shape(32, 32, 3))
        assert images.decode(path.read_bytes(), Shape(32, 32, 4)).shape == (32, 32, 4)


def packed(array, bits):
    """A grey TIFF, or one of several bands, whose values take so many bits each."""
    height, width, bands = array.shape
    wide = np.unpackbits(array.astype(">u2").view(np.uint8).reshape(height, -1, 2), axis=-1)
    pixels = np.packbits(wide[:, :, 16 - bits :].reshape(height, -1), axis=1).tobytes()
    numbers = struct.pack(f"<{bands}H", *[bits] * bands)
    short = {256: width, 257: height, 259: 1, 262: 1, 277: bands, 278: height, 284: 1}
    end = 8 + 2 + 12 * (len(short) + 3) + 4
    tags = {tag: struct.pack("<HHIHH", tag, 3, 1, value, 0) for tag, value in short.items()}
    inline = len(numbers) <= 4
    tags[258] = struct.pack("<HHI", 258, 3, bands) + (numbers.ljust(4, b"\0") if inline else struct.pack("<I", end))
    tags[273] = struct.pack("<HHII", 273, 4, 1, end + len(numbers))
    tags[279] = struct.pack("<HHII", 279, 4, 1, len(pixels))
    directory = struct.pack("<H", len(tags)) + b"".join(tags[tag] for tag in sorted(tags)) + bytes(4)
    return struct.pack("<2sHI", b"II", 42, 8) + directory + numbers + pixels


@pytest.mark.parametrize(("bits", "bands"), [(10, 4), (12, 1), (12, 4), (14, 4), (2, 4), (4, 4)])
def test_values_that_do_not_fill_their_type_are_not_taken_for_dark_ones(bits, bands):
    """12 bits lie in 16: the full range of these would make the brightest of them nearly black."""
    array = np.full((8, 8, bands), 2**bits - 1, np.uint16)
    data = packed(array, bits)
    shape = Shape(8, 8, bands)

    assert (tifffile.imread(io.BytesIO(data)).reshape(array.shape) == array).all()
    with pytest.raises(UndecodableImage, match=rf"pixels of {bits} bits.*; save it with 8 or 16"):
        images.decode(data, shape)
    if bits > 8:
        assert (images.decode(data, shape, value_range=(0, 2**bits - 1)) == 255).all()


@pytest.mark.parametrize(("bits", "white"), [(1, 1), (2, 3), (4, 15)])
def test_grey_of_few_bits_is_read_over_its_full_range(bits, white):
    assert (images.decode(packed(np.full((8, 8, 1), white, np.uint16), bits), Shape(8, 8, 1)) == 255).all()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (
            {"bigtiff": True, "byteorder": ">"},
            r"\(3 bands of uint8 with 8 bits, big-endian\) is stored in a way that is not read; save it again",
        ),
        ({"compression": "png"}, "TIFF compression PNG is not read; save it with LZW or deflate"),
        ({"compression": "webp"}, "TIFF compression WEBP is not read; save it with LZW or deflate"),
    ],
)
def test_a_colour_tiff_that_is_not_read_is_not_called_something_else(options, words):
    data = tiff(np.zeros((8, 8, 3), np.uint8), photometric="rgb", **options)

    with pytest.raises(UndecodableImage, match=words):
        images.decode(data, Shape(8, 8, 3))
