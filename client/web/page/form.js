// The form of a new video: files, model, sending. The controls of its options are in options.js.

import { Problem, call, fetchBlob, upload } from "./api.js";
import { lookForFaces } from "./faces.js";
import { announce, clock, element, showProblem, size } from "./format.js";
import { buildOptions, faultOf, fillOptions, showOptionsOf, valueOf } from "./options.js";

const form = document.getElementById("new");
const problemPlace = document.getElementById("form-problem");
const files = { video: null, audio: null };
const lengths = { video: null, audio: null }; // in seconds, as far as the browser knows
const CANNOT = {
  video: "Your browser cannot show this video. The service can probably use it.",
  audio: "Your browser cannot play this file. The service can probably use it.",
};
const MODELS_AGAIN_MS = 5000;
let previewAt; // the control that says where in the video its faces are shown

export function startForm(limits, options, onSent) {
  buildOptions(options, ["model"]);
  previewAt = form.elements[options.preview_at];
  for (const name of ["video", "audio"]) startDrop(name);
  startDropAnywhere();
  previewAt?.addEventListener("change", () => files.video && preview());
  loadModels();
  document.getElementById("send").disabled = false;
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    send(limits, onSent);
  });
  form.addEventListener("input", (event) => event.target.removeAttribute("aria-invalid"));
}

// --- files

function startDrop(name) {
  const drop = document.getElementById(`${name}-drop`);
  const input = document.getElementById(name);
  const take = () => input.files[0] && choose(name, input.files[0]);
  input.addEventListener("change", take);
  take(); // what was chosen before this script ran
  drop.addEventListener("dragenter", () => drop.classList.add("over"));
  drop.addEventListener("dragleave", (event) => drop.contains(event.relatedTarget) || drop.classList.remove("over"));
  drop.addEventListener("drop", () => drop.classList.remove("over"));
}

function startDropAnywhere() {
  const veil = document.getElementById("drop-anywhere");
  let inside = 0;
  const isFiles = (event) => event.dataTransfer?.types.includes("Files");
  addEventListener("dragenter", (event) => { if (isFiles(event)) veil.hidden = ++inside === 0; });
  addEventListener("dragleave", (event) => { if (isFiles(event)) veil.hidden = --inside <= 0; });
  addEventListener("dragover", (event) => isFiles(event) && event.preventDefault());
  addEventListener("drop", (event) => {
    if (!isFiles(event)) return;
    event.preventDefault();
    inside = 0;
    veil.hidden = true;
    const zone = event.target.closest?.(".drop");
    for (const file of event.dataTransfer.files) choose(placeFor(file, zone), file);
  });
}

function placeFor(file, zone) {
  if (zone) return zone.id === "video-drop" ? "video" : "audio";
  return file.type.startsWith("audio/") ? "audio" : "video";
}

function choose(name, file) {
  files[name] = file;
  lengths[name] = null;
  problemPlace.hidden = true;
  const drop = document.getElementById(`${name}-drop`);
  const chosen = drop.querySelector(".chosen");
  const facts = element("span", {}, size(file.size));
  const change = element("button", { type: "button", className: "quiet", "aria-label": `Change the ${label(name)}` }, "Change");
  change.addEventListener("click", () => document.getElementById(name).click());
  for (const shown of chosen.querySelectorAll("[src]")) URL.revokeObjectURL(shown.src);
  const view = element("div", { className: name === "audio" ? "chosen-view sound" : "chosen-view" }, viewOf(name, file, facts));
  chosen.replaceChildren(
    view,
    element("div", { className: "chosen-line" }, element("div", { className: "chosen-name" }, element("b", { title: file.name }, file.name), facts), change),
  );
  chosen.hidden = false;
  drop.classList.add("filled");
  announce(`${file.name} chosen as ${label(name)}`);
  if (name === "video") preview();
}

const label = (name) => (name === "video" ? "video" : "speech");

function viewOf(name, file, facts) {
  const url = URL.createObjectURL(file);
  if (name === "video" && file.type.startsWith("image/")) return element("img", { src: url, alt: `Preview of ${file.name}` });
  const tag = name === "audio" ? "audio" : "video";
  const media = element(tag, { src: url, preload: "auto", controls: true, playsinline: true, "aria-label": `Preview of ${file.name}` });
  if (name === "video") media.muted = true;
  media.addEventListener("loadedmetadata", () => {
    lengths[name] = media.duration;
    if (Number.isFinite(media.duration)) facts.textContent = `${size(file.size)} · ${clock(media.duration)}`;
  });
  const cannot = () => media.replaceWith(element("p", { className: "cannot" }, CANNOT[name]));
  media.addEventListener("error", cannot);
  if (name === "video") media.addEventListener("loadedmetadata", () => media.videoWidth || cannot()); // only its sound
  return media;
}

