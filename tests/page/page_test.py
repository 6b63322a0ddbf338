# SPDX-License-Identifier: Apache-2.0
"""The live page in Chromium, as who watches a robot meets it: from chiral-serve, and from a robot that is hard to show.

    page_test.py [TestClass]        environment: CHIRAL_SERVE, CHIRAL_PROBE, CHIRAL_PAGE_SERVER, CHIRAL_SCREENSHOTS
"""
import base64
import contextlib
import os
import struct
import unittest
import urllib.request

import msgpack

import browser
import programs

PAGE_SERVER = os.environ["CHIRAL_PAGE_SERVER"]
SCREENSHOTS = os.environ["CHIRAL_SCREENSHOTS"]

ROBOT = ("--cameras", "2", "--depth", "--proprios", "2", "--size", "320x240")

# Helpers for the scripts that follow, as the page itself need not have them.
HELPERS = """
const pictures = () => [...document.querySelectorAll('canvas[data-picture]')];
const plots = () => [...document.querySelectorAll('canvas[data-plot]')];
const rows = () => [...document.querySelectorAll('#sources tr')];
// Of a copy: reading the original back would change how the browser keeps it, and be logged.
const pixels = canvas => {
  const copy = document.createElement('canvas');
  [copy.width, copy.height] = [canvas.width, canvas.height];
  const context = copy.getContext('2d', {willReadFrequently: true});
  context.drawImage(canvas, 0, 0);
  return new Uint32Array(context.getImageData(0, 0, copy.width, copy.height).data.buffer);
};
const sum = canvas => pixels(canvas).reduce((hash, pixel) => (hash * 31 + pixel) >>> 0, 7);
const state = () => document.body.dataset.state;
const why = () => document.getElementById('why').textContent;
"""


@contextlib.contextmanager
def page_server(*arguments):
    program = programs.Program(PAGE_SERVER, *arguments)
    try:
        yield program, program.wait_line("listening on ").removeprefix("listening on ") + "/"
    finally:
        program.kill()


def page_of(uri):
    return uri.replace("ws://", "http://") + "/"


class PageTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        os.makedirs(SCREENSHOTS, exist_ok=True)
        cls.browser = browser.Browser()
        cls.addClassCleanup(cls.browser.close)

    def setUp(self):
        self.browser.console()  # of the test before

    def tearDown(self):
        self.browser.open("about:blank")

    def run_js(self, script, *arguments):
        return self.browser.run(HELPERS + script, *arguments)

    def until(self, script, *arguments):
        return self.browser.until(HELPERS + script, *arguments)

    def screenshot(self, name):
        """Takes a picture; it must have the size of the window's content."""
        size = self.browser.screenshot(os.path.join(SCREENSHOTS, name))
        self.assertEqual(list(size), self.run_js("return [innerWidth * devicePixelRatio, innerHeight * devicePixelRatio]"))

    def assert_quiet_console(self):
        self.assertEqual(self.browser.console(), [])


