# ruff: noqa: E501
"""The HTML, style and script of a video's report; Jinja escapes every value, and the policy lets nothing else run or load."""

STYLE = """
.top { display: grid; grid-template-columns: minmax(0, 1.7fr) minmax(220px, 1fr); gap: 20px; align-items: start; margin: 12px 0; }
.screen video, .screen img { width: 100%; max-height: 62vh; object-fit: contain; background: #16191d; border-radius: 6px; display: block; }
.plane svg { width: 100%; max-width: 340px; display: block; margin: 0 auto; }
.plane circle.disc { fill: var(--pale); stroke: #c3c9d0; } .plane path { stroke: #b9c0c8; }
.plane path.way { stroke: #7d8894; stroke-width: 1; opacity: .55; } .plane text { font-size: 11px; fill: var(--muted); }
#point { fill: #23262b; stroke: #fff; stroke-width: 2; }
.now { display: grid; grid-template-columns: repeat(3, auto); justify-content: center; gap: 4px 22px; text-align: center; font-variant-numeric: tabular-nums; }
.now b { display: block; font-size: 1.25rem; }
.chart { position: relative; cursor: pointer; touch-action: pan-y; }
.chart i { position: absolute; top: 0; bottom: 0; left: calc(var(--at) * 100%); width: 2px; margin-left: -1px; background: #23262b; pointer-events: none; }
#time:focus-visible { outline: 2px solid #0b5cad; outline-offset: 4px; }
.film { display: flex; gap: 4px; overflow-x: auto; padding: 4px 2px 8px; }
.film button { border: 2px solid transparent; border-radius: 5px; padding: 0; background: none; cursor: pointer; flex: none; font-size: .7rem; color: var(--muted); }
.film img { height: 62px; display: block; border-radius: 3px; } .film button.on { border-color: var(--valence); }
.quarters { display: grid; grid-template-columns: 1fr 1fr; gap: 4px; max-width: 420px; }
.quarters div { padding: 10px 12px; background: rgba(0, 114, 178, calc(.06 + .5 * var(--share))); border-radius: 4px; font-size: .9rem; }
.quarters b { font-size: 1.15rem; display: block; }
.figures { display: grid; grid-template-columns: minmax(0, 1.4fr) minmax(0, 1fr); gap: 28px; align-items: start; }
button.jump { border: 0; background: none; padding: 0; font: inherit; color: #0b5cad; cursor: pointer; }
#time .axis { font-variant-numeric: tabular-nums; }
#time .axis span:last-child { transform: translateX(-50%); }
@media (max-width: 700px) { .figures table { font-size: .8rem; } .figures td, .figures th { padding: 6px 3px; } .figures td:first-child { min-width: 0; white-space: nowrap; } .figures th:first-child { min-width: 0; } .top, .figures { grid-template-columns: minmax(0, 1fr); } .plane svg { max-width: 240px; } }
"""

