// Finds the faces in a frame of the chosen video, draws them on it, and lets people pick one if there are several.

import { call } from "./api.js";
import { element } from "./format.js";

const LONG_SIDE = 1280; // pixels of the picture that is sent to be looked at
const MAX_SENT_BYTES = 190e6; // of a video that only the service can show
const SEEK_TIMEOUT_MS = 8000;
const note = document.getElementById("video-note");
let asked = 0; // only the newest answer counts

export function forgetFaces() {
  asked += 1;
  note.hidden = true;
}

// Returns the faces, the picture's size, its scale to the video's own pixels, and the service's frame of a video that
// the browser cannot show; null if nothing is known.
export async function lookForFaces(file, startSeconds) {
  forgetFaces();
  const mine = asked;
  const picture = await drawFrame(file, startSeconds).catch(() => null);
  if (!picture && file.size > MAX_SENT_BYTES) return null; // the form says so
  const form = new FormData();
  if (!picture) form.append("at", startSeconds);
  form.append("picture", picture?.blob ?? file, "picture");
  try {
    const found = await call("/faces", { method: "POST", body: form });
    if (mine !== asked) return null;
    const frame = picture ? null : new Blob([Uint8Array.from(atob(found.frame), (letter) => letter.charCodeAt(0))], { type: "image/jpeg" });
    return { ...found, frame, scale: picture ? picture.width / found.width : 1 };
  } catch {
    return null; // Without a preview the option decides; sending the form shows what is really wrong.
  }
}

// Draws a box around each face; of several, one is picked.
export function drawFaces(stage, found) {
  stage.querySelector(".faces")?.remove();
  queueMicrotask(() => document.dispatchEvent(new Event("faces"))); // once they are drawn, for the speakers
  if (found.faces.length === 0) say("No face in the first picture. That is fine if one appears later.");
  if (found.faces.length === 1) stage.append(element("div", { className: "faces" }, box(found.faces[0], found, "div")));
  if (found.faces.length < 2) return;
  const area = (face) => (face.x2 - face.x1) * (face.y2 - face.y1);
  const largest = found.faces.reduce((best, face) => (area(face) > area(best) ? face : best));
  const marks = found.faces.map((face, index) => mark(face, found, `${index + 1}`, face === largest));
  stage.append(element("fieldset", { className: "faces" }, element("legend", { className: "visually-hidden" }, "Who should speak?"), ...marks));
  say("Who should speak? Choose a face in the picture.");
}

function mark(face, found, number, checked) {
  const middle = (low, high) => Math.round(((low + high) / 2) * found.scale);
  const value = `${middle(face.x1, face.x2)},${middle(face.y1, face.y2)}`;
  const radio = element("input", { type: "radio", name: "picked_face", value, checked, "aria-label": `Face ${number} from the left` });
  const made = box(face, found, "label");
  made.append(element("b", {}, number));
  made.prepend(radio);
  return made;
}

function box(face, found, tag) {
  const made = element(tag, { className: "face" }, element("span"));
  const percent = (part, whole) => `${(100 * part) / whole}%`;
  Object.assign(made.style, {
    left: percent(face.x1, found.width),
    top: percent(face.y1, found.height),
    width: percent(face.x2 - face.x1, found.width),
    height: percent(face.y2 - face.y1, found.height),
  });
  return made;
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
    return await asJpeg(shown);
  } finally {
    URL.revokeObjectURL(url);
  }
}

// Returns what an image or video shows now as a JPEG, and its width in its own pixels.
export async function asJpeg(shown) {
  const width = shown.naturalWidth || shown.videoWidth;
  const height = shown.naturalHeight || shown.videoHeight;
  const shrink = Math.min(1, LONG_SIDE / Math.max(width, height));
  const canvas = element("canvas", { width: Math.round(width * shrink), height: Math.round(height * shrink) });
  canvas.getContext("2d").drawImage(shown, 0, 0, canvas.width, canvas.height);
  const blob = await new Promise((done) => canvas.toBlob(done, "image/jpeg", 0.9));
  if (!blob) throw new Error("no picture");
  return { blob, width };
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
