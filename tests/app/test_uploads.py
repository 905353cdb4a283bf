"""Forms and raw bodies become files; broken ones become clear errors."""

import gc
import weakref

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.errors import InvalidParameter, InvalidRequest, MalformedRequest, MissingFile
from app.http.uploads import parse_many, parse_one

TYPE = "multipart/form-data; boundary=XyZ"


def part(content, name="file", filename="a.png", media_type="image/png"):
    disposition = f'form-data; name="{name}"' + (f'; filename="{filename}"' if filename is not None else "")
    header = f"Content-Disposition: {disposition}\r\n" + (f"Content-Type: {media_type}\r\n" if media_type else "")
    return b"--XyZ\r\n" + header.encode() + b"\r\n" + content + b"\r\n"


def form(*parts):
    return b"".join(parts) + b"--XyZ--\r\n"


def test_a_raw_body_is_the_file():
    upload = parse_one(b"bytes", "image/jpeg")

    assert (upload.data, upload.media_type, upload.filename) == (b"bytes", "image/jpeg", None)


def test_a_form_with_one_file():
    upload = parse_one(form(part(b"one", media_type="image/webp")), TYPE)

    assert (upload.data, upload.media_type, upload.filename) == (b"one", "image/webp", "a.png")


def test_several_files_keep_their_order():
    uploads = parse_many(form(part(b"1", filename="b"), part(b"", filename="a"), part(b"3", filename="")), TYPE, 64)

    assert [(upload.data, upload.filename) for upload in uploads] == [(b"1", "b"), (b"", "a"), (b"3", "")]


def test_a_file_with_an_extended_name_alone():
    body = b"--XyZ\r\nContent-Disposition: form-data; name=\"file\"; filename*=UTF-8''a.png\r\n\r\nimage\r\n--XyZ--\r\n"

    assert parse_one(body, TYPE).data == b"image"


@pytest.mark.parametrize(
    ("sent", "name"), [("é日.png".encode(), "é日.png"), (b"caf\xe9.png", "café.png"), (b"\xff\x85", "\xff\x85")]
)
def test_a_name_is_utf_8_or_else_taken_as_latin_1(sent, name):
    """curl sends a name byte for byte as the file system has it, and a name is no reason to refuse an image."""
    parts = part(b"1"), part(b"2", filename="@").replace(b"@", sent), part(b"3")

    assert [upload.filename for upload in parse_many(form(*parts), TYPE, 3)] == ["a.png", name, "a.png"]


def test_a_part_without_a_name_is_a_file_if_it_has_a_type():
    """As of ``curl -F 'file=<a.png;type=image/png'`` and of several libraries that are given bytes."""
    assert parse_one(form(part(b"image", filename=None)), TYPE).data == b"image"


def test_a_part_without_a_type_is_a_file_if_it_has_a_name():
    upload = parse_one(form(part(b"image", media_type=None)), TYPE)

    assert (upload.data, upload.filename) == (b"image", "a.png")


@pytest.mark.parametrize("coding", ["base64", "Quoted-Printable", "binary"])
def test_bytes_are_sent_as_they_are(coding):
    """RFC 7578, section 4.7, knows no codings of parts; libraries for mail write them, and curl can."""
    body = form(
        part(b"aW1hZ2U=").replace(b"Content-Type", f"Content-Transfer-Encoding: {coding}\r\nContent-Type".encode())
    )

    if coding == "binary":
        assert parse_one(body, TYPE).data == b"aW1hZ2U="
    else:
        with pytest.raises(MalformedRequest, match=f"{coding.lower()}.*send the bytes as they are"):
            parse_one(body, TYPE)


@pytest.mark.parametrize("field", [part(b"toy", "model", None, None), part(b"toy", "model")])
def test_a_query_parameter_does_not_get_lost_in_the_form(field):
    """It would not be heeded there, and another model would answer."""
    for body in (form(field, part(b"image")), form(part(b"image"), field)):
        with pytest.raises(InvalidParameter, match=r"'model'.*\?model="):
            parse_one(body, TYPE, ("top", "model"))
        with pytest.raises(InvalidParameter, match=r"'model'.*\?model="):
            parse_many(body, TYPE, 2, ("top", "model"))