SCRIPT = """
"use strict";
const get = id => document.getElementById(id);
const data = JSON.parse(get("data").textContent);
const video = get("video"), still = get("still"), time = get("time");
const film = [...document.querySelectorAll(".film button")];
const slack = 1e-3;  // times in the page are rounded, and so is the player's clock
let now = 0;

if (video) {
  const bytes = Uint8Array.from(atob(get("media").textContent), c => c.charCodeAt(0));
  get("media").remove();
  video.src = URL.createObjectURL(new Blob([bytes], {type: "video/mp4"}));
}

function last(times, at) {  // index of the last of ascending times that is not later
  let low = 0, high = times.length - 1;
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if (times[middle] <= at + slack) low = middle; else high = middle - 1;
  }
  return low;
}

function words(seconds) {
  const tenths = Math.floor((seconds + slack) * 10), minutes = Math.floor(tenths / 600), hours = Math.floor(minutes / 60);
  const rest = ((tenths % 600) / 10).toFixed(1).padStart(4, "0");
  return hours ? `${hours}:${String(minutes % 60).padStart(2, "0")}:${rest}` : `${minutes}:${rest}`;
}

const signed = value => (value < -0.005 ? "\\u2013" : "+") + Math.abs(value).toFixed(2);

function show(seconds) {
  now = Math.min(Math.max(seconds, 0), data.length);
  const i = last(data.time, now);
  time.style.setProperty("--at", now / data.length);
  time.setAttribute("aria-valuenow", now.toFixed(2));
  time.setAttribute("aria-valuetext", words(now));
  get("clock").textContent = words(now);
  get("valence").textContent = signed(data.valence[i]);
  get("arousal").textContent = signed(data.arousal[i]);
  get("point").setAttribute("cx", 100 * data.valence[i]);
  get("point").setAttribute("cy", -100 * data.arousal[i]);
  if (film.length) {
    const shown = last(data.film, now);
    if (!film[shown].classList.contains("on")) {
      film.forEach((button, k) => button.classList.toggle("on", k === shown));
      still.src = film[shown].firstElementChild.src;
    }
  }
}

function seek(seconds) {
  show(seconds);
  if (video) video.currentTime = now + data.lead;
}

const follow = () => show(video.currentTime - data.lead);
if (video) {
  const step = () => { follow(); if (!video.paused && !video.ended) requestAnimationFrame(step); };
  video.addEventListener("play", step);
  for (const event of ["timeupdate", "seeked", "pause"]) video.addEventListener(event, follow);
}

for (const chart of document.querySelectorAll(".chart")) {
  const at = event => {
    const box = chart.getBoundingClientRect();
    seek((event.clientX - box.left) / box.width * data.length);
  };
  chart.addEventListener("pointerdown", event => { at(event); chart.setPointerCapture(event.pointerId); });
  chart.addEventListener("pointermove", event => { if (event.buttons & 1) at(event); });
}
time.addEventListener("keydown", event => {
  const steps = {ArrowLeft: -1, ArrowRight: 1, PageUp: 10, PageDown: -10}[event.key];
  const goal = event.key === "Home" ? 0 : event.key === "End" ? data.length : steps ? now + steps : null;
  if (goal === null) return;
  event.preventDefault();
  seek(goal);
});
for (const button of document.querySelectorAll("[data-at]")) button.addEventListener("click", () => seek(Number(button.dataset.at)));

function linked() {  // #t=12, #t=12.5, #t=1:02:03
  const match = /^#t=([\\d:.]+)$/.exec(location.hash);
  if (match) seek(match[1].split(":").reduce((sum, part) => 60 * sum + Number(part), 0));
}
addEventListener("hashchange", linked);
show(0);
linked();
"""

