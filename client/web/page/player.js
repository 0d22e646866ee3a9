// Plays the original and the result side by side, synchronised: the original follows the result.

import { clock, element, icon } from "./format.js";

const PLAY = "M8 5.5v13a1 1 0 0 0 1.5.86l10.5-6.500a1 1 0 0 0 0-1.720l-10.5-6.500A1 1 0 0 0 8 5.500z";
const PAUSE = "M7 5h3.500v14H7zM13.5 5H17v14h-3.500z";
const LOUD = "M4 9.500v5h3.500L12 18.500v-13L7.5 9.500zM14.5 8.200v7.600a4.2 4.2 0 0 0 0-7.600zM14.5 4.300v2a6.3 6.3 0 0 1 0 11.400v2a8.3 8.3 0 0 0 0-15.400z";
const MUTED = "M4 9.500v5h3.500L12 18.500v-13L7.5 9.500zM15 9.4 16.4 8l2.1 2.100L20.6 8 22 9.400l-2.1 2.100L22 13.6 20.6 15l-2.1-2.100L16.4 15 15 13.600l2.1-2.100z";
const FAR_S = 0.25; // beyond this the original jumps; within, it runs a little faster or slower
const NEAR_S = 0.03;
const CATCH_UP = 0.15; // of the normal speed

// Opens a player in a place; returns what closes it.
export function openPlayer(place, job) {
  const result = element("video", { src: job.links.result, preload: "auto", playsinline: true, "aria-label": "Result" });
  const originalPlace = element("figure", {}, element("figcaption", {}, "Original"));
  const resultPlace = element("figure", {}, result, element("figcaption", {}, "Result"));
  const controls = makeControls(result);
  place.replaceChildren(element("div", { className: "player" }, element("div", { className: "pair" }, originalPlace, resultPlace), controls.root));
  result.addEventListener("error", () => resultPlace.replaceChildren(cannot("Your browser cannot play this result. Download it to watch it."), element("figcaption", {}, "Result")));
  result.addEventListener("loadedmetadata", () => result.videoWidth || resultPlace.replaceChildren(cannot("Your browser cannot show this result. Download it to watch it."), element("figcaption", {}, "Result")));
  const follower = new Follower(job.source, result);
  loadOriginal(job, originalPlace, follower);
  let open = true;
  const step = () => {
    if (!open) return;
    controls.show();
    follower.step();
    requestAnimationFrame(step);
  };
  requestAnimationFrame(step);
  return () => {
    open = false;
    for (const video of place.querySelectorAll("video")) {
      video.pause();
      video.removeAttribute("src");
      video.load();
    }
  };
}

async function loadOriginal(job, place, follower) {
  let kind = "";
  try {
    const head = await fetch(job.links.video, { headers: { Range: "bytes=0-0" } });
    kind = head.headers.get("Content-Type") ?? "";
  } catch {
    // shown below as not playable
  }
  if (kind.startsWith("image/")) {
    place.prepend(element("img", { src: job.links.video, alt: "The original picture" }));
    return;
  }
  const video = element("video", { src: job.links.video, preload: "auto", playsinline: true, "aria-label": "Original" });
  video.muted = true;
  const instead = () => {
    if (video.getAttribute("src") !== job.links.video) {
      video.replaceWith(cannot("Your browser cannot play the original."));
      return;
    }
    video.poster = job.links.poster; // shown until the proxy is made
    video.src = job.links.preview;
  };
  video.addEventListener("error", instead);
  video.addEventListener("loadedmetadata", () => video.videoWidth || instead()); // only its sound can be played
  place.prepend(video);
  follower.follow(video);
}

const cannot = (text) => element("p", { className: "cannot" }, text);

// Keeps the original at the moment that the result shows, also where the result plays it back and forth.
class Follower {
  constructor(source, result) {
    this.source = source;
    this.result = result;
    this.video = null;
  }

  follow(video) {
    this.video = video;
  }

  // Where the original is at a time of the result, and whether it runs forwards there.
  moment(time) {
    const start = this.source.start_s;
    const end = Math.min(this.source.end_s ?? Infinity, this.video.duration);
    const span = Math.max(end - start, 0.001);
    if (time < span || this.source.then === "cut") return { at: start + Math.min(time, span), runs: time < span };
    if (this.source.then === "loop") return { at: start + (time % span), runs: true };
    if (this.source.then === "hold") return { at: end, runs: false };
    const place = time % (2 * span);
    return place < span ? { at: start + place, runs: true } : { at: start + 2 * span - place, runs: false };
  }

  step() {
    const { video, result } = this;
    if (!video || !(video.readyState >= 1)) return;
    const { at, runs } = this.moment(result.currentTime);
    const behind = at - video.currentTime;
    if (result.paused || !runs) {
      if (!video.paused) video.pause();
      if (Math.abs(behind) > NEAR_S && !video.seeking) video.currentTime = at;
      return;
    }
    if (Math.abs(behind) > FAR_S) {
      if (!video.seeking) video.currentTime = at;
    } else {
      video.playbackRate = result.playbackRate * (1 + (Math.abs(behind) > NEAR_S ? Math.sign(behind) * CATCH_UP : 0));
    }
    if (video.paused) video.play().catch(() => {});
  }
}

function makeControls(result) {
  const play = element("button", { type: "button", className: "quiet" });
  const seek = element("input", { type: "range", min: 0, max: 1, step: 0.01, value: 0, "aria-label": "Place in the video" });
  const time = element("span", { className: "time" });
  const mute = element("button", { type: "button", className: "quiet" });
  let dragging = false;
  play.addEventListener("click", () => (result.paused ? result.play() : result.pause()));
  mute.addEventListener("click", () => { result.muted = !result.muted; });
  seek.addEventListener("input", () => { dragging = true; result.currentTime = seek.value; });
  seek.addEventListener("change", () => { dragging = false; });
  let drawn = "";
  const show = () => {
    const length = Number.isFinite(result.duration) ? result.duration : 0;
    seek.max = length || 1;
    if (!dragging) seek.value = result.currentTime;
    time.textContent = `${clock(result.currentTime)} / ${clock(length)}`;
    seek.setAttribute("aria-valuetext", time.textContent);
    const look = `${result.paused} ${result.muted}`;
    if (look === drawn) return;
    drawn = look;
    play.replaceChildren(icon(result.paused ? PLAY : PAUSE));
    play.setAttribute("aria-label", result.paused ? "Play" : "Pause");
    mute.replaceChildren(icon(result.muted ? MUTED : LOUD));
    mute.setAttribute("aria-label", result.muted ? "Sound on" : "Sound off");
  };
  show();
  return { root: element("div", { className: "controls" }, play, seek, time, mute), show };
}
