// The controls of the player, and its keys.

import { announce, clock, element, icon } from "./format.js";

const ICONS = {
  play: "M8 5.5v13a1 1 0 0 0 1.5.86l10.5-6.500a1 1 0 0 0 0-1.720l-10.5-6.500A1 1 0 0 0 8 5.500z",
  pause: "M7 5h3.500v14H7zM13.5 5H17v14h-3.500z",
  back: "M6 5h2.500v14H6zM19 6v12a.8.8 0 0 1-1.250.660l-8-6a.8.8 0 0 1 0-1.320l8-6A.8.8 0 0 1 19 6z",
  forward: "M15.500 5H18v14h-2.500zM5 6v12a.8.8 0 0 0 1.250.660l8-6a.8.8 0 0 0 0-1.320l-8-6A.8.8 0 0 0 5 6z",
  loud: "M4 9.500v5h3.500L12 18.500v-13L7.5 9.500zM14.5 8.200v7.600a4.2 4.2 0 0 0 0-7.600zM14.5 4.300v2a6.3 6.3 0 0 1 0 11.400v2a8.3 8.3 0 0 0 0-15.400z",
  muted: "M4 9.500v5h3.500L12 18.500v-13L7.5 9.500zM15 9.4 16.4 8l2.1 2.100L20.6 8 22 9.400l-2.1 2.100L22 13.6 20.6 15l-2.1-2.100L16.4 15 15 13.600l2.1-2.100z",
  loop: "M17 3.500 21 7l-4 3.500V8H8a3 3 0 0 0-3 3v1H3v-1a5 5 0 0 1 5-5h9zM7 20.500 3 17l4-3.500V16h9a3 3 0 0 0 3-3v-1h2v1a5 5 0 0 1-5 5H7z",
  zoom: "M10.500 4a6.500 6.500 0 0 1 5.200 10.400l4.500 4.500-1.400 1.400-4.500-4.500A6.500 6.500 0 1 1 10.500 4zm0 2a4.500 4.500 0 1 0 0 9 4.500 4.500 0 0 0 0-9zM9.750 7.750h1.500v2h2v1.500h-2v2h-1.500v-2h-2v-1.500h2z",
  full: "M4 4h6v2H6v4H4zM14 4h6v6h-2V6h-4zM4 14h2v4h4v2H4zM18 14h2v6h-6v-2h4z",
};
const KEYS = [
  ["Space", "play"], [", .", "one frame"], ["← →", "one second"], ["L", "loop"], ["S", "half speed"],
  ["C", "original or result"], ["Z", "zoom to the mouth"], ["M", "sound"], ["F", "full screen"],
];

export class Controls {
  constructor(result, stage, job, root) {
    this.result = result;
    this.stage = stage;
    this.job = job;
    this.view = root; // what becomes the full screen
    this.rate = job.report?.video_fps || 25;
    this.drawn = "";
    this.make();
    this.show();
  }

  make() {
    this.play = this.button("Play", "play", () => this.togglePlay());
    const back = this.button("One frame back", "back", () => this.step(-1));
    const forward = this.button("One frame forward", "forward", () => this.step(1));
    this.seek = element("input", { type: "range", min: 0, max: 1, step: 0.01, value: 0, "aria-label": "Place in the video" });
    this.seek.addEventListener("input", () => { this.isDragging = true; this.result.currentTime = this.seek.value; });
    this.seek.addEventListener("change", () => { this.isDragging = false; });
    this.time = element("span", { className: "time" });
    this.loop = this.button("Loop", "loop", () => this.toggleLoop());
    this.slow = element("button", { type: "button", className: "quiet", "aria-label": "Half speed", onclick: () => this.toggleSpeed() }, "½×");
    this.zoom = this.button("Zoom to the mouth", "zoom", () => this.toggleZoom());
    this.mute = this.button("Sound off", "loud", () => this.toggleSound());
    const full = this.button("Full screen", "full", () => this.toggleFull());
    this.root = element("div", { className: "controls" },
      element("div", { className: "controls-line" }, this.play, this.seek, this.time),
      element("div", { className: "controls-line" }, back, forward, this.loop, this.slow, this.zoom, this.mute, full, this.stage.views));
    const keys = KEYS.map(([key, what]) => element("span", {}, element("kbd", {}, key), ` ${what}`));
    this.help = element("p", { className: "keys" }, ...keys);
  }

  button(label, name, act) {
    return element("button", { type: "button", className: "quiet round", "aria-label": label, title: label, onclick: act }, icon(ICONS[name]));
  }

  togglePlay() {
    return this.result.paused ? this.result.play().catch(() => {}) : this.result.pause();
  }

  // Goes to the middle of the next or last frame.
  step(frames) {
    this.result.pause();
    const now = Math.floor(this.result.currentTime * this.rate + 0.001);
    this.jump((Math.max(now + frames, 0) + 0.5) / this.rate);
  }

  jump(time) {
    this.result.currentTime = Math.min(Math.max(time, 0), this.result.duration || 0);
  }

  toggleLoop() {
    this.result.loop = !this.result.loop;
  }

  toggleSpeed() {
    this.result.playbackRate = this.result.playbackRate === 1 ? 0.5 : 1;
  }

  toggleSound() {
    this.result.muted = !this.result.muted;
  }

  async toggleZoom() {
    this.zoom.disabled = true;
    const found = await this.stage.zoom(this.job).catch(() => false);
    this.zoom.disabled = false;
    if (!found) announce("No mouth was found in this picture");
  }

  toggleFull() {
    if (document.fullscreenElement) document.exitFullscreen();
    else this.view.requestFullscreen?.().catch(() => announce("The browser refused the full screen"));
  }

  press(event) {
    const acts = {
      " ": () => this.togglePlay(), k: () => this.togglePlay(), ",": () => this.step(-1), ".": () => this.step(1),
      ArrowLeft: () => this.jump(this.result.currentTime - 1), ArrowRight: () => this.jump(this.result.currentTime + 1),
      l: () => this.toggleLoop(), s: () => this.toggleSpeed(), c: () => this.stage.toggle(), z: () => this.toggleZoom(),
      m: () => this.toggleSound(), f: () => this.toggleFull(),
    };
    const isOfControl = event.target !== this.view && (event.key === " " || event.key.startsWith("Arrow"));
    const act = acts[event.key.length === 1 ? event.key.toLowerCase() : event.key];
    if (!act || isOfControl || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    act();
  }

  show() {
    const { result } = this;
    const length = Number.isFinite(result.duration) ? result.duration : 0;
    this.seek.max = length || 1;
    if (!this.isDragging) this.seek.value = result.currentTime;
    this.time.textContent = `${clock(result.currentTime)} / ${clock(length)}`;
    this.seek.setAttribute("aria-valuetext", this.time.textContent);
    const look = [result.paused, result.muted, result.loop, result.playbackRate, this.stage.isZoomed].join();
    if (look === this.drawn) return;
    this.drawn = look;
    relabel(this.play, result.paused ? "Play" : "Pause", result.paused ? "play" : "pause");
    relabel(this.mute, result.muted ? "Sound on" : "Sound off", result.muted ? "muted" : "loud");
    this.loop.setAttribute("aria-pressed", String(result.loop));
    this.slow.setAttribute("aria-pressed", String(result.playbackRate !== 1));
    this.zoom.setAttribute("aria-pressed", String(this.stage.isZoomed));
  }
}

function relabel(button, label, name) {
  button.setAttribute("aria-label", label);
  button.title = label;
  button.replaceChildren(icon(ICONS[name]));
}