// Finds the faces; where the browser cannot show the video, the service's own frame is shown instead.
async function preview() {
  const frame = await lookForFaces(files.video, Number(previewAt?.value) || 0);
  const place = document.querySelector("#video-drop .chosen-view");
  if (!frame || !place) return;
  const shown = element("img", { src: URL.createObjectURL(frame), alt: `First picture of ${files.video.name}` });
  place.replaceChildren(shown, element("p", { className: "cannot" }, CANNOT.video));
}

// --- models and their options

async function loadModels() {
  const place = document.getElementById("models");
  const waiting = document.getElementById("models-waiting");
  let found = { models: [] };
  try {
    found = await call("/models");
  } catch (problem) {
    waiting.textContent = problem.text ?? "";
  }
  if (!found.models.length) {
    waiting.textContent ||= "The server has no model yet.";
    setTimeout(loadModels, MODELS_AGAIN_MS);
    return;
  }
  waiting.remove();
  const list = element("div", { className: "model-list" });
  found.models.forEach((model, index) => {
    const radio = element("input", { type: "radio", name: "model", value: model.id, checked: index === 0 });
    radio.addEventListener("change", () => showOptionsOf(model));
    list.append(element("label", { className: "model" }, radio, element("b", {}, model.title), element("span", {}, model.description)));
  });
  place.append(list);
  showOptionsOf(found.models[0]);
}

// --- using another job again

// Fills in the settings of a job, and the speech that was sent with it if only the video is to be replaced.
export async function reuse(job, { replaceVideo = false } = {}) {
  fillOptions(job.settings);
  const radio = [...form.querySelectorAll("[name=model]")].find((one) => one.value === job.settings.model);
  radio?.click();
  problemPlace.hidden = true;
  form.scrollIntoView();
  const first = document.getElementById("video");
  first.focus({ preventScroll: true });
  if (replaceVideo) first.click(); // before anything is awaited: browsers open the dialog only right after a click
  if (replaceVideo) choose("audio", new File([await fetchBlob(job.links.audio)], job.audio_name, { type: "audio/*" }));
  announce(radio ? "The settings are filled in" : "The settings are filled in, but the server has not loaded the model");
}

// --- sending

async function send(limits, onSent) {
  problemPlace.hidden = true;
  try {
    check(limits);
  } catch (problem) {
    showProblem(problemPlace, problem);
    return;
  }
  const button = document.getElementById("send");
  const place = document.getElementById("upload");
  const stop = new AbortController();
  const cancel = document.getElementById("upload-cancel");
  cancel.onclick = () => stop.abort();
  button.disabled = true;
  place.hidden = false;
  showUpload(0, 1);
  try {
    const job = await upload("/jobs", body(), showUpload, stop.signal);
    announce("Uploaded. The job is queued.");
    onSent(job);
  } catch (problem) {
    if (problem.name === "AbortError") announce("Upload cancelled");
    else showSendProblem(problem);
  } finally {
    button.disabled = false;
    place.hidden = true;
  }
}

function check(limits) {
  const missing = ["video", "audio"].filter((name) => !files[name]);
  if (missing.length) {
    document.getElementById(missing[0]).focus();
    throw new Problem("Something is missing", `Add the ${missing.map(label).join(" and the ")} first.`);
  }
  const total = files.video.size + files.audio.size;
  if (total > limits.max_upload_bytes) {
    throw new Problem("The files are too large", `Together they have ${size(total)}; this service accepts ${size(limits.max_upload_bytes)}. Shorten the video or compress it more.`);
  }
  if (lengths.audio > limits.max_duration_s) {
    throw new Problem("The speech is too long", `It lasts ${clock(lengths.audio)}; this service takes ${clock(limits.max_duration_s)}. Cut it first.`);
  }
  if (!form.querySelector("[name=model]")) throw new Problem("The server is not ready", "It has no model loaded yet. Try again in a moment.");
  const wrong = [...form.elements].find(faultOf);
  if (wrong) {
    markWrong(wrong);
    throw new Problem("An option cannot be used like this", `${wrong.labels[0].textContent}: ${faultOf(wrong)}`);
  }
}

function markWrong(field) {
  document.getElementById("options").open = true;
  field.setAttribute("aria-invalid", "true");
  field.focus();
}

function showSendProblem(problem) {
  const field = problem.errors?.map((error) => form.elements[error.name]).find((found) => found instanceof HTMLElement);
  if (field && field.type !== "file") markWrong(field);
  showProblem(problemPlace, problem);
}

function body() {
  const data = new FormData();
  for (const field of form.elements) {
    if (!field.name || field.disabled || field.type === "file" || (field.type === "radio" && !field.checked) || field.name === "picked_face") continue;
    const value = valueOf(field);
    if (value !== null) data.append(field.name, value);
  }
  const picked = form.querySelector("[name=picked_face]:checked");
  if (picked) data.set("face", picked.value);
  data.append("video", files.video);
  data.append("audio", files.audio);
  return data;
}

function showUpload(loaded, total) {
  const percent = total ? Math.round((100 * loaded) / total) : 0;
  document.getElementById("upload-bar").value = percent;
  document.getElementById("upload-text").textContent = percent < 100 ? `Uploading, ${percent} % of ${size(total)}` : "Checking the files";
}
