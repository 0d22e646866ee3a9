// The form of a new video: files, model, options, sending.

import { Problem, call, upload } from "./api.js";
import { lookForFaces } from "./faces.js";
import { announce, clock, element, showProblem, size } from "./format.js";

const form = document.getElementById("new");
const problemPlace = document.getElementById("form-problem");
const files = { video: null, audio: null };
const MODELS_AGAIN_MS = 5000;

// Settings that only some models understand; shown when the chosen one does.
const MODEL_OPTIONS = {
  detector: {
    label: "What finds faces",
    choices: { mediapipe: "MediaPipe, fast", s3fd: "S3FD, the original’s, far slower" },
  },
  blend: {
    label: "How the face is put back",
    choices: { soft: "Lower face only, no visible edge", box: "The whole box, as the original" },
  },
  pads: { label: "Room around the face", value: "0,10,0,0", help: "Top, bottom, left, right in pixels.", pattern: "-?[0-9]{1,4}(,-?[0-9]{1,4}){3}" },
  face_box: { label: "Where the face is", help: "X1,Y1,X2,Y2 in pixels, instead of looking for it.", placeholder: "look for it", pattern: "[-0-9.]+(,[-0-9.]+){3}" },
  speed: {
    label: "Speed",
    choices: { exact: "Exact, as the original", cached: "Cached, nearly the same", fast: "Fast, fewer steps", preview: "Preview, fewest steps" },
  },
  steps: { label: "Steps of drawing", number: { min: 1, max: 999, placeholder: "as the speed has it" }, help: "More is finer and slower; 20 to 50 serve well." },
  guidance: { label: "Weight of the speech", number: { value: 1.5, min: 1, max: 100, step: 0.1 }, help: "1 to 3 serve well; more moves the mouth more." },
  scheduler: { label: "Scheduler", choices: { "": "As the speed has it", ddim: "DDIM", dpm: "DPM", unipc: "UniPC" } },
  resolution: { label: "Size of the drawn face", choices: { "": "As the model was trained", 256: "256 pixels (version 1.5)", 512: "512 pixels (version 1.6)" } },
  seed: { label: "Seed", number: { value: 1247, min: 0, max: 4294967295 }, help: "Another seed draws another take." },
};

export function startForm(limits, onSent) {
  for (const name of ["video", "audio"]) startDrop(name);
  startDropAnywhere();
  form.elements.crf.value = "18";
  form.elements.start.addEventListener("change", () => files.video && preview());
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
    if (Number.isFinite(media.duration)) facts.textContent = `${size(file.size)} · ${clock(media.duration)}`;
  });
  const cannot = "Your browser cannot play this file. The service may still be able to use it.";
  media.addEventListener("error", () => media.replaceWith(element("p", { className: "cannot" }, cannot)));
  return media;
}

function preview() {
  lookForFaces(files.video, Number(form.elements.start.value) || 0);
}

// --- models and their options

async function loadModels() {
  const place = document.getElementById("models");
  const waiting = document.getElementById("models-waiting");
  let found = { models: [] };
  try {
    found = await call("/models");
  } catch (problem) {
    waiting.textContent = problem.detail ?? "";
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
    radio.addEventListener("change", () => showModelOptions(model, found.detectors));
    list.append(element("label", { className: "model" }, radio, element("b", {}, model.title), element("span", {}, model.description)));
  });
  place.append(list);
  showModelOptions(found.models[0], found.detectors);
}

function showModelOptions(model, detectors) {
  const fields = model.settings.filter((name) => name in MODEL_OPTIONS).map((name) => modelOption(name, detectors));
  document.getElementById("model-options").replaceChildren(...fields);
}

function modelOption(name, detectors) {
  const option = MODEL_OPTIONS[name];
  const help = option.help ? [element("span", { className: "help" }, option.help)] : [];
  let control;
  if (option.choices) {
    const entries = Object.entries(option.choices).filter(([value]) => name !== "detector" || detectors.includes(value));
    control = element("select", { name }, ...entries.map(([value, text]) => element("option", { value }, text)));
  } else if (option.number) {
    control = element("input", { name, type: "number", inputmode: "decimal", step: 1, ...option.number });
  } else {
    control = element("input", { name, type: "text", autocomplete: "off", pattern: option.pattern, value: option.value, placeholder: option.placeholder });
  }
  return element("label", { className: "field" }, option.label, control, ...help);
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
    throw new Problem("Something is missing", `Add a ${missing.map(label).join(" and a ")} first.`);
  }
  const total = files.video.size + files.audio.size;
  if (total > limits.max_upload_bytes) {
    throw new Problem("The files are too large", `Together they have ${size(total)}; this service takes ${size(limits.max_upload_bytes)}. Shorten the video, or export it smaller.`);
  }
  if (!form.querySelector("[name=model]")) throw new Problem("The server is not ready", "It has no model loaded yet. Try again in a moment.");
  const wrong = [...form.elements].find((field) => !field.validity.valid);
  if (wrong) {
    markWrong(wrong);
    throw new Problem("An option does not fit", `${wrong.closest("label")?.firstChild?.textContent.trim()}: ${wrong.validationMessage}`);
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
    if (!field.name || field.type === "file" || (field.type === "radio" && !field.checked) || field.name === "picked_face") continue;
    if (field.value !== "") data.append(field.name, field.value);
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