class LivePageTest(PageTest):
    def test_says_who_controls_and_what_became_of_the_actions(self):
        with programs.serve(*ROBOT, "--gate", "clamp") as (_, uri):
            self.browser.open(page_of(uri))
            control = "document.getElementById('controller').textContent"
            figure = "+document.querySelector('[data-figure=chiral_actions_applied_total]').textContent"
            self.until(f"return {control} === 'Nobody is in control.'")
            self.assertEqual(self.run_js(f"return {figure}"), 0)
            client = programs.Program(programs.PROBE, uri, "--seconds", "60", "--hz", "20", "--act")
            try:
                self.until(f"return / in control/.test({control}) && {figure} > 0")
                self.screenshot("control.png")
            finally:
                client.kill()
            self.until(f"return {control} === 'Nobody is in control.'")

    def test_draws_every_source_and_goes_on(self):
        with programs.serve(*ROBOT) as (_, uri):
            self.browser.open(page_of(uri))
            self.until("return state() === 'live' && pictures().length === 4 && plots().length === 2 && "
                       "[...pictures(), ...plots()].every(canvas => canvas.dataset.drawn >= 3)")
            self.assertEqual(self.run_js("return rows().map(row => [row.dataset.kind, row.dataset.source])"),
                             [["camera", "cam_0"], ["camera", "cam_1"], ["proprio", "joint_pos"], ["proprio", "joint_vel"]])

            # Nothing is one colour only, pictures are opaque, and all of it moves: pictures, depth, plots and sequences.
            colours = self.run_js("return [...pictures(), ...plots()].map(canvas => new Set(pixels(canvas)).size)")
            self.assertTrue(all(count > 4 for count in colours), colours)
            self.assertTrue(self.run_js("return pictures().filter(canvas => canvas.dataset.picture === 'image')"
                                        ".every(canvas => pixels(canvas).every(pixel => pixel >>> 24 === 255))"))
            before = self.run_js("return [[...pictures(), ...plots()].map(sum), rows().map(row => +row.dataset.sequence)]")
            self.until("const [sums, sequences] = arguments[0]; "
                       "return [...pictures(), ...plots()].every((canvas, i) => sum(canvas) !== sums[i]) && "
                       "rows().every((row, i) => +row.dataset.sequence > sequences[i])", before)

            # Figures: sizes, rates, ages, what was not shown, status.
            self.until("return rows().every(row => parseFloat(row.cells[3].textContent) > 0 && "
                       "parseFloat(row.cells[4].textContent) >= 0 && row.cells[6].textContent === 'fresh')")
            self.assertEqual(self.run_js("return rows().map(row => row.cells[2].textContent)"),
                             ["240 × 320 × 3 + depth", "240 × 320 × 3 + depth", "7", "7"])
            # Streams publish far more often than cameras, and the page says so.
            rates = self.run_js("return rows().map(row => parseFloat(row.cells[3].textContent))")
            self.assertGreater(min(rates[2:]), max(rates[:2]))
            self.until("return +document.getElementById('page-rate').textContent > 0 && "
                       "+document.getElementById('page-bytes').textContent > 0")
            self.until("const scale = document.querySelector('.scale').children; "
                       "return parseFloat(scale[2].textContent) > parseFloat(scale[0].textContent)")
            self.assertEqual(self.run_js("return document.getElementById('title').textContent"), "simulated arm")
            # What the robot says of its numbers: names of lines, and their unit.
            self.until("return plots()[0].dataset.unit === 'rad' && plots()[1].dataset.unit === 'rad/s' && "
                       "document.querySelector('.values button').textContent.startsWith('joint_1')")
            self.assertIn("joint targets, rad", self.run_js("return document.getElementById('metadata').innerText"))
            self.screenshot("page.png")
            self.assert_quiet_console()

    def test_asks_for_small_pictures_unless_the_whole_is_to_be_seen(self):
        with programs.serve("--cameras", "1", "--depth", "--size", "640x480") as (_, uri):
            def bytes_of_one():
                names = ("chiral_sent_bytes_total", "chiral_observations_total")
                before = [metric(uri, name) for name in names]
                self.assertTrue(programs.becomes_true(lambda: metric(uri, names[1]) >= before[1] + 5))
                sent, count = (metric(uri, name) - old for name, old in zip(names, before))
                return sent / count

            def show(what, width, height):
                self.run_js("document.getElementById('pictures').value = arguments[0]", what)
                self.until("return pictures().length === 2 && pictures().every(canvas => canvas.dataset.drawn >= 3 && "
                           "canvas.width === arguments[0] && canvas.height === arguments[1])", width, height)
                # Both are pictures of the scene: many colours, and the depth of something.
                colours = self.run_js("return pictures().map(canvas => new Set(pixels(canvas)).size)")
                self.assertTrue(all(count > 50 for count in colours), colours)
                return bytes_of_one()

            self.browser.open(page_of(uri))
            small, whole = show("small", 320, 240), show("whole", 640, 480)
            self.assertLess(10 * small, whole)
            self.screenshot("whole.png")
            self.assertLess(show("small", 320, 240), whole)
            self.assert_quiet_console()

    def test_fits_narrow_and_wide_windows(self):
        with programs.serve(*ROBOT) as (_, uri):
            self.browser.open(page_of(uri))
            self.addCleanup(self.browser.resize, 1280, 1400)
            for width, height in ((400, 900), (1920, 1200)):
                self.browser.resize(width, height)
                self.until("return innerWidth === arguments[0] && document.body.dataset.drawn > 3", width)
                self.assertLessEqual(self.run_js("return document.documentElement.scrollWidth"), width)
                self.screenshot(f"page_{width}.png")
            self.assert_quiet_console()

    def test_a_page_that_pauses_asks_for_nothing(self):
        with programs.serve(*ROBOT) as (_, uri):
            self.browser.open(page_of(uri))
            self.until("return document.body.dataset.drawn >= 3")
            self.run_js("document.getElementById('pause').click()")
            self.until("return !inFlight && !queued && !drawing")
            sent = metric(uri, "chiral_observations_total")
            drawn = self.run_js("return document.body.dataset.drawn")
            # Meanwhile the robot goes on, which is what there is to wait for.
            images = metric(uri, "chiral_source_samples_total")
            self.assertTrue(programs.becomes_true(lambda: metric(uri, "chiral_source_samples_total") > images + 20))
            self.assertEqual(metric(uri, "chiral_observations_total"), sent)
            self.assertEqual(self.run_js("return document.body.dataset.drawn"), drawn)
            self.run_js("document.getElementById('pause').click()")
            self.until("return +document.body.dataset.drawn > arguments[0] + 3", int(drawn))

    def test_depth_follows_a_fixed_range(self):
        with programs.serve(*ROBOT) as (_, uri):
            self.browser.open(page_of(uri))
            self.until("return document.body.dataset.drawn >= 3")
            self.run_js("""
                const set = (id, value) => {
                    const field = document.getElementById(id);
                    field.value = value;
                    field.dispatchEvent(new Event('change'));
                };
                set('range', 'fixed');
                set('nearest', 0.25);
                set('farthest', 7.5);""")
            self.until("const scale = document.querySelector('.scale').children; "
                       "return scale[0].textContent === '0.25 m' && scale[2].textContent === '7.50 m'")

    def test_comes_back_after_the_server_has_gone_and_says_what_it_knows(self):
        with programs.serve(*ROBOT) as (server, uri):
            self.browser.open(page_of(uri))
            self.until("return document.body.dataset.drawn >= 3")
            server.end()
            self.until("return state() === 'refused' && why().includes('the server is stopping')")
            self.until("return why() === 'The server does not answer.'")
        drawn = int(self.run_js("return document.body.dataset.drawn"))
        port = uri.rsplit(":", 1)[1]
        again = programs.Program(programs.SERVE, *ROBOT, "--port", port)
        try:
            again.wait_line("listening on ")
            self.until("return state() === 'live' && +document.body.dataset.drawn > arguments[0] + 3 && why() === ''", drawn)
        finally:
            again.kill()


