"""The report's style sheet: light or dark by the reader's choice, light in print."""

from __future__ import annotations

SERIES = 8  # hues of Okabe and Ito, told apart by the color-blind, made darker or lighter by scheme

_LIGHT = """
--ink: #1c2024; --soft: #59626c; --line: #d8dde2; --back: #ffffff; --card: #f3f5f7; --heat: #1769aa;
--faint: #a9b2bb; --bad: #b3261e; --c0: #0072b2; --c1: #d55e00; --c2: #00875f; --c3: #b5588f;
--c4: #a87900; --c5: #2f8fc4; --c6: #6b4fa0; --c7: #4d4d4d;
"""

_DARK = """
--ink: #e6e9ec; --soft: #a0a9b3; --line: #3a424b; --back: #14171a; --card: #20262c; --heat: #2f7fc0;
--faint: #8a949e; --bad: #ff8f85; --c0: #4fb3f0; --c1: #ff8a3d; --c2: #2fc997; --c3: #e58fc1;
--c4: #e0b02f; --c5: #8fd0ff; --c6: #b39be8; --c7: #c0c0c0;
"""

_TEXT = """
* { box-sizing: border-box; }
body { margin: 0; background: var(--back); color: var(--ink);
  font: 15px/1.5 system-ui, "Segoe UI", "Liberation Sans", sans-serif; }
main { max-width: 1180px; margin: 0 auto; padding: 28px 24px 60px; }
h1 { font-size: 26px; margin: 0 0 2px; overflow-wrap: anywhere; }
h2 { font-size: 19px; margin: 38px 0 6px; padding-top: 14px; border-top: 1px solid var(--line); }
h3 { font-size: 14.5px; margin: 18px 0 4px; overflow-wrap: anywhere; }
p { margin: 4px 0 10px; max-width: 92ch; }
.note { color: var(--soft); font-size: 13.5px; }
.warn { color: var(--bad); font-size: 13.5px; overflow-wrap: anywhere; }
.answer { background: var(--card); border-left: 4px solid var(--c0); padding: 14px 18px; font-size: 17px;
  max-width: none; overflow-wrap: anywhere; }
nav { display: flex; flex-wrap: wrap; gap: 2px 16px; font-size: 13.5px; }
a { color: var(--c0); }
code, pre { font: 12.5px/1.5 ui-monospace, "DejaVu Sans Mono", monospace; }
pre { background: var(--card); padding: 10px 14px; white-space: pre-wrap; overflow-wrap: anywhere; }
details { margin: 6px 0 12px; } summary { cursor: pointer; font-size: 13.5px; }
"""

_TABLES = """
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: 13px; margin: 6px 0 12px; font-variant-numeric: tabular-nums; }
th, td { padding: 4px 9px; text-align: left; vertical-align: top; border-bottom: 1px solid var(--line); }
th { color: var(--soft); font-weight: 600; vertical-align: bottom; font-size: 12.5px; }
td.n, th.n { text-align: right; white-space: nowrap; } th.n { white-space: normal; }
td.path { overflow-wrap: anywhere; white-space: pre-line; font-size: 12.5px; min-width: 10ch; }
td.strip { padding: 5px 8px 0; white-space: nowrap; }
table.figures td:first-child { overflow-wrap: anywhere; min-width: 24ch; max-width: 32ch; }
td.bar { min-width: 170px; vertical-align: middle; }
.share { height: 10px; width: calc(160px * var(--share)); min-width: 1px; background: var(--faint); }
.share.matters { background: var(--c0); }
td.wide { white-space: normal; min-width: 30ch; }
tr.first td { font-weight: 650; background: var(--card); }
table.matrix td { padding: 0; min-width: 26px; height: 26px; text-align: center; vertical-align: middle;
  border: 1px solid var(--back); font-size: 11.5px;
  background: color-mix(in srgb, var(--heat) calc(var(--share) * 100%), var(--card)); }
table.matrix.small td { min-width: 15px; height: 15px; }
table.matrix.small th { padding: 0 4px; font-size: 11px; line-height: 15px; }
table.matrix td.hot { color: #ffffff; }
table.matrix th { border: 0; padding: 2px 6px; font-size: 12px; font-weight: 500; white-space: nowrap;
  max-width: 180px; max-height: 180px; overflow: hidden; text-overflow: ellipsis; vertical-align: middle; }
table.matrix thead th { writing-mode: vertical-rl; transform: rotate(180deg); }
"""

_CHARTS = """
.panels { display: flex; flex-wrap: wrap; gap: 10px 20px; }
.panels > * { flex: none; max-width: 100%; }
figure { margin: 0; }
img { max-width: 100%; height: auto; background: #ffffff; }
.legend { display: flex; flex-wrap: wrap; gap: 2px 18px; font-size: 13px; margin: 4px 0 6px; }
.legend svg { vertical-align: -2px; margin-right: 6px; }
svg text { font: 11px system-ui, "Liberation Sans", sans-serif; fill: var(--soft); }
svg text.title { font-weight: 600; font-size: 12px; fill: var(--ink); }
.grid { stroke: var(--line); stroke-width: 1; }
.whisker { stroke: var(--c0); stroke-width: 2.5; }
.mean { fill: var(--c0); }
.curve { fill: none; stroke-width: 1; }
.curve.stopped { stroke: var(--faint); opacity: 0.75; }
.curve.completed { stroke: var(--c5); opacity: 0.75; }
.curve.limit { stroke: var(--bad); stroke-width: 1.5; stroke-dasharray: 5 4; }
.curve.best { stroke: var(--c1); stroke-width: 2.5; }
.trial { fill: none; stroke-width: calc(0.6px + 1.4px * var(--share)); opacity: calc(0.25 + 0.65 * var(--share));
  stroke: color-mix(in srgb, var(--c1) calc(var(--share) * 100%), var(--faint)); }
.trial:hover { stroke: var(--c0); stroke-width: 4px; opacity: 1; }
.parallel text { pointer-events: none; }
.parallel .tick { paint-order: stroke; stroke: var(--back); stroke-width: 3px; }
.dot { stroke: var(--back); stroke-width: 0.7; fill-opacity: 0.85; }
"""

_PRINT = """
@media print {
  body { font-size: 11px; } main { max-width: none; padding: 0; } nav { display: none; }
  h2, h3 { break-after: avoid; } figure, img, tr, .answer { break-inside: avoid; } .scroll { overflow: visible; }
  * { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
}
"""

STYLE = (
    f":root {{ color-scheme: light dark; {_LIGHT} }}\n"
    f"@media screen and (prefers-color-scheme: dark) {{ :root {{ {_DARK} }} }}\n"
    + "".join(f".s{index} {{ fill: var(--c{index}); }}\n" for index in range(SERIES))
    + "".join((_TEXT, _TABLES, _CHARTS, _PRINT))
)