TEMPLATE = """\
{% macro at(seconds) -%}<button class="jump" data-at="{{ "%.3f"|format(seconds) }}">{{ clock(seconds) }}</button>{%- endmacro %}
{% macro percent(share) -%}{{ "%.0f"|format(100 * share) }} %{%- endmacro %}
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; media-src blob:; style-src 'unsafe-inline'; script-src 'sha256-{{ script_hash }}'">
<meta name="avfusion" content="{{ provenance }}">
<title>{{ title }}: valence and arousal</title>
<style>{{ style }}</style>
</head>
<body>
<main>
<p class="muted">Valence and arousal per frame · {{ clock(length) }} · {{ "{:,}".format(statistics.frames) }} frames · model {{ card.fusion }} {{ card.digest[:12] }}</p>
<h1>{{ title }}</h1>
{% for text in warnings %}<p class="warn">{{ text }}</p>
{% endfor %}
<div class="top">
<div class="screen">{% if media %}<video id="video" controls playsinline preload="auto"></video>
<script type="text/plain" id="media">{{ media }}</script>{% else %}<img id="still" alt="the video at the cursor" src="{{ film[0].uri if film }}">
<div class="film">{% for frame in film %}<button data-at="{{ "%.3f"|format(frame.time_s) }}"><img src="{{ frame.uri }}" alt="frame {{ frame.frame }}">{{ clock(frame.time_s) }}</button>{% endfor %}</div>
<p class="muted"><small>{{ unseen }}</small></p>{% endif %}</div>
<div class="plane">
<svg viewBox="-118 -118 236 236" role="img" aria-label="valence-arousal plane: the way through the video and the point at the cursor">
<circle class="disc" r="100"/><path d="M-100 0H100M0 -100V100"/><path class="way" d="{{ way }}"/>
<text x="0" y="-106" text-anchor="middle">excited</text><text x="0" y="114" text-anchor="middle">calm</text>
<text x="-110" y="0" text-anchor="middle" transform="rotate(-90 -110 0)" dy="4">unpleasant</text>
<text x="110" y="0" text-anchor="middle" transform="rotate(90 110 0)" dy="4">pleasant</text>
<circle id="point" r="6"/></svg>
<div class="now"><span>time<b id="clock">0:00.0</b></span><span class="t-valence">valence<b id="valence">–</b></span><span class="t-arousal">arousal<b id="arousal">–</b></span></div>
</div>
</div>

<div id="time" tabindex="0" role="slider" aria-label="time in the video" aria-valuemin="0" aria-valuemax="{{ "%.2f"|format(length) }}" aria-valuenow="0" style="--at:0">
{% for panel in panels %}<div class="row panel"><span class="t-{{ panel.target }}">{{ panel.target }}<br><small class="muted">{{ panel.ends }}</small></span><div class="chart">{{ panel.svg }}<i></i></div></div>
{% endfor %}{% for strip in strips %}<div class="row strip k-{{ strip.kind }}"><span>{{ strip.title }}</span><div class="chart">{{ strip.svg }}<i></i></div></div>
{% endfor %}<div class="axis">{% for tick in ticks %}<span style="left:{{ tick.left }}%">{{ tick.words }}</span>{% endfor %}</div>
</div>
<p class="muted">Click or drag on a trace to go there; arrow keys go a second on. A link that ends in <code>#t=12</code> opens at 12 s.
{{ "Curves show means of %d frames."|format(frames_per_point) if frames_per_point > 1 }}</p>

<h2>In numbers</h2>
<div class="figures">
<div class="scroll"><table>
<tr><th></th><th>mean</th><th>sd</th><th>lowest</th><th>at</th><th>highest</th><th>at</th></tr>
{% for target in ("valence", "arousal") %}{% set row = statistics[target] %}<tr><td class="t-{{ target }}">{{ target }}</td>
<td>{{ signed(row.mean) }}</td><td>{{ "%.2f"|format(row.sd) }}</td><td>{{ signed(row.low) }}</td><td>{{ at(row.low_s) }}</td>
<td>{{ signed(row.high) }}</td><td>{{ at(row.high_s) }}</td></tr>
{% endfor %}</table>
<dl><dt>Frames with a face</dt><dd>{{ "{:,}".format(statistics.face_frames) }} of {{ "{:,}".format(statistics.frames) }} ({{ percent(statistics.face_frames / statistics.frames) }})</dd>
<dt>Read with a face, with sound</dt><dd>{{ percent(statistics.face) }}, {{ percent(statistics.sound) }} of frames (of the clip that ends there)</dd></dl></div>
<div><div class="quarters">{% for name, share in statistics.quadrants.items() %}<div style="--share:{{ "%.3f"|format(share) }}"><b>{{ percent(share) }}</b>{{ name }}</div>{% endfor %}</div>
<p class="muted"><small>Share of time in each quarter of the plane.</small></p></div>
</div>

<h2>The model</h2>
<dl>
{% for name, text in facts %}<dt>{{ name }}</dt><dd>{{ text }}</dd>
{% endfor %}</dl>

<h2>What this is, and what it is not for</h2>
{% for text in limits %}<p>{{ text }}</p>
{% endfor %}
</main>
<script type="application/json" id="data">{{ data }}</script>
<script>{{ script }}</script>
</body>
</html>
"""
