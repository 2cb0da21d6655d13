"use strict";
const get = id => document.getElementById(id);
const data = JSON.parse(get("data").textContent);
const persons = data.persons ?? [data];
const video = get("video"), still = get("still"), time = get("time");
const film = [...document.querySelectorAll(".film button")];
const all = selector => [...document.querySelectorAll(selector)];
const values = {valence: all("b.v"), arousal: all("b.a")}, points = all("g.point"), boxes = all("#boxes g");
const slack = 1e-3;  // times in the page are rounded, and so is the player's clock
let now = 0;

if (video) {
  const bytes = Uint8Array.from(atob(get("media").textContent), c => c.charCodeAt(0));
  get("media").remove();
  video.src = URL.createObjectURL(new Blob([bytes], {type: video instanceof HTMLAudioElement ? "audio/mp4" : "video/mp4"}));
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

const signed = value => value === null ? "\u2013" : (value < -0.005 ? "\u2013" : "+") + Math.abs(value).toFixed(2);

function show(seconds) {
  now = Math.min(Math.max(seconds, 0), data.length);
  const i = last(data.time, now);
  time.style.setProperty("--at", now / data.length);
  time.setAttribute("aria-valuenow", now.toFixed(2));
  time.setAttribute("aria-valuetext", words(now));
  get("clock").textContent = words(now);
  persons.forEach((person, k) => {
    const valence = person.valence[i], arousal = person.arousal[i];
    values.valence[k].textContent = signed(valence);
    values.arousal[k].textContent = signed(arousal);
    points[k].setAttribute("display", valence === null ? "none" : "");
    for (const node of points[k].children)
      for (const [name, value] of node.tagName === "text" ? [["x", valence], ["y", -arousal]] : [["cx", valence], ["cy", -arousal]])
        node.setAttribute(name, 100 * value);
  });
  if (boxes.length) frame(last(data.box_time, now));
  if (film.length) {
    const shown = last(data.film, now);
    if (!film[shown].classList.contains("on")) {
      film.forEach((button, k) => button.classList.toggle("on", k === shown));
      still.src = film[shown].firstElementChild.src;
    }
  }
}

function frame(i) {  // draw everybody's box
  const picture = get("boxes").viewBox.baseVal, unit = Math.max(picture.width, picture.height) / 100;
  persons.forEach((person, k) => {
    const box = person.boxes[i], [rect, ground, text] = boxes[k].children;
    boxes[k].setAttribute("display", box ? "" : "none");
    if (!box) return;
    const set = (node, names) => { for (const name in names) node.setAttribute(name, names[name]); };
    set(rect, {x: box[0], y: box[1], width: box[2], height: box[3]});
    const high = 4 * unit, wide = (1.6 + 1.8 * text.textContent.length) * unit;
    const x = Math.max(box[0], 0), y = box[1] >= high ? box[1] - high : Math.max(box[1], 0);
    set(ground, {x, y, width: wide, height: high});
    set(text, {x: x + wide / 2, y: y + 3.1 * unit});
  });
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
  const match = /^#t=([\d:.]+)$/.exec(location.hash);
  if (match) seek(match[1].split(":").reduce((sum, part) => 60 * sum + Number(part), 0));
}
addEventListener("hashchange", linked);
show(0);
linked();