class OddRobotTest(PageTest):
    def test_names_and_texts_of_the_robot_are_text(self):
        with page_server() as (_, url):
            self.browser.open(url)
            self.until("return state() === 'live' && document.body.dataset.drawn >= 3")
            self.until("return document.getElementById('title').textContent === '<b>odd</b> robot'")
            self.assertEqual(self.run_js("return [...document.querySelectorAll('h3')].map(head => head.textContent)"),
                             ['<img src=x onerror="window.hacked=1">', "__proto__", 'never "there"\\\n',
                              "<script>window.hacked=1</script>"])
            self.assertIn("</dd><img src=x>", self.run_js("return document.getElementById('metadata').textContent"))
            made = "img, b:not([id]):not(#control-figures b), main script, main i:not(.values i)"
            self.assertEqual(self.run_js("return document.querySelectorAll(arguments[0]).length", made), 0)
            self.assertTrue(self.run_js("return window.hacked === undefined"))
            self.assert_quiet_console()

    def test_one_and_four_channels_and_depth_with_holes(self):
        with page_server() as (_, url):
            self.browser.open(url)
            self.until("return pictures().length === 4 && pictures().slice(0, 3).every(canvas => canvas.dataset.drawn >= 3)")
            # Grey: three equal channels, more than one level. Alpha that is 0 hides nothing.
            self.assertTrue(self.run_js("""
                const seen = pixels(pictures()[0]);
                const grey = p => (p & 255) === (p >> 8 & 255) && (p & 255) === (p >> 16 & 255) && p >>> 24 === 255;
                return new Set(seen).size > 100 && seen.every(grey);"""))
            self.assertTrue(self.run_js("return pixels(pictures()[2]).every(p => (p >>> 8) === 0xffc80a)"))
            # Zero, negative, NaN and infinite are blank; the rest is coloured, lighter where it is nearer.
            self.assertTrue(self.run_js("return pixels(pictures()[1]).every((p, i) => (p >>> 24) === (i < 160 ? 0 : 255))"))
            self.assertTrue(self.run_js("""
                const row = pixels(pictures()[1]).slice(160, 200);
                const light = p => (p & 255) + (p >> 8 & 255) + (p >> 16 & 255);
                const falls = row.every((p, i) => i === 0 || light(p) <= light(row[i - 1]));
                return falls && light(row[0]) > light(row[39]) + 200;"""))
            self.until("return document.querySelectorAll('.scale')[0].textContent.startsWith('1.00 m')")

    def test_a_source_that_never_came_is_said_to_be_so(self):
        with page_server() as (_, url):
            self.browser.open(url)
            self.until("return document.body.dataset.drawn >= 3 && rows()[2].cells[6].textContent === 'never'")
            self.assertEqual(self.run_js("return [3, 4].map(i => rows()[2].cells[i].textContent)"), ["– Hz", "– ms"])
            self.until("return rows()[1].cells[6].textContent === 'fresh'")

    def test_a_server_with_a_token_shows_the_robot_only_to_a_page_that_has_it(self):
        with page_server("--token", "s3cret+/%&") as (_, url):
            for query, wanted in (("", "asks for a token"), ("?access_token=wrong", "is not the right one")):
                self.browser.open(url + query)
                self.until("return state() === 'refused' && why().includes(arguments[0])", wanted)
                shown = self.run_js("return [document.body.dataset.drawn || 0, pictures().length, rows().length, "
                                    "document.getElementById('metadata').textContent]")
                self.assertEqual(shown, [0, 0, 0, ""])
            self.browser.open(url + "?access_token=s3cret%2B%2F%25%26")
            self.until("return state() === 'live' && document.body.dataset.drawn >= 3 && rows().length === 4")

    def test_a_page_that_finds_no_seat_says_so_and_gets_the_next_one(self):
        with page_server("--observers", "1") as (_, url):
            self.browser.open(url)
            self.until("return document.body.dataset.drawn >= 3")
            first = self.browser.tab()
            second = self.browser.new_tab()
            self.browser.switch_to(second)
            self.browser.open(url)
            self.until("return state() === 'refused' && why().includes('all its seats for observers seem to be taken: 1 ')")
            self.browser.switch_to(first)
            self.browser.open("about:blank")
            self.browser.switch_to(second)
            self.until("return state() === 'live' && document.body.dataset.drawn >= 3")
            self.browser.close_tab()
            self.browser.switch_to(first)


