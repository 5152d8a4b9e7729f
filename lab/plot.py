"""A run of the outside client as a picture: bars of acknowledged and failed requests a second."""

import itertools
import statistics

WIDTH, HEIGHT, LEFT, BOTTOM, TOP = 900, 260, 45, 35, 40
GOOD, BAD, QUIET = "#2e7d32", "#c62828", "#fdecea"


def svg(seconds, title, gap=None):
    """
    Return an SVG document for ``seconds`` (list of (acknowledged, failed)); the longest gap
    (``{"seconds", "from", "to"}``, on the same clock, first second = 0) is shaded.
    """
    seconds = seconds or [(0, 0)]
    top = max(good + bad for good, bad in seconds) or 1
    across = (WIDTH - LEFT - 10) / len(seconds)
    up = (HEIGHT - TOP - BOTTOM) / top
    floor = HEIGHT - BOTTOM
    parts = [_rect(0, 0, WIDTH, HEIGHT, "white")]
    if gap and gap["seconds"] >= 1:
        parts.append(
            _rect(LEFT + gap["from"] * across, TOP, gap["seconds"] * across, floor - TOP, QUIET)
        )
    for second, (good, bad) in enumerate(seconds):
        left = LEFT + second * across
        parts.append(_rect(left, floor - good * up, across * 0.9, good * up, GOOD))
        parts.append(_rect(left, floor - (good + bad) * up, across * 0.9, bad * up, BAD))
    parts += _labels(title, len(seconds), top, across, up, gap)
    body = "\n".join(parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
        f'font-family="sans-serif" font-size="11">\n{body}\n</svg>\n'
    )


def gaps(runs, others):
    """
    Return an SVG document of ``{kind: [{"gap": seconds or None}]}``: a dot a run, a line at the
    median, and hollow squares for what others needed (``{kind: (default, tuned)}``).
    """
    known = {kind: sorted(run["gap"] for run in each if run["gap"] is not None)
             for kind, each in runs.items()}
    top = max([*itertools.chain(*known.values()), *itertools.chain(*others.values())], default=1)
    across, row, left = (WIDTH - 170) / top, 34, 130
    height = TOP + row * len(known) + BOTTOM
    title = "seconds without service for users; filled: each run, hollow: others, default and tuned"
    parts = [_rect(0, 0, WIDTH, height, "white"), _text(10, 18, title, size=14)]
    for number, (kind, values) in enumerate(known.items()):
        middle = TOP + row * number + row / 2
        parts.append(_text(10, middle + 4, kind))
        parts.append(_rect(left, middle, WIDTH - left - 10, 0.5, "#999"))
        for value in others.get(kind, ()):
            parts.append(f'<rect x="{left + value * across - 4:.2f}" y="{middle - 4:.2f}" width="8"'
                         f' height="8" fill="none" stroke="{BAD}"/>')
        for value in values:
            parts.append(f'<circle cx="{left + value * across:.2f}" cy="{middle:.2f}" r="3" '
                         f'fill="{GOOD}" fill-opacity="0.5"/>')
        if values:
            median = left + statistics.median(values) * across
            parts.append(_rect(median - 1, middle - 9, 2, 18, GOOD))
    for second in range(0, int(top) + 1, max(1, round(top / 12))):
        parts.append(_text(left + second * across, height - 14, f"{second} s"))
    return (f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" '
            f'font-family="sans-serif" font-size="11">\n' + "\n".join(parts) + "\n</svg>\n")


def _labels(title, count, top, across, up, gap):
    floor = HEIGHT - BOTTOM
    step = max(1, round(count / 12))
    if gap:
        title += f" (longest gap {gap['seconds']:.2f} s)"
    yield _text(LEFT, 18, title, size=14)
    yield _text(LEFT, 33, "requests a second: green acknowledged, red failed; shaded: longest gap")
    for second in range(0, count, step):
        yield _text(LEFT + second * across, floor + 14, str(second))
    yield _text(WIDTH - 60, floor + 28, "seconds")
    for value in sorted({0, top // 2, top}):
        yield _text(8, floor - value * up + 4, str(value))


def _rect(x, y, width, height, colour):
    return (
        f'<rect x="{x:.2f}" y="{y:.2f}" width="{width:.2f}" height="{height:.2f}" fill="{colour}"/>'
    )


def _text(x, y, text, size=11):
    escaped = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return f'<text x="{x:.2f}" y="{y:.2f}" font-size="{size}">{escaped}</text>'
