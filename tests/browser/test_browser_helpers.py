"""What the browser tests rest on can itself fail: pictures, the search for Chromium."""

import io

import numpy as np
import pytest
from PIL import Image

from browser.chromium import absent, find_chromium
from browser.lab_page import matters
from browser.lab_server import jupyter_lab
from browser.pictures import check_painted, coloured_share

BLUE = (0, 114, 178)


def png(pixels):
    buffer = io.BytesIO()
    Image.fromarray(pixels.astype(np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def blank(value=255, channels=3):
    return np.full((200, 300, channels), value)


def with_axes():
    picture = blank()
    picture[::25] = picture[:, ::25] = 200
    return picture


def with_points(picture):
    rng = np.random.default_rng(0)
    for y, x in rng.integers(5, 195, (300, 2)):
        for weight, reach in ((0.5, 2), (1.0, 1)):
            part = picture[y - reach : y + reach + 1, x - reach : x + reach + 1]
            part[:] = (1 - weight) * part + weight * np.array(BLUE)
    return picture


def test_a_painted_picture_passes():
    picture = png(with_points(with_axes()))
    check_painted(picture)
    assert coloured_share(picture) > 0.05


@pytest.mark.parametrize(
    ("picture", "why"),
    [
        (blank(), "blank"),
        (blank(0), "blank"),
        (blank(0, channels=4), "blank"),  # transparent
        (with_axes(), "blank"),
        (blank() * 0 + np.array(BLUE), "not a picture: 1 shades"),
    ],
    ids=["white", "black", "transparent", "axes alone", "one colour"],
)
def test_a_blank_picture_fails(picture, why):
    with pytest.raises(AssertionError, match=why):
        check_painted(png(picture))


def test_chromium_is_looked_for_by_its_names_or_the_one_given():
    def which(name):
        return f"/bin/{name}" if name in ("google-chrome", "mine") else None

    assert find_chromium({}, which) == "/bin/google-chrome"
    assert find_chromium({"MRPD_CHROMIUM": "mine"}, which) == "/bin/mine"
    assert find_chromium({}, lambda name: None) is None
    with pytest.raises(ValueError, match=r"is not a program\. Unset"):
        find_chromium({"MRPD_CHROMIUM": "not-there"}, which)


def test_what_is_absent_is_skipped_but_not_where_ci_is_set():
    with pytest.raises(pytest.skip.Exception, match="no chromium"):
        absent("no chromium", {})
    with pytest.raises(pytest.fail.Exception, match="must not be skipped"):
        absent("no chromium", {"CI": "true"})


def test_a_server_that_does_not_start_shows_its_log(tmp_path, monkeypatch):
    monkeypatch.setattr("sys.executable", "/bin/false")
    with (
        pytest.raises(RuntimeError, match="JupyterLab ended; the end of its log"),
        jupyter_lab(tmp_path),
    ):
        pass


def test_an_error_in_the_console_matters_unless_it_is_known():
    assert matters("TypeError: a is undefined")
    assert not matters("404 (http://127.0.0.1:1/favicon.ico)")