def test_other_fields_are_read_over():
    body = form(part(b"x", "note", None, None), part(b"image"), part(b"y", "other"))

    assert parse_one(body, TYPE).data == b"image"


@pytest.mark.parametrize("boundary", ['"XyZ"', "XyZ; charset=utf-8"])
def test_ways_to_write_a_boundary(boundary):
    assert parse_one(form(part(b"image")), f"Multipart/Form-Data; boundary={boundary}").data == b"image"


@given(st.binary(max_size=2000))
def test_any_content_arrives_unchanged(content):
    if b"\r\n--XyZ" not in b"\r\n" + content:
        assert parse_one(form(part(content)), TYPE).data == content


@pytest.mark.parametrize("body", [form(), form(part(b"x", "image")), form(part(b"text", "file", None, None))])
def test_no_part_named_file(body):
    with pytest.raises(MissingFile, match=r"curl -F file=@image\.jpg"):
        parse_one(body, TYPE)


@pytest.mark.parametrize("count", [2, 3, 30])
def test_several_files_where_one_is_wanted(count):
    with pytest.raises(InvalidParameter, match=r"several parts named 'file'.*POST /predict/batch"):
        parse_one(form(*[part(b"1")] * count), TYPE)


def test_more_files_than_allowed():
    body = form(*[part(b"x")] * 4)

    assert len(parse_many(body, TYPE, 4)) == 4
    with pytest.raises(InvalidParameter, match="more than 3 files"):
        parse_many(body, TYPE, 3)


def test_a_raw_body_where_a_form_is_wanted():
    with pytest.raises(MissingFile, match="multipart/form-data"):
        parse_many(b"bytes", "image/jpeg", 64)


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        pytest.param(form(part(b"x")), "multipart/form-data", id="no boundary"),
        pytest.param(form(part(b"x")), "multipart/form-data; boundary=other", id="another boundary"),
        pytest.param(form(part(b"x")), "multipart/form-data; boundary=é", id="boundary outside ASCII"),
        pytest.param(part(b"x"), TYPE, id="no end"),
        pytest.param(form(part(b"x"))[:30], TYPE, id="cut in a header"),
        pytest.param(b"", TYPE, id="empty"),
        pytest.param(form(b"--XyZ\r\nno colon\r\n\r\nx\r\n"), TYPE, id="broken header"),
        pytest.param(form(b"--XyZ\r\n" + b"A: b\r\n" * 20 + b"\r\nx\r\n"), TYPE, id="many headers"),
        pytest.param(form(b"--XyZ\r\nA: " + b"b" * 9000 + b"\r\n\r\nx\r\n"), TYPE, id="long header"),
        pytest.param(form(*[part(b"x", "field", None)] * 1000), TYPE, id="many fields"),
    ],
)
def test_broken_forms(body, content_type):
    with pytest.raises(MalformedRequest, match=r"form|Content-Type"):
        parse_one(body, content_type)


def test_a_broken_form_is_not_held_by_its_error():
    """Else a crowd of them fills the memory until Python collects its garbage."""

    class Body(bytearray):
        """Bytes that can be looked for."""

    body = Body(part(b"x"))
    held = weakref.ref(body)
    gc.disable()
    try:
        with pytest.raises(MalformedRequest):
            parse_one(body, TYPE)
        del body
        assert held() is None
    finally:
        gc.enable()


@pytest.mark.parametrize("options", ["", "; boundary=", '; boundary="é"'])
def test_a_header_that_names_no_boundary_is_said_to_be_what_is_wrong(options):
    with pytest.raises(MalformedRequest, match="names no boundary; let your client write that header itself"):
        parse_one(form(part(b"x")), f"multipart/form-data{options}")


@given(st.binary(max_size=300), st.binary(max_size=300), st.integers(0, 400))
@settings(max_examples=300)
def test_any_damage_to_a_form_gives_files_or_one_of_our_errors(before, content, cut):
    body = form(part(content), before + b"\r\n", part(content))
    try:
        uploads = parse_many(body[:cut] + body[cut + 1 :], TYPE, 8)
    except InvalidRequest as error:
        assert str(error)  # noqa: PT017  # any of several errors will do, or none
    else:
        assert uploads
