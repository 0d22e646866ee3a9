// The chosen video: its picture with the faces drawn on it, and the part of it that is used.

import { makeLine, makePlay } from "./chosen.js";
import { drawFaces, forgetFaces, lookForFaces } from "./faces.js";
import { element } from "./format.js";
import { makeTrim } from "./trim.js";

const CANNOT = "Your browser cannot show this video. The service can probably use it.";
const LOOK_AFTER_MS = 400; // of quiet, while a handle is moved
const place = document.getElementById("video-chosen");
let fields; // { from, to }: the controls of the form that the handles fill in
let shown = null; // what is chosen: { file, media, stage, trim, line }
let changed = () => {};
let waiting = 0;

export function startVideoInput(controls, onChange) {
  fields = controls;
  changed = onChange;
  for (const field of [fields.from, fields.to]) field.addEventListener("change", takeFields);
}

// Seconds of the video that are used; null if its length is unknown.
export const usedVideo = () => (shown?.trim.length ? shown.trim.chosen : null);

export function showVideo(file) {
  clear();
  const url = URL.createObjectURL(file);
  const isImage = file.type.startsWith("image/");
  const media = isImage ? element("img", { src: url, alt: `Preview of ${file.name}` }) : playing(url, file);
  const stage = element("div", { className: "stage" }, media);
  const trim = makeTrim("video", { hear: moved, seek: (time) => { if (!isImage) media.currentTime = time; } });
  const line = makeLine("video", file);
  shown = { file, url, media, stage, trim, line };
  const play = isImage ? [] : [element("div", { className: "play-line" }, makePlay(media, trim, "video"), trim.root)];
  place.replaceChildren(element("div", { className: "screen" }, stage), ...play, line.root);
  place.hidden = false;
  if (isImage) media.addEventListener("load", () => fit(media.naturalWidth, media.naturalHeight));
  look();
}

function playing(url, file) {
  const media = element("video", { src: url, preload: "auto", playsinline: true, "aria-label": `Preview of ${file.name}` });
  media.muted = true;
  media.addEventListener("loadedmetadata", () => {
    if (!media.videoWidth) return cannot(); // only its sound can be played
    fit(media.videoWidth, media.videoHeight);
    shown.trim.setLength(media.duration);
    takeFields();
  });
  media.addEventListener("error", cannot);
  media.addEventListener("play", () => shown.stage.classList.add("plays"));
  media.addEventListener("pause", () => shown.stage.classList.remove("plays"));
  return media;
}

function fit(width, height) {
  if (width && height) shown.stage.style.setProperty("--ratio", width / height);
}

function cannot() {
  if (!shown || shown.stage.querySelector(".cannot")) return;
  place.querySelector(".play-line")?.remove();
  shown.media.replaceWith(element("p", { className: "cannot" }, CANNOT));
}

// The handles fill in the form's fields, which may be set by hand too.
function moved(trim, side) {
  fields.from.value = trim.from ? trim.from.toFixed(1) : "";
  fields.to.value = trim.to < trim.length ? trim.to.toFixed(1) : "";
  if (shown.media.currentTime !== undefined) shown.media.currentTime = trim[side];
  told(side === "from");
}

function takeFields() {
  if (!shown) return;
  shown.trim.set(Number(fields.from.value) || 0, fields.to.value === "" ? null : Number(fields.to.value));
  told(true);
}

function told(isStart) {
  shown.line.tell(shown.trim.length || NaN, shown.trim);
  changed();
  if (!isStart || !shown.looked) return;
  clearTimeout(waiting);
  waiting = setTimeout(look, LOOK_AFTER_MS);
}

// Finds the faces; where the browser cannot show the video, the service's own frame is shown instead.
async function look() {
  const mine = shown;
  const found = await lookForFaces(mine.file, Number(fields.from.value) || 0);
  if (mine !== shown) return;
  mine.looked = true;
  if (!found) return;
  if (found.frame) {
    mine.frame = URL.createObjectURL(found.frame);
    const picture = element("img", { src: mine.frame, alt: `First picture of ${mine.file.name}` });
    place.querySelector(".play-line")?.remove();
    mine.stage.replaceChildren(picture, element("p", { className: "cannot over" }, CANNOT));
  }
  fit(found.width, found.height);
  drawFaces(mine.stage, found);
}

function clear() {
  if (!shown) return;
  clearTimeout(waiting);
  shown.media.pause?.();
  for (const url of [shown.url, shown.frame]) if (url) URL.revokeObjectURL(url);
  forgetFaces();
  shown = null;
}
