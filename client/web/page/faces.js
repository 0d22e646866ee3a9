// Finds the faces in a frame of the chosen video, and lets people pick one if there are several.

import { call } from "./api.js";
import { element } from "./format.js";

const LONG_SIDE = 1280; // pixels of the picture that is sent to be looked at
const MAX_SENT_BYTES = 190e6; // of a video that only the service can show
const SEEK_TIMEOUT_MS = 8000;
const picker = document.getElementById("faces");
const place = document.getElementById("faces-picture");
const note = document.getElementById("video-note");
let asked = 0; // only the newest answer counts

export function forgetFaces() {
  picker.hidden = true;
  place.replaceChildren();
  note.hidden = true;
}

// Returns the service's own frame of a video that the browser cannot show, or null.
export async function lookForFaces(file, startSeconds) {
  const mine = ++asked;
  forgetFaces();
  const picture = await drawFrame(file, startSeconds).catch(() => null);
  if (!picture && file.size > MAX_SENT_BYTES) return null; // the form says so
  const form = new FormData();
  if (!picture) form.append("at", startSeconds);
  form.append("picture", picture?.blob ?? file, "picture");
  try {
    const found = await call("/faces", { method: "POST", body: form });
    if (mine !== asked) return null;
    const frame = picture ? null : new Blob([Uint8Array.from(atob(found.frame), (letter) => letter.charCodeAt(0))], { type: "image/jpeg" });
    showFaces(found, picture ?? { blob: frame, width: found.width });
    return frame;
  } catch {
    return null; // Without a preview the option decides; sending the form shows what is really wrong.
  }
}

function showFaces(found, picture) {
  if (found.faces.length === 0) say("No face in the first picture. That is fine if one appears later.");
  if (found.faces.length < 2) return;
  const area = (face) => (face.x2 - face.x1) * (face.y2 - face.y1);
  const largest = found.faces.reduce((best, face) => (area(face) > area(best) ? face : best));
  const scale = picture.width / found.width;
  const marks = found.faces.map((face, index) => mark(face, found, scale, `${index + 1}`, face === largest));
  const url = URL.createObjectURL(picture.blob);
  const alt = `The video’s picture, with ${found.faces.length} faces`;
  place.replaceChildren(element("img", { src: url, alt, onload: () => URL.revokeObjectURL(url) }), ...marks);
  picker.hidden = false;
}

function mark(face, found, scale, number, checked) {
  const value = `${Math.round(((face.x1 + face.x2) / 2) * scale)},${Math.round(((face.y1 + face.y2) / 2) * scale)}`;
  const radio = element("input", { type: "radio", name: "picked_face", value, checked, "aria-label": `Face ${number} from the left` });
  const box = element("label", { className: "face" }, radio, element("span"), element("b", {}, number));
  const percent = (part, whole) => `${(100 * part) / whole}%`;
  Object.assign(box.style, {
    left: percent(face.x1, found.width),
    top: percent(face.y1, found.height),
    width: percent(face.x2 - face.x1, found.width),
    height: percent(face.y2 - face.y1, found.height),
  });
  return box;
}

function say(text) {
  note.textContent = text;
  note.hidden = false;
}

// Returns the picture at a time as a JPEG, and the width of the original in its own pixels.
async function drawFrame(file, startSeconds) {
  const url = URL.createObjectURL(file);
  try {
    const isImage = file.type.startsWith("image/");
    const shown = isImage ? await loadImage(url) : await seekVideo(url, startSeconds);
    const width = isImage ? shown.naturalWidth : shown.videoWidth;
    const height = isImage ? shown.naturalHeight : shown.videoHeight;
    const shrink = Math.min(1, LONG_SIDE / Math.max(width, height));
    const canvas = element("canvas", { width: Math.round(width * shrink), height: Math.round(height * shrink) });
    canvas.getContext("2d").drawImage(shown, 0, 0, canvas.width, canvas.height);
    const blob = await new Promise((done) => canvas.toBlob(done, "image/jpeg", 0.9));
    if (!blob) throw new Error("no picture");
    return { blob, width };
  } finally {
    URL.revokeObjectURL(url);
  }
}

async function loadImage(url) {
  const image = new Image();
  image.src = url;
  await image.decode();
  return image;
}

function seekVideo(url, seconds) {
  return new Promise((resolve, reject) => {
    const video = element("video", { preload: "auto", playsinline: true });
    video.muted = true;
    const timer = setTimeout(() => reject(new Error("too slow")), SEEK_TIMEOUT_MS);
    video.addEventListener("error", () => { clearTimeout(timer); reject(new Error("not playable")); });
    video.addEventListener("loadedmetadata", () => video.videoWidth || reject(new Error("no picture")));
    video.addEventListener("loadeddata", () => { video.currentTime = Math.min(seconds, video.duration || 0) + 0.001; }, { once: true });
    video.addEventListener("seeked", () => {
      clearTimeout(timer);
      if (video.videoWidth) resolve(video); else reject(new Error("no picture"));
    }, { once: true });
    video.src = url;
  });
}