class MessagePackTest(PageTest):
    """The page's reader, against an encoder that it does not know."""

    VALUES = [
        None, True, False, 0, 1, 127, 128, 255, 256, 65535, 65536, 2**32 - 1, 2**32, 2**53 - 1, -1, -32, -33, -128, -129,
        -32768, -32769, -2**31, -2**31 - 1, -2**53 + 1, 1.5, -2.25, 1e300, "", "a", "ü€\U0001f916", "x" * 31, "x" * 32,
        "x" * 255, "x" * 256, "x" * 70000, [], [1, [2, [3, "four"]]], list(range(15)), list(range(16)), [0] * 70000, {},
        {"a": {"b": [1.0, None]}}, {str(i): i for i in range(16)}, {str(i): i for i in range(70000)},
    ]
    READ = """
        const plain = value => value instanceof Map ? {map: [...value].map(([key, each]) => [key, plain(each)])}
            : Array.isArray(value) ? value.map(plain) : value instanceof Uint8Array ? {bytes: [...value]}
            : typeof value === 'bigint' ? {big: String(value)} : value;
        const bytes = Uint8Array.from(atob(arguments[0]), c => c.charCodeAt(0));
        const read = () => new MessagePackReader(bytes.buffer, 0, bytes.length).value();
    """

    def setUp(self):
        super().setUp()
        server = page_server()
        _, url = server.__enter__()
        self.addCleanup(server.__exit__, None, None, None)
        self.browser.open(url)

    def read(self, encoded):
        script = self.READ + "try { return {value: plain(read())}; } catch (error) { return {error: error.name}; }"
        return self.run_js(script, base64.b64encode(encoded).decode())

    def plain(self, value):
        if isinstance(value, dict):
            return {"map": [[key, self.plain(each)] for key, each in value.items()]}
        if isinstance(value, list):
            return [self.plain(each) for each in value]
        return {"bytes": list(value)} if isinstance(value, bytes) else value

    def test_reads_what_another_encoder_writes(self):
        for value in [*self.VALUES, b"", b"\x00\xff", b"y" * 300, b"y" * 70000]:
            with self.subTest(value=repr(value)[:60]):
                self.assertEqual(self.read(msgpack.packb(value)), {"value": self.plain(value)})
        self.assertEqual(self.read(msgpack.packb(1.5, use_single_float=True)), {"value": 1.5})
        # What no number of JavaScript holds stays exact.
        self.assertEqual(self.read(msgpack.packb(2**64 - 1)), {"value": {"big": str(2**64 - 1)}})
        self.assertEqual(self.read(msgpack.packb(-2**63)), {"value": {"big": str(-2**63)}})
        extension = msgpack.packb([msgpack.ExtType(5, b"abcd"), 1])
        self.assertEqual(self.read(extension), {"value": ["(extension 5, 4 bytes)", 1]})

    def test_refuses_what_ends_too_early_or_lies_about_its_size(self):
        whole = msgpack.packb({"a": [1, 2**40, -5, 1.5, "text", b"bytes", None, True, {"k": 70000}], "b": "x" * 40})
        for length in range(len(whole)):
            self.assertEqual(self.read(whole[:length]), {"error": "RangeError"}, length)
        for lie in (b"\xdd\xff\xff\xff\xff", b"\xdf\xff\xff\xff\xff", b"\xdb\xff\xff\xff\xff", b"\xc6\xff\xff\xff\xff",
                    b"\xc9\xff\xff\xff\xff\x01", b"\xc1", b"\x91" * 100 + b"\x00"):
            self.assertEqual(self.read(lie), {"error": "RangeError"}, lie)

    def test_refuses_frames_whose_header_does_not_fit(self):
        for frame in (b"", b"\x01\x00\x00", struct.pack("<I", 100) + b"\x80", struct.pack("<I", 2**32 - 1) + b"\x80",
                      struct.pack("<I", 1) + b"\x01"):
            script = self.READ + "try { decodeFrame(bytes.buffer); return 'taken'; } catch (error) { return error.name; }"
            result = self.run_js(script, base64.b64encode(frame).decode())
            self.assertEqual(result, "RangeError", frame)


def metric(uri, name):
    """The sum over all labels of one metric."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(page_of(uri) + "metrics", timeout=browser.DEADLINE) as answer:
        lines = answer.read().decode().splitlines()
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith((name + " ", name + "{")))


if __name__ == "__main__":
    unittest.main(verbosity=2)
